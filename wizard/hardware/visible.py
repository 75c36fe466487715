"""Which devices CUDA_VISIBLE_DEVICES (ROCm: ROCR_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES) leaves, in its order.

ROCm filters twice: ROCR_VISIBLE_DEVICES hides GPUs from the runtime, and HIP_VISIBLE_DEVICES (else
CUDA_VISIBLE_DEVICES) counts within what is left (ROCm docs, conceptual/gpu-isolation).

CUDA's rules (CUDA C++ Programming Guide, environment variables): a comma list of indices, `GPU-` UUIDs (a
prefix will do) and `MIG-` UUIDs; what follows the first invalid entry is ignored; an empty value hides all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wizard.dataclass import dataclass, replace
from wizard.schemas.outputs import GPUInfo
from wizard.text import printable

FILTERS = {
    "nvidia": (("CUDA_VISIBLE_DEVICES",),),
    "amd": (("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")),
}
"""One after the other; of each the first variable that is set counts."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Positions that stay, and what to say when the variable hides or misses something."""

    positions: tuple[int, ...]
    warning: str | None = None


def select(gpus: Sequence[GPUInfo], vendor: str, env: Mapping[str, str]) -> Selection:
    """The devices that a CUDA or HIP program started here would see."""
    left = Selection(tuple(range(len(gpus))))
    for variables in FILTERS.get(vendor, ()):
        variable = next((name for name in variables if name in env), None)
        if variable is None:
            continue
        within = [gpus[position] for position in left.positions]
        if len(within) < len(gpus):
            within = [replace(gpu, index=number) for number, gpu in enumerate(within)]
        chosen = _listed(within, variable, env[variable])
        told = " ".join(filter(None, (left.warning, chosen.warning))) or None
        left = Selection(tuple(left.positions[position] for position in chosen.positions), told)
        if not left.positions:
            break
    return left


def _listed(gpus: Sequence[GPUInfo], variable: str, value: str) -> Selection:
    entries = [entry.strip() for entry in value.split(",")] if value.strip() else []
    positions: list[int] = []
    for entry in entries:
        position = position_of(gpus, entry)
        if position is None or position in positions:
            told = f'{variable}: no GPU "{printable(entry, 60)}" here, so it and what follows is ignored'
            if not positions:
                told += "; unset it or name a GPU that `nvidia-smi -L` lists"
            return Selection(tuple(positions), told + ".")
        positions.append(position)
    if not positions:
        return Selection(
            (), f"{variable} is set and empty, which hides every GPU; unset it to plan with them."
        )
    return Selection(tuple(positions))


def position_of(gpus: Sequence[GPUInfo], entry: str) -> int | None:
    """Where the device `entry` (index, UUID or a prefix of one) stands; `None` when there is none."""
    if entry.isdecimal():
        number = int(entry)
        return next((at for at, gpu in enumerate(gpus) if gpu.index == number), None)
    if not entry.upper().startswith(("GPU-", "MIG-")):
        return None
    hits = [
        at
        for at, gpu in enumerate(gpus)
        if gpu.uuid is not None and gpu.uuid.lower().startswith(entry.lower())
    ]
    return hits[0] if len(hits) == 1 else None
