"""Which keys the bar at the bottom names, for the control that has focus."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widget import Widget

from wizard.questions import STEPS
from wizard.tui.outlook import View
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.slider import Slider
from wizard.tui.widgets.switch import TickField
from wizard.tui.widgets.verdict import VerdictPane

KeyHint = tuple[str, str]
"""A key, and what it does."""

AMONG_FIXES: Sequence[KeyHint] = (
    ("1-9", "apply that fix"),
    ("↑↓", "read"),
    ("Enter", "apply"),
    ("Esc", "back"),
    ("u", "undo"),
)


def key_hints(focused: Widget | None, own: Sequence[KeyHint], step: str, view: View) -> Sequence[KeyHint]:
    """The keys that matter now, the most wanted first; `own` are those of the step."""
    if isinstance(focused, VerdictPane):
        return AMONG_FIXES
    keys = [*_of_control(focused), *own]
    at = next(number for number, (name, _) in enumerate(STEPS) if name == step)
    if at + 1 < len(STEPS) and not any(key == "Enter" for key, _ in own):
        keys.append(("Enter", STEPS[at + 1][1]))
    keys.append(("Tab", "next"))
    if at:
        keys.append(("Esc", "back"))
    if view.plan is not None and view.plan.fixes:
        keys.append(("f", "fixes"))
    return [*keys, ("u", "undo"), ("?", "help"), ("^p", "more"), ("^q", "quit")]


def _of_control(focused: Widget | None) -> Sequence[KeyHint]:
    if isinstance(focused, Slider):
        return (("←→", "change"), ("0-9", "type"))
    if isinstance(focused, ChoiceField):
        return (("←→", "change"),)
    if isinstance(focused, TickField):
        return (("Space", "tick"),)
    return ()
