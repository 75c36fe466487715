"""Which keys the bar at the bottom names: those of the focused control, then those that always work.

A control says its own in a `keys` attribute. They have a place of fixed width, so that the rest of the
bar stands still while focus moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.widget import Widget

from wizard.questions import STEPS
from wizard.tui.outlook import View

KeyHint = tuple[str, str]
"""A key, and what it does."""


FIRST_TO_GO = ("Tab", "u", "^p", "Esc", "f")
"""What a narrow bar leaves out, in this order: going on, help and the way out stay to the last."""


def fitting(keys: Sequence[KeyHint], fits: Callable[[Sequence[KeyHint]], bool]) -> Sequence[KeyHint]:
    """Those of `keys` that a bar has room for, in their order."""
    kept = list(keys)
    for name in FIRST_TO_GO:
        if fits(kept):
            break
        kept = [key for key in kept if key[0] != name]
    while kept and not fits(kept):
        kept.pop(0)
    return kept


def own_keys(focused: Widget | None) -> Sequence[KeyHint]:
    """Keys of the focused control."""
    keys: Sequence[KeyHint] = getattr(focused, "keys", ())
    return keys


def common_keys(of_step: Sequence[KeyHint], step: str, view: View) -> Sequence[KeyHint]:
    """Keys that work whatever has focus."""
    at = next(number for number, (name, _) in enumerate(STEPS) if name == step)
    keys = list(of_step)
    if at + 1 < len(STEPS):
        keys.append(("Enter", STEPS[at + 1][1].lower()))
    keys.append(("Tab", "next"))
    if at:
        keys.append(("Esc", "back"))
    if view.plan is not None and view.plan.fixes:
        keys.append(("f", "fixes"))
    return [*keys, ("u", "undo"), ("?", "help"), ("^p", "commands"), ("^q", "quit")]
