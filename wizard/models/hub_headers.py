"""Headers of a model's safetensors files, read from the hub by range requests within a budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from wizard.errors import ConfigError
from wizard.models.hub_connection import Connection
from wizard.models.hub_errors import in_words
from wizard.models.metadata import TensorInfo
from wizard.models.tensor_headers import LENGTH_BYTES, ON_HUB, header_length, parse_header
from wizard.models.traffic import in_threads

BUDGET_BYTES = 18 << 20
"""For all headers of one model: with the listing and the small files it stays below 20 MB. A 600 GB model
takes about 12 MB; where more is needed the architecture and the files' sizes have to do."""

FIRST_BYTES = 32 << 10
"""Asked for of the first file: its whole header in most models."""

SPARE = 1.06
SPARE_BYTES = 2 << 10
"""By so much the first header's length is exceeded in asking for the others: one request each, little waste."""

CONNECTIONS = 16


class OverBudgetError(Exception):
    """More would have to be read than a look at a model may cost."""


class _Reader:
    """Reads headers of one commit; safe to share between threads."""

    def __init__(self, connection: Connection, model: str, commit: str, count: int) -> None:
        self.connection, self.model, self.commit, self.count = connection, model, commit, count
        self.guess = FIRST_BYTES
        self._reserved = 0
        self._done = 0
        self._lock = threading.Lock()

    def read(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of one file, with one request where the guess holds and two where it doesn't."""
        start = self._bytes(name, 0, self.guess)
        length = header_length(start, name, ON_HUB)
        end = LENGTH_BYTES + length
        if len(start) < end:
            start += self._bytes(name, len(start), end - len(start))
        if len(start) < end:
            raise ConfigError(f"{name} ends within its header; {ON_HUB}.")
        if self._done == 0:
            self._expect(end)
        with self._lock:
            self._done += 1
        return parse_header(start[LENGTH_BYTES:end], name, ON_HUB)

    def _expect(self, end: int) -> None:
        """Learns from the first header; raises OverBudgetError where the others would cost too much."""
        self.guess = int(end * SPARE) + SPARE_BYTES
        if end * self.count > BUDGET_BYTES:
            raise OverBudgetError

    def _bytes(self, name: str, first: int, count: int) -> bytes:
        with self._lock:
            self._reserved += count
            if self._reserved > BUDGET_BYTES:
                raise OverBudgetError
        what = f"header {self._done + 1} of {self.count}"
        return self.connection.bytes_of(self.model, self.commit, name, first, count, what)


def read_headers(
    connection: Connection, model: str, commit: str, names: Sequence[str]
) -> dict[str, TensorInfo]:
    """Tensors of all files.

    Raises OverBudgetError, ConfigError for a malformed header, and ModelUnavailableError for a hub that fails.
    """
    reader = _Reader(connection, model, commit, len(names))
    typical = names[len(names) // 2]  # the first shard has the embedding, the last the head
    with in_words(connection.asked):
        tensors = reader.read(typical)
        others = [name for name in names if name != typical]
        for found in in_threads(reader.read, others, connection.traffic, CONNECTIONS):
            tensors.update(found)
    return tensors
