"""The recommended settings: layouts compared by what they would serve, the seed's rules filling in the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wizard.models.metadata import ModelMetadata
from wizard.planning.gates import refusal
from wizard.planning.layouts import Layout, divides_heads, layouts
from wizard.planning.settings import Attempt, first_attempt, with_concessions
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
from wizard.schemas.inputs import BatchingMode, PlanRequest
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
    "generate_recommendations",
    "nvlink_present",
]

AMPLE_LENGTH = 8192
"""Tokens of context that a plan should hold where the user named none, or four of its requests."""

GOALS = {
    BatchingMode.THROUGHPUT: "the most tokens/s",
    BatchingMode.LATENCY: "the fastest answers",
    BatchingMode.BALANCED: "the most tokens/s for the wait",
}
"""What each mode compares plans by."""

SAME_SPEED = 1.03
"""Plans within 3 % of each other are as fast: the plainer one is taken."""

HANDICAPS = {
    "servers": 0.8,
    "engines": 0.97,
    "stages": 0.95,
    "linked stages": 0.6,
    "experts": 0.9,
    "network": 0.6,
}
"""What a plan's merit counts for where it is harder to run: separate servers need a router and split what
prefixes share; stages idle while they wait for each other, and NVLink makes tensor parallelism cheap; experts
over the network of several machines are a project of their own. Chosen, not measured."""

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
        attempts[:FULL_SEARCH] = [with_concessions(of, each) for each in attempts[:FULL_SEARCH]]
    ranked = sorted((_Ranked.of(of, attempt) for attempt in attempts), key=_Ranked.order, reverse=True)
    best = ranked[0]
    config = _explained(of, best, ranked[1:])
    return Choice(best.attempt.layout, config, best.attempt.report, best.performance)


def _refuses_quantization(of: Situation, asked: str) -> bool:
    """vLLM won't quantise this checkpoint so: then its weights have no size."""
    bare = VLLMConfig(model=of.metadata.model, quantization=asked, dtype=of.request.model.dtype.value)
    found = refusal(of.launch(bare))
    return found is not None and any(name == "quantization" for name, _ in found.change)


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
    plain = [each for each in found if not _staged(of, each)]
    if staged:
        chosen = [each for each in found if each not in plain]
        return [each for each in chosen if _weighs(of, each) < of.gpu.memory_total_bytes] if plain else []
    chosen = plain or found
    holding = [each for each in chosen if _weighs(of, each) < of.gpu.memory_total_bytes]
    return holding or sorted(chosen, key=lambda each: _weighs(of, each))[:2]


def _staged(of: Situation, layout: Layout) -> bool:
    """Pipeline stages inside a node, where the user didn't ask for them."""
    hardware = of.request.hardware
    if hardware.pipeline_parallel_size is not None or layout.pipeline_parallel_size == 1:
        return False
    return layout.pipeline_parallel_size != hardware.nodes


def _weighs(of: Situation, layout: Layout) -> int:
    """Bytes of weights per GPU, as stored."""
    config = VLLMConfig(
        model=of.request.model.model,
        tensor_parallel_size=layout.tensor_parallel_size,
        pipeline_parallel_size=layout.pipeline_parallel_size,
        data_parallel_size=layout.data_parallel_size,
        enable_expert_parallel=layout.expert_parallel,
        dtype=of.request.model.dtype.value,
        quantization=of.request.model.quantization,
    )
    return weights_bytes(of.launch(config))


def _settles(of: Situation, attempt: Attempt) -> bool:
    """No layout with stages need be looked at: this one fits, is roomy, leaves no GPU idle, and is linked."""
    total = len(of.gpus) * of.request.hardware.nodes
    idle = attempt.layout.gpus < min(total, of.request.workload.concurrency)
    return attempt.fits and _ample(of, attempt) and not idle and of.nvlink


def _ample(of: Situation, attempt: Attempt) -> bool:
    wanted = min(of.wanted_length, max(AMPLE_LENGTH, 4 * of.needed_length))
    return attempt.report.max_model_len >= wanted


def _closeness(attempt: Attempt) -> tuple[bool, bool, float, int]:
    """Nearer to fitting: more of the request is met, then more room for a cache."""
    return (
        not attempt.refused,
        attempt.reaches,
        attempt.held,
        attempt.report.per_gpu.kv_cache_available_low_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Ranked:
    """An attempt with its forecast and place."""

    attempt: Attempt
    performance: PerfEstimate | None
    order_key: tuple[float, ...]
    merit: float

    def order(self) -> tuple[float, ...]:
        return self.order_key

    @classmethod
    def of(cls, of: Situation, attempt: Attempt) -> _Ranked:
        """Verdict first, then SLOs, precision kept, room, and what the mode asks for; the plainest of equals."""
        layout = attempt.layout
        if not attempt.starts:
            part = attempt.report.per_gpu
            return cls(
                attempt,
                None,
                (0.0, not attempt.refused, part.kv_cache_available_low_bytes, -layout.gpus),
                0.0,
            )
        speed = of.performance(attempt.config, attempt.report, layout)
        merit = _merit(of, speed)
        verdict = 2.0 if attempt.fits else 1.0
        key = (
            verdict,
            attempt.reaches,
            -math.ceil(10 * math.log(slo_miss(of.request, speed))),
            -attempt.quality_given_up,
            _ample(of, attempt),
            round(attempt.held, 1),
            round(math.log(max(merit * _handicap(of, layout), 1e-12)) / math.log(SAME_SPEED)),
            -layout.gpus,
        )
        return cls(attempt, speed, key, merit)


def _handicap(of: Situation, layout: Layout) -> float:
    """1.0 for one engine that shares every layer."""
    found = 1.0
    if layout.replicas > 1:
        found *= HANDICAPS["servers"]
    if layout.pipeline_parallel_size > 1:
        found *= HANDICAPS["linked stages" if of.nvlink and _staged(of, layout) else "stages"]
    if layout.expert_parallel:
        found *= HANDICAPS["experts" if layout.engine_gpus <= len(of.gpus) else "network"]
    elif layout.data_parallel_size > 1:
        found *= HANDICAPS["engines"]
    return found


def _merit(of: Situation, speed: PerfEstimate) -> float:
    """What the mode asks for, larger is better: tokens per second, short answers, or the product of both."""
    workload = of.request.workload
    latency_ms = max(end_to_end_ms(of.request, speed), 1e-6)
    rate = speed.output_tokens_per_s.mid
    return {
        BatchingMode.THROUGHPUT: rate,
        BatchingMode.LATENCY: 1 / latency_ms,
        BatchingMode.BALANCED: rate / latency_ms,
    }[workload.batching_mode]


def end_to_end_ms(request: PlanRequest, speed: PerfEstimate) -> float:
    """From sending a request of the workload to its last token, milliseconds."""
    return speed.ttft_ms.mid + speed.tpot_ms.mid * (request.workload.gen_tokens - 1)


def slo_miss(request: PlanRequest, speed: PerfEstimate) -> float:
    """Expected time over the limit, of the limit missed most; 1.0 where all are kept."""
    asked = (
        (speed.ttft_ms.mid, request.policy.max_ttft_ms),
        (speed.tpot_ms.mid, request.policy.max_tpot_ms),
        (end_to_end_ms(request, speed), request.workload.target_latency_ms),
    )
    return max([1.0, *(expected / limit for expected, limit in asked if limit is not None)])


def _explained(of: Situation, best: _Ranked, others: Sequence[_Ranked]) -> VLLMConfig:
    """The config with the reasons of its layout: what it was compared with, and the seed's rule of thumb."""
    layout, config = best.attempt.layout, best.attempt.config
    why = {"tensor_parallel_size": _why_layout(of, best, others) + _rule_of_thumb(of, layout)}
    if layout.pipeline_parallel_size > 1:
        why["pipeline_parallel_size"] = _why_stages(of, layout)
    if layout.data_parallel_size > 1:
        each = -(-of.request.workload.concurrency // layout.data_parallel_size)
        why["data_parallel_size"] = (
            f"{layout.data_parallel_size} engines behind one address, each with {each:,} of the "
            f"{of.request.workload.concurrency:,} requests at once."
        )
    if layout.expert_parallel:
        why["enable_expert_parallel"] = (
            "Experts stay whole on a GPU and tokens travel to them, so that every engine keeps its own cache."
            if layout.data_parallel_size > 1
            else "Experts stay whole on a GPU: a slice of each on every GPU would be too thin."
        )
    return config.model_copy(update={"explanations": {**why, **config.explanations}})


def _why_layout(of: Situation, best: _Ranked, others: Sequence[_Ranked]) -> str:
    hardware = of.request.hardware
    layout = best.attempt.layout
    if hardware.tensor_parallel_size is not None:
        return f"You chose {layout.tensor_parallel_size}."
    gpus = len(of.gpus) * hardware.nodes
    if gpus == 1:
        return "One GPU needs no sharding."
    words = layout.words[0].upper() + layout.words[1:]
    if layout.gpus < gpus:
        free = gpus - layout.gpus
        words += f" ({free} of {gpus} GPUs {'stays' if free == 1 else 'stay'} free)"
    if not best.attempt.starts:
        return f"{words}: the closest of the ways to spread the model that vLLM takes."
    rivals = [each for each in others if each.order_key[:4] == best.order_key[:4] and each.merit > 0]
    if rivals:
        rival = max(rivals, key=lambda each: each.merit)
        share = rival.merit / best.merit - 1
        other = rival.attempt.layout.words
        if share >= 0.005:
            return f"{words}: {other} would score {share:.0%} higher, too little for the trouble."
        goal = GOALS[of.request.workload.batching_mode]
        behind = f"{-share:.0%} lower" if share <= -0.005 else "as fast"
        return f"{words}: {goal}; next comes {other}, {behind}."
    if others:
        return f"{words}: no other way to spread the model meets as much of the request."
    return f"{words}: the only way to spread the model that vLLM takes here."


def _why_stages(of: Situation, layout: Layout) -> str:
    nodes = of.request.hardware.nodes
    if layout.pipeline_parallel_size == nodes:
        return "One stage a node: stages pass on little, which a network carries."
    if not of.nvlink:
        return "Stages pass on little, which PCIe carries better than tensor parallelism's sums."
    return "Stages hold different layers, so that weights and cache use every GPU."


def _rule_of_thumb(of: Situation, layout: Layout) -> str:
    """The seed's choice of tensor parallel size, where the comparison chose another."""
    hardware = of.request.hardware
    if hardware.tensor_parallel_size is not None or len(of.gpus) == 1:
        return ""
    seed, why = _recommend_tensor_parallel(
        len(of.gpus),
        _weighs(of, Layout(1)),
        of.gpu.memory_total_bytes,
        divides=lambda tp: divides_heads(of.metadata, tp),
    )
    if seed == layout.tensor_parallel_size:
        return ""
    return f" The rule of thumb would be {seed} ({why[0].lower()}{why[1:].rstrip('.')})."


def _capped(gpus: Sequence[GPUInfo], vram_total_bytes: int | None) -> Sequence[GPUInfo]:
    if vram_total_bytes is None:
        return gpus
    each = vram_total_bytes // len(gpus)
    return [replace(gpu, memory_total_bytes=min(gpu.memory_total_bytes, each)) for gpu in gpus]
