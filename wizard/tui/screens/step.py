"""What the five steps have in common: they show a `View`, and hand every answer to the app."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from textual.containers import Vertical
from textual.widget import Widget

from wizard.tui.keyhints import KeyHint
from wizard.tui.outlook import View
from wizard.tui.widgets.field import Field

if TYPE_CHECKING:
    from wizard.tui.app import WizardApp


class Step(Vertical):
    """One of the five screens. It keeps no answers of its own: `show` sets every control from the request."""

    TITLE: ClassVar[str] = ""
    GUIDE: ClassVar[str] = ""
    """Help text of the screen: paragraphs divided by empty lines, written for the task."""
    FIRST: ClassVar[str] = ""
    """Selector of what gets focus when the screen is first opened."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.last_focus: Widget | None = None
        self.showing = False
        self.fields: tuple[Field, ...] = ()
        """Every control that is an answer."""

    @property
    def wizard(self) -> WizardApp:
        """The app, by its real type."""
        return cast("WizardApp", self.app)

    @property
    def keys(self) -> Sequence[KeyHint]:
        """Keys of this screen beyond those of its controls."""
        return ()

    def on_mount(self) -> None:
        self.fields = tuple(self.query(Field))
        for field in self.fields:
            self.watch(field, "value", partial(self.answer, field), init=False)

    def answer(self, field: Field, value: object) -> None:
        """An answer was changed by the user (or by `show`, which changes nothing then)."""
        if not self.showing:
            self.wizard.choose(field.asked.key, value)

    def show(self, view: View) -> None:
        """Sets every control from `view`; called on every change while this screen is open."""
        self.showing = True
        try:
            self.show_view(view)
        finally:
            self.showing = False

    def show_view(self, view: View) -> None:
        """What a screen shows of a view."""
        for field in self.fields:
            part, name = field.asked.key.split(".")
            field.value = getattr(getattr(view.request, part), name)

    def wants_room(self, width: int) -> bool:
        """Whether the panel gives way on a terminal of so many columns."""
        return False

    def press(self, action: str) -> bool:
        """A key of the whole wizard that this screen may claim first: next, back, search, write, copy."""
        return False
