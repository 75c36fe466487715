"""The GPU catalogue: what a card can do, under the name people type, NVML reports, or the box says.

Facts are `data/gpus.json` (each row with its source) and `data/prices.json`; read on first use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, cast

from wizard.data import read_text
from wizard.dataclass import dataclass
from wizard.errors import HardwareError
from wizard.hardware import cuda_total, gpu_names
from wizard.schemas.outputs import MIB, GPUInfo

Vendor = Literal["nvidia", "amd", "intel", "other"]


@dataclass(frozen=True, slots=True)
class CatalogueGPU:
    """One row of the catalogue, per device that vLLM sees. Unknown is `None`."""

    name: str
    vendor: Vendor
    arch: str
    klass: str
    """datacenter | workstation | consumer | laptop | edge"""
    memory_gb: float
    """As sold."""
    memory_total_bytes: int
    """CUDA's (HIP's) total on Linux with a recent driver."""
    estimated_total: bool
    """True where that total comes from a rule (`cuda_total`), a sister card or a setting of the machine."""
    nvml_total_bytes: int | None
    compute_capability: tuple[int, int] | None
    bandwidth_gb_s: float | None
    tflops_bf16: float | None
    """Dense, fp32 accumulation; fp16 where the card has no bf16."""
    tflops_fp8: float | None
    tflops_fp4: float | None
    tops_int8: float | None
    link_gb_s: float | None
    """NVLink or xGMI, both directions, whole GPU."""
    link: Literal["fabric", "bridge"] | None
    """`fabric` is always there (SXM, OAM); `bridge` is an optional connector between two cards."""
    pcie_gen: int | None
    tdp_w: float | None
    unified_memory: bool
    ecc: bool | None
    usd_per_hour: float | None
    """Of one GPU, on the instance that sells it cheapest."""
    offers: tuple[tuple[int, float], ...]
    """The cheapest instance of each size: GPUs, and dollars an hour for all of them."""
    priced_on: str | None
    suggested: bool
    """Rented everywhere: worth naming when a plan needs another machine."""
    patterns: tuple[str, ...]
    """Regular expressions of the name that NVML or ROCm reports."""
    aliases: tuple[str, ...]
    source: str
    note: str | None

    def info(self) -> GPUInfo:
        """The card as the planner takes it: idle, fabric links present, bridges not."""
        linked = self.link == "fabric"
        return GPUInfo(
            name=self.name,
            memory_total_bytes=self.memory_total_bytes,
            compute_capability=self.compute_capability,
            catalogue_name=self.name,
            vendor=self.vendor,
            nvml_total_bytes=self.nvml_total_bytes,
            unified_memory=self.unified_memory,
            ecc=self.ecc,
            power_limit_w=self.tdp_w,
            pcie_gen=self.pcie_gen,
            nvlink_count=None if linked else 0,
            estimated_total=self.estimated_total,
            bandwidth_gb_s=self.bandwidth_gb_s,
            tflops_bf16=self.tflops_bf16,
            tflops_fp8=self.tflops_fp8,
            tflops_fp4=self.tflops_fp4,
            tops_int8=self.tops_int8,
            nvlink_gb_s=self.link_gb_s if linked else None,
            klass=self.klass,
            tdp_w=self.tdp_w,
            usd_per_hour=self.usd_per_hour,
            offers=self.offers,
            priced_on=self.priced_on,
            arch=self.arch,
        )


def _total(row: dict[str, Any]) -> tuple[int, bool]:
    if "cuda_mib" in row:
        return row["cuda_mib"] * MIB, bool(row.get("cuda_inferred", False))
    if "nvml_mib" in row:
        return cuda_total.from_nvml_total(row["nvml_mib"] * MIB), True
    unified = row.get("unified", False)
    return cuda_total.from_nominal(
        row["memory_gb"], vendor=row["vendor"], arch=row["arch"], unified=unified
    ), True


def _gpu(row: dict[str, Any], sold: Sequence[dict[str, Any]]) -> CatalogueGPU:
    total, estimated = _total(row)
    capability = row.get("cc")
    return CatalogueGPU(
        name=row["name"],
        vendor=cast(Vendor, row["vendor"]),
        arch=row["arch"],
        klass=row["class"],
        memory_gb=row["memory_gb"],
        memory_total_bytes=total,
        estimated_total=estimated,
        nvml_total_bytes=row["nvml_mib"] * MIB if "nvml_mib" in row else None,
        compute_capability=(capability[0], capability[1]) if capability else None,
        bandwidth_gb_s=row.get("bandwidth_gb_s"),
        tflops_bf16=row.get("tflops_bf16"),
        tflops_fp8=row.get("tflops_fp8"),
        tflops_fp4=row.get("tflops_fp4"),
        tops_int8=row.get("tops_int8"),
        link_gb_s=row.get("link_gb_s"),
        link=row.get("link"),
        pcie_gen=row.get("pcie_gen"),
        tdp_w=row.get("tdp_w"),
        unified_memory=row.get("unified", False),
        ecc=True if row.get("ecc_in_total") else None,
        usd_per_hour=min((float(each["usd_per_gpu_hour"]) for each in sold), default=None),
        offers=_cheapest_of_each_size(sold),
        priced_on=max((each["captured"] for each in sold), default=None),
        suggested=row.get("suggested", False),
        patterns=tuple(row["nvml"]),
        aliases=tuple(row.get("aliases", ())),
        source=row["source"],
        note=row.get("note"),
    )


@lru_cache(maxsize=1)
def gpus() -> tuple[CatalogueGPU, ...]:
    """Every card of the catalogue, families and generations together."""
    rows = json.loads(read_text("gpus.json"))["gpus"]
    sold: dict[str, list[dict[str, Any]]] = {}
    for offer in json.loads(read_text("prices.json"))["offers"]:
        sold.setdefault(offer["gpu"], []).append(offer)
    return tuple(_gpu(row, sold.get(row["name"], ())) for row in rows)


def _cheapest_of_each_size(sold: Sequence[dict[str, Any]]) -> tuple[tuple[int, float], ...]:
    cheapest: dict[int, float] = {}
    for offer in sold:
        price = float(offer["usd_per_gpu_hour"]) * offer["gpus"]
        cheapest[offer["gpus"]] = min(price, cheapest.get(offer["gpus"], price))
    return tuple(sorted((count, round(price, 3)) for count, price in cheapest.items()))


def search(text: str) -> list[CatalogueGPU]:
    """Cards that match what was typed so far, in catalogue order; every card for an empty text."""
    wanted = gpu_names.words(text)
    return [gpu for gpu in gpus() if gpu_names.completes(wanted, _words(gpu))]


@lru_cache(maxsize=1024)
def _words(gpu: CatalogueGPU) -> frozenset[str]:
    return gpu_names.row_words(gpu.name, gpu.aliases, gpu.memory_gb)


def find(name: str) -> CatalogueGPU:
    """The one card that `name` means.

    Raises HardwareError: unknown (with the nearest names), or ambiguous where the candidates differ in
    memory (naming them). Where only the form factor is open (`A100 80GB`), the first listed, SXM, is meant.
    """
    text = name.strip()
    folded = text.casefold()
    for gpu in gpus():
        if folded == gpu.name.casefold() or folded in map(str.casefold, gpu.aliases):
            return gpu
    candidates = _plainest(text, _reported_as(text) or _by_words(text))
    if not candidates:
        raise HardwareError(_unknown(text))
    if len({gpu.memory_gb for gpu in candidates}) > 1:
        raise HardwareError(_ambiguous(text, candidates))
    return candidates[0]


def _reported_as(text: str) -> list[CatalogueGPU]:
    return [
        gpu
        for gpu in gpus()
        if any(gpu_names.may_match(pattern, text) and re.search(pattern, text) for pattern in gpu.patterns)
    ]


def _by_words(text: str) -> list[CatalogueGPU]:
    wanted = gpu_names.words(text)
    if not wanted:
        return []
    likely = [gpu for gpu in gpus() if gpu_names.may_cover(wanted, (gpu.name, *gpu.aliases))]
    exact = [gpu for gpu in likely if gpu_names.covers(wanted, _words(gpu))]
    return exact or [gpu for gpu in gpus() if gpu_names.completes(wanted, _words(gpu))]


def _plainest(text: str, candidates: list[CatalogueGPU]) -> list[CatalogueGPU]:
    """Without the special editions nobody asked for: `4090` is neither the D nor the laptop's.

    An edition with another memory size loses only to a plain card with less: `4060 Ti` stays open between
    16 and 8 GB, `3080` is the 10 GB one, so that nobody plans with memory he may not have.
    """
    if not candidates:
        return []
    wanted = gpu_names.words(text)
    unasked = {gpu.name: gpu_names.unasked_variants(wanted, _words(gpu)) for gpu in candidates}
    fewest = min(unasked.values())
    left = [gpu for gpu in candidates if unasked[gpu.name] == fewest]
    plain = [gpu for gpu in left if not gpu_names.sized(gpu.name)]
    smallest = min(gpu.memory_gb for gpu in left)
    if len(plain) == 1 and plain[0].memory_gb == smallest:
        return plain
    return left


def _ambiguous(text: str, candidates: list[CatalogueGPU]) -> str:
    sizes = _one_per_memory(candidates)
    choices = " or ".join(f'"{gpu.name}" ({gpu.memory_gb:g} GB)' for gpu in sizes[:4])
    more = f", or one of {len(sizes) - 4} other sizes" if len(sizes) > 4 else ""
    return f'"{_shown(text)}" names more than one GPU: write {choices}{more}.'


def _one_per_memory(candidates: list[CatalogueGPU]) -> list[CatalogueGPU]:
    seen: dict[float, CatalogueGPU] = {}
    for gpu in candidates:
        seen.setdefault(gpu.memory_gb, gpu)
    return list(seen.values())


def _shown(text: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= 60 else printable[:57] + "..."


def _unknown(text: str) -> str:
    near = gpu_names.nearest(text, [gpu.name for gpu in gpus()])
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return f'No GPU "{_shown(text)}" in the catalogue{hint} `vllm-wizard-tui gpus` lists them all.'


def get_gpu_by_name(name: str) -> GPUInfo:
    """One idle card of the catalogue as the planner takes it (seed name). Raises HardwareError as `find` does."""
    return find(name).info()


def match_reported(reported: str, total_bytes: int | None = None) -> CatalogueGPU | None:
    """The row of a device by the name that its driver reports, by memory where several sizes share the name.

    Without its memory the smallest is meant, so that nobody plans with what may not be there.
    """
    hits = _reported_as(reported)
    if not hits:
        return None
    if total_bytes is None:
        return min(hits, key=lambda gpu: gpu.memory_total_bytes)
    return min(hits, key=lambda gpu: abs((gpu.nvml_total_bytes or gpu.memory_total_bytes) - total_bytes))
