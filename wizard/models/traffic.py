"""What a look at the hub costs, who watches it, and how it is given up. Loads nothing of the hub client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TypeVar

from wizard.dataclass import dataclass, field

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CANCEL_LATENCY_S = 0.05
"""How soon a cancelled look-up lets go of its caller."""


class CancelledError(Exception):
    """The user went on to something else; there is nothing to show."""


@dataclass(slots=True)
class Traffic:
    """Bytes and requests of one look-up so far; safe to share between threads.

    `report` is called before every request and after every answer, from whichever thread it is, and must
    return at once.
    """

    received_bytes: int = 0
    requests: int = 0
    doing: str = ""
    """What was read last."""
    report: Callable[[Traffic], None] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    parent: Traffic | None = None
    """Of which this is a part: it is told everything, and its end is this one's too."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def receive(self, size: int) -> None:
        """Counts bytes that came over the network."""
        with self._lock:
            self.received_bytes += size
        if self.parent is not None:
            self.parent.receive(size)

    def request(self, doing: str) -> None:
        """Counts a request that is about to be sent."""
        self.check()
        with self._lock:
            self.requests += 1
            self.doing = doing
        if self.parent is not None:
            self.parent.request(doing)
        if self.report is not None:
            self.report(self)

    def redirected(self, times: int) -> None:
        """Counts the requests that an answer has cost besides its own."""
        with self._lock:
            self.requests += times
        if self.parent is not None:
            self.parent.redirected(times)

    def tell(self) -> None:
        """Tells whoever watches."""
        if self.report is not None:
            self.report(self)
        if self.parent is not None:
            self.parent.tell()

    def check(self) -> None:
        """Raises CancelledError once the user has turned away."""
        if self.cancelled.is_set():
            raise CancelledError
        if self.parent is not None:
            self.parent.check()

    def pause(self, seconds: float) -> None:
        """Waits before another try; a cancelled wait ends at once."""
        if self.cancelled.wait(seconds):
            raise CancelledError


@contextmanager
def within(seconds: float, parent: Traffic | None) -> Iterator[Traffic]:
    """A part of `parent` that is cancelled when the time is up; the block then sees CancelledError."""
    part = Traffic(parent=parent)
    alarm = threading.Timer(seconds, part.cancelled.set)
    alarm.daemon = True
    alarm.start()
    try:
        yield part
    finally:
        alarm.cancel()


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


def in_threads(
    work: Callable[[Item], Answer], items: Iterable[Item], traffic: Traffic, threads: int = 1
) -> Iterator[Answer]:
    """Answers of `work` for every item, as they come; the first error is raised here and stops the rest.

    The threads are daemons: a request that hangs keeps neither a caller who cancels nor the end of the
    process waiting. A ThreadPoolExecutor would: the interpreter joins its threads on exit.
    """
    waiting: SimpleQueue[Item] = SimpleQueue()
    answers: SimpleQueue[Answer | _Failed] = SimpleQueue()
    stopped = threading.Event()
    count = 0
    for item in items:
        waiting.put(item)
        count += 1

    def run() -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            try:
                answers.put(work(item))
            except BaseException as error:  # raised again in the caller's thread, whatever it is
                answers.put(_Failed(error))

    for number in range(min(threads, count)):
        threading.Thread(target=run, name=f"hub-{number}", daemon=True).start()
    try:
        for _ in range(count):
            yield _next(answers, traffic)
    finally:
        stopped.set()


def in_background(work: Callable[[], Answer], traffic: Traffic) -> Answer:
    """The answer of `work`, waited for so that cancelling `traffic` ends the waiting at once."""
    (answer,) = in_threads(lambda _: work(), (None,), traffic)
    return answer


def _next(answers: SimpleQueue[Answer | _Failed], traffic: Traffic) -> Answer:
    while True:
        traffic.check()
        try:
            answer = answers.get(timeout=CANCEL_LATENCY_S)
        except Empty:
            continue
        if isinstance(answer, _Failed):
            raise answer.error
        return answer
