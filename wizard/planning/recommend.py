"""The recommended settings: layouts compared by what they would serve, the seed's rules filling in the rest."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.dataclass import dataclass, replace
from wizard.errors import ConfigError
from wizard.models.metadata import ModelMetadata
from wizard.planning.attempts import Attempt
from wizard.planning.gates import refusal
from wizard.planning.layouts import Layout, layouts
from wizard.planning.ranking import ample, end_to_end_ms, keeps_limits, ranked, slo_miss
from wizard.planning.reasons import explained
from wizard.planning.settings import first_attempt, for_limits, with_concessions
from wizard.planning.situation import Situation, nvlink_present, situation
from wizard.planning.terms import weights_bytes
from wizard.planning.values import (
    _recommend_gpu_memory_utilization,
    _recommend_kv_cache_dtype,
    _recommend_max_batched_tokens,
    _recommend_max_model_len,
    _recommend_max_num_seqs,
    _recommend_quantization,
    _recommend_tensor_parallel,
)
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import FeasibilityReport, GPUInfo, PerfEstimate, VLLMConfig

__all__ = [
    "Choice",
    "_recommend_gpu_memory_utilization",
    "_recommend_kv_cache_dtype",
    "_recommend_max_batched_tokens",
    "_recommend_max_model_len",
    "_recommend_max_num_seqs",
    "_recommend_quantization",
    "_recommend_tensor_parallel",
    "choose",
    "end_to_end_ms",
    "generate_recommendations",
    "nvlink_present",
    "slo_miss",
]

FULL_SEARCH = 3
"""Layouts for which concessions are tried where none fits as it is: those with most room for a cache."""


def generate_recommendations(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    vram_total_bytes: int | None = None,
    *,
    version: str | None = None,
) -> VLLMConfig:
    """The recommended settings for `request` on `gpus` (those of one node), each explained.

    `vram_total_bytes` is kept from the seed, which pooled the memory of all GPUs; vLLM never pools, so
    every figure here is per GPU and the argument only caps them (total / number of GPUs).
    Where nothing starts, the plan that comes closest is returned and its verdict says what is short.
    """
    return choose(situation(request, metadata, _capped(gpus, vram_total_bytes), version=version)).config


@dataclass(frozen=True, slots=True)
class Choice:
    """The layout and settings that serve a request best, with verdict and forecast."""

    layout: Layout
    config: VLLMConfig
    report: FeasibilityReport
    performance: PerfEstimate | None
    """None where it won't start."""


def choose(of: Situation) -> Choice:
    """Every layout worth a look, judged; concessions only where none fits as it is."""
    asked = of.request.model.quantization
    if asked is not None and _refuses_quantization(of, asked):
        plain = choose(replace(of, request=of.request.with_value("model.quantization", None)))
        config = plain.config.model_copy(update={"quantization": asked})
        return Choice(plain.layout, config, of.report(config, plain.layout), None)
    attempts = [first_attempt(of, layout) for layout in _candidates(of)]
    if not any(_settles(of, attempt) for attempt in attempts):
        attempts += [first_attempt(of, layout) for layout in _candidates(of, staged=True)]
    if not any(attempt.fits for attempt in attempts):
        attempts.sort(key=_closeness, reverse=True)
        nearest = attempts[:FULL_SEARCH]
        attempts[:FULL_SEARCH] = [with_concessions(of, each) for each in nearest]
        if not any(attempt.starts for attempt in attempts):
            risky = replace(of, takes_risks=True)  # what may start comes before what surely doesn't
            attempts += [with_concessions(risky, first_attempt(risky, each.layout)) for each in nearest]
    places = ranked(of, attempts)
    if places[0].misses_limit:
        near = [each.attempt for each in places[:FULL_SEARCH] if each.attempt.starts]
        tried = [other for each in near for other in for_limits(of, each, lambda one: keeps_limits(of, one))]
        places = ranked(of, [*attempts, *tried])
    best, *others = places
    config = explained(of, best, others)
    return Choice(best.attempt.layout, config, best.attempt.report, best.performance)


def _refuses_quantization(of: Situation, asked: str) -> bool:
    """vLLM won't quantise this checkpoint so: then its weights have no size."""
    bare = VLLMConfig(model=of.metadata.model, quantization=asked, dtype=of.request.model.dtype.value)
    found = refusal(of.launch(bare))
    if found is not None and any(name == "quantization" for name, _ in found.change):
        return True
    try:
        weights_bytes(of.launch(bare))
    except ConfigError:
        return True
    return False


def _candidates(of: Situation, *, staged: bool = False) -> list[Layout]:
    """Layouts that could hold the weights; those that can't stand in where none can.

    `staged`: the pipeline stages within a node, which only serve where tensor parallelism falls short.
    """
    hardware = of.request.hardware
    forced = of.fields.get("enable_expert_parallel")
    found = layouts(
        of.metadata,
        len(of.gpus),
        hardware,
        expert_parallel=forced if isinstance(forced, bool) else None,
        engines=of.request.workload.concurrency,
    )
    if not found:
        pp, dp = hardware.pipeline_parallel_size or 1, hardware.data_parallel_size or 1
        found = [Layout(hardware.tensor_parallel_size or 1, pp, dp)]
    plain = [each for each in found if not of.staged(each)]
    if staged:
        chosen = [each for each in found if each not in plain]
        return [each for each in chosen if of.weighs(each) < of.gpu.memory_total_bytes] if plain else []
    chosen = plain or found
    holding = [each for each in chosen if of.weighs(each) < of.gpu.memory_total_bytes]
    return holding or sorted(chosen, key=lambda each: of.weighs(each))[:2]


def _settles(of: Situation, attempt: Attempt) -> bool:
    """No layout with stages need be looked at: this one fits, is roomy, leaves no GPU idle, and is linked."""
    total = len(of.gpus) * of.request.hardware.nodes
    idle = attempt.layout.gpus < min(total, of.request.workload.concurrency)
    return attempt.fits and ample(of, attempt) and not idle and of.nvlink


def _closeness(attempt: Attempt) -> tuple[bool, bool, float, int]:
    """Nearer to fitting: more of the request is met, then more room for a cache."""
    return (
        not attempt.refused,
        attempt.reaches,
        attempt.held,
        attempt.report.per_gpu.kv_cache_available_low_bytes,
    )


def _capped(gpus: Sequence[GPUInfo], vram_total_bytes: int | None) -> Sequence[GPUInfo]:
    if vram_total_bytes is None:
        return gpus
    each = vram_total_bytes // len(gpus)
    return [replace(gpu, memory_total_bytes=min(gpu.memory_total_bytes, each)) for gpu in gpus]
