"""The wizard over the fake engine, as a program of its own: what journeys run on a pty."""

from __future__ import annotations

import sys

from tests.tui.fake_engine import FakeEngine, two_h100
from wizard.session import SessionStore
from wizard.tui.app import WizardApp


def main() -> int:
    """`python -m tests.tui.fake_wizard [two] [fresh] [no-mouse]`."""
    options = set(sys.argv[1:])
    engine = FakeEngine(two_h100()) if "two" in options else FakeEngine()
    store = SessionStore()
    found = None if "fresh" in options else store.find()
    app = WizardApp(engine, found=found, store=store)
    app.run(mouse="no-mouse" not in options)
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
