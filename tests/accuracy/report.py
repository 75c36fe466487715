"""The report of `make accuracy`: figures that must be reached, tables, the worst ten, and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.accuracy.figures import GROUPINGS, Group, Spread, group, grouped, spread
from tests.accuracy.judge import Judgement
from tests.accuracy.records import Skipped

WORST = 10
KINDS = {"discrete": "NVIDIA discrete", "unified": "unified memory", "rocm": "ROCm"}


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure that must be reached."""

    name: str
    value: float
    bound: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured over one file of launches."""

    judged: tuple[Judgement, ...]
    skipped: tuple[Skipped, ...]
    goals: tuple[Goal, ...] = field(default=())

    @property
    def main(self) -> tuple[Judgement, ...]:
        """The launches that the figures are about: NVIDIA discrete, every deciding fact stated."""
        return tuple(j for j in self.judged if j.record.kind == "discrete" and not j.record.incomplete)


def report(judged: Sequence[Judgement], skipped: Sequence[Skipped]) -> Report:
    """The figures of a set of judgements."""
    found = Report(tuple(judged), tuple(skipped))
    return Report(found.judged, found.skipped, tuple(_goals(found)))


def _goals(found: Report) -> Iterator[Goal]:
    everything = group("all", found.main)
    if everything is not None:
        spread_ = everything.spread
        yield _at_most("available KV, median error, % of the GPU", spread_.median, 0.4)
        yield _at_most("available KV, 95th percentile, % of the GPU", spread_.p95, 2.5)
        yield _between("band coverage, %", everything.covered_percent, 88, 96)
    weights = spread(t.percent for j in found.main for t in j.terms if t.name == "weights")
    if weights is not None:
        yield _at_most("weights against the logs, median error, %", weights.median, 0.3)
        yield _at_most("weights against the logs, 95th percentile, %", weights.p95, 2.0)
    failures = [j for j in found.judged if j.failed_for_memory]
    starts = [j for j in found.judged if j.started]
    if failures:
        yield _at_most("failed for memory, called fits", sum(bool(j.wrong) for j in failures), 0)
    if starts:
        wrong = 100 * sum(bool(j.wrong) for j in starts) / len(starts)
        yield _at_most("started, called wont_start, %", wrong, 2)
    given = [equal for j in found.main for equal in j.given_equal]
    if given:
        share = 100 * sum(given) / len(given)
        yield Goal(
            "KV tokens and concurrency from the logged memory: equal, %", share, "but explained", share >= 97
        )


def _at_most(name: str, value: float, bound: float) -> Goal:
    return Goal(name, value, f"<= {bound:g}", value <= bound)


def _between(name: str, value: float, low: float, high: float) -> Goal:
    return Goal(name, value, f"{low:g}-{high:g}", low <= value <= high)


def lines(found: Report) -> Iterator[str]:
    """The report as text, at most 110 columns wide."""
    yield f"{len(found.judged)} launches judged, {len(found.skipped)} skipped:"
    for reason, count in Counter(skip.reason for skip in found.skipped).most_common():
        yield f"  {count:3d}  {reason}"
    yield ""
    yield "What must be reached (NVIDIA discrete GPUs, deciding facts stated; verdicts: every launch)"
    for goal in found.goals:
        mark = "ok  " if goal.reached else "MISS"
        yield f"  {mark} {goal.name:<62} {goal.value:8.3f}   {goal.bound}"
    yield ""
    yield from _term_lines(found)
    yield from _group_lines(found)
    yield from _verdict_lines(found)
    yield from _given_lines(found)
    yield from _worst_lines(found)


_HEADER = f"{'n':>5} {'median':>8} {'p95':>8} {'max':>8} {'bias':>8}"


def _numbers(spread_: Spread) -> str:
    return f"{spread_.count:5d} {spread_.median:8.3f} {spread_.p95:8.3f} {spread_.largest:8.3f} {spread_.bias:+8.3f}"


def _term_lines(found: Report) -> Iterator[str]:
    yield f"{'Term, GiB (absolute error; NVIDIA discrete)':<52} {_HEADER}"
    names = ("weights", "activation", "non-torch", "cudagraph", "consumed")
    for name in names:
        errors = spread(t.error for j in found.main for t in j.terms if t.name == name)
        if errors is not None:
            yield f"  {name:<50} {_numbers(errors)}"
    errors = spread(j.kv.error for j in found.main if j.kv)
    if errors is not None:
        yield f"  {'available KV':<50} {_numbers(errors)}"
    yield ""


def _group_lines(found: Report) -> Iterator[str]:
    yield f"{'Available KV, % of the GPU':<52} {_HEADER} {'in band':>9}"
    for kind, title in KINDS.items():
        stated = [j for j in found.judged if j.record.kind == kind and not j.record.incomplete]
        vague = [j for j in found.judged if j.record.kind == kind and j.record.incomplete]
        yield from _group_line(group(title, stated))
        yield from _group_line(group(f"{title}, a deciding fact not stated", vague))
    for title, key in GROUPINGS.items():
        yield f"  by {title} (NVIDIA discrete)"
        for one in grouped(found.main, key):
            yield from _group_line(one, indent="    ")
    yield ""


def _group_line(one: Group | None, indent: str = "  ") -> Iterator[str]:
    if one is not None:
        yield f"{indent + one.name:<52} {_numbers(one.spread)} {one.covered_percent:8.1f}%"


def _verdict_lines(found: Report) -> Iterator[str]:
    yield f"{'Verdicts':<30} {'fits':>8} {'tight':>8} {'wont_start':>11}"
    for outcome in sorted({j.record.outcome for j in found.judged}):
        counts = Counter(j.report.verdict for j in found.judged if j.record.outcome == outcome)
        yield f"  {outcome:<28} {counts['fits']:8d} {counts['tight']:8d} {counts['wont_start']:11d}"
    for judgement in found.judged:
        if judgement.wrong:
            cause = judgement.report.cause or ""
            yield f"  wrong: {judgement.wrong}: {judgement.record.id} {cause}"
    yield ""


def _given_lines(found: Report) -> Iterator[str]:
    unequal = [
        (j, term)
        for j in found.judged
        for term, equal in zip(j.given, j.given_equal, strict=True)
        if not equal
    ]
    if not unequal:
        return
    yield "KV tokens and concurrency from the logged memory that differ from the log"
    for judgement, term in unequal:
        note = judgement.record.incomplete or judgement.record.kind
        yield (
            f"  {judgement.record.id[:52]:<52} {term.name:<16} {term.predicted:12.2f} {term.logged:12.2f}"
            f" {term.percent:+8.2f}%  {note}"
        )
    yield ""


def worst(found: Report) -> list[Judgement]:
    """The launches whose KV memory was predicted worst, of every kind."""
    logged = [j for j in found.judged if j.kv_percent is not None]
    return sorted(logged, key=lambda j: -(j.kv_percent or 0))[:WORST]


def _worst_lines(found: Report) -> Iterator[str]:
    yield f"The worst {WORST}: available KV in GiB (predicted, logged), and why"
    for judgement in worst(found):
        kv = judgement.kv
        if kv is not None:
            yield (
                f"  {judgement.kv_percent:6.2f}%  {kv.predicted:7.2f} {kv.logged:7.2f}  "
                f"{judgement.record.id} ({judgement.record.machine.gpu.name}, vLLM {judgement.record.version.number})"
            )
            yield f"           {reason(judgement)}"


def reason(judgement: Judgement) -> str:
    """Why a launch may be off, from what is known about it."""
    record = judgement.record
    causes = [record.incomplete] if record.incomplete else []
    if record.kind != "discrete":
        causes.append(f"{KINDS[record.kind]} is not calibrated")
    if record.raw.get("engine") == "V0":
        causes.append("the V0 engine logs the figure of one rank")
    if judgement.launch.pp > 1:
        causes.append("the log shows the first stage, the plan the fullest")
    if not record.machine.total_logged:
        causes.append("the GPU's total is the catalogue's")
    off = max(judgement.terms, key=lambda term: abs(term.error), default=None)
    if off is not None and abs(off.error) > 0.1:
        causes.append(f"{off.name} {off.predicted:.2f} GiB predicted, {off.logged:.2f} logged")
    elif judgement.kv is not None and judgement.terms:
        causes.append("the terms that were logged agree: what is off wasn't logged")
    return "; ".join(causes) or "no term was logged by itself"


def document(found: Report) -> dict[str, Any]:
    """The same, machine-readable."""
    return {
        "goals": [asdict(goal) for goal in found.goals],
        "groups": {
            title: [asdict(one) for one in grouped(found.main, key)] for title, key in GROUPINGS.items()
        },
        "skipped": [asdict(skip) for skip in found.skipped],
        "launches": [_launch_document(judgement) for judgement in found.judged],
    }


def _launch_document(judgement: Judgement) -> dict[str, Any]:
    record = judgement.record
    per_gpu = judgement.report.per_gpu
    return {
        "id": record.id,
        "model": record.model.name,
        "gpu": record.machine.gpu.name,
        "vllm_version": record.version.number,
        "version_basis": record.version.basis,
        "kind": record.kind,
        "incomplete": record.incomplete,
        "outcome": record.outcome,
        "verdict": judgement.report.verdict,
        "cause": judgement.report.cause,
        "wrong": judgement.wrong,
        "kv_available_gib": asdict(judgement.kv) if judgement.kv else None,
        "kv_low_gib": per_gpu.kv_cache_available_low_bytes / (1 << 30),
        "kv_high_gib": per_gpu.kv_cache_available_high_bytes / (1 << 30),
        "kv_error_percent_of_gpu": judgement.kv_percent,
        "in_band": judgement.covered,
        "terms": [asdict(term) for term in judgement.terms],
        "given_logged_memory": [
            asdict(term) | {"equal": equal}
            for term, equal in zip(judgement.given, judgement.given_equal, strict=True)
        ],
        "reason": reason(judgement),
    }
