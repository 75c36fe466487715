"""The planner's prediction for one launch, term by term, beside what the launch logged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.accuracy.records import Record
from wizard.errors import WizardError
from wizard.planning.activations import activation_peak_bytes
from wizard.planning.kv_cache import kv_report
from wizard.planning.launch import Launch, resolve
from wizard.planning.memory import evaluate
from wizard.planning.terms import Terms, terms
from wizard.schemas.outputs import GIB, FeasibilityReport

MEMORY_FAILURES = frozenset({"oom", "free_mem_check", "kv_too_small"})
ROUNDING_GIB = 0.005
"""Logs print two decimals."""
TOKENS_LOGGED_AS = ("kv_tokens", "max_concurrency")


@dataclass(frozen=True, slots=True)
class Term:
    """One predicted and logged figure."""

    name: str
    predicted: float
    logged: float

    @property
    def error(self) -> float:
        return self.predicted - self.logged

    @property
    def percent(self) -> float:
        """Error as a share of the logged figure."""
        return 100 * self.error / self.logged if self.logged else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One launch, judged."""

    record: Record
    launch: Launch
    report: FeasibilityReport
    terms: tuple[Term, ...]
    kv: Term | None
    """Available KV cache memory, GiB."""
    kv_percent: float | None
    """Its error as a share of the GPU's total."""
    covered: bool | None
    """The logged figure lies within the stated band."""
    given: tuple[Term, ...]
    """Tokens and concurrency that the cache's rules make of the *logged* memory."""
    given_equal: tuple[bool, ...]
    """Each equal to the log within the rounding of the logged memory."""

    @property
    def failed_for_memory(self) -> bool:
        return self.record.outcome in MEMORY_FAILURES

    @property
    def started(self) -> bool:
        return self.record.outcome == "started" and self.record.startable

    @property
    def wrong(self) -> str:
        """Which kind of wrong verdict this is; empty for a right one."""
        if self.failed_for_memory and self.report.verdict == "fits":
            return "failed, called fits"
        if self.started and self.report.verdict == "wont_start":
            return "started, called wont_start"
        return ""


def judge(record: Record) -> Judgement | str:
    """The judgement of one launch; a sentence where the planner can't describe the model."""
    version = record.version.number
    gpu = record.machine.gpu
    nvlink = gpu.nvlink_count != 0
    metadata = record.model.metadata
    launch = resolve(record.config, metadata, gpu, version=version, nvlink=nvlink, gpus_per_node=record.gpus)
    try:
        report = evaluate(
            record.config, metadata, [gpu] * max(1, record.gpus), version=version, nvlink=nvlink
        )
        parts = terms(launch)
    except WizardError as error:
        return str(error)
    kv = _kv(record, parts)
    total_gib = gpu.memory_total_bytes / GIB
    given = tuple(_given(record, launch))
    return Judgement(
        record=record,
        launch=launch,
        report=report,
        terms=tuple(_logged_terms(record, launch, parts)),
        kv=kv,
        kv_percent=100 * abs(kv.error) / total_gib if kv else None,
        covered=_covered(parts, kv.logged) if kv else None,
        given=tuple(term for term, _ in given),
        given_equal=tuple(equal for _, equal in given),
    )


def _kv(record: Record, parts: Terms) -> Term | None:
    logged = record.measured("kv_available_gib")
    if logged is None or record.config.kv_cache_memory_bytes is not None:
        return None
    return Term("available KV", parts.kv_available_bytes / GIB, logged)


def _covered(parts: Terms, logged_gib: float) -> bool:
    low, high = parts.kv_low_bytes / GIB, parts.kv_high_bytes / GIB
    return low - ROUNDING_GIB <= logged_gib <= high + ROUNDING_GIB


def _logged_terms(record: Record, launch: Launch, parts: Terms) -> Iterator[Term]:
    """Every term that the log shows by itself, in GiB.

    Since 0.27 the printed peak contains the graph estimate, and "consumed" the weights, the rest of
    torch and what isn't torch's.
    """
    predicted = {
        "weights_gib": parts.weights_bytes,
        "non_torch_gib": parts.non_torch_bytes,
        "activation_gib": parts.activation_peak_bytes,
        "cudagraph_gib": parts.graphs_actual_bytes,
    }
    if launch.rules.consumed_by_free_memory:
        transient = activation_peak_bytes(launch)
        kept = parts.activation_peak_bytes - transient
        predicted["activation_gib"] = transient + parts.graphs_subtracted_bytes
        predicted["consumed_gib"] = parts.weights_bytes + kept + parts.non_torch_bytes
    for name, value in predicted.items():
        logged = record.measured(name)
        if logged is not None and not (name == "cudagraph_gib" and logged <= 0):
            yield Term(name.removesuffix("_gib").replace("_", "-"), value / GIB, logged)


def _given(record: Record, launch: Launch) -> Iterator[tuple[Term, bool]]:
    """Tokens and concurrency from the logged memory, at the ends of its rounding."""
    logged_gib = record.measured("kv_available_gib")
    if logged_gib is None or logged_gib <= 0 or record.outcome not in {"started", "oom"}:
        return
    exact = record.measured("kv_cache_bytes")
    low, high = (
        (int(exact), int(exact))
        if exact
        else (int((logged_gib - ROUNDING_GIB) * GIB), int((logged_gib + ROUNDING_GIB) * GIB))
    )
    reports = [kv_report(launch, size) for size in (low, int(logged_gib * GIB), high)]
    for name in TOKENS_LOGGED_AS:
        logged = record.measured(name)
        if logged is None:
            continue
        figures = [float(r.tokens) if name == "kv_tokens" else r.max_concurrency for r in reports]
        slack = 0.005 if name == "max_concurrency" else 1
        equal = figures[0] - slack <= logged <= figures[2] + slack
        yield Term(name.replace("_", "-"), figures[1], logged), equal
