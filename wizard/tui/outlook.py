"""What the panes show: a plan, or the reason why there is none yet; and the words for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import GPUInfo, MemoryBreakdown, Plan, Verdict
from wizard.text import gib, printable
from wizard.tui.lines import Line, Span

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.models.metadata import ModelMetadata


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why there is nothing to show: something is still being read, or could not be."""

    sentence: str
    waiting: bool = False


Outlook = Plan | NoPlan

SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "fits": ("✓", "Fits", "good"),
    "tight": ("!", "Tight", "tight"),
    "wont_start": ("✗", "Won't start", "bad"),
}
"""Sign, word and role of each verdict: three ways to tell them apart."""


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """One use of a GPU's memory, as bar and legend show it."""

    name: str
    glyph: str
    role: str
    size_bytes: int


def memory_parts(memory: MemoryBreakdown) -> list[MemoryPart]:
    """Where one GPU's memory goes, in the order of the bar."""
    return [
        MemoryPart("weights", "█", "weights", memory.weights_bytes),
        MemoryPart("activation peak", "▒", "activation", memory.activation_peak_bytes),
        MemoryPart("CUDA graphs", "▚", "graphs", memory.cuda_graphs_bytes),
        MemoryPart("other", "░", "other", memory.non_torch_bytes),
        MemoryPart("KV cache", "▓", "cache", memory.kv_cache_available_bytes),
        MemoryPart("not used", "·", "unused", memory.unused_bytes),
        MemoryPart("other programs", "╱", "taken", memory.other_processes_bytes),
    ]


def memory_bar(memory: MemoryBreakdown, cells: int) -> Line:
    """One GPU as a bar of `cells`; what exceeds it is drawn as `!` at its end."""
    parts = [part for part in memory_parts(memory) if part.size_bytes > 0]
    if memory.kv_cache_available_bytes < 0:
        lack = -memory.kv_cache_available_bytes
        parts = [part for part in parts if part.name not in {"not used"}]
        parts.append(MemoryPart("missing", "!", "bad", lack))
    shares = shared_cells([part.size_bytes for part in parts], cells)
    return tuple(
        Span(part.glyph * share, part.role) for part, share in zip(parts, shares, strict=True) if share
    )


def shared_cells(sizes: list[int], cells: int) -> list[int]:
    """`cells` divided in proportion to `sizes` (largest remainder), at least one for what is over 0.5 %."""
    total = sum(sizes)
    if total <= 0:
        return [0] * len(sizes)
    exact = [size * cells / total for size in sizes]
    shares = [
        max(int(part), 1 if size / total > 0.005 else 0) for part, size in zip(exact, sizes, strict=True)
    ]
    while sum(shares) < cells:
        at = max(range(len(sizes)), key=lambda index: exact[index] - shares[index])
        shares[at] += 1
    while sum(shares) > cells:
        at = max(range(len(sizes)), key=lambda index: (shares[index] - exact[index], shares[index]))
        shares[at] -= 1
    return shares


def machine_words(gpus: tuple[GPUInfo, ...], nodes: int) -> str:
    """`2 × H100 SXM5 80GB`, and how many machines of that."""
    if not gpus:
        return "no GPU"
    smallest = min(gpus, key=lambda gpu: gpu.memory_total_bytes)
    name = printable(smallest.catalogue_name or smallest.name, 60)
    words = f"{len(gpus)} × {name}"
    return f"{nodes} machines of {words}" if nodes > 1 else words


def request_words(request: PlanRequest) -> str:
    """The model's name without its organisation, for a title."""
    return printable(request.model.model.rstrip("/").rsplit("/", 1)[-1] or request.model.model, 80)


def layout_words(plan: Plan) -> str:
    """How the model is spread: `tp 2`, `tp 4 · pp 2`."""
    config = plan.config
    parts = [f"tp {config.tensor_parallel_size}"]
    if config.pipeline_parallel_size > 1:
        parts.append(f"pp {config.pipeline_parallel_size}")
    if config.data_parallel_size > 1:
        parts.append(f"dp {config.data_parallel_size}")
    if plan.replicas > 1:
        parts.append(f"×{plan.replicas}")
    return " · ".join(parts)


def shortage_words(plan: Plan) -> str:
    """`short 5.1 GiB`, where memory is what is missing."""
    lack = plan.feasibility.headroom_bytes
    if plan.feasibility.verdict == "fits" or lack >= 0:
        return ""
    shown = gib(-lack)
    return f"short {shown} GiB" if shown != "0.0" else ""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a screen may show, as of one moment."""

    request: PlanRequest
    outlook: Outlook
    metadata: ModelMetadata | None = None
    """Facts of the chosen model, once they are read."""
    machine: Machine | None = None
    """What detection found, once it is through."""

    @property
    def plan(self) -> Plan | None:
        """The plan, where there is one."""
        return self.outlook if isinstance(self.outlook, Plan) else None
