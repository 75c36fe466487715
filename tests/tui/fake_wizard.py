"""The wizard over the fake engine, as a program of its own: what journeys run on a pty."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from textual.app import ComposeResult

from tests.tui.fake_engine import FakeEngine, two_h100
from wizard.engine import Engine, Planner, Written
from wizard.errors import WizardError
from wizard.session import SessionStore
from wizard.tui import commands
from wizard.tui.app import WizardApp, run_app
from wizard.tui.screens.policy import PolicyStep

WAYS_OUT = ("app.leave", "app.suspend_process")


class FullDisk(Planner):
    """The real engine, offline, on a disk that takes no file."""

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        raise WizardError(f"{directory} can't be written: there is no space left on the disk.")


def main() -> int:
    """`python -m tests.tui.fake_wizard [two] [real] [fresh] [no-mouse] [no-way-out] [crash-on-4]`."""
    options = set(sys.argv[1:])
    fake = FakeEngine(two_h100()) if "two" in options else FakeEngine()
    engine: Engine = FullDisk(offline=True) if "real" in options else fake
    if "no-way-out" in options:
        fake.disk_is_full = True
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
