"""The GPU of a launch, from whatever its source wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from wizard.errors import HardwareError
from wizard.hardware import catalogue, cuda_total
from wizard.schemas.outputs import GIB, GPUInfo

ALIASES = {"t4g": "T4", "2080ti": "RTX 2080 Ti"}
"""Cards that the catalogue has under another name: the T4G is AWS' Arm host with a T4."""

_PARTITION = re.compile(r"\b(slice|vgpu|mig)\b", re.IGNORECASE)
_CLASS = re.compile(r"\b((?:[A-Za-z]+\d|\d{4}[A-Za-z]+)[\w-]*?)(?=[- ]class|/)")
_IMPLIED_SIZE = re.compile(r"imply (\d+) ?GB", re.IGNORECASE)
_LIKELY = re.compile(r"likely ([\w ]+)")
_CARD = re.compile(
    r"\b(?:RTX|GTX|GeForce|Radeon|RX|R|P|A|H|B|L|V|T|MI|GB|GH|Gaudi)\s?(?:PRO |Ada )?\d{1,4}\w*"
    r"(?: (?:Ti|SUPER|XT|XTX|Ada|Laptop))*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One GPU of the launch; the others are its like."""

    gpu: GPUInfo
    total_logged: bool
    """The CUDA total was read off this launch, not off the catalogue."""


def machine(text: str, total_gib: float | None) -> Machine | None:
    """The card that `text` means, with the logged CUDA total where there is one; `None`: not identified.

    A slice of a card (vGPU, MIG) without a logged total is not identified: its size is anyone's guess.
    """
    found = next(_found(text), None)
    if found is None or (_PARTITION.search(text) and total_gib is None):
        return None
    info = found.info()
    if total_gib is not None:
        return Machine(replace(info, memory_total_bytes=int(total_gib * GIB), estimated_total=False), True)
    if "wsl" in text.lower() and info.nvml_total_bytes is not None:
        total = cuda_total.from_nvml_total(info.nvml_total_bytes, wsl=True)
        return Machine(replace(info, memory_total_bytes=total), False)
    return Machine(info, False)


def _found(text: str) -> Iterator[catalogue.CatalogueGPU]:
    for name in _names(text):
        try:
            yield catalogue.find(ALIASES.get(name.lower(), name))
        except HardwareError:
            continue


def _names(text: str) -> Iterator[str]:
    """Ever looser readings of a note such as `L40S 48GB (g6e.xlarge, 46068 MiB)`."""
    outside = re.sub(r"\([^)]*\)", " ", text).strip(" ,")
    if _CARD.search(outside):
        size = _IMPLIED_SIZE.search(text)
        if size:
            yield f"{outside} {size.group(1)}GB"
        yield text
        yield outside
        yield outside.split(",")[0]
        yield from (match.group(0) for match in _CARD.finditer(outside))
    likely = _LIKELY.search(text)
    if likely:
        yield likely.group(1).strip()
    yield from (match.group(1) for match in _CLASS.finditer(text))
    yield from (word for word in re.findall(r"[\w-]+", text) if word.lower() in ALIASES)
