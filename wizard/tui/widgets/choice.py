"""One of a few answers: side by side where they fit, else one at a time between arrows."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from wizard.tui.lines import Line, Span
from wizard.tui.widgets.field import TITLE_CELLS, Field


class ChoiceField(Field):
    """Arrow keys move to the next answer; so do space and a click."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h,minus", "step(-1)", "Previous answer", show=False),
        Binding("right,l,plus,space", "step(1)", "Next answer", show=False),
        Binding("home", "end_of_scale(0)", "First answer", show=False),
        Binding("end", "end_of_scale(-1)", "Last answer", show=False),
    ]

    keys = (("←→", "change"),)

    @property
    def labels(self) -> list[str]:
        """What each answer is called."""
        return [choice.label for choice in self.asked.choices]

    def index(self) -> int:
        """Which answer is chosen; -1 for one that only the command line or a profile can give."""
        return next((at for at, choice in enumerate(self.asked.choices) if choice.value == self.value), -1)

    def action_step(self, by: int) -> None:
        count = len(self.asked.choices)
        at = self.index() + by
        if self.index() < 0:
            at = 0
        elif self._side_by_side(self.size.width - TITLE_CELLS - 1):
            at %= count
        self.value = self.asked.choices[min(max(at, 0), count - 1)].value

    def action_end_of_scale(self, at: int) -> None:
        self.value = self.asked.choices[at].value

    def on_click(self, event: events.Click) -> None:
        x = event.x - TITLE_CELLS - 1
        if not self._side_by_side(self.size.width - TITLE_CELLS - 1):
            self.action_step(-1 if x < 2 else 1)
            return
        room = self._padding(self.size.width - TITLE_CELLS - 1)
        for choice in self.asked.choices:
            x -= cell_len(choice.label) + room
            if x < 0:
                self.value = choice.value
                return

    def _padding(self, width: int) -> int:
        """Cells around each label: mark, space and gap where there is room, else less; 0 where nothing fits."""
        labels = self.labels
        text = sum(map(cell_len, labels))
        return next((cells for cells in (4, 3, 2) if text + cells * len(labels) - cells // 2 <= width), 0)

    def _side_by_side(self, width: int) -> bool:
        return (self.index() >= 0 or self.value is None) and self._padding(width) > 0

    def draw_control(self, width: int) -> Line:
        lit = "here" if self.has_focus else "accent"
        at = self.index()
        if not self._side_by_side(width):
            label = self.labels[at] if at >= 0 else str(self.value)
            return (Span("‹ ", lit), Span(label, "strong" if self.has_focus else ""), Span(" ›", lit))
        padding = self._padding(width)
        spans: list[Span] = []
        for number, label in enumerate(self.labels):
            chosen = number == at
            mark = "●" if chosen else "○"
            spans += [
                Span(mark + " " * (padding > 2), lit if chosen else "rail"),
                Span(label, ("strong" if self.has_focus else "") if chosen else "quiet"),
                Span(" " * (padding - 2 if padding > 2 else 1)),
            ]
        return tuple(spans[:-1])
