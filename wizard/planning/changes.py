"""Changes to a request, as fixes and alternatives carry them: `(path, value)` pairs, applied together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wizard.dataclass import replace
from wizard.hardware.topology import best_subset
from wizard.schemas.inputs import HardwareInput, Interconnect, PlanRequest
from wizard.schemas.outputs import GIB, GPUInfo, VLLMConfig

Changes = tuple[tuple[str, Any], ...]

OF_ONE_MACHINE = (
    ("device_ids", None),
    ("vram_gb", None),
    ("used_gib", None),
    ("interconnect", Interconnect.UNKNOWN),
    ("price_per_hour", None),
    ("tensor_parallel_size", None),
    ("pipeline_parallel_size", None),
    ("data_parallel_size", None),
)
"""Answers that mean nothing on another machine, and what they are before anybody answers."""


def changed_request(request: PlanRequest, changes: Changes) -> PlanRequest | None:
    """`request` with the changes applied together; None where a value is not allowed."""
    changed = request
    try:
        for path, value in changes:
            changed = changed.with_value(path, value)
    except ValueError:
        return None
    return changed


def changed_gpus(
    gpus: Sequence[GPUInfo], changes: Changes, machines: Sequence[GPUInfo] = ()
) -> Sequence[GPUInfo]:
    """The GPUs of one node after the changes: another card of `machines`, another count.

    More of the GPUs at hand are copies of the last, as `resolve_hardware` plans them.
    """
    values: Mapping[str, Any] = dict(changes)
    chosen = list(gpus)
    if name := values.get("hardware.gpu"):
        chosen = [machine for machine in machines if machine.name == name][:1] or chosen
    used = values.get("hardware.used_gib")
    if used is not None:
        chosen = [replace(gpu, memory_used_bytes=int(used * GIB), processes=()) for gpu in chosen]
    count = values.get("hardware.gpus") or len(chosen)
    if count < len(chosen):
        return [chosen[position] for position in best_subset(chosen, count)]
    return [*chosen, *[chosen[-1]] * (count - len(chosen))]


def machine_changes(hardware: HardwareInput, gpu: str, count: int, nodes: int = 1) -> Changes:
    """To `count` of another card on each node: what was said about the old machine is taken back."""
    reset = tuple(
        (f"hardware.{name}", value) for name, value in OF_ONE_MACHINE if getattr(hardware, name) != value
    )
    several: Changes = (("hardware.nodes", nodes),) if hardware.nodes != nodes else ()
    return (("hardware.gpu", gpu), ("hardware.gpus", count), *several, *reset)


def applied_to_config(config: VLLMConfig, changes: Changes) -> VLLMConfig:
    """A `vllm serve` command with the changes made to its flags; hardware paths are the caller's."""
    fields = {
        path.split(".")[1]: value for path, value in changes if path.split(".")[1] in VLLMConfig.model_fields
    }
    return config.model_copy(update=fields)
