"""AMD GPUs through `amdsmi`, ROCm's Python binding, where it is installed beside us (it never is by pip)."""

from __future__ import annotations

from typing import Any

from wizard.hardware.amd_json import Card, gfx_of, text_of, version_of
from wizard.schemas.outputs import GPUProcess

XGMI = 2
"""amdsmi link type 2 is XGMI (vLLM 0.33 `platforms/rocm.py` asks for it with one hop)."""


def cards() -> dict[int, Card]:
    """Cards by index; empty where the library can't be loaded or lists none."""
    try:
        import amdsmi
    except (ImportError, OSError, KeyError, AttributeError):
        # without ROCm's shared library the import itself fails, in a way that depends on the release
        return {}
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException:
        return {}
    try:
        handles = _ask(amdsmi, "amdsmi_get_processor_handles") or []
        return {index: _card(amdsmi, handles, index) for index in range(len(handles))}
    finally:
        _ask(amdsmi, "amdsmi_shut_down")


def _ask(amdsmi: Any, name: str, *arguments: Any) -> Any:
    """The answer of one query, or `None` where this card or release has none."""
    call = getattr(amdsmi, name, None)
    try:
        return None if call is None else call(*arguments)
    except amdsmi.AmdSmiException:
        return None


def _card(amdsmi: Any, handles: list[Any], index: int) -> Card:
    handle = handles[index]
    asic = _ask(amdsmi, "amdsmi_get_gpu_asic_info", handle) or {}
    driver = _ask(amdsmi, "amdsmi_get_gpu_driver_info", handle) or {}
    vram, gtt = amdsmi.AmdSmiMemoryType.VRAM, amdsmi.AmdSmiMemoryType.GTT
    numa = _ask(amdsmi, "amdsmi_topo_get_numa_node_number", handle)
    links = {}
    for other, peer in enumerate(handles):
        link = None if other == index else _ask(amdsmi, "amdsmi_topo_get_link_type", handle, peer)
        if link is not None:
            links[other] = "XGMI" if (link.get("type"), link.get("hops")) == (XGMI, 1) else "PCIE"
    return Card(
        index=index,
        name=text_of(asic.get("market_name")),
        gfx=gfx_of(asic.get("target_graphics_version")),
        uuid=text_of(_ask(amdsmi, "amdsmi_get_gpu_device_uuid", handle)),
        vram_bytes=_ask(amdsmi, "amdsmi_get_gpu_memory_total", handle, vram),
        used_bytes=_ask(amdsmi, "amdsmi_get_gpu_memory_usage", handle, vram),
        gtt_bytes=_ask(amdsmi, "amdsmi_get_gpu_memory_total", handle, gtt),
        driver=version_of(driver.get("driver_version")),
        numa_node=numa if isinstance(numa, int) and numa >= 0 else None,
        processes=_processes(amdsmi, handle),
        links=links,
    )


def _processes(amdsmi: Any, handle: Any) -> tuple[GPUProcess, ...]:
    found = []
    for told in _ask(amdsmi, "amdsmi_get_gpu_process_list", handle) or ():
        if not isinstance(told, dict) or not isinstance(told.get("pid"), int):
            continue
        memory = told.get("memory_usage")
        held = memory.get("vram_mem") if isinstance(memory, dict) else None
        name = (text_of(told.get("name")) or "?").rsplit("/", 1)[-1]
        found.append(GPUProcess(told["pid"], name, held if isinstance(held, int) else None))
    return tuple(found)
