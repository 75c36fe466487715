"""What the panes show: a plan, or the reason why there is none yet; and the words for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import MemoryBreakdown, Plan, Verdict
from wizard.tui.lines import Line, Span
from wizard.wording import VERDICTS

if TYPE_CHECKING:
    from wizard.engine import Reach
    from wizard.hardware.detect import Machine
    from wizard.models.metadata import ModelMetadata


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why there is nothing to show: something is still being read, or could not be."""

    sentence: str
    waiting: bool = False


Outlook = Plan | NoPlan

ROLES: Mapping[Verdict, str] = {"fits": "good", "tight": "tight", "wont_start": "bad"}
SIGNS: Mapping[Verdict, tuple[str, str, str]] = {
    verdict: (*words, ROLES[verdict]) for verdict, words in VERDICTS.items()
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
    """One GPU as a bar of `cells`; what is needed beyond vLLM's share of it is drawn as `!`."""
    parts = [part for part in memory_parts(memory) if part.size_bytes > 0]
    if memory.kv_cache_available_bytes >= 0:
        shares = shared_cells([part.size_bytes for part in parts], cells)
        return tuple(Span(part.glyph * share, part.role) for part, share in zip(parts, shares, strict=True))
    needed = [part for part in parts if part.role not in {"unused", "taken"}]
    used = sum(part.size_bytes for part in needed)
    scale = max(memory.total_bytes, used)
    shares = shared_cells([*(part.size_bytes for part in needed), scale - used], cells)
    glyphs = [
        (part.glyph, part.role) for part, share in zip(needed, shares, strict=False) for _ in range(share)
    ]
    allowed = min(round(memory.requested_bytes / scale * cells), len(glyphs) - 1)
    glyphs = [*glyphs[:allowed], *[("!", "bad")] * (len(glyphs) - allowed)]
    return tuple(Span(*glyph) for glyph in [*glyphs, *[("·", "unused")] * (cells - len(glyphs))])


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


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a screen may show, as of one moment."""

    request: PlanRequest
    outlook: Outlook
    metadata: ModelMetadata | None = None
    """Facts of the chosen model, once they are read."""
    machine: Machine | None = None
    """What detection found, once it is through."""
    reach: Sequence[Reach] = ()
    """The plan at other context lengths, as of the last search."""

    @property
    def plan(self) -> Plan | None:
        """The plan, where there is one."""
        return self.outlook if isinstance(self.outlook, Plan) else None
