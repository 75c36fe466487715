"""One row that asks one question: a mark while it has focus, the title, and what the subclass draws."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var

from wizard.questions import Question
from wizard.tui.lines import Line, Span, fit
from wizard.tui.widgets.painted import Painted

TITLE_CELLS = 12
"""Every form's title column, so that controls line up from screen to screen."""


class Field(Painted, can_focus=True):
    """A question as a control. `value` is the answer; watch it synchronously, or wait for `Changed`."""

    DEFAULT_CSS = "Field { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Previous", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
    ]

    value: var[Any] = var(None, init=False)

    class Changed(Message):
        """The answer has changed; for those outside the frame, the wizard itself watches `value`."""

        def __init__(self, field: Field, value: object) -> None:
            super().__init__()
            self.field, self.value = field, value

        @property
        def control(self) -> Field:
            return self.field

    def __init__(
        self, asked: Question, *, value: object = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id or asked.key.replace(".", "-"), classes=classes)
        self.asked = asked
        self.set_reactive(Field.value, asked.default if value is None else value)

    @property
    def hint(self) -> str:
        """One line on what is asked, with vLLM's flag."""
        return self.asked.help

    def watch_value(self, value: object) -> None:
        self.repaint()
        self.post_message(self.Changed(self, value))

    def title(self) -> Line:
        """The mark of focus and the title, in the form's common column."""
        mark = Span("▸", "here") if self.has_focus else Span(" ")
        return (mark, Span(fit(self.asked.title, TITLE_CELLS), "strong" if self.has_focus else ""))

    def draw(self, width: int) -> list[Line]:
        room = width - TITLE_CELLS - 1
        return [(*self.title(), *self.draw_control(room))]

    def draw_control(self, width: int) -> Line:
        """The control itself, in the cells right of the title."""
        raise NotImplementedError

    def ask_app(self, action: str, *arguments: Any) -> None:
        """Calls a method of the app that only the running wizard has."""
        getattr(cast(Any, self.app), action)(*arguments)
