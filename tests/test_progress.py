"""One line on a terminal while the hub is asked, and nothing anywhere else."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from tests.hub.repository import model
from tests.hub.server import FakeHub
from wizard.models.load import load
from wizard.models.traffic import CancelledError
from wizard.progress import CLEARED, told, watched


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


def test_lines_tell_what_lasts_and_what_came() -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    with told(say) as traffic:
        traffic.request("file list")
        traffic.receive(12_000)
        assert heard.wait(20)
    assert said[0] == "Asking the hub: file list · 12 kB so far; Ctrl-C stops."


def test_lines_tell_nothing_of_what_is_through_soon() -> None:
    said: list[str] = []
    with told(said.append) as traffic:
        traffic.request("file list")
    assert not said


def test_ctrl_c_gives_up_the_look() -> None:
    with pytest.raises(CancelledError), told(print) as traffic:
        raise KeyboardInterrupt
    assert traffic.cancelled.is_set()
