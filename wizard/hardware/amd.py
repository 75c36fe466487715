"""AMD GPUs: ROCm's Python library when it is installed, else `amd-smi`, else `rocm-smi`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wizard.dataclass import replace
from wizard.hardware import amd_json
from wizard.hardware.accelerators import AMD, Accelerator
from wizard.hardware.amd_json import Card
from wizard.hardware.catalogue import CatalogueGPU, match_reported
from wizard.hardware.readings import NoDevicesError, Reading
from wizard.hardware.topology import Links
from wizard.schemas.outputs import GIB, GPUInfo

NO_TOOL = (
    "An AMD GPU is in this machine, but neither amd-smi nor rocm-smi is; "
    "install ROCm, or choose a GPU with --gpu NAME."
)
NO_ANSWER = (
    "AMD's tools list no GPU that can be planned; check `amd-smi list`, or choose a GPU with --gpu NAME."
)

INTEGRATED_BYTES = 4 * GIB
"""A GPU with less memory and no row in the catalogue is a processor's graphics (Ryzen: 0.5 to 2 GiB)."""

AMD_SMI_QUERIES = {
    "static": ("static", "--json"),
    "metric": ("metric", "--mem-usage", "--json"),
    "list": ("list", "--json"),
    "process": ("process", "--json"),
    "topology": ("topology", "--json"),
}
ROCM_SMI_QUERY = (
    "--showproductname",
    "--showmeminfo",
    "vram",
    "--showuniqueid",
    "--showdriverversion",
    "--json",
)


def read(
    present: Sequence[Accelerator],
    timeout_s: float,
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
) -> Reading:
    """Every AMD GPU that can be planned. Raises NoDevicesError when there is none, or no tool that tells."""
    env = os.environ if environment is None else environment
    deadline = time.monotonic() + 0.8 * timeout_s  # what did answer is kept before the caller gives up
    cards = _from_library() or _from_amd_smi(env, root, deadline) or _from_rocm_smi(env, root, deadline)
    if not cards:
        raise NoDevicesError(NO_TOOL if AMD in present else "No AMD GPU.")
    gpus: list[GPUInfo] = []
    kept: list[Card] = []
    warnings: list[str] = []
    rocm = _rocm_version(root)
    for card in (cards[index] for index in sorted(cards)):
        gpu = _gpu(card, rocm)
        if gpu is None:
            warnings.append(
                f"GPU {card.index} ({card.name or 'AMD graphics'}) is integrated graphics or tells no memory "
                "and is left out; hide it from vLLM with HIP_VISIBLE_DEVICES."
            )
            continue
        gpus.append(gpu)
        kept.append(card)
    if not gpus:
        raise NoDevicesError(NO_ANSWER)
    return Reading(tuple(gpus), _links(kept), kept[0].driver, rocm, tuple(warnings), devices=len(cards))


def _gpu(card: Card, rocm: str | None) -> GPUInfo | None:
    row = match_reported(card.name, card.vram_bytes) if card.name else None
    total, estimated = card.vram_bytes, False
    if row is not None and row.unified_memory:
        # an APU's GPU allocates from the larger of carve-out and GTT; which one is a setting
        total, estimated = max(card.vram_bytes or 0, card.gtt_bytes or 0), True
    if not total or (row is None and total < INTEGRATED_BYTES):
        return None
    name = card.name or f"AMD GPU {card.index}"
    return replace(
        row.info() if row else GPUInfo(name=name, memory_total_bytes=total, vendor="amd"),
        name=name,
        memory_total_bytes=total,
        compute_capability=_capability(card.gfx, row),
        memory_used_bytes=min(card.used_bytes or 0, total),
        driver_version=card.driver,
        cuda_version=rocm,
        index=card.index,
        uuid=card.uuid,
        power_limit_w=card.power_limit_w,
        pcie_gen=card.pcie_gen,
        pcie_width=card.pcie_width,
        nvlink_count=sum(1 for kind in card.links.values() if kind == "XGMI") if card.links else None,
        numa_node=card.numa_node,
        processes=card.processes,
        estimated_total=estimated,
        nvlink_gb_s=row.link_gb_s if row and _linked(card, row) else None,
    )


def _linked(card: Card, row: CatalogueGPU) -> bool:
    if card.links:
        return "XGMI" in card.links.values()
    return row.link == "fabric"


def _capability(gfx: str | None, row: CatalogueGPU | None) -> tuple[int, int] | None:
    """gfx942 -> (9, 4), gfx1201 -> (12, 0): what torch reports as the device's capability."""
    parts = re.fullmatch(r"gfx(\d{1,2})(\d)[0-9a-f]", gfx or "")
    if parts:
        return (int(parts.group(1)), int(parts.group(2)))
    return row.compute_capability if row else None


def _links(cards: Sequence[Card]) -> Links:
    return tuple(
        tuple("X" if one is two else one.links.get(two.index, "?") for two in cards) for one in cards
    )


def _rocm_version(root: Path) -> str | None:
    try:
        told = (root / "opt/rocm/.info/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.match(r"\d+\.\d+(?:\.\d+)?", told.strip())
    return found.group() if found else None


def _from_library() -> dict[int, Card]:
    if importlib.util.find_spec("amdsmi") is None:
        return {}
    from wizard.hardware import amd_library

    return amd_library.cards()


def _tool(name: str, env: Mapping[str, str], root: Path) -> str | None:
    places = [env.get("PATH", ""), str(root / "opt/rocm/bin")]
    return shutil.which(name, path=os.pathsep.join(place for place in places if place))


def _run(commands: Mapping[str, Sequence[str]], deadline: float) -> dict[str, str]:
    """What each command printed, all started at once; "" for one that failed or was too late."""
    started: dict[str, subprocess.Popen[str]] = {}
    for key, command in commands.items():
        try:
            started[key] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                errors="replace",
            )
        except OSError:
            continue
    printed = {}
    for key, process in started.items():
        with process:
            try:
                text, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                process.kill()
                text = ""
        printed[key] = text
    return printed


def _from_amd_smi(env: Mapping[str, str], root: Path, deadline: float) -> dict[int, Card]:
    tool = _tool("amd-smi", env, root)
    if tool is None:
        return {}
    said = _run({key: (tool, *query) for key, query in AMD_SMI_QUERIES.items()}, deadline)
    cards = amd_json.static(said.get("static", ""))
    cards = amd_json.with_metric(cards, said.get("metric", ""))
    cards = amd_json.with_list(cards, said.get("list", ""))
    cards = amd_json.with_processes(cards, said.get("process", ""))
    return amd_json.with_topology(cards, said.get("topology", ""))


def _from_rocm_smi(env: Mapping[str, str], root: Path, deadline: float) -> dict[int, Card]:
    tool = _tool("rocm-smi", env, root)
    if tool is None:
        return {}
    return amd_json.rocm_smi(_run({"all": (tool, *ROCM_SMI_QUERY)}, deadline).get("all", ""))
