"""Which GPUs of one machine reach each other by NVLink, and what that means for tensor parallelism."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.dataclass import dataclass
from wizard.schemas.inputs import Interconnect
from wizard.schemas.outputs import GIB, GPUInfo

Links = tuple[tuple[str, ...], ...]
"""Square matrix in nvidia-smi's words: `X` itself, `NV4` four NVLinks, `PIX` `PXB` `PHB` `NODE` `SYS`
ever further over PCIe, `?` not known."""


@dataclass(frozen=True, slots=True)
class Topology:
    """How the GPUs of a machine are linked; positions are those of `Machine.gpus`."""

    links: Links = ()
    groups: tuple[tuple[int, ...], ...] = ()
    """GPUs that all reach each other by NVLink (xGMI), largest first; a GPU without links is alone."""
    interconnect: Interconnect = Interconnect.UNKNOWN
    """NVLINK only where one group holds every GPU."""


NOTHING_LINKED = Topology()


def linked(link: str) -> bool:
    """Whether a cell of the matrix is NVLink (`NV#`) or AMD's xGMI."""
    return link.startswith("NV") or link == "XGMI"


def groups_of(links: Links) -> tuple[tuple[int, ...], ...]:
    """Cliques of NVLink, greedily from the first GPU: every member reaches every other one directly.

    A clique, not a connected component: two bridged pairs that a third bridge chained would still send
    all-reduce traffic over PCIe.
    """
    left = list(range(len(links)))
    found: list[tuple[int, ...]] = []
    while left:
        group = [left[0]]
        for candidate in left[1:]:
            if all(linked(links[candidate][member]) for member in group):
                group.append(candidate)
        found.append(tuple(group))
        left = [position for position in left if position not in group]
    return tuple(sorted(found, key=len, reverse=True))


def read(links: Links) -> Topology:
    """Groups and the verdict from a matrix of links. One GPU has nothing to reach: UNKNOWN."""
    groups = groups_of(links)
    return Topology(links, groups, _verdict(links, groups))


def _verdict(links: Links, groups: tuple[tuple[int, ...], ...]) -> Interconnect:
    if len(links) < 2:
        return Interconnect.UNKNOWN
    if len(groups) == 1:
        return Interconnect.NVLINK
    unknown = any("?" in row for row in links)
    return Interconnect.UNKNOWN if unknown else Interconnect.PCIE


def subset(topology: Topology, positions: Sequence[int]) -> Topology:
    """The topology of a selection of the GPUs."""
    if not topology.links:
        return Topology()
    rows = tuple(tuple(topology.links[row][column] for column in positions) for row in positions)
    return read(rows)


def best_subset(gpus: Sequence[GPUInfo], count: int) -> tuple[int, ...]:
    """Positions of `count` GPUs to take of more, in their order: alike where enough are, then the most free.

    vLLM splits evenly, so one smaller or fuller GPU costs all of them. What drivers and displays hold
    (less than 1 GiB) decides nothing, so that neighbours stay together. Of fewer than `count` all are taken.
    """
    kinds: dict[tuple[str, float], list[int]] = {}
    for position, gpu in enumerate(gpus):
        kinds.setdefault((gpu.name, round(gpu.memory_total_bytes / GIB, 1)), []).append(position)
    enough = [kind for kind in kinds.values() if len(kind) >= count] or [list(range(len(gpus)))]

    def free(position: int) -> int:
        return gpus[position].memory_total_bytes - gpus[position].memory_used_bytes // GIB * GIB

    taken = [sorted(kind, key=lambda position: (-free(position), position))[:count] for kind in enough]
    best = max(taken, key=lambda kind: min(map(free, kind), default=0))
    return tuple(sorted(best))


def smallest(gpus: Sequence[GPUInfo]) -> tuple[GPUInfo, str | None]:
    """The GPU that decides what fits (least memory left), and a warning where the GPUs differ.

    vLLM gives every rank the same share of the model, so the smallest GPU bounds them all. Raises
    ValueError when there is no GPU.
    """
    least = min(gpus, key=lambda gpu: gpu.memory_total_bytes - gpu.memory_used_bytes)
    kinds = {(gpu.name, round(gpu.memory_total_bytes / GIB, 1)) for gpu in gpus}
    if len(kinds) == 1:
        return least, None
    names = ", ".join(f"{name} ({total:g} GiB)" for name, total in sorted(kinds))
    return least, (
        f"The GPUs differ: {names}. vLLM splits evenly, so the plan is made for the smallest, {least.name}; "
        "set CUDA_DEVICE_ORDER=PCI_BUS_ID (the exported files do), else CUDA may number them otherwise than "
        "nvidia-smi."
    )
