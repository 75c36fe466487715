"""Error tables: median and 90th percentile of the absolute percentage error, and how often the range holds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.accuracy_perf.records import Run
from wizard.planning.perf_data import FIGURES, band, load, neighbours
from wizard.planning.serving import Served

TARGETS = {"tpot_ms": 0.14, "output_tok_s": 0.19, "ttft_ms": 0.27}
"""Median absolute error to reach on runs that no constant has seen."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure of one run."""

    run: Run
    figure: str
    predicted: float
    low: float
    high: float

    @property
    def measured(self) -> float:
        return self.run.measured[self.figure]

    @property
    def error(self) -> float:
        return abs(self.predicted / self.measured - 1)

    @property
    def covered(self) -> bool:
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True)
class Line:
    """Errors of a slice of the runs."""

    figure: str
    slice: str
    rows: int
    groups: int
    median: float
    p90: float
    group_median: float
    """Median over groups of their medians: what doesn't let one large file decide."""
    coverage: float


def judge(run: Run, predicted: Mapping[str, float], served: Served) -> Iterator[Judged]:
    """Every measured figure of a run beside its forecast and range."""
    gpu = run.gpu.catalogue_name or run.gpu.name
    known = neighbours(gpu, run.metadata.text_type)
    for figure in FIGURES:
        if figure in run.measured:
            low, high = band(
                figure,
                run.family,
                heavy=load_of(served),
                widening=known.widening,
                gpu=gpu,
                model_family=run.metadata.text_type,
            )
            middle = predicted[figure]
            yield Judged(run, figure, middle, middle * low, middle * high)


def load_of(served: Served) -> float:
    """What waits beyond capacity is not told by every kind of traffic: saturated is taken as twice as many."""
    return load(served.running, served.running * (2 if served.saturated else 1))


SLICES: Mapping[str, Callable[[Run], str]] = {
    "gpu": lambda run: run.gpu.name,
    "family": lambda run: run.metadata.text_type,
    "concurrency": lambda run: _concurrency(run),
    "source": lambda run: str(run.raw["source"]),
}


def _concurrency(run: Run) -> str:
    if run.kind != "closed":
        return {"open": "Poisson arrivals", "burst": "all at once", "static": "static batch"}[run.kind]
    for limit in (8, 32, 128):
        if run.concurrency <= limit:
            return f"up to {limit:3d}"
    return "more than 128"


def lines(judged: Sequence[Judged], by: str | None = None) -> list[Line]:
    """One line per figure, or per figure and slice."""
    parts: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for item in judged:
        parts[(item.figure, SLICES[by](item.run) if by else "all")].append(item)
    return [_line(figure, name, items) for (figure, name), items in sorted(parts.items())]


def _line(figure: str, name: str, items: Sequence[Judged]) -> Line:
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for item in items:
        groups[item.run.group].append(item.error)
    errors = sorted(item.error for item in items)
    return Line(
        figure=figure,
        slice=name,
        rows=len(items),
        groups=len(groups),
        median=statistics.median(errors),
        p90=errors[min(len(errors) - 1, int(0.9 * len(errors)))],
        group_median=statistics.median(statistics.median(values) for values in groups.values()),
        coverage=sum(item.covered for item in items) / len(items),
    )


def text(title: str, table: Sequence[Line]) -> str:
    """A table for the terminal."""
    head = f"{'figure':13} {'slice':34} {'rows':>5} {'groups':>6} {'median':>7} {'p90':>7} "
    head += f"{'by group':>8} {'in range':>8}"
    rows = [
        f"{line.figure:13} {line.slice[:34]:34} {line.rows:5d} {line.groups:6d} {line.median:7.1%} {line.p90:7.1%} "
        f"{line.group_median:8.1%} {line.coverage:8.1%}"
        for line in table
    ]
    return "\n".join((title, head, *rows))
