"""MIG: one GPU cut into instances, each a device of its own with a share of memory and compute."""

from __future__ import annotations

import re
from typing import Any

from wizard.dataclass import dataclass, replace
from wizard.hardware import cuda_total
from wizard.hardware.nvml_query import ask, processes
from wizard.schemas.outputs import GIB, GPUInfo, GPUProcess
from wizard.text import printable

MIG_COMPUTE_SLICES = 7
MIG_MEMORY_SLICES = 8
"""A GPU divides into 7 compute and 8 memory slices (NVIDIA MIG User Guide)."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device as NVML tells it."""

    uuid: str | None
    name: str
    total_bytes: int
    reserved_bytes: int
    used_bytes: int
    compute_slices: int | None
    processes: tuple[GPUProcess, ...] = ()


def instances(nvml: Any, handle: Any) -> list[MigInstance] | None:
    """The MIG devices of a GPU in NVML's order; `None` when MIG is off or unknown to the card."""
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
        if current != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return None
    found = []
    for number in range(most):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            found.append(_instance(nvml, device))
        except nvml.NVMLError:
            continue
    return found


def _instance(nvml: Any, device: Any) -> MigInstance:
    memory = ask(nvml, nvml.nvmlDeviceGetMemoryInfo, device, nvml.nvmlMemory_v2)
    reserved = 0 if memory is None else int(memory.reserved)
    if memory is None:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    attributes = ask(nvml, nvml.nvmlDeviceGetAttributes, device)
    return MigInstance(
        uuid=ask(nvml, nvml.nvmlDeviceGetUUID, device),
        name=printable(ask(nvml, nvml.nvmlDeviceGetName, device) or ""),
        total_bytes=int(memory.total),
        reserved_bytes=reserved,
        used_bytes=int(memory.used),
        compute_slices=None if attributes is None else int(attributes.gpuInstanceSliceCount),
        processes=processes(nvml, device),
    )


def slice_of(gpu: GPUInfo, instance: MigInstance) -> GPUInfo:
    """The instance as a GPU of its own: memory by NVML, bandwidth and compute by its slices, no NVLink."""
    board = gpu.nvml_total_bytes or gpu.memory_total_bytes
    memory_slices = min(max(round(MIG_MEMORY_SLICES * instance.total_bytes / board), 1), MIG_MEMORY_SLICES)
    compute = (instance.compute_slices or min(memory_slices, MIG_COMPUTE_SLICES)) / MIG_COMPUTE_SLICES
    bandwidth = memory_slices / MIG_MEMORY_SLICES
    total = cuda_total.from_reserved(instance.total_bytes, instance.reserved_bytes)
    return replace(
        gpu,
        uuid=instance.uuid,
        memory_total_bytes=total,
        memory_used_bytes=min(instance.used_bytes, total),
        nvml_total_bytes=instance.total_bytes,
        mig_profile=_profile(instance),
        estimated_total=instance.reserved_bytes == 0,
        nvlink_count=0,
        nvlink_gb_s=None,
        processes=instance.processes,
        bandwidth_gb_s=_share(gpu.bandwidth_gb_s, bandwidth),
        tflops_bf16=_share(gpu.tflops_bf16, compute),
        tflops_fp8=_share(gpu.tflops_fp8, compute),
        tflops_fp4=_share(gpu.tflops_fp4, compute),
        tops_int8=_share(gpu.tops_int8, compute),
        usd_per_hour=_share(gpu.usd_per_hour, bandwidth),
        offers=(),
    )


def _profile(instance: MigInstance) -> str:
    named = re.search(r"\d+g\.\d+gb[\w.+]*", instance.name)
    if named:
        return named.group()
    slices = instance.compute_slices or 1
    return f"{slices}g.{round(instance.total_bytes / GIB)}gb"


def _share(whole: float | None, part: float) -> float | None:
    return None if whole is None else round(whole * part, 1)
