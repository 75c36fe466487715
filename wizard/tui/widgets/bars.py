"""The rows that frame every screen: steps above, hint and keys below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from textual import events

from wizard.questions import STEPS
from wizard.text import Charset, spelled
from wizard.tui.keyhints import fitting
from wizard.tui.lines import Line, Span, fit, fit_line, fit_middle, line, spread, wrap
from wizard.tui.lines import width as cells_of
from wizard.tui.widgets.painted import Painted


class StepsBar(Painted):
    """Where we are among the five screens, for which model and machine, and what is read; a click goes there."""

    DEFAULT_CSS = "StepsBar { height: 2; dock: top; }"

    def __init__(self) -> None:
        super().__init__()
        self.step = STEPS[0][0]
        self.subject = ""
        self.version = ""
        self.looks = ""

    def show(
        self,
        *,
        step: str | None = None,
        subject: str | None = None,
        version: str | None = None,
        looks: str | None = None,
    ) -> None:
        """Shows what is given, keeps the rest."""
        self.step = self.step if step is None else step  # type: ignore[assignment]
        self.subject = self.subject if subject is None else subject
        self.version = self.version if version is None else version
        self.looks = self.looks if looks is None else looks
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        spans: list[Span] = []
        for number, (name, title) in enumerate(STEPS, 1):
            if name == self.step:
                spans.append(Span(f" {number} {title} ", "chip"))
            else:
                spans += [Span(f" {number}", "accent"), Span(f" {title} ", "quiet")]
        words = f"vLLM {self.version} " if self.version else ""
        version = line((words if width >= cells_of(spans) + len(words) + 1 else "", "quiet"))
        return [
            spread(tuple(spans), version, width),
            self._second(width),
        ]

    def _second(self, width: int) -> Line:
        """Model and machine; at the right what is being read of the hub."""
        if not self.looks:
            return line(" ", (fit_middle(self.subject, width - 2), "quiet"))
        words = fit(f"{self.looks} ", width // 2 if width < 100 else width)
        subject = fit_middle(self.subject, max(width - cells_of(line(words)) - 3, 0))
        return spread(line(" ", (subject, "quiet")), line((words, "accent")), width)

    def on_click(self, event: events.Click) -> None:
        if event.y:
            return
        x = event.x
        for name, title in STEPS:
            x -= len(title) + 4
            if x < 0:
                self.app.call_later(self.app.run_action, f"app.go('{name}')")
                return


class Hint(Painted):
    """Two rows on what the focused control means, or what has just happened."""

    DEFAULT_CSS = "Hint { height: 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = ""
        self.notice = False

    def show(self, text: str, *, notice: bool = False) -> None:
        """Shows a hint, or a notice, which is drawn stronger."""
        self.text, self.notice = text, notice
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        rows = wrap(spelled(self.text, charset_of(self)), width - 2, 2)
        return [line(" ", (row, "accent" if self.notice else "quiet")) for row in rows]


class KeyBar(Painted):
    """The keys that matter now, as one row of text."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; }"

    def __init__(self) -> None:
        super().__init__()
        self.own: Sequence[tuple[str, str]] = ()
        self.common: Sequence[tuple[str, str]] = ()

    def show(self, own: Sequence[tuple[str, str]], common: Sequence[tuple[str, str]]) -> None:
        """Shows (key, what it does) pairs: the control's own in their place, then of the others those that fit."""
        self.own, self.common = own, common
        self.repaint()

    def draw(self, cells: int) -> list[Line]:
        letters = charset_of(self)
        own = [(spelled(key, letters), words) for key, words in self.own]
        left = cells - OWN_CELLS
        common = [_pair(key) for key in fitting(self.common, lambda keys: sum(map(_cells, keys)) <= left)]
        return [(*fit_line(tuple(chain(*map(_pair, own))), OWN_CELLS), *chain(*common))]


OWN_CELLS = 21
"""The place of the focused control's keys: `←→ change  0-9 type`."""


def charset_of(widget: Painted) -> Charset:
    """What the terminal can draw."""
    letters: Charset = widget.app.charset  # type: ignore[attr-defined]
    return letters


def _cells(key: tuple[str, str]) -> int:
    return cells_of(_pair(key))


def _pair(key: tuple[str, str]) -> Line:
    does = (
        key[1] if key[0].strip() else " " * cells_of((Span(key[1]),))
    )  # one that has no use here keeps its place
    return (Span(" " + key[0], "key"), Span(f" {does} ", "quiet"))
