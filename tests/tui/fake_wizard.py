"""The wizard over the fake engine, as a program of its own: what journeys run on a pty."""

from __future__ import annotations

import sys

from textual.app import ComposeResult

from tests.tui.fake_engine import FakeEngine, two_h100
from wizard.session import SessionStore
from wizard.tui import commands
from wizard.tui.app import WizardApp, run_app
from wizard.tui.screens.policy import PolicyStep

WAYS_OUT = ("app.leave", "app.suspend_process")


def main() -> int:
    """`python -m tests.tui.fake_wizard [two] [fresh] [no-mouse] [no-way-out] [crash-on-4]`."""
    options = set(sys.argv[1:])
    engine = FakeEngine(two_h100()) if "two" in options else FakeEngine()
    if "no-way-out" in options:
        engine.disk_is_full = True
        commands.COMMANDS = tuple(each for each in commands.COMMANDS if each[0] not in WAYS_OUT)
    if "crash-on-4" in options:
        PolicyStep.compose = _crash  # type: ignore[method-assign]
    store = SessionStore()
    found = None if "fresh" in options else store.find()
    app = WizardApp(engine, found=found, store=store)
    return run_app(app, mouse="no-mouse" not in options)


def _crash(self: PolicyStep) -> ComposeResult:
    raise RuntimeError("a bug, for once")


if __name__ == "__main__":
    sys.exit(main())
