"""A one-row slider over a table of stops: arrows, page keys, Home and End, typed numbers, the mouse."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.reactive import var

from wizard.answers import AnswerError, parse, shown
from wizard.questions import Question, Value
from wizard.tui.keyhints import JUMP_HINT, KeyHint
from wizard.tui.lines import Line, Span, fit
from wizard.tui.widgets.field import TITLE_CELLS, Field

VALUE_CELLS = 12
BIG_STEP = 4
"""Stops that a page key passes."""


class Slider(Field):
    """A number on a scale; where the question allows no answer, that is the stop left of all others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h,minus", "step(-1)", "Less", show=False),
        Binding("right,l,plus", "step(1)", "More", show=False),
        Binding("shift+left,pagedown,ctrl+left", f"step(-{BIG_STEP})", "Much less", show=False),
        Binding("shift+right,pageup,ctrl+right", f"step({BIG_STEP})", "Much more", show=False),
        Binding("home", "end_of_scale(0)", "Least", show=False),
        Binding("end", "end_of_scale(-1)", "Most", show=False),
        Binding("delete,backspace", "no_answer", "No answer of my own", show=False),
    ]

    typed: var[str] = var("", init=False)
    """Digits typed so far; empty when no number is being typed."""

    def __init__(
        self, asked: Question, *, value: object = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(asked, value=value, id=id, classes=classes)
        self._stops: tuple[float, ...] = asked.stops
        self.complaint = ""
        self.automatic: float | None = None
        """What 'no answer' comes to at present: the planner's own choice."""

    def limit(self, most: float | None) -> None:
        """Ends the scale at `most`, which becomes its last stop."""
        stops = self.asked.stops
        if most is not None:
            stops = (*(stop for stop in stops if stop < most), most)
        if stops != self._stops:
            self._stops = stops
            self.repaint()

    def follow(self, automatic: float | None) -> None:
        """Shows what the planner chooses while there is no answer."""
        if automatic != self.automatic:
            self.automatic = automatic
            self.repaint()

    @property
    def scale(self) -> tuple[float | None, ...]:
        """Every stop; before them the absent answer, unless it is a number that the planner chooses."""
        return (None, *self._stops) if self.asked.none and self.automatic is None else self._stops

    @property
    def keys(self) -> Sequence[KeyHint]:
        return (("Enter", "set"), ("Esc", "keep")) if self.typed else (("←→", "change"), ("0-9", "type"))

    @property
    def takes_enter(self) -> bool:
        """Enter sets what is being typed, instead of going on."""
        return bool(self.typed)

    @property
    def hint(self) -> str:
        if self.typed:
            return self.complaint or f"Enter or Tab sets {self.typed} · Esc keeps what it was"
        if self.asked.none and self.value is not None:
            none = "auto" if self.automatic is not None else self.asked.none
            return f"{self.asked.help} · Del: {none}"
        return f"{self.asked.help} · {JUMP_HINT}"

    def position(self) -> float:
        """Where the value stands on the scale, in stops; between two for a typed value."""
        value = self.automatic if self.value is None else float(self.value)
        if value is None:
            return 0
        stops = self._stops
        offset = len(self.scale) - len(stops)
        at = bisect_left(stops, value)
        if at >= len(stops):
            return len(self.scale) - 1
        if stops[at] == value or at == 0:
            return at + offset
        low, high = stops[at - 1], stops[at]
        return at - 1 + offset + (value - low) / (high - low)

    def action_step(self, by: int) -> None:
        """To the `by`-th next stop, from between two stops to the nearer one in that direction."""
        self.typed = ""
        value = self.automatic if self.value is None else float(self.value)
        offset = len(self.scale) - len(self._stops)
        if value is None:
            at = max(by, 0)
        elif by > 0:
            at = bisect_right(self._stops, value) + offset + by - 1
        else:
            at = bisect_left(self._stops, value) + offset + by
        self.value = self.scale[min(max(at, 0), len(self.scale) - 1)]

    def action_end_of_scale(self, index: int) -> None:
        self.typed = ""
        self.value = self.scale[index]

    def action_no_answer(self) -> None:
        """Back to the planner's choice, or to no limit."""
        if self.asked.none:
            self.typed = ""
            self.value = None

    def on_key(self, event: events.Key) -> None:
        character = event.character or ""
        if character.isdigit() or (self.typed and character and character in ".,kKmM%"):
            self.typed = (self.typed + character)[:12]
        elif self.typed and event.key == "backspace":
            self.typed = self.typed[:-1]
        elif self.typed and event.key == "enter":
            self._accept()
        elif self.typed and event.key == "escape":
            self.typed = ""
        else:
            return
        event.stop()
        event.prevent_default()

    def _accept(self) -> None:
        try:
            value = self._typed_value()
        except AnswerError as error:
            self.complaint = str(error)
            self.ask_app("show_hint", self.hint)
            return
        self.typed = ""
        self.value = value

    def _typed_value(self) -> Value:
        """What is typed, as an answer. Raises AnswerError for what is none here."""
        value = parse(self.asked, self.typed)
        limited = bool(self._stops) and self._stops != self.asked.stops
        if limited and isinstance(value, int | float) and value > self._stops[-1]:
            raise AnswerError(f"{self.asked.title}: at most {shown(self.asked, self._stops[-1])} here.")
        return value

    def watch_typed(self) -> None:
        self.complaint = ""
        self.repaint()
        if self.has_focus:
            self.ask_app("show_hint", self.hint)

    def on_blur(self) -> None:
        """Whoever goes on means what was typed; what is no answer is said, and the old one stays."""
        if not self.typed:
            return
        try:
            value = self._typed_value()
        except AnswerError as error:
            self.typed = ""
            self.ask_app("notice", f"{str(error).rstrip('.')}; it stays as it was.")
            return
        self.typed = ""
        self.value = value

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.focus()
        self.capture_mouse()
        self._slide_to(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button and self.app.mouse_captured is self:
            self._slide_to(event.x)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        if self.has_focus:
            event.stop()
            self.action_step(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        if self.has_focus:
            event.stop()
            self.action_step(-1)

    def _slide_to(self, x: int) -> None:
        track = self._track_cells(self.size.width - TITLE_CELLS - 1)
        cell = x - TITLE_CELLS - 1
        if 0 <= cell < track + 1:
            last = len(self.scale) - 1
            self.typed = ""
            self.value = self.scale[min(round(cell * last / max(track - 1, 1)), last)]

    def _track_cells(self, width: int) -> int:
        return max(width - VALUE_CELLS - 1, 4)

    def draw_control(self, width: int) -> Line:
        track = self._track_cells(width)
        last = max(len(self.scale) - 1, 1)
        knob = round(self.position() * (track - 1) / last)
        own = self.value is not None
        lit = "accent" if own else "rail"
        return (
            Span("━" * knob, lit),
            Span("●" if own else "○", "here" if self.has_focus else "accent" if own else "quiet"),
            Span("─" * (track - knob - 1), "rail"),
            Span(" "),
            *self._value(width - track - 1),
        )

    def _value(self, width: int) -> Line:
        if self.typed:
            return (Span(f"{self.typed}▏".rjust(width)[:width], "here"),)
        if self.value is None and self.automatic is not None:
            words = f"{shown(self.asked, self.automatic)} auto"
            return (Span(fit(words, width).strip().rjust(width), "quiet"),)
        text = shown(self.asked, self.value)
        return (Span(fit(text, width).strip().rjust(width), "quiet" if self.value is None else ""),)
