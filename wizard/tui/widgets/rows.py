"""A list of rows with a cursor, as tall as its place; what lies beyond is said in the last row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from wizard.tui.lines import Line, Span
from wizard.tui.widgets.painted import Painted

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Row(Generic[Key]):
    """One row: what it stands for, and how it reads in so many cells."""

    key: Key
    draw: Callable[[int], Line]


MARK_CELLS = 3
"""Before every row: the focus mark, and the dot of what is in force."""


class RowList(Painted, can_focus=True):
    """Up and down move the cursor, Enter picks. The focus mark shows where a key would land."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", show=False),
        Binding("pagedown", "move_page(1)", "Page down", show=False),
        Binding("home", "move_to(0)", "First", show=False),
        Binding("end", "move_to(-1)", "Last", show=False),
        Binding("enter", "pick", "Choose", show=False),
        Binding("space", "pick", "Choose", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, rows: RowList, key: Hashable) -> None:
            super().__init__()
            self.rows, self.key = rows, key

        @property
        def control(self) -> RowList:
            return self.rows

    class Picked(Message):
        """A row was chosen with Enter, space or a click."""

        def __init__(self, rows: RowList, key: Hashable) -> None:
            super().__init__()
            self.rows, self.key = rows, key

        @property
        def control(self) -> RowList:
            return self.rows

    def __init__(
        self,
        *,
        id: str | None = None,
        classes: str | None = None,
        empty: str = "Nothing here.",
        hint: str = "",
        keys: Sequence[tuple[str, str]] = (),
        takes_enter: bool = True,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.rows: Sequence[Row[Hashable]] = ()
        self.chosen: frozenset[Hashable] = frozenset()
        self.cursor = 0
        self.top = 0
        self.empty = empty
        self.hint = hint
        self.keys = keys
        self.takes_enter = takes_enter
        """Enter picks a row, and doesn't go on to the next screen."""
        self.lead = False
        """Draws the cursor although another widget (a search box) has focus and sends the keys here."""

    @property
    def current(self) -> Hashable | None:
        """What the cursor is on."""
        return self.rows[self.cursor].key if self.rows else None

    def show(self, rows: Sequence[Row[Hashable]], *, keep: Hashable | None = None) -> None:
        """Other rows; the cursor stays on `keep`, else on what it was on, else goes to the top."""
        wanted = keep if keep is not None else self.current
        self.rows = rows
        self.cursor = next((at for at, row in enumerate(rows) if row.key == wanted), 0)
        self._follow()
        self.repaint()

    def choose(self, *keys: Hashable) -> None:
        """Marks the rows that are in force now."""
        if self.chosen != frozenset(keys):
            self.chosen = frozenset(keys)
            self.repaint()

    def action_move(self, by: int) -> None:
        if not self.rows:
            return
        at = self.cursor + by
        if self.has_focus and not 0 <= at < len(self.rows):
            self.screen.focus_next() if by > 0 else self.screen.focus_previous()
            return
        self._go(at)

    def action_move_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - 1))

    def action_move_to(self, at: int) -> None:
        self._go(at if at >= 0 else len(self.rows) - 1)

    def action_pick(self) -> None:
        if self.rows:
            self.post_message(self.Picked(self, self.rows[self.cursor].key))

    def on_click(self, event: events.Click) -> None:
        at = self.top + event.y
        if at < len(self.rows):
            self._go(at)
            self.action_pick()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._go(self.cursor - 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._go(self.cursor + 1)

    def _go(self, at: int) -> None:
        at = min(max(at, 0), len(self.rows) - 1)
        if not self.rows or at == self.cursor:
            return
        self.cursor = at
        self._follow()
        self.repaint()
        self.post_message(self.Moved(self, self.rows[at].key))

    def _visible(self) -> int:
        height = max(1, self.size.height)
        return height if len(self.rows) <= height else max(1, height - 1)

    def _follow(self) -> None:
        visible = self._visible()
        self.top = min(self.top, self.cursor, max(0, len(self.rows) - visible))
        self.top = max(self.top, self.cursor - visible + 1)

    def draw(self, width: int) -> list[Line]:
        if not self.rows:
            return [(Span("  "), Span(self.empty, "quiet"))]
        self._follow()
        visible = self._visible()
        shown = self.rows[self.top : self.top + visible]
        lines = [self._row(self.top + at, row, width) for at, row in enumerate(shown)]
        beyond = len(self.rows) - self.top - len(shown)
        if len(self.rows) > visible:
            above = f"↑ {self.top} " if self.top else ""
            below = f"↓ {beyond} more" if beyond else ""
            lines.append((Span("  "), Span(above + below, "quiet")))
        return lines

    def _row(self, at: int, row: Row[Hashable], width: int) -> Line:
        here = at == self.cursor and (self.has_focus or self.lead)
        mark = Span("▸" if here else " ", "here")
        dot = Span("● " if row.key in self.chosen else "  ", "accent")
        line = row.draw(width - MARK_CELLS)
        if here:
            line = tuple(Span(span.text, span.role or "strong") for span in line)
        return (mark, dot, *line)
