"""One line on a terminal while the hub is asked, and nothing anywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from tests.hub.repository import model
from tests.hub.server import FakeHub
from wizard.models.load import load
from wizard.progress import CLEARED, watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_told_what_is_asked_and_left_clean(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.repositories.append(model("org/llama"))
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with watched(offline=False) as traffic:
        load("org/llama", traffic=traffic)
    written = screen.getvalue()
    assert "Asking the hub: file list" in written
    assert written.endswith(CLEARED)


@pytest.mark.parametrize("case", ["a pipe", "offline", "dumb"])
def test_nobody_else_is_told(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO() if case == "a pipe" else Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "dumb" if case == "dumb" else "xterm")
    with watched(offline=case == "offline") as traffic:
        assert traffic is None
    assert screen.getvalue() == ""
