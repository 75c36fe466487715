"""The layout of every screen, cell by cell, at the two sizes it is made for, dark and light.

After an intended change: `make test ARGS="tests/tui/test_snapshots.py --snapshot-update"`, then look at the pictures.
"""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.fake_engine import FakeEngine, two_h100
from tests.tui.screen import UNICODE, redrawn, settled
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, WorkloadInput
from wizard.tui import theme
from wizard.tui.app import WizardApp

FITS = PlanRequest(
    model=ModelInput(model="RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"),
    workload=WorkloadInput(prompt_tokens=2048, gen_tokens=512, concurrency=32),
)
WONT_START = PlanRequest(
    model=ModelInput(model="meta-llama/Llama-3.3-70B-Instruct"),
    hardware=HardwareInput(gpu="GeForce RTX 4090", gpus=2),
)
KEYS = {"model": "1", "hardware": "2", "workload": "3", "policy": "4", "export": "5"}
SMALL, LARGE = (80, 24), (120, 40)


def compare(
    snap_compare: Any,
    request: PlanRequest,
    *keys: str,
    size: tuple[int, int] = SMALL,
    colours: str = theme.DARK.name,
) -> None:
    """Opens the wizard on two cards of known memory, presses the keys, and compares the picture."""
    app = WizardApp(FakeEngine(two_h100()), request=request, environment=UNICODE)

    async def press(pilot: Pilot[int]) -> None:
        app.theme = colours
        await settled(app, pilot)
        for key in keys:
            await pilot.press(key)
            await settled(app, pilot)
        await redrawn(app, pilot)

    assert snap_compare(app, terminal_size=size, run_before=press)


@pytest.mark.parametrize("colours", [theme.DARK.name, theme.LIGHT.name])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("screen", list(KEYS))
def test_every_screen(snap_compare: Any, screen: str, size: tuple[int, int], colours: str) -> None:
    compare(snap_compare, FITS, KEYS[screen], size=size, colours=colours)


@pytest.mark.parametrize("colours", [theme.DARK.name, theme.LIGHT.name])
def test_what_will_not_start_says_so_where_the_verdict_is(snap_compare: Any, colours: str) -> None:
    compare(snap_compare, WONT_START, "3", colours=colours)


@pytest.mark.parametrize(("name", "key"), [("guide", "f1"), ("palette", "ctrl+p")])
def test_dialogs(snap_compare: Any, name: str, key: str) -> None:
    compare(snap_compare, FITS, "3", key)
