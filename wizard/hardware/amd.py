"""AMD GPUs through ROCm's own tools."""

from __future__ import annotations

from wizard.hardware.accelerators import AMD, Accelerator
from wizard.hardware.readings import NoDevicesError, Reading

NO_TOOL = (
    "An AMD GPU is in this machine, but neither amd-smi nor rocm-smi is; "
    "install ROCm, or choose a GPU with --gpu NAME."
)


def read(present: tuple[Accelerator, ...], timeout_s: float) -> Reading:
    """Every AMD GPU. Raises NoDevicesError when there is none, or no tool that tells."""
    raise NoDevicesError(NO_TOOL if AMD in present else "No AMD GPU.")
