"""Nothing is lost and the terminal comes back, however the wizard ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import Start
from tests.terminal import Terminal

pytestmark = pytest.mark.journey

RESTORED = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1003l")
"""Main screen, cursor, no mouse reports."""


def at_concurrency_12(start: Start, *options: str) -> Terminal:
    """A wizard on the workload screen with one answer changed."""
    terminal = start(*options)
    terminal.wait_for("Fits")
    terminal.press("3")
    terminal.wait_for("Concurrency")
    terminal.press("tab", "tab", "tab", "right")
    terminal.wait_for("12 of 349")
    return terminal


def session(tmp_path: Path) -> dict[str, Any]:
    """What is saved."""
    document: dict[str, Any] = json.loads(
        (tmp_path / "state" / "vllm-wizard-tui" / "session.json").read_text()
    )
    return document


def continues(start: Start) -> None:
    """The next start offers the same screen with the same values."""
    again = start()
    again.wait_for("Continue where you left off?")
    again.press("enter")
    again.wait_for(lambda text: "12 of 349" in text and "▸" in text)
    again.press("ctrl+q")
    assert again.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back_and_keeps_the_answers(start: Start, number: signal.Signals) -> None:
    terminal = at_concurrency_12(start)
    terminal.send_signal(number)
    assert terminal.wait_exit() == 128 + number
    assert all(sequence in terminal.output for sequence in RESTORED)
    continues(start)


def test_kill_9_loses_nothing_that_was_saved(start: Start, tmp_path: Path) -> None:
    terminal = at_concurrency_12(start)
    terminal.settle(0.8)
    terminal.send_signal(signal.SIGKILL)
    assert terminal.wait_exit() == -signal.SIGKILL
    assert session(tmp_path)["step"] == "workload"
    continues(start)


def test_a_dropped_link_ends_the_wizard_and_keeps_the_answers(start: Start) -> None:
    terminal = at_concurrency_12(start)
    terminal.hang_up()
    assert terminal.wait_exit() != 0
    continues(start)


def test_leaving_keeps_the_answers_without_a_question(start: Start) -> None:
    terminal = at_concurrency_12(start)
    terminal.press("ctrl+c")
    assert terminal.wait_exit() == 0
    continues(start)


def test_two_wizards_at_once_keep_their_own_answers(start: Start, tmp_path: Path) -> None:
    first = at_concurrency_12(start)
    second = start()
    second.wait_for("Fits")
    assert "Continue" not in second.text
    second.press("4", "right")
    second.wait_for("● throughput")
    for terminal in (first, second):
        terminal.press("ctrl+q")
        assert terminal.wait_exit() == 0
    kept = [json.loads(path.read_text()) for path in (tmp_path / "state" / "vllm-wizard-tui").glob("*.json")]
    assert sorted(each["step"] for each in kept) == ["policy", "workload"]


def test_a_corrupt_session_is_set_aside_and_said(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "vllm-wizard-tui"
    folder.mkdir(parents=True)
    (folder / "session.json").write_bytes(b"\x00garbage")
    terminal = start()
    terminal.wait_for(lambda text: "could not be read" in " ".join(text.split()))
    assert [path.read_bytes() for path in folder.glob("session.unreadable-*")] == [b"\x00garbage"]


def test_a_read_only_home_is_said_and_asked_about(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    terminal = start()
    terminal.wait_for("Fits")
    terminal.press("3", "right")
    terminal.wait_for(lambda text: "can't be saved" in " ".join(text.split()))
    terminal.press("ctrl+q")
    terminal.wait_for("Leave without saving?")
    terminal.press("2")
    assert terminal.wait_exit() == 0


def test_ctrl_z_suspends_and_the_wizard_comes_back(start: Start) -> None:
    terminal = at_concurrency_12(start)
    terminal.press("ctrl+z")
    terminal.wait_stopped()
    assert RESTORED[0] in terminal.output
    terminal.send_signal(signal.SIGCONT)
    terminal.wait_for("12 of 349")
    terminal.press("right")
    terminal.wait_for("16 of 349")
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0


def test_a_crash_gives_the_terminal_back_and_keeps_the_answers(start: Start, tmp_path: Path) -> None:
    terminal = at_concurrency_12(start, "crash-on-4")
    terminal.press("enter")
    assert terminal.wait_exit() == 1
    assert all(sequence in terminal.output for sequence in RESTORED)
    assert b"Your answers are kept" in terminal.output
    assert session(tmp_path)["request"]["workload"]["concurrency"] == 12
