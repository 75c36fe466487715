"""What a key costs over the wire: bytes, which are the same on every machine."""

from __future__ import annotations

import time

import pytest

from tests.journeys.conftest import Start
from wizard.tui import flow

pytestmark = pytest.mark.journey

FIRST_FRAME_BYTES = 24_000
SLIDER_BYTES = {(80, 24): 1200, (120, 40): 2000}
TAB_BYTES = 600
LINK_BYTES_PER_S = 128_000 // 8
FRAME = b"\x1b[?2026h"
"""Begins a synchronised update: one frame."""


def test_the_first_frame_is_small(start: Start) -> None:
    terminal = start("fresh")
    terminal.wait_for("Fits")
    terminal.settle(0.6)
    assert len(terminal.output) <= FIRST_FRAME_BYTES


def test_idle_costs_nothing(start: Start) -> None:
    terminal = start("fresh")
    terminal.wait_for("Fits")
    terminal.settle(0.8)
    assert terminal.settle(1.5) == 0


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_slider_step_is_small_on_every_screen(start: Start, size: tuple[int, int]) -> None:
    terminal = start("fresh", size=size)
    terminal.wait_for("Fits")
    terminal.press("3")
    terminal.wait_for("Concurrency")
    for _ in range(5):
        terminal.cost("tab")
        for key in ("right", "right", "left"):
            assert terminal.cost(key, quiet_s=0.1) <= SLIDER_BYTES[size], terminal.text
    terminal.press("shift+tab", "shift+tab", "shift+tab", "shift+tab", "shift+tab")
    terminal.press("4")
    terminal.wait_for("Utilisation")
    for _ in range(7):
        terminal.cost("tab")
        for key in ("right", "right", "left"):
            assert terminal.cost(key, quiet_s=0.1) <= SLIDER_BYTES[size], terminal.text


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize(
    ("number", "sight"),
    [("1", "Revision"), ("2", "Machines"), ("3", "Concurrency"), ("4", "Utilisation"), ("5", "Directory")],
)
def test_tab_is_small_on_every_screen(start: Start, number: str, sight: str, size: tuple[int, int]) -> None:
    terminal = start("fresh", size=size)
    terminal.wait_for("Fits")
    terminal.press(number)
    terminal.wait_for(sight)
    terminal.settle(0.6)
    assert max(terminal.cost("tab", quiet_s=0.1) for _ in range(14)) <= TAB_BYTES


def test_a_slider_step_is_one_frame(start: Start) -> None:
    terminal = start("fresh")
    terminal.wait_for("Fits")
    terminal.press("3", "tab", "tab", "tab")
    terminal.wait_for("▸Concurrency")
    terminal.settle(0.6)
    for key in ("right", "right", "left"):
        before = terminal.output.count(FRAME)
        terminal.cost(key, quiet_s=0.1)
        assert terminal.output.count(FRAME) - before == 1


def test_a_held_key_never_queues_more_than_a_slow_link_carries(start: Start) -> None:
    """40 repeats, all at once as a link with delay delivers them: few frames, the last of them right."""
    terminal = start("fresh")
    terminal.wait_for("Fits")
    terminal.press("3", "tab")
    terminal.wait_for("▸Prompt")
    terminal.settle(0.6)
    frames, size, began = terminal.output.count(FRAME), len(terminal.output), time.monotonic()
    terminal.press(*["left"] * 40)
    terminal.wait_for(lambda text: "Prompt      ●" in text)
    took = time.monotonic() - began
    terminal.settle(0.3)
    assert terminal.output.count(FRAME) - frames <= took / 0.05 + 2
    assert len(terminal.output) - size <= LINK_BYTES_PER_S * max(took, 0.5)


def test_frames_wait_while_the_link_is_full(start: Start) -> None:
    """Ten jumps on a link that has not yet carried the first: they are not painted one after the other."""
    terminal = start("fresh", size=(200, 60))
    terminal.wait_for("Fits")
    terminal.settle(0.6)
    terminal.answering = False
    before = len(terminal.output)
    for key in "2345123453":
        terminal.press(key)
        terminal.settle(0.15)
    jammed = len(terminal.output) - before
    terminal.answering = True
    terminal.answer()
    terminal.wait_for("▸Preset")
    assert jammed <= flow.WINDOW_BYTES + FIRST_FRAME_BYTES
    assert len(terminal.output) - before <= flow.WINDOW_BYTES + 2 * FIRST_FRAME_BYTES


def test_a_terminal_that_never_answers_is_not_waited_for(start: Start) -> None:
    terminal = start("fresh", size=(200, 60))
    terminal.wait_for("Fits")
    terminal.settle(0.6)
    terminal.answering = False
    for key in "23452345":
        terminal.press(key)
        terminal.settle(0.15)
    terminal.press("3")
    terminal.wait_for("▸Preset", deadline_s=flow.MOST_LOST * flow.PATIENCE_S + 10)
