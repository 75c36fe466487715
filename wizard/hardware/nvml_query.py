"""Single NVML questions, each of which a card, driver or MIG instance may decline to answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wizard.schemas.outputs import GPUProcess
from wizard.text import printable

MAX_NVLINKS = 18
"""NVML_NVLINK_MAX_LINKS: the most links any GPU has (Hopper, Blackwell)."""


def ask(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of one NVML query, or `None` where this card or driver has none (NOT_SUPPORTED and kin)."""
    try:
        return call(*arguments)
    except (nvml.NVMLError, UnicodeDecodeError):
        return None


def nvlinks(nvml: Any, handle: Any) -> int | None:
    """Active NVLinks; 0 where the card has none, `None` where the driver doesn't tell about any."""
    states = []
    for link in range(MAX_NVLINKS):
        try:
            states.append(nvml.nvmlDeviceGetNvLinkState(handle, link))
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
            break
        except nvml.NVMLError:
            return None
    return sum(1 for state in states if state == nvml.NVML_FEATURE_ENABLED)


def numa_node(nvml: Any, handle: Any, root: Path) -> int | None:
    pci = ask(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    if pci is None:
        return None
    bus = pci.busId if isinstance(pci.busId, str) else pci.busId.decode("ascii", "replace")
    address = bus.lower()[-12:]
    try:
        node = int((root / "sys/bus/pci/devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def processes(nvml: Any, handle: Any) -> tuple[GPUProcess, ...]:
    found: dict[int, GPUProcess] = {}
    for kind in ("Compute", "Graphics"):
        listed = ask(nvml, getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3"), handle)
        if listed is None:  # drivers before 510
            listed = ask(nvml, getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v2"), handle)
        for process in listed or ():
            path = ask(nvml, nvml.nvmlSystemGetProcessName, process.pid) or "?"
            command = printable(path.split(" ")[0]).rsplit("/", 1)[-1] or "?"
            found.setdefault(process.pid, GPUProcess(process.pid, command, process.usedGpuMemory))
    return tuple(found.values())
