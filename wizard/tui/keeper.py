"""Keeps the answers: saved once the hands are still, at every end, and offered at the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.timer import Timer

from wizard.questions import STEPS
from wizard.session import Found, Session, SessionStore
from wizard.ticks import Ticks
from wizard.wording import request_words

if TYPE_CHECKING:
    from wizard.tui.app import WizardApp

SAVE_AFTER_S = 0.4
"""Quiet seconds before answers are written: a dragged slider is one write."""


class Keeper:
    """The session of one running wizard; without a store it keeps nothing and never complains."""

    def __init__(self, app: WizardApp, store: SessionStore | None) -> None:
        self.app, self.store = app, store
        self._timer: Timer | None = None
        self._unsaved = False

    @property
    def would_lose(self) -> str:
        """Why leaving now would lose answers; empty when it would not."""
        if not self._unsaved or self.store is None or not len(self.app.history):
            return ""
        return self.store.trouble

    def save_later(self) -> None:
        """Saves once the hands are still."""
        self._unsaved = True
        if self.store is not None and self.app.is_running:
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.app.set_timer(SAVE_AFTER_S, self.save)

    def save(self) -> None:
        """Saves now; a failure is said once and is never in the way."""
        if self.store is None or not self._unsaved:
            return
        before = self.store.trouble
        session = Session(
            step=self.app.frame.step_name,
            request=self.app.request,
            directory=self.app.writing.chosen,
            unticked=tuple(sorted(self.app.writing.ticks.unticked)),
            ticked=tuple(sorted(self.app.writing.ticks.ticked)),
        )
        if self.store.save(session):
            self._unsaved = False
        elif self.store.trouble != before:
            self.app.notice(self.store.trouble)

    def close(self) -> None:
        """The wizard has ended: keeps what is not kept yet, and lets another wizard have the slot."""
        self.save()
        if self.store is not None:
            self.store.release()

    def greet(self, found: Found | None, *, given: bool = False) -> bool:
        """Offers the session that was found, or says what became of one that could not be read.

        `given`: the command line answered something, which holds whatever is chosen.
        """
        if found is not None:
            self._offer(found.session, given=given)
            return True
        if self.store is not None and self.store.set_aside:
            self._say_set_aside(self.store.set_aside_words)
            return True
        return False

    def _say_set_aside(self, sentence: str) -> None:
        """In a dialog, because the hint has no room for a path."""
        from wizard.tui.screens.dialogs import AskDialog

        options = (("fresh", "Start afresh"),)
        self.app.push_screen(AskDialog("Your answers of last time are not here", sentence, options))

    def _offer(self, session: Session, *, given: bool) -> None:
        from wizard.tui.screens.dialogs import AskDialog

        title = next(
            (f"{at} {title}" for at, (name, title) in enumerate(STEPS, 1) if name == session.step), "1 Model"
        )
        asked = AskDialog(
            "Continue where you left off?",
            f"{request_words(session.request)}, at {title}"
            + ("\nThe options you gave hold either way." if given else ""),
            (("continue", "Continue"), ("fresh", "Start afresh")),
        )
        self.app.push_screen(asked, lambda answer: None if answer == "fresh" else self._continue(session))

    def _continue(self, session: Session) -> None:
        self.app.writing.chosen = session.directory
        self.app.writing.ticks = Ticks(session.unticked, session.ticked)
        self.app.request = session.request
        if any(name == session.step for name, _ in STEPS):
            self.app.call_later(self.app.go, session.step)
