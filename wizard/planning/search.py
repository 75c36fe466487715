"""Plans that differ in kind from the recommended one: searched, planned, compared, ranked.

Every variant is a change to the request, planned by the same planner, so that choosing one gives exactly the
plan that was shown. Planning one takes a few milliseconds, a whole search a few dozen of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import changed_gpus, changed_request
from wizard.planning.recommend import Choice, choose, end_to_end_ms, slo_miss
from wizard.planning.situation import Situation, situation
from wizard.planning.tradeoffs import Tradeoff, tradeoff
from wizard.planning.variants import Variant, variants
from wizard.schemas.inputs import BatchingMode, PlanRequest
from wizard.schemas.outputs import Alternative, GPUInfo

MOST = 8
"""As many as the screen's table takes."""

MOST_PLANNED = 48
"""Variants planned at most: a few milliseconds each, in the background."""


@dataclass(frozen=True, slots=True)
class Found:
    """A variant, planned."""

    variant: Variant
    request: PlanRequest
    choice: Choice
    tradeoff: Tradeoff

    @property
    def signature(self) -> tuple[object, ...]:
        """Plans with one signature are one plan to the user."""
        config = self.choice.config
        return (*_settings(self.choice), config.model, self.tradeoff.gpu, config.max_num_seqs)


def alternatives(
    request: PlanRequest,
    of: Situation,
    best: Choice,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo] = (),
    *,
    limit: int = MOST,
) -> tuple[Alternative, ...]:
    """Five to eight plans that differ in kind from `best` and are better at something, best first.

    `request` is as the user gave it, `of` the situation that `best` was chosen in; `siblings` are quantised
    forms of the model by id, `machines` cards that could be had instead.
    """
    found = enumerate_plans(request, of, best, siblings, machines)
    kept: list[Found] = []
    kinds: dict[str, int] = {}
    seen: set[tuple[object, ...]] = {
        (*_settings(best), best.config.model, of.gpu.name, best.config.max_num_seqs)
    }
    for each in rank(found, request):
        kind = each.variant.kind
        if (
            each.signature in seen
            or kinds.get(kind, 0) >= each.variant.most
            or not each.tradeoff.worth_showing
        ):
            continue
        seen.add(each.signature)
        kinds[kind] = kinds.get(kind, 0) + 1
        kept.append(each)
    return tuple(
        Alternative(
            title=each.variant.named(each.choice.config, each.choice.layout),
            config=each.choice.config,
            feasibility=each.choice.report,
            performance=each.choice.performance,
            why=each.tradeoff.words(each.variant.why, each.variant.said),
            request_changes=each.variant.changes,
        )
        for each in kept[:limit]
    )


def enumerate_plans(
    request: PlanRequest,
    of: Situation,
    best: Choice,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo] = (),
) -> Iterator[Found]:
    """Every variant worth planning that starts, with what it gains and costs against `best`."""
    for count, variant in enumerate(variants(of, best, siblings, machines)):
        if count >= MOST_PLANNED:
            return
        changed = changed_request(request, variant.changes)
        if changed is None:
            continue
        metadata = siblings.get(changed.model.model, of.metadata)
        gpus = changed_gpus(of.gpus, variant.changes, machines)
        try:
            other = situation(changed, metadata, gpus, version=of.version)
            choice = choose(other)
        except WizardError:
            continue  # this version lacks a flag that the variant needs, or a sibling can't be sized
        if choice.report.verdict != "wont_start":
            yield Found(variant, changed, choice, tradeoff(of, best, other, choice))


def rank(found: Iterable[Found], request: PlanRequest) -> list[Found]:
    """Best first: what fits, then what keeps the limits, then by what the mode asks for."""
    return sorted(found, key=lambda each: _order(each, request), reverse=True)


def _order(found: Found, request: PlanRequest) -> tuple[float, ...]:
    speed = found.choice.performance
    fits = found.choice.report.verdict == "fits"
    if speed is None:
        return fits, 0.0, 0.0
    latency_ms = max(end_to_end_ms(request, speed), 1e-6)
    rate = speed.output_tokens_per_s.mid
    merit = {
        BatchingMode.THROUGHPUT: rate,
        BatchingMode.LATENCY: 1 / latency_ms,
        BatchingMode.BALANCED: rate / latency_ms,
    }[request.workload.batching_mode]
    return fits, -slo_miss(request, speed), merit


def _settings(choice: Choice) -> tuple[object, ...]:
    config = choice.config
    return (
        choice.layout,
        config.kv_cache_dtype,
        config.quantization,
        config.max_model_len,
        bool(config.enforce_eager),
        config.decode_context_parallel_size,
        str(config.speculative_config),
    )
