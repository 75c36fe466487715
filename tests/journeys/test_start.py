"""How the wizard starts: any option of `plan` pre-fills it, and it takes the form that the terminal can show."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.journeys.conftest import Start

pytestmark = pytest.mark.journey

OFFLINE = ("--offline",)


def test_options_without_a_model_fill_in_the_wizard(start: Start) -> None:
    options = ("--gpu", "4090", "--gpus", "2", "--concurrency", "64", "--max-ttft-ms", "500")
    terminal = start(*OFFLINE, *options, module="wizard")
    terminal.wait_for("Llama-3.1-8B-Instruct on 2 × GeForce RTX 4090")
    terminal.press("2")
    terminal.wait_for("● GeForce RTX 4090 ")
    terminal.press("3")
    terminal.wait_for("64 of")
    terminal.press("4")
    terminal.wait_for("500 ms")
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0


@pytest.mark.parametrize("alias", ["L40S", "l40s", "NVIDIA L40S"])
def test_a_card_is_marked_by_whatever_name_it_was_given(start: Start, alias: str) -> None:
    terminal = start(*OFFLINE, "--gpu", alias, module="wizard")
    terminal.wait_for("on 1 × NVIDIA L40S")
    terminal.press("2")
    terminal.wait_for("● NVIDIA L40S")
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0


def test_options_lie_on_top_of_the_saved_session(start: Start) -> None:
    first = start(*OFFLINE, "--gpu", "L40S", "--gpus", "4", module="wizard")
    first.wait_for("4 × NVIDIA L40S")
    first.press("3", "tab", "right")
    first.wait_for("1,536")
    first.press("ctrl+q")
    assert first.wait_exit() == 0
    again = start(*OFFLINE, "--gpu", "4090", "--concurrency", "2", module="wizard")
    again.wait_for("The options you gave hold either way.")
    again.press("enter")
    again.wait_for("on 1 × GeForce RTX 4090")
    again.wait_for("1,536")
    again.wait_for("2 of")
    again.press("ctrl+q")
    assert again.wait_exit() == 0


def test_options_fill_in_the_plain_wizard_too(start: Start) -> None:
    terminal = start(*OFFLINE, "--gpu", "4090", "--gpus", "2", module="wizard", changes={"TERM": "dumb"})
    terminal.wait_for("on 2 × GeForce RTX 4090")


def test_a_card_that_is_none_is_one_sentence(environment: dict[str, str], start: Start) -> None:
    terminal = start(*OFFLINE, "--gpu", "no such card", module="wizard")
    assert terminal.wait_exit() == 2
    assert b'No GPU "no such card" in the catalogue.' in terminal.output


@pytest.mark.parametrize("form", [(), ("--plain",), ("--screen-reader",)])
def test_without_a_terminal_the_other_commands_are_named(
    environment: dict[str, str], form: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "wizard", *form]
    ran = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "plan --model" in ran.stderr
    assert "export --model" in ran.stderr
