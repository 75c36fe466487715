"""Looks at the hub that nobody has to wait for: what is being read, how much came, and Esc to stop it.

One that is through soon is never mentioned; one that lasts stands in the second row of every screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from textual.message import Message
from textual.timer import Timer

from wizard.engine import Progress
from wizard.text import printable

if TYPE_CHECKING:
    from wizard.tui.app import WizardApp

SHOWN_AFTER_S = 0.3
"""What is through sooner needs no words."""
REFRESHED_EVERY_S = 0.25
"""Often enough to see that bytes come, seldom enough for a slow link."""
WORDS_CELLS = 24
"""The most of a file's name that is told."""


@dataclass
class LookEnded(Message):
    """A look is through, or was given up."""

    progress: Progress


@dataclass
class _Look:
    progress: Progress
    appears: Timer
    lasts: bool = field(default=False)

    @property
    def shown(self) -> bool:
        """Whether the screen tells of it: it lasts, and did ask something."""
        return self.lasts and self.progress.requests > 0


class Looks:
    """Every look under way, one of a group at a time."""

    def __init__(self, app: WizardApp) -> None:
        self.app = app
        self._under_way: dict[str, _Look] = {}
        self._refresh: Timer | None = None

    def begin(self, group: str) -> Progress:
        """A look in place of the last one of its group."""
        self.stop(group)
        progress = Progress()
        self._under_way[group] = _Look(
            progress, self.app.set_timer(SHOWN_AFTER_S, partial(self.appear, group))
        )
        return progress

    @contextmanager
    def watched(self, progress: Progress) -> Iterator[None]:
        """Round the work itself, in its thread: however it ends, its words go."""
        try:
            yield
        finally:
            self.app.post_message(LookEnded(progress))

    def ended(self, progress: Progress) -> None:
        """Nothing more comes of it."""
        for group, look in list(self._under_way.items()):
            if look.progress is progress:
                look.appears.stop()
                del self._under_way[group]
        self._tell()

    def stop(self, group: str) -> None:
        """Gives up the look of a group, if there is one."""
        look = self._under_way.pop(group, None)
        if look is not None:
            look.appears.stop()
            look.progress.cancelled.set()
            self._tell()

    def stop_shown(self) -> bool:
        """Gives up whatever the screen says can be; False where it says nothing."""
        shown = [group for group, look in self._under_way.items() if look.shown]
        for group in shown:
            self.stop(group)
        return bool(shown)

    def stop_all(self) -> None:
        """Nothing that waits for the hub outlives the wizard."""
        for look in self._under_way.values():
            look.progress.cancelled.set()

    def appear(self, group: str) -> None:
        """It lasts: from now on the screen tells of it."""
        self._under_way[group].lasts = True
        if self._refresh is None:
            self._refresh = self.app.set_interval(REFRESHED_EVERY_S, self._tell)
        self._tell()

    @property
    def words(self) -> str:
        """What is being read, as of now; empty where there is nothing to tell."""
        shown = [look.progress for look in self._under_way.values() if look.shown]
        if not shown:
            return ""
        doing = printable(shown[-1].doing, WORDS_CELLS) or "asking"
        received = sum(progress.received_bytes for progress in shown)
        return f"hub: {doing} · {received / 1000:,.0f} kB · Esc stops"

    def _tell(self) -> None:
        words = self.words
        if not words and self._refresh is not None:
            self._refresh.stop()
            self._refresh = None
        self.app.show_looks(words)
