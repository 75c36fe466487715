"""Thousands of random keys: no crash, no growth, a valid session, and a screen that is what a full repaint is."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.journeys.conftest import Start
from tests.terminal import DEADLINE_S, Terminal
from wizard.session import Session

pytestmark = pytest.mark.journey

KEYS = (
    *(
        "tab",
        "shift+tab",
        "enter",
        "escape",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
        "pagedown",
    )
    * 4,
    *("space", "backspace", "delete", "f1", "ctrl+p", "ctrl+y", "ctrl+f", "ctrl+s") * 2,
    *"12345" * 3,
    *"06789kuUfy/?",
    *"qwen3 llama",
)
"""Everything but leaving and suspending, the usual keys more often. No dialog leads out."""

COUNT = int(os.environ.get("SOAK_KEYS", "1500"))
BURST = 25
SLOWEST_KEY_S = 0.1
"""On a loaded machine keys wait in line, which the next bursts lengthen."""
LARGEST_GROWTH_BYTES = 24 << 20
"""After the first quarter every screen, dialog and hint has been built; what grows then leaks."""


def resident_bytes(terminal: Terminal) -> int:
    """Memory of the program."""
    pages = int(Path(f"/proc/{terminal.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("seed", "option", "count"),
    [(1, "two", COUNT), (2, "fresh", COUNT), (3, "real", COUNT // 4)],
    ids=["two", "fresh", "real engine"],
)
def test_random_keys(start: Start, tmp_path: Path, seed: int, option: str, count: int) -> None:
    chosen = random.Random(seed)
    terminal = start("no-way-out", option)
    terminal.wait_for("Fits")
    settled = 0
    for number in range(count // BURST):
        terminal.press(*chosen.choices(KEYS, k=BURST))
        terminal.settle(0.12)  # frames of a burst are 50 ms apart
        assert terminal.status is None, terminal.text
        if number == count // BURST // 4:
            settled = resident_bytes(terminal)
    assert resident_bytes(terminal) - settled < LARGEST_GROWTH_BYTES

    terminal.rest(deadline_s=DEADLINE_S + count * SLOWEST_KEY_S)
    drawn = terminal.lines
    terminal.press("ctrl+l")
    terminal.rest()
    assert terminal.lines == drawn

    for path in (tmp_path / "state" / "vllm-wizard-tui").glob("*.json"):
        Session.model_validate_json(path.read_text())
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0
