"""A titled text box on one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import Input

from wizard.questions import Question
from wizard.tui.lines import Line, Span, fit
from wizard.tui.widgets.field import TITLE_CELLS
from wizard.tui.widgets.painted import Painted, differing
from wizard.tui.widgets.rows import RowList

if TYPE_CHECKING:
    from rich.style import Style


class TextBox(Input):
    """An Input without a border, a blinking cursor or a repaint when the mouse passes.

    `spared` are keys that no answer starts with: while it is empty they keep their meaning for the wizard.
    `reserved` are keys that no answer holds: they always keep it.
    """

    DEFAULT_CSS = """
    TextBox { height: 1; width: 1fr; border: none; padding: 0; background: transparent; }
    TextBox:focus { border: none; background: transparent; background-tint: transparent 0%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Previous", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
    ]

    def __init__(
        self,
        *,
        placeholder: str = "",
        hint: str = "",
        spared: str = "",
        reserved: str = "",
        id: str | None = None,
    ) -> None:
        self._shown: list[tuple[str, Style | None]] = []
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=False)
        self.reserved = reserved
        self.cursor_blink = False
        self.hint = hint
        self.spared = spared

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """Textual calls this bare when focus moves; the cell of the cursor is all that changes then."""
        if regions or layout or recompose or not repaint or not self._shown:
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        changed = differing(self._shown, _cells(super().render_line(0)))
        if changed:
            super().refresh(*(Region(start, 0, end - start, 1) for start, end in changed))
        return self

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if y == 0:
            self._shown = _cells(strip)
        return strip

    def spare(self, character: str | None) -> bool:
        """Whether a character typed now belongs to the wizard."""
        if character is None or character == "":
            return False
        return character in self.reserved or (not self.value and character in self.spared)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return not self.spare(character) and super().check_consume_key(key, character)

    def on_key(self, event: events.Key) -> None:
        if self.spare(event.character):
            event.prevent_default()


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    cells: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        for character in text:
            cells.append((character, style))
            cells.extend([("", style)] * (cell_len(character) - 1))
    return cells


class SearchBox(TextBox):
    """The search; keys that move go to the list below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "list('move(-1)')", "Up", show=False),
        Binding("down", "list('move(1)')", "Down", show=False),
        Binding("pageup", "list('move_page(-1)')", "Page up", show=False),
        Binding("pagedown", "list('move_page(1)')", "Page down", show=False),
    ]

    def __init__(
        self,
        rows: RowList,
        *,
        placeholder: str,
        hint: str = "",
        spared: str = "",
        reserved: str = "",
        goes_on: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(placeholder=placeholder, hint=hint, spared=spared, reserved=reserved, id=id)
        self.rows = rows
        self.takes_enter = not goes_on
        """Enter chooses a row and stays on the screen."""
        self.keys = (("↑↓", "choose"),) if goes_on else (("↑↓ Enter", "choose"),)

    async def action_list(self, action: str) -> None:
        await self.app.run_action(action, self.rows)

    def on_focus(self) -> None:
        self.rows.lead = True
        self.rows.repaint()

    def on_blur(self, event: events.Blur) -> None:
        self.rows.lead = False
        self.rows.repaint()


class EntryTitle(Painted):
    """The title before a text box; marked while the box has focus."""

    DEFAULT_CSS = f"EntryTitle {{ width: {TITLE_CELLS + 1}; height: 1; }}"

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.lit = False

    def draw(self, width: int) -> list[Line]:
        mark = Span("▸", "here") if self.lit else Span(" ")
        return [(mark, Span(fit(self.text, width - 1), "strong" if self.lit else ""))]


class Entry(Horizontal):
    """A title and a text box. The screen reads `Input.Submitted` and `Input.Blurred`."""

    DEFAULT_CSS = "Entry { height: 1; width: 1fr; }"

    def __init__(self, asked: Question, *, title: str = "", placeholder: str = "") -> None:
        super().__init__()
        self.asked = asked
        self.label = EntryTitle(title or asked.title)
        self.box = TextBox(placeholder=placeholder, hint=asked.help, id=asked.key.replace(".", "-"))

    def compose(self) -> ComposeResult:
        yield self.label
        yield self.box

    def on_descendant_focus(self) -> None:
        self.label.lit = True
        self.label.repaint()

    def on_descendant_blur(self) -> None:
        self.label.lit = False
        self.label.repaint()
