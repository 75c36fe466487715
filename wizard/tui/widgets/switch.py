"""A yes-or-no question as a tick box with its name behind it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from wizard.tui.lines import Line, Span, line
from wizard.tui.widgets.field import Field


class TickField(Field):
    """Space, the arrows or a click tick and untick; Enter stays 'go on'."""

    DEFAULT_CSS = "TickField { width: auto; height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "tick", "Tick", show=False),
        Binding("right,plus", "put(True)", "Yes", show=False),
        Binding("left,minus", "put(False)", "No", show=False),
    ]

    keys = (("Space", "tick"),)

    def get_content_width(self, container: object, viewport: object) -> int:
        return len(self.asked.title) + 6

    def action_tick(self) -> None:
        self.value = not self.value

    def action_put(self, value: bool) -> None:
        self.value = value

    def on_click(self) -> None:
        self.value = not self.value

    def draw(self, width: int) -> list[Line]:
        return [(Span("▸", "here") if self.has_focus else Span(" "), *self.draw_control(width - 1))]

    def draw_control(self, width: int) -> Line:
        lit = "here" if self.has_focus else "accent"
        text = "strong" if self.has_focus else ("" if self.value else "quiet")
        box = ("[x] ", lit) if self.value else ("[ ] ", "here" if self.has_focus else "rail")
        return line(box, (self.asked.title, text))
