"""What is said while somebody waits for the hub: a line that goes when it is through, or lines that stay."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wizard.text import printable

if TYPE_CHECKING:
    from wizard.models.traffic import Traffic

CLEARED = "\r\x1b[K"

FIRST_AFTER_S = 0.3
"""What is through sooner needs no words."""
AGAIN_AFTER_S = 3.0
"""A line can be read aloud meanwhile."""


def asked_words(now: Traffic) -> str:
    """What is being read, and how much came."""
    return f"Asking the hub: {printable(now.doing, 60)} · {now.received_bytes / 1000:,.0f} kB so far"


@contextmanager
def watched(*, offline: bool) -> Iterator[Traffic | None]:
    """Inside, what the hub is asked stands on stderr; nothing where that is no terminal, or nobody is asked."""
    if offline or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield None
        return
    from wizard.models.traffic import Traffic

    def report(now: Traffic) -> None:
        sys.stderr.write(CLEARED + asked_words(now))
        sys.stderr.flush()

    traffic = Traffic(report=report)
    try:
        yield traffic
    finally:
        if traffic.requests:
            sys.stderr.write(CLEARED)
            sys.stderr.flush()


@contextmanager
def told(say: Callable[[str], None]) -> Iterator[Traffic]:
    """Inside, what the hub is asked is said in lines of their own; Ctrl-C gives it up, as CancelledError."""
    import threading

    from wizard.models.traffic import CancelledError, Traffic

    traffic, through = Traffic(), threading.Event()

    def tell() -> None:
        wait_s = FIRST_AFTER_S
        while not through.wait(wait_s):
            if traffic.requests:
                say(f"{asked_words(traffic)}; Ctrl-C stops.")
            wait_s = AGAIN_AFTER_S

    teller = threading.Thread(target=tell, name="told", daemon=True)
    teller.start()
    try:
        yield traffic
    except KeyboardInterrupt:
        traffic.cancelled.set()
        raise CancelledError from None
    finally:
        through.set()
        teller.join()
