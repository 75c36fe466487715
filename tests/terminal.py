"""A terminal for tests: a program on a real pty, its screen emulated, every byte counted.

It waits for what it wants to see, never for a length of time; a deadline turns a hang into a failure
that shows the screen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

KEYS = {
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "pageup": b"\x1b[5~",
    "pagedown": b"\x1b[6~",
    "delete": b"\x1b[3~",
    "tab": b"\t",
    "shift+tab": b"\x1b[Z",
    "enter": b"\r",
    "space": b" ",
    "escape": b"\x1b",
    "backspace": b"\x7f",
    "f1": b"\x1bOP",
    **{f"ctrl+{letter}": bytes([ord(letter) - 96]) for letter in "abcdefghijklmnopqrstuvwxyz"},
}

_REPLIES = (
    (re.compile(rb"\x1b\[\?2026\$p"), b"\x1b[?2026;2$y"),
    (re.compile(rb"\x1b\[\?2048\$p"), b"\x1b[?2048;0$y"),
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
)
"""What a terminal of today answers when it is asked what it can do."""

LONGEST_QUESTION = 10
"""Bytes of the longest of them."""

_UNDRAWN = re.compile(
    rb"\x1b\[[<>=][0-9;:]*[a-zA-Z]|\x1b\[\?[0-9;]*\$[a-z]|\x1b\[\?u|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\"
)
"""Sequences that draw nothing and that pyte misreads."""

DEADLINE_S = 20.0
"""A loaded machine is slow; a hang is for ever."""


class Terminal:
    """One run of a program; use it as a context manager, which ends the program."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self.size = size
        self.output = bytearray()
        self.status: int | None = None
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._half = b""
        self.answering = True
        """Whether questions are answered at once; else `answer` does, as a slow link would at last."""
        self._unanswered = b""
        self._heard = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
                if directory is not None:
                    os.chdir(directory)
                os.execvpe(argv[0], list(argv), dict(environment or os.environ))
            os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._reap()
        with contextlib.suppress(OSError):
            os.close(self.fd)

    @property
    def lines(self) -> list[str]:
        """The screen as it stands."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def press(self, *keys: str) -> None:
        """Sends keys by name, and anything else as typed."""
        for key in keys:
            os.write(self.fd, KEYS.get(key, key.encode()))

    def wait_for(self, wanted: str | Callable[[str], bool], *, deadline_s: float = DEADLINE_S) -> str:
        """Reads until the screen shows `wanted`; AssertionError with the screen where it never does."""
        seen = wanted if callable(wanted) else lambda text: wanted in text
        end = time.monotonic() + deadline_s
        while not seen(self.text):
            if self.status is not None or time.monotonic() > end or not self._read(end - time.monotonic()):
                if seen(self.text):
                    break
                raise AssertionError(f"never saw {wanted!r} (exit {self.status}):\n{self.text}")
        return self.text

    def settle(self, quiet_s: float = 0.3, *, deadline_s: float = DEADLINE_S) -> int:
        """Reads until nothing came for `quiet_s`; the bytes that came. AssertionError where it never falls silent."""
        before, end = len(self.output), time.monotonic() + deadline_s
        while self._read(quiet_s):
            assert time.monotonic() < end, f"never silent, {len(self.output) - before} bytes:\n{self.text}"
        return len(self.output) - before

    def rest(self, quiet_s: float = 0.4, *, deadline_s: float = DEADLINE_S) -> None:
        """Reads until the program neither writes nor computes: on a loaded machine silence alone says little."""
        before, end = -1, time.monotonic() + deadline_s
        while self.status is None and (self.settle(quiet_s) or self._ticks() != before):
            assert time.monotonic() < end, f"never at rest:\n{self.text}"
            before = self._ticks()

    def _ticks(self) -> int:
        """CPU time of the program so far, in the kernel's ticks; -1 once it has ended."""
        if self.status is not None:
            return -1
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def cost(self, *keys: str, quiet_s: float = 0.3) -> int:
        """Bytes that the program writes in answer to keys."""
        self.settle(quiet_s)
        before = len(self.output)
        self.press(*keys)
        self._read(DEADLINE_S)
        self.settle(quiet_s)
        return len(self.output) - before

    def hold(self, keys: Sequence[str], per_s: float) -> tuple[list[tuple[float, int]], float]:
        """Presses keys at a pace: when each answer came, with its bytes, and when the last went (s from the first)."""
        began, chunks, at = time.monotonic(), [], 0.0
        for number, key in enumerate(keys):
            at = time.monotonic() - began
            self.press(key)
            chunks += self._answers(began, began + (number + 1) / per_s)
        return chunks + self._answers(began, time.monotonic() + 0.5), at

    def _answers(self, began: float, until: float) -> list[tuple[float, int]]:
        chunks, before = [], len(self.output)
        while (left := until - time.monotonic()) > 0:
            if self._read(left):
                chunks.append((time.monotonic() - began, len(self.output) - before))
                before = len(self.output)
        return chunks

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as when a window is dragged."""
        self.size = (columns, rows)
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send_signal(self, number: int) -> None:
        """A signal to the program."""
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """The link is gone: the terminal's end closes."""
        os.close(self.fd)

    def wait_exit(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Reads to the end; the exit status (negative: the signal that killed it)."""
        end = time.monotonic() + deadline_s
        while self.status is None:
            assert time.monotonic() < end, f"still running:\n{self.text}"
            try:
                self._read(0.1)
            except OSError:
                select.select([], [], [], 0.02)
            self._reap(block=False)
        with contextlib.suppress(OSError):
            while self._read(0.05):
                pass
        return self.status

    def wait_stopped(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Reads until the program is suspended."""
        end = time.monotonic() + deadline_s
        while not (changed := os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG))[0]:
            assert time.monotonic() < end, f"not suspended:\n{self.text}"
            self._read(0.05)
        assert os.WIFSTOPPED(changed[1])
        self.settle(0.2)

    def _reap(self, *, block: bool = True) -> None:
        if self.status is not None:
            return
        pid, status = os.waitpid(self.pid, 0 if block else os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)

    def _read(self, within_s: float) -> bool:
        if not select.select([self.fd], [], [], max(within_s, 0))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            if self.status is None:
                self._reap(block=False)
            return False
        self.output += data
        self._unanswered += self._replies(data)
        if self.answering:
            self.answer()
        self._draw(data)
        return True

    def _replies(self, data: bytes) -> bytes:
        """What a terminal answers; a question may come in two pieces."""
        heard, replies, end = self._heard + data, b"", 0
        for pattern, reply in _REPLIES:
            for asked in pattern.finditer(heard):
                replies, end = replies + reply, max(end, asked.end())
        self._heard = heard[end:][-LONGEST_QUESTION:]
        return replies

    def answer(self) -> None:
        """Answers what was asked until now."""
        if self._unanswered:
            os.write(self.fd, self._unanswered)
        self._unanswered = b""

    def _draw(self, data: bytes) -> None:
        data = self._half + data
        cut = data.rfind(b"\x1b", max(0, len(data) - 32))
        whole = cut < 0 or re.match(rb"\x1b(?:\[[0-9;:?<>=$]*[a-zA-Z]|[^\[\]PO]|O.)", data[cut:])
        self._half = b"" if whole else data[cut:]
        drawn = data if whole else data[:cut]
        self._stream.feed(_UNDRAWN.sub(b"", drawn))
