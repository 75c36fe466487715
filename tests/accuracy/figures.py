"""Medians, percentiles and groups of many judgements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.accuracy.judge import Judgement
from wizard.vllm.versions import parse_version


@dataclass(frozen=True, slots=True)
class Spread:
    """How a set of errors is distributed, all as absolute values but the bias."""

    count: int
    median: float
    p95: float
    largest: float
    bias: float
    """Mean signed error."""


def spread(errors: Iterable[float]) -> Spread | None:
    """The distribution of signed errors; `None` for none."""
    signed = list(errors)
    if not signed:
        return None
    sizes = sorted(map(abs, signed))
    return Spread(
        len(sizes), quantile(sizes, 0.5), quantile(sizes, 0.95), sizes[-1], sum(signed) / len(signed)
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the neighbours, as numpy's default."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


VERSION_BANDS = (
    ((0, 29), "0.29 and later"),
    ((0, 27), "0.27-0.28"),
    ((0, 20), "0.20-0.26"),
    ((0, 17), "0.17-0.19"),
    ((0, 11), "0.11-0.16"),
    ((0, 10), "0.10"),
    ((0, 0), "before 0.10"),
)


def version_band(judgement: Judgement) -> str:
    """The group of versions that share the accounting."""
    number = parse_version(judgement.record.version.number)[:2]
    return next(name for since, name in VERSION_BANDS if number >= since)


def family(judgement: Judgement) -> str:
    metadata = judgement.record.model.metadata
    return metadata.model_type or metadata.architecture


def parallelism(judgement: Judgement) -> str:
    launch = judgement.launch
    parts = [f"TP {launch.tp}"]
    if launch.pp > 1:
        parts.append(f"PP {launch.pp}")
    if launch.dp > 1:
        parts.append(f"DP {launch.dp}")
    return " ".join(parts)


def gpu(judgement: Judgement) -> str:
    return judgement.record.machine.gpu.name


GROUPINGS: dict[str, Callable[[Judgement], str]] = {
    "version": version_band,
    "gpu": gpu,
    "family": family,
    "parallelism": parallelism,
}


@dataclass(frozen=True, slots=True)
class Group:
    """Available KV memory over one group of launches, as a share of the GPU's total."""

    name: str
    spread: Spread
    covered_percent: float


def grouped(judgements: Sequence[Judgement], key: Callable[[Judgement], str]) -> list[Group]:
    """Groups by `key`, largest first."""
    members: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if judgement.kv_percent is not None:
            members[key(judgement)].append(judgement)
    groups = [group(name, found) for name, found in members.items()]
    return sorted((g for g in groups if g), key=lambda g: (-g.spread.count, g.name))


def group(name: str, judgements: Sequence[Judgement]) -> Group | None:
    """One group; `None` where no launch of it logged its KV memory."""
    logged = [j for j in judgements if j.kv is not None]
    total = [
        100 * j.kv.error * (1 << 30) / j.record.machine.gpu.memory_total_bytes
        for j in logged
        if j.kv is not None
    ]
    found = spread(total)
    if found is None:
        return None
    return Group(name, found, 100 * sum(bool(j.covered) for j in logged) / len(logged))
