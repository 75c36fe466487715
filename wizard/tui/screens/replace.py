"""What writing would change in files that are there already, before anything is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from wizard.text import plural, printable
from wizard.tui.lines import BLANK, Line, fit, line
from wizard.tui.screens.dialogs import Dialog
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList

ROLES = {"+": "good", "-": "bad", "@": "quiet"}
OPTIONS = (("keep", "Keep them, write nothing"), ("replace", "Replace them"))
AROUND = 10
"""Rows of the dialog, its margins and the frame that aren't the difference itself."""


class Difference(Painted):
    """Unified diffs, one after the other, scrolled as a whole."""

    def __init__(self, title: str, differing: Mapping[str, str]) -> None:
        super().__init__(id="difference")
        self.title = title
        self.shown = [
            printable(row.expandtabs(4), 400) for text in differing.values() for row in text.splitlines()
        ]
        self.top = 0

    def scroll_rows(self, rows: int) -> None:
        """Moves by some rows, never past the ends."""
        self.top = min(max(self.top + rows, 0), max(0, len(self.shown) - self._room()))
        self.repaint()

    def _room(self) -> int:
        return max(1, self.size.height - 3)

    def draw(self, width: int) -> list[Line]:
        rows = self.shown[self.top : self.top + self._room()]
        place = f"{self.top + 1}–{self.top + len(rows)} of {plural(len(self.shown), 'line')}, PgUp and PgDn scroll"
        return [
            line((fit(self.title, width), "strong")),
            line((fit(place, width), "quiet")),
            *(line((fit(row, width), ROLES.get(row[:1], ""))) for row in rows),
            BLANK,
        ]


class ReplaceDialog(Dialog):
    """The differences and the question; nothing is replaced unless that is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "read(-8)", "Page up", show=False, priority=True),
        Binding("pagedown,space", "read(8)", "Page down", show=False, priority=True),
        Binding("1", "answer('keep')", "Keep", show=False),
        Binding("2", "answer('replace')", "Replace", show=False),
    ]

    def __init__(self, title: str, differing: Mapping[str, str]) -> None:
        super().__init__()
        self.difference = Difference(title, differing)

    def compose(self) -> ComposeResult:
        rows = RowList(id="options")
        rows.styles.height = len(OPTIONS)
        with Vertical():
            yield self.difference
            yield rows

    def on_mount(self) -> None:
        room = max(4, self.app.size.height - AROUND)
        self.difference.styles.height = min(len(self.difference.shown) + 3, room)
        rows = self.query_one(RowList)
        rows.show([Row(key, partial(_option, at, words)) for at, (key, words) in enumerate(OPTIONS, 1)])
        rows.focus()

    def action_read(self, rows: int) -> None:
        self.difference.scroll_rows(rows)

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer)

    @on(RowList.Picked)
    def _picked(self, event: RowList.Picked) -> None:
        self.dismiss(str(event.key))


def _option(number: int, words: str, width: int) -> Line:
    return line((f"{number} ", "quiet"), fit(words, width - 2))
