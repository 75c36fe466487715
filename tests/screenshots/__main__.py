"""`make screenshots`: the real wizard on a what-if machine, rendered into screenshots/ as SVG, PNG and a recording.

Nothing is detected and nothing is asked of the network, so the same sources give the same pictures.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.screenshots.picture import draw
from tests.screenshots.recording import record
from tests.tui.screen import UNICODE, redrawn, settled
from wizard.engine import Planner
from wizard.hardware.detect import Machine
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, WorkloadInput
from wizard.tui.app import WizardApp

FOLDER = Path(__file__).resolve().parents[2] / "screenshots"

SMALL, LARGE = (80, 24), (120, 40)

FITS = PlanRequest(
    model=ModelInput(model="Qwen/Qwen3-32B"),
    hardware=HardwareInput(gpu="H100 SXM5 80GB", gpus=2),
    workload=WorkloadInput(prompt_tokens=2048, gen_tokens=512, concurrency=32),
)
WONT_START = PlanRequest(
    model=ModelInput(model="meta-llama/Llama-3.3-70B-Instruct"),
    hardware=HardwareInput(gpu="GeForce RTX 4090", gpus=2),
    workload=WorkloadInput(prompt_tokens=2048, gen_tokens=512, concurrency=8),
)


class Nowhere(Planner):
    """The real engine on a machine without GPUs, whatever this one has."""

    def __init__(self) -> None:
        super().__init__(offline=True)

    def detect(self) -> Machine:
        return Machine(why_none="No NVIDIA driver on this machine; choose a GPU of the catalogue.")


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: what to open, which keys to press."""

    name: str
    request: PlanRequest
    keys: Sequence[str] = ()
    size: tuple[int, int] = SMALL


SHOTS = (
    Shot("model-80x24", FITS),
    Shot("hardware-80x24", FITS, ("2",)),
    Shot("workload-80x24", FITS, ("3",)),
    Shot("policy-80x24", FITS, ("4",)),
    Shot("export-80x24", FITS, ("5",)),
    Shot("workload-120x40", FITS, ("3",), LARGE),
    Shot("policy-120x40", FITS, ("4",), LARGE),
    Shot("wont-start-80x24", WONT_START, ("3",)),
)


async def take(shot: Shot) -> None:
    """Opens the wizard, presses the keys, and writes both pictures."""
    app = WizardApp(Nowhere(), request=shot.request, environment=UNICODE)
    async with app.run_test(size=shot.size) as pilot:
        await settled(app, pilot)
        for key in shot.keys:
            await pilot.press(key)
            await settled(app, pilot)
        await redrawn(app, pilot)
        svg = app.export_screenshot(title="vllm-wizard-tui")
        (FOLDER / f"{shot.name}.svg").write_text(svg, encoding="utf-8")
        strips = app.screen._compositor.render_strips()
        if not draw(strips, shot.size, FOLDER / f"{shot.name}.png"):
            sys.exit("The font DejaVu Sans Mono is not installed; install fonts-dejavu-core for the PNGs.")
    sys.stderr.write(f"screenshots/{shot.name}\n")


def main() -> None:
    """All pictures, in a home of their own."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as home:
        os.environ |= {"HOME": home, "XDG_STATE_HOME": home, "XDG_CACHE_HOME": home, "HF_HOME": home}
        os.chdir(home)
        for shot in SHOTS:
            asyncio.run(take(shot))
    record(FOLDER / "journey.cast")
    sys.stderr.write("screenshots/journey.cast\n")


main()
