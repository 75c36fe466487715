"""From the hardware part of a request to the GPUs of one node: detected ones, or a what-if machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wizard.dataclass import replace
from wizard.errors import HardwareError
from wizard.hardware.catalogue import find, gpus
from wizard.schemas.inputs import HardwareInput, Interconnect
from wizard.schemas.outputs import GIB, GPUInfo
from wizard.text import printable

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine

AUTO = "auto"
PLANNED_VENDORS = ("nvidia", "amd")


def resolve_hardware(
    hardware: HardwareInput, *, detector: Callable[[], Machine] | None = None
) -> list[GPUInfo]:
    """The GPUs of one node that the request means, with its overrides applied.

    Raises HardwareError in one sentence: nothing detected, too few GPUs, no such device, or a GPU name
    that the catalogue doesn't have.
    """
    if hardware.gpu.casefold() != AUTO:
        return what_if(hardware)
    if detector is None:
        from wizard.hardware.detect import detect

        detector = detect
    machine = detector()
    if not machine.gpus:
        raise HardwareError(
            machine.why_none or "No GPU was found on this machine; choose one with --gpu NAME."
        )
    from wizard.hardware import topology

    positions = _chosen(machine.gpus, hardware)
    links = topology.subset(machine.topology, positions)
    chosen = [_overridden(machine.gpus[position], hardware) for position in positions]
    linked = hardware.interconnect
    if linked is Interconnect.UNKNOWN:
        linked = links.interconnect
    return [_linked(gpu, linked) for gpu in chosen]


def what_if(hardware: HardwareInput) -> list[GPUInfo]:
    """A machine from the catalogue: `gpus` (default 1) of one card, with memory and interconnect overridden.

    Without an override, cards on a fabric (SXM, OAM) are linked and bridgeable ones are not. Raises
    HardwareError for an unknown, ambiguous or not yet planned name.
    """
    row = find(hardware.gpu)
    if row.vendor not in PLANNED_VENDORS:
        raise HardwareError(
            f"{row.name} is not planned yet, only NVIDIA and AMD GPUs are; choose another --gpu."
        )
    one = _overridden(row.info(), hardware)
    linked = hardware.interconnect
    if linked is Interconnect.NVLINK:
        one = replace(one, nvlink_count=one.nvlink_count or None, nvlink_gb_s=row.link_gb_s)
    one = _linked(one, linked)
    return [one] * (hardware.gpus or 1)


def canonical(gpu: str) -> str:
    """The catalogue's own name of the card that `gpu` means; `auto` stays. Raises HardwareError for none."""
    return AUTO if gpu.casefold() == AUTO else find(gpu).name


def machines() -> tuple[GPUInfo, ...]:
    """GPUs of the catalogue worth naming when nothing on this machine works, the small ones first.

    `planning.prices` puts whole machines of them into the order of what they cost.
    """
    named = [row.info() for row in gpus() if row.suggested]
    return tuple(sorted(named, key=lambda gpu: gpu.usd_per_hour or gpu.vram_gib / 20))


def _joinable(found: Sequence[GPUInfo]) -> list[int]:
    """Without a choice: all whole GPUs; among MIG instances, which can't be joined, the one with most room."""
    whole = [position for position, gpu in enumerate(found) if gpu.mig_profile is None]
    if whole or not found:
        return whole
    room = [gpu.memory_total_bytes - gpu.memory_used_bytes for gpu in found]
    return [room.index(max(room))]


def _chosen(found: Sequence[GPUInfo], hardware: HardwareInput) -> list[int]:
    positions = _joinable(found)
    if hardware.device_ids is not None:
        from wizard.hardware import visible

        positions = []
        for entry in hardware.device_ids:
            position = visible.position_of(found, entry.strip())
            if position is None:
                listed = ", ".join(gpu.device_id or str(gpu.index) for gpu in found)
                raise HardwareError(
                    f'There is no GPU "{printable(entry, 60)}" on this machine; it has {listed}: choose from these.'
                )
            if position not in positions:
                positions.append(position)
        if not positions:
            raise HardwareError("No GPU is selected; tick at least one.")
    wanted = hardware.gpus
    if max(len(positions), wanted or 1) > 1 and any(found[position].mig_profile for position in positions):
        raise HardwareError("A MIG instance serves alone, NCCL joins none of them; choose a single one.")
    if wanted is None or wanted == len(positions):
        return positions
    if wanted > len(positions):
        if len({found[position].name for position in positions}) > 1:
            raise HardwareError(
                f"This machine has {len(positions)} GPUs, not {wanted}; "
                "name one card with --gpu NAME to plan for more of it."
            )
        # "use mine, but more of them": the last one stands in for those that aren't there
        return positions + [positions[-1]] * (wanted - len(positions))
    if hardware.device_ids is not None:
        return positions[:wanted]
    from wizard.hardware import topology  # a what-if machine has none

    best = topology.best_subset([found[position] for position in positions], wanted)
    return [positions[at] for at in best]


def _overridden(gpu: GPUInfo, hardware: HardwareInput) -> GPUInfo:
    total = gpu.memory_total_bytes
    used = gpu.memory_used_bytes
    estimated = gpu.estimated_total
    if hardware.vram_gb is not None:
        total, estimated = int(hardware.vram_gb * GIB), False
    if hardware.used_gib is not None:
        used = int(hardware.used_gib * GIB)
    if used > total:
        raise HardwareError(
            f"{used / GIB:.1f} GiB in use is more than the {total / GIB:.1f} GiB of {gpu.name}; "
            "lower --gpu-used-gib or raise --gpu-memory-gib."
        )
    if hardware.price_per_hour is not None:
        gpu = replace(gpu, usd_per_hour=hardware.price_per_hour, offers=(), priced_on=None)
    return replace(gpu, memory_total_bytes=total, memory_used_bytes=used, estimated_total=estimated)


def _linked(gpu: GPUInfo, interconnect: Interconnect) -> GPUInfo:
    """Without a link of all GPUs the planner must not count on NVLink's bandwidth."""
    if interconnect is Interconnect.PCIE:
        return replace(gpu, nvlink_count=0, nvlink_gb_s=None)
    return gpu
