"""Flow control: on a slow link frames wait until the terminal has drawn those before.

Between the wizard and the terminal lie pipes, sshd's buffers and the link, which together take megabytes: whatever is
painted queues there, and a picture of the past scrolls by. So after some bytes the terminal is asked a question that
it answers in order (a report of mode 2026, DECRQM), and until the answer comes no more than `WINDOW_BYTES` are under
way. What changes in the meantime is painted once, as it is then.
"""

from __future__ import annotations

QUESTION = "\x1b[?2026$p"
"""Asks for the state of synchronised output; only asked of a terminal that answered it at the start."""

WINDOW_BYTES = 6000
"""Most bytes under way: a little over what 128 kbit/s carry in a round trip of 300 ms (4,800)."""
ASK_AFTER_BYTES = 1500
"""Bytes after which it is worth asking: no single step of a slider comes to this."""
PATIENCE_S = 1.5
"""Without an answer for so long, it was lost: the window takes less even at 40 kbit/s."""
MOST_LOST = 3
"""So many lost in a row, and the terminal is not asked any more."""


class Flow:
    """Counts what is under way to the terminal."""

    def __init__(self) -> None:
        self.under_way_bytes = 0
        self._unasked_bytes = 0
        self._asked_s: float | None = None
        self._lost = 0
        self.answers = False
        """Whether this terminal answers at all."""

    def sent(self, size_bytes: int, now: float) -> bool:
        """Takes note of a frame; True where the question should follow it."""
        if not self.answers:
            return False
        self.under_way_bytes += size_bytes
        self._unasked_bytes += size_bytes
        if self._asked_s is not None or self._unasked_bytes < ASK_AFTER_BYTES:
            return False
        self._unasked_bytes, self._asked_s = 0, now
        return True

    def answered(self) -> None:
        """The terminal has drawn everything up to the question."""
        self.answers, self._lost = True, 0
        self.under_way_bytes, self._asked_s = self._unasked_bytes, None

    def is_full(self, now: float) -> bool:
        """Whether the next frame has to wait."""
        if self._asked_s is None or self.under_way_bytes < WINDOW_BYTES:
            return False
        if now <= self._asked_s + PATIENCE_S:
            return True
        self._lost += 1
        self.answers = self._lost < MOST_LOST
        self.under_way_bytes, self._unasked_bytes, self._asked_s = 0, 0, None
        return False
