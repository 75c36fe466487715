"""The frugal writer draws the same picture as Textual's own, in fewer bytes."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pyte
import pytest
from rich.console import Console
from textual._compositor import ChopsUpdate, LayoutUpdate

from tests.tui.screen import opened, settled
from wizard.tui.frugal import FrugalChops, FrugalLayout
from wizard.tui.screens.frame import WizardScreen


def console(colors: str | None = "truecolor") -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=colors, width=80)  # type: ignore[arg-type]


def looks(screen: pyte.Screen) -> list[list[tuple[object, ...]]]:
    """Every cell as it is seen: a blank shows no text colour and no weight."""
    seen = []
    for y in range(screen.lines):
        row = []
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            if cell.data.isspace() and not cell.reverse:
                row.append((" ", cell.bg))
            else:
                row.append((cell.data, cell.fg, cell.bg, cell.bold, cell.reverse, cell.underscore))
        seen.append(row)
    return seen


class Recorder:
    """Two emulated terminals: one fed Textual's bytes, one fed ours."""

    def __init__(self) -> None:
        self.stock, self.frugal = pyte.Screen(80, 24), pyte.Screen(80, 24)
        self.stock_bytes = self.frugal_bytes = 0

    def take(self, update: FrugalLayout | FrugalChops) -> None:
        """One update, written both ways."""
        target = console()
        if isinstance(update, FrugalLayout):
            theirs = LayoutUpdate(update.strips, update.region).render_segments(target)
        else:
            theirs = ChopsUpdate(update.chops, update.spans, update.chop_ends).render_segments(target)
        ours = update.render_segments(target)
        pyte.Stream(self.stock).feed(theirs)
        pyte.Stream(self.frugal).feed(ours)
        self.stock_bytes += len(theirs.encode())
        self.frugal_bytes += len(ours.encode())


async def test_the_same_picture_in_far_fewer_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with opened() as (app, pilot):

        def display(screen: WizardScreen, update: object) -> None:
            if isinstance(update, FrugalLayout | FrugalChops):
                recorder.take(update)

        monkeypatch.setattr(app, "_display", display)
        app.screen.refresh()
        for key in (
            "3",
            "tab",
            "right",
            "right",
            "end",
            "tab",
            "left",
            "4",
            "tab",
            "tab",
            "right",
            "5",
            "down",
            "2",
            "tab",
        ):
            await pilot.press(key)
            await settled(app, pilot)
            assert looks(recorder.frugal) == looks(recorder.stock), key
        monkeypatch.undo()
    assert recorder.frugal_bytes < recorder.stock_bytes * 0.5


@pytest.mark.parametrize(("colors", "unknown"), [("256", "38;2;"), ("standard", "38;"), (None, "3")])
async def test_a_terminal_is_sent_only_colours_it_knows(colors: str | None, unknown: str) -> None:
    async with opened() as (app, _):
        written = app.screen._compositor.render_full_update().render_segments(console(colors))
        assert unknown not in ";".join(re.findall(r"\x1b\[([0-9;]*)m", written))


async def test_an_update_states_no_colour_twice() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3")
        written = app.screen._compositor.render_full_update().render_segments(console())
        codes = re.findall(r"\x1b\[([0-9;]*)m", written)
        assert all(one != two for one, two in pairwise(codes))
        assert written.endswith("\x1b[m")


def test_textual_still_has_what_is_overridden() -> None:
    """When this fails, Textual has changed what `frugal.py` and `frame.py` rely on; read both anew."""
    assert {"strips", "region"} <= set(
        vars(LayoutUpdate([], __import__("textual.geometry").geometry.Region()))
    )
    assert {"chops", "spans", "chop_ends"} <= set(vars(ChopsUpdate([], [(0, 0, 0)], [])))
    from textual.screen import Screen

    assert Screen.focused._repaint, "stock focus no longer repaints the screen: the override can go"
    assert not WizardScreen.focused._repaint
