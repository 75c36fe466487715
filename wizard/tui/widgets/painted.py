"""A widget drawn from `Line`s that repaints only the cells that changed.

Over a slow link the bytes of a repaint are what a key press feels like. Stock widgets rewrite
themselves whole; this one compares what it shows with what it showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from wizard.text import Charset, drawable
from wizard.tui.lines import BLANK, Line, fit_line
from wizard.tui.theme import SEEN_ON_BLANKS

if TYPE_CHECKING:
    from rich.style import Style

JOIN_WITHIN = 10
"""Unchanged cells between two changes that cost less to rewrite than to jump over (a move is ~8 bytes)."""


class Painted(Widget):
    """Draws `draw(width)`; call `repaint()` after anything it depends on has changed."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Painted { height: auto; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: list[Line] = []
        self._shown_size = Size(0, 0)
        self._cuts: dict[int, list[int]] = {}
        self._painted_style: Style | None = None

    def draw(self, width: int) -> list[Line]:
        """The lines to show, at most `width` cells wide; called often, so cheap."""
        raise NotImplementedError

    def get_content_height(self, container: Any, viewport: Any, width: int) -> int:
        return max(1, len(self.draw(width)))

    def repaint(self) -> None:
        """Draws again and marks the cells that differ."""
        if not self.is_mounted or not self.size:
            return
        before, size = self._shown, self._shown_size
        lines = self._drawn()
        if size != self.size:
            super().refresh()
            return
        changed: list[Region] = []
        self._cuts.clear()
        for y, (old, new) in enumerate(zip(before, lines, strict=True)):
            if old == new:
                continue
            for start, end in changed_runs(old, new):
                changed.append(Region(start, y, end - start, 1))
                self._cuts.setdefault(y, []).extend((start, end))
        if changed:
            super().refresh(*changed)

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """Textual calls this bare when focus moves; then only the difference is worth sending."""
        if regions or layout or recompose or not repaint or not self._shown:
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        self.repaint()
        return self

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self._shown and self.rich_style != self._painted_style:
            super().refresh()

    def recolor(self) -> None:
        """Every cell again: the theme has changed."""
        self._cuts.clear()
        super().refresh()

    def _drawn(self) -> list[Line]:
        """Draws for the present size, and remembers what it drew."""
        width, height = self._shown_size = self.size
        lines = [fit_line(line, width) for line in self.draw(width)[:height]]
        self._shown = lines + [fit_line(BLANK, width)] * (height - len(lines))
        return self._shown

    def render_line(self, y: int) -> Strip:
        base = self._painted_style = self.rich_style
        if self._shown_size != self.size:
            self._drawn()
        if y >= len(self._shown):
            return Strip.blank(self.size.width, base)
        palette: dict[str, Style] = self.app.palette  # type: ignore[attr-defined]
        charset: Charset = self.app.charset  # type: ignore[attr-defined]
        segments = [
            Segment(drawable(span.text, charset), base + palette[span.role])
            for span in self._shown[y]
            if span.text
        ]
        if cut := self._cuts.get(y):
            segments = [
                segment for part in Segment.divide(segments, (*cut, self.size.width)) for segment in part
            ]
        return Strip(segments, self.size.width)


def changed_runs(old: Line, new: Line) -> list[tuple[int, int]]:
    """Runs of cells [start, end) in which two lines differ, near ones joined."""
    return differing(_cells(old), _cells(new))


def differing(before: Sequence[object], after: Sequence[object]) -> list[tuple[int, int]]:
    """The same for cells of any kind."""
    if len(before) != len(after):
        return [(0, max(len(before), len(after)))]
    runs: list[tuple[int, int]] = []
    for x, (one, two) in enumerate(zip(before, after, strict=True)):
        if one == two:
            continue
        if runs and x - runs[-1][1] <= JOIN_WITHIN:
            runs[-1] = (runs[-1][0], x + 1)
        else:
            runs.append((x, x + 1))
    return runs


def _cells(line: Line) -> list[tuple[str, str]]:
    cells: list[tuple[str, str]] = []
    for span in line:
        text, role = span
        blank = (" ", role if role in SEEN_ON_BLANKS else "")
        if text.isascii():
            cells.extend([blank if character == " " else (character, role) for character in text])
            continue
        for character in text:
            if character == " ":
                cells.append(blank)
            elif (size := cell_len(character)) == 0 and cells:
                cells[-1] = (cells[-1][0] + character, role)
            else:
                cells.append((character, role))
                cells.extend([("", role)] * (size - 1))
    return cells
