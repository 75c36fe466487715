"""NVIDIA GPUs through NVML (`pynvml`): every query may be missing on some card, none may stop the reading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from wizard.dataclass import dataclass, replace
from wizard.hardware import cuda_total
from wizard.hardware.catalogue import CatalogueGPU, match_reported
from wizard.hardware.host import Host, read_host
from wizard.hardware.mig import instances, slice_of
from wizard.hardware.nvml_query import ask, numa_node, nvlinks, processes
from wizard.hardware.readings import NoDevicesError, Reading
from wizard.schemas.outputs import GIB, GPUInfo
from wizard.text import printable

CATALOGUE_TOLERANCE = 0.03
"""NVML totals of one card differ by less between drivers (V100 32510 and 32768 MiB); more is another card."""

SOC = re.compile(r"\b(?:GB10|Thor|Orin|Xavier|Tegra|nvgpu)\b")
"""Names of GPUs on one chip with the processor (DGX Spark, Jetson), also of sizes that the catalogue lacks."""

WHAT_IF = "or plan for another machine with --gpu NAME."


def read(root: Path = Path("/")) -> Reading:
    """Every NVIDIA GPU, MIG instances in place of a partitioned one.

    Raises NoDevicesError with one sentence when there is no driver, a driver that doesn't match its
    library, no permission, or no GPU.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = getattr(error, "value", None) == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
        raise NoDevicesError(_why(pynvml, error), absent=absent) from None
    try:
        return _read(pynvml, root)
    finally:
        ask(pynvml, pynvml.nvmlShutdown)


def _why(nvml: Any, error: Exception) -> str:
    code = getattr(error, "value", None)
    reasons = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "No NVIDIA driver on this machine (libnvidia-ml.so.1 not found); "
        f"install one, in a container pass --gpus all, {WHAT_IF}",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed but not loaded; "
        f"try `sudo modprobe nvidia`, or reboot, {WHAT_IF}",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "The NVIDIA driver was updated while the old one still runs "
        f"(driver/library version mismatch); reboot, {WHAT_IF}",
        nvml.NVML_ERROR_NO_PERMISSION: "The NVIDIA driver refuses this user; "
        f"check the permissions of /dev/nvidia*, {WHAT_IF}",
    }
    return reasons.get(code, f"NVML does not start ({printable(str(error))}); try `nvidia-smi`, {WHAT_IF}")


def _read(nvml: Any, root: Path) -> Reading:
    around = read_host(root)
    count = ask(nvml, nvml.nvmlDeviceGetCount) or 0
    gpus: list[GPUInfo] = []
    handles: list[Any] = []
    warnings: list[str] = []
    driver = ask(nvml, nvml.nvmlSystemGetDriverVersion)
    cuda = _cuda_version(ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2))
    for index in range(count):
        handle = ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            warnings.append(_lost(f"GPU {index}"))
            continue
        gpu, told = _gpu(nvml, handle, index, around, driver, cuda, root)
        slices = None if gpu is None else instances(nvml, handle)
        if told is not None and not slices:
            warnings.append(told)
        if gpu is None:
            continue
        if slices is None:
            gpus.append(gpu)
            handles.append(handle)
            continue
        if not slices:
            warnings.append(
                f"GPU {index} ({gpu.name}) has MIG on and no instance, so nothing can run on it; "
                "create one with `nvidia-smi mig -cgi ... -C`."
            )
        for one in slices:
            gpus.append(slice_of(gpu, one))
            handles.append(None)
    if not gpus:
        raise NoDevicesError(
            warnings[0] if warnings else f"The NVIDIA driver finds no GPU; check `nvidia-smi -L`, {WHAT_IF}"
        )
    left_out = count - len({gpu.index for gpu in gpus})
    return Reading(
        gpus=tuple(gpus),
        links=_links(nvml, handles),
        driver=driver,
        cuda=cuda,
        warnings=tuple(warnings),
        peer_access=_peer_access(nvml, handles),
        devices=len(gpus) + left_out,
    )


def _lost(gpu: str) -> str:
    return f"{gpu} does not answer (lost from the bus?) and is left out; check `dmesg | grep -i xid`."


def _cuda_version(number: int | None) -> str | None:
    """12080 -> 12.8"""
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


@dataclass(frozen=True, slots=True)
class _Memory:
    total_bytes: int
    used_bytes: int
    nvml_total_bytes: int | None
    estimated: bool
    unified: bool


def _memory(nvml: Any, handle: Any, name: str, row: CatalogueGPU | None, around: Host) -> _Memory | None:
    """CUDA's total and what others hold; `None` where nobody tells.

    `used` of the first version of the query contains what the driver reserves, of the second it does not.
    A GPU that shares the system's memory has no figure of its own, /proc has; of any other that declines to
    answer the catalogue knows the size, and nobody what others hold.
    """
    info = ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, getattr(nvml, "nvmlMemory_v2", None))
    reserved = getattr(info, "reserved", None)
    if info is None or not info.total:
        info = ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
        reserved = None
    if info is None or not info.total:
        if _shares_system_memory(name, row) and around.memory_total_bytes is not None:
            available = around.memory_available_bytes
            used = 0 if available is None else around.memory_total_bytes - available
            return _Memory(around.memory_total_bytes, used, None, estimated=False, unified=True)
        if row is None:
            return None
        return _Memory(row.memory_total_bytes, 0, None, estimated=True, unified=row.unified_memory)
    if reserved:
        total = cuda_total.from_reserved(info.total, reserved, wsl=around.wsl)
        return _Memory(total, min(info.used, total), info.total, estimated=False, unified=False)
    if row is not None and not around.wsl and not _contradicts(row, info.total):
        total, estimated = row.memory_total_bytes, row.estimated_total
    else:
        total, estimated = cuda_total.from_nvml_total(info.total, wsl=around.wsl), True
    return _Memory(total, max(total - info.free, 0), info.total, estimated, unified=False)


def _shares_system_memory(name: str, row: CatalogueGPU | None) -> bool:
    return row.unified_memory if row is not None else SOC.search(name) is not None


def _contradicts(row: CatalogueGPU, nvml_total_bytes: int) -> bool:
    if row.nvml_total_bytes is None:
        return False
    return abs(nvml_total_bytes - row.nvml_total_bytes) > CATALOGUE_TOLERANCE * row.nvml_total_bytes


def _gpu(
    nvml: Any, handle: Any, index: int, around: Host, driver: str | None, cuda: str | None, root: Path
) -> tuple[GPUInfo | None, str | None]:
    name = printable(ask(nvml, nvml.nvmlDeviceGetName, handle) or f"NVIDIA GPU {index}")
    try:
        raw_bytes = nvml.nvmlDeviceGetMemoryInfo(handle).total
    except nvml.NVMLError_GpuIsLost:
        return None, _lost(f"GPU {index} ({name})")
    except nvml.NVMLError:
        raw_bytes = None
    row = match_reported(name, raw_bytes or None)
    memory = _memory(nvml, handle, name, row, around)
    if memory is None:
        return None, f"GPU {index} ({name}) does not tell its memory and is left out; plan with --gpu NAME."
    told = None
    if memory.nvml_total_bytes is None and memory.estimated:
        told = (
            f"GPU {index} ({name}) does not tell its memory: the {memory.total_bytes / GIB:.1f} GiB of the "
            "catalogue are taken, and what others hold is not known; check `nvidia-smi`."
        )
    elif (
        row is not None and memory.nvml_total_bytes is not None and _contradicts(row, memory.nvml_total_bytes)
    ):
        told = (
            f"GPU {index} ({name}) has {memory.nvml_total_bytes / GIB:.1f} GiB by NVML where {row.name} "
            f"should have {(row.nvml_total_bytes or 0) / GIB:.1f}; NVML is believed."
        )
    power_mw = ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    ecc = ask(nvml, nvml.nvmlDeviceGetEccMode, handle)
    links = nvlinks(nvml, handle)
    linked = bool(links) or (links is None and row is not None and row.link == "fabric")
    found = replace(
        row.info() if row is not None else GPUInfo(name=name, memory_total_bytes=memory.total_bytes),
        name=name,
        memory_total_bytes=memory.total_bytes,
        compute_capability=_capability(nvml, handle, row),
        memory_used_bytes=memory.used_bytes,
        driver_version=driver,
        cuda_version=cuda,
        index=index,
        uuid=ask(nvml, nvml.nvmlDeviceGetUUID, handle),
        nvml_total_bytes=memory.nvml_total_bytes,
        unified_memory=memory.unified,
        ecc=bool(ecc[0]) if ecc is not None else None,
        power_limit_w=power_mw / 1000 if power_mw is not None else None,
        pcie_gen=ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_width=ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        nvlink_count=links,
        numa_node=numa_node(nvml, handle, root),
        processes=processes(nvml, handle),
        estimated_total=memory.estimated,
        nvlink_gb_s=row.link_gb_s if row is not None and linked else None,
    )
    return found, told


def _capability(nvml: Any, handle: Any, row: CatalogueGPU | None) -> tuple[int, int] | None:
    told = ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    if told is not None:
        return (int(told[0]), int(told[1]))
    return row.compute_capability if row is not None else None


def _links(nvml: Any, handles: list[Any]) -> tuple[tuple[str, ...], ...]:
    """The matrix of `nvidia-smi topo -m`; MIG instances can't reach one another (no P2P), so they say SYS."""
    rows = []
    for at, one in enumerate(handles):
        rows.append(tuple("X" if at == other else _link(nvml, one, two) for other, two in enumerate(handles)))
    return tuple(rows)


P2P_READ = 0
"""NVML_P2P_CAPS_INDEX_READ of nvml.h; pynvml writes it as a tuple by mistake."""


def _peer_access(nvml: Any, handles: list[Any]) -> bool | None:
    """Whether all pairs read each other's memory (drivers of consumer cards forbid it over PCIe)."""
    if len(handles) < 2:
        return None
    if any(handle is None for handle in handles):
        return False
    told = [
        ask(nvml, nvml.nvmlDeviceGetP2PStatus, one, two, P2P_READ)
        for one in handles
        for two in handles
        if one is not two
    ]
    if None in told:
        return None
    return all(status == nvml.NVML_P2P_STATUS_OK for status in told)


def _link(nvml: Any, one: Any, two: Any) -> str:
    if one is None or two is None:
        return "SYS"
    status = ask(nvml, nvml.nvmlDeviceGetP2PStatus, one, two, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
    if status == nvml.NVML_P2P_STATUS_OK:
        return f"NV{nvlinks(nvml, one) or ''}"
    ancestor = ask(nvml, nvml.nvmlDeviceGetTopologyCommonAncestor, one, two)
    return _ANCESTORS.get(ancestor, "?")


_ANCESTORS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t in nvidia-smi's words; 0 is two GPUs on one board."""
