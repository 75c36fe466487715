"""A hub of the tests' own, asked by the real client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hub.server import FakeHub
from wizard.models import hub_connection


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty hub that HF_ENDPOINT names; tries follow each other at once."""
    monkeypatch.setattr(hub_connection, "PAUSES_S", (0.0,) * len(hub_connection.PAUSES_S))
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
