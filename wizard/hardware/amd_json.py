"""What `amd-smi ... --json` and `rocm-smi ... --json` say, whatever their version: pure parsing.

amd-smi prints a list of GPUs through ROCm 6.4 and `{"gpu_data": [...]}` since; figures are numbers or
`{"value": 8176, "unit": "MB"}`; what a card doesn't tell is "N/A". MB means MiB in both tools.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wizard.dataclass import dataclass, field, replace
from wizard.schemas.outputs import GIB, MIB, GPUProcess
from wizard.text import printable

_UNITS = {"B": 1, "KB": 1 << 10, "MB": MIB, "GB": GIB, "KIB": 1 << 10, "MIB": MIB, "GIB": GIB}


@dataclass(frozen=True, slots=True)
class Card:
    """One AMD device as a tool tells it; unknown is `None`."""

    index: int
    name: str | None = None
    gfx: str | None = None
    uuid: str | None = None
    vram_bytes: int | None = None
    used_bytes: int | None = None
    gtt_bytes: int | None = None
    """System memory that the GPU may map: the memory of an APU."""
    driver: str | None = None
    power_limit_w: float | None = None
    pcie_gen: int | None = None
    pcie_width: int | None = None
    numa_node: int | None = None
    processes: tuple[GPUProcess, ...] = ()
    links: dict[int, str] = field(default_factory=dict)
    """Link type to other cards by index: XGMI, PCIE."""


def entries(text: str) -> list[dict[str, Any]]:
    """The GPUs of an amd-smi document in either form; empty where it isn't one."""
    document = _document(text)
    if isinstance(document, dict):
        document = document.get("gpu_data")
    if not isinstance(document, list):
        return []
    return [entry for entry in document if isinstance(entry, dict) and _whole(entry.get("gpu")) is not None]


def _document(text: str) -> Any:
    """The JSON in what a tool printed: warnings may stand before it, and after it; None where there is none.

    A warning may itself hold a bracket ("[WARN] ..."), so each place where JSON could begin is tried.
    """
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^[ \t]*(?=[\[{])", text, re.MULTILINE):
        try:
            found, _ = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) or (
            isinstance(found, list) and any(isinstance(each, dict) for each in found)
        ):
            return found
    return None


def static(text: str) -> dict[int, Card]:
    """Cards by index from `amd-smi static --json`."""
    found = {}
    for entry in entries(text):
        index = int(entry["gpu"])
        node = _whole(_at(entry, "numa", "node"))
        found[index] = Card(
            index=index,
            name=text_of(_at(entry, "asic", "market_name")),
            gfx=gfx_of(_at(entry, "asic", "target_graphics_version")),
            vram_bytes=_bytes(_at(entry, "vram", "size")),
            driver=version_of(_at(entry, "driver", "version") or _at(entry, "driver", "driver_version")),
            power_limit_w=_number(_at(entry, "limit", "max_power")),
            pcie_gen=_generation(_at(entry, "bus", "pcie_interface_version")),
            pcie_width=_whole(_at(entry, "bus", "max_pcie_width")),
            numa_node=node if node is not None and node >= 0 else None,
        )
    return found


def with_metric(cards: dict[int, Card], text: str) -> dict[int, Card]:
    """The cards with the memory of `amd-smi metric --mem-usage --json`."""
    for entry in entries(text):
        card = cards.get(int(entry["gpu"]))
        if card is None:
            continue
        memory = entry.get("mem_usage")
        cards[card.index] = replace(
            card,
            vram_bytes=_bytes(_at(memory, "total_vram")) or card.vram_bytes,
            used_bytes=_bytes(_at(memory, "used_vram")),
            gtt_bytes=_bytes(_at(memory, "total_gtt")),
        )
    return cards


def with_list(cards: dict[int, Card], text: str) -> dict[int, Card]:
    """The cards with the UUIDs of `amd-smi list --json`."""
    for entry in entries(text):
        card = cards.get(int(entry["gpu"]))
        if card is not None:
            cards[card.index] = replace(card, uuid=text_of(entry.get("uuid")))
    return cards


def with_processes(cards: dict[int, Card], text: str) -> dict[int, Card]:
    """The cards with the processes of `amd-smi process --json`; those that hold no memory are left out."""
    for entry in entries(text):
        card = cards.get(int(entry["gpu"]))
        listed = entry.get("process_list")
        if card is None or not isinstance(listed, list):
            continue
        found = []
        for item in listed:
            told = _at(item, "process_info")
            pid = _whole(_at(told, "pid"))
            held = _bytes(_at(told, "memory_usage", "vram_mem"))
            if pid is None or (held is not None and held < MIB):
                continue
            name = (text_of(_at(told, "name")) or "?").rsplit("/", 1)[-1]
            found.append(GPUProcess(pid, name, held))
        cards[card.index] = replace(card, processes=tuple(found))
    return cards


def with_topology(cards: dict[int, Card], text: str) -> dict[int, Card]:
    """The cards with the one-hop links of `amd-smi topology --json`."""
    for entry in entries(text):
        card = cards.get(int(entry["gpu"]))
        listed = entry.get("links")
        if card is None or not isinstance(listed, list):
            continue
        links = {}
        for link in listed:
            other, kind = _whole(_at(link, "gpu")), text_of(_at(link, "link_type"))
            if other is not None and other != card.index and kind is not None:
                near = kind != "XGMI" or _whole(_at(link, "num_hops")) in (None, 1)
                links[other] = kind if near else "PCIE"
        cards[card.index] = replace(card, links=links)
    return cards


def rocm_smi(text: str) -> dict[int, Card]:
    """Cards by index from `rocm-smi --showproductname --showmeminfo vram --showuniqueid --json`."""
    document = _document(text)
    if not isinstance(document, dict):
        return {}
    system = document.get("system")
    found = {}
    for key, card in document.items():
        number = re.fullmatch(r"card(\d{1,3})", key)
        if number is None or not isinstance(card, dict):
            continue
        told = {name.casefold(): value for name, value in card.items()}
        index = int(number.group(1))
        found[index] = Card(
            index=index,
            name=text_of(told.get("card series")) or text_of(told.get("card model")),
            gfx=gfx_of(told.get("gfx version")),
            uuid=text_of(told.get("unique id")),
            vram_bytes=_whole(told.get("vram total memory (b)")),
            used_bytes=_whole(told.get("vram total used memory (b)")),
            driver=version_of(_at(system, "Driver version")),
        )
    return found


def _at(node: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node


def text_of(value: Any) -> str | None:
    if not isinstance(value, str) or value.strip().upper() in ("", "N/A"):
        return None
    return printable(value) or None


def _number(value: Any) -> float | None:
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, int | float) and 0 <= value < 1e18:
        return float(value)
    return None


def _whole(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 1 << 60 else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    return None


def _bytes(value: Any) -> int | None:
    number = _number(value)
    if number is None:
        return None
    unit = value.get("unit") if isinstance(value, dict) else "MB"
    factor = _UNITS.get(unit.upper()) if isinstance(unit, str) else MIB
    return None if factor is None else int(number * factor)


def gfx_of(value: Any) -> str | None:
    found = re.search(r"gfx[0-9a-f]{3,5}", value.casefold()) if isinstance(value, str) else None
    return found.group() if found else None


def version_of(value: Any) -> str | None:
    found = re.search(r"\d+\.\d+(?:\.\d+)*", value) if isinstance(value, str) else None
    return found.group() if found else None


def _generation(value: Any) -> int | None:
    found = re.search(r"\d", value) if isinstance(value, str) else None
    return int(found.group()) if found else None
