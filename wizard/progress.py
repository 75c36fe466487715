"""One line on a terminal while a command waits for the hub, gone when it is through."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wizard.text import printable

if TYPE_CHECKING:
    from wizard.models.traffic import Traffic

CLEARED = "\r\x1b[K"


@contextmanager
def watched(*, offline: bool) -> Iterator[Traffic | None]:
    """Inside, what the hub is asked stands on stderr; nothing where that is no terminal, or nobody is asked."""
    if offline or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield None
        return
    from wizard.models.traffic import Traffic

    def report(now: Traffic) -> None:
        words = f"Asking the hub: {printable(now.doing, 60)} · {now.received_bytes / 1000:,.0f} kB so far"
        sys.stderr.write(CLEARED + words)
        sys.stderr.flush()

    traffic = Traffic(report=report)
    try:
        yield traffic
    finally:
        if traffic.requests:
            sys.stderr.write(CLEARED)
            sys.stderr.flush()
