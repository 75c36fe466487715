"""Undo and redo: the earlier answers. A run of changes to one answer counts as one change."""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.schemas.inputs import PlanRequest
from wizard.ticks import Wanted

MOST_KEPT = 500
NOTHING_TYPED = Wanted()


@dataclass(frozen=True, slots=True)
class Change:
    """A request as it was before a change, and what the change was called."""

    request: PlanRequest
    what: str
    key: str
    """Changes of the same key in a row are one; an empty key never joins."""
    export: Wanted = NOTHING_TYPED
    """What was to be written, and where to."""


class History:
    """What can be undone and redone."""

    def __init__(self) -> None:
        self._past: list[Change] = []
        self._future: list[Change] = []
        self._joinable = False

    def __len__(self) -> int:
        return len(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether something undone can be had back."""
        return bool(self._future)

    def record(
        self, before: PlanRequest, what: str, key: str = "", *, export: Wanted = NOTHING_TYPED
    ) -> None:
        """Remembers `before`, unless the last change was to the same answer."""
        self._future.clear()
        if self._joinable and key and self._past and self._past[-1].key == key:
            return
        self._past.append(Change(before, what, key, export))
        del self._past[:-MOST_KEPT]
        self._joinable = True

    def close(self) -> None:
        """The next change stands for itself, even to the same answer: focus has moved on."""
        self._joinable = False

    def undo(self, now: PlanRequest, *, export: Wanted = NOTHING_TYPED) -> Change | None:
        """What was before the last change; None when there is none."""
        return self._move(self._past, self._future, now, export)

    def redo(self, now: PlanRequest, *, export: Wanted = NOTHING_TYPED) -> Change | None:
        """What was after the change that was undone last; None when there is none."""
        return self._move(self._future, self._past, now, export)

    def _move(
        self, source: list[Change], target: list[Change], now: PlanRequest, export: Wanted
    ) -> Change | None:
        self._joinable = False
        if not source:
            return None
        change = source.pop()
        target.append(Change(now, change.what, change.key, export))
        return change
