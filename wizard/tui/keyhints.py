"""Which keys the bar at the bottom names: those of the focused control, then those that always work.

A control says its own in a `keys` attribute. They have a place of fixed width, so that the rest of the
bar stands still while focus moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.widget import Widget
from textual.widgets import Input

from wizard.questions import STEPS
from wizard.tui.outlook import View

KeyHint = tuple[str, str]
"""A key, and what it does."""


FIRST_TO_GO = ("next", "why", "undo", "commands", "plans", "back", "fixes")
"""What a narrow bar leaves out, in this order: going on, help and the way out stay to the last."""


def fitting(keys: Sequence[KeyHint], fits: Callable[[Sequence[KeyHint]], bool]) -> Sequence[KeyHint]:
    """Those of `keys` that a bar has room for, in their order."""
    kept = list(keys)
    for does in FIRST_TO_GO:
        if fits(kept):
            break
        kept = [key for key in kept if key[1] != does]
    while kept and not fits(kept):
        kept.pop(0)
    return kept


def own_keys(focused: Widget | None) -> Sequence[KeyHint]:
    """Keys of the focused control."""
    keys: Sequence[KeyHint] = getattr(focused, "keys", ())
    return keys


JUMP_HINT = "g 1-5: screens"
"""What is said where a digit alone is part of a number."""


def common_keys(
    of_step: Sequence[KeyHint], step: str, view: View, focused: Widget | None = None
) -> Sequence[KeyHint]:
    """Keys that work with this focus whatever it is for, the most wanted first.

    A text box takes letters and `?` for its text, so that there the keys that no text holds are named; a
    control with `takes_enter` has a use of its own for Enter. Names are padded, so that the rest of the bar stands
    still and a move of focus costs a few cells.
    """
    typing = isinstance(focused, Input)
    at = next(number for number, (name, _) in enumerate(STEPS) if name == step)
    keys = list(of_step)
    if at + 1 < len(STEPS):
        on = ("Enter", STEPS[at + 1][1].lower())
        if getattr(focused, "takes_enter", False):
            on = (" " * len(on[0]), " " * len(on[1]))
        keys.append(on)
    keys.append(("Tab", "next"))
    if at:
        keys.append(("Esc", "back"))
    if view.plan is not None and view.plan.fixes:
        keys.append(("^f" if typing else " f", "fixes"))
    if view.plan is not None:
        keys.append((" " if typing else "w", "why"))
        if step != "policy":
            keys.append((" " if typing else "p", "plans"))
    undo, guide = ("^_", "F1") if typing else (" u", " ?")
    return [*keys, (undo, "undo"), (guide, "help"), ("^p", "commands"), ("^q", "quit")]
