"""The best settings for one layout: the seed's rules, then as little given up as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wizard.dataclass import dataclass, field
from wizard.planning.attempts import RAISED_UTILIZATION, Attempt, attempt, base_config, utilization
from wizard.planning.kv_cache import kv_layout
from wizard.planning.launch import has_fp8, quantization_method
from wizard.planning.layouts import Layout
from wizard.planning.situation import Situation
from wizard.planning.values import (
    CROWDED_SHARE,
    MINIMUM_BATCHED_TOKENS,
    _recommend_kv_cache_dtype,
    _recommend_quantization,
)
from wizard.schemas.outputs import VLLMConfig


def first_attempt(of: Situation, layout: Layout) -> Attempt:
    """What the rules give, with changes that cost the user next to nothing where it doesn't fit so."""
    base = base_config(of, layout)
    first = attempt(of, layout, base, {}, {})
    if first.fits or first.refused or first.too_heavy:
        return first
    best = first
    for step in _free_steps(of, base):
        tried = attempt(of, layout, base, step.changes, step.why)
        if tried.better_than(best):
            best = tried
        if best.fits:
            break
    return best


def with_concessions(of: Situation, first: Attempt) -> Attempt:
    """The least that must be given up, in the order of what it costs: cache precision, graphs, weights.

    Graphs and the precision of weights are given up only for a start, or for the length asked for; users
    who wait in a queue are a lesser evil, and the fixes offer the rest. Room for fewer users is made only
    where nothing starts otherwise: each row of the sampler costs memory.
    """
    if first.fits or first.refused:
        return first
    base = base_config(of, first.layout)
    free = _together(list(_free_steps(of, base)))
    cache, graphs, weights = _cache_step(of, first), _graphs_step(of), _weights_step(of)
    slots = _slot_steps(of, base)
    best = first
    if not first.too_heavy:
        if not first.starts:
            best = _least(of, best, base, [order for each in slots for order in ((each,), (each, free))])
        best = _least(of, best, base, [(cache,), (cache, free)])
        if not best.reaches:
            best = _least(of, best, base, [(graphs,), (graphs, free), (graphs, cache, free)])
    if not best.reaches:
        orders: list[Steps] = [(weights,), (weights, free), (weights, cache, free)]
        best = _least(of, best, base, [*orders, (weights, graphs, cache, free, *slots[-1:])])
    return best


@dataclass(frozen=True, slots=True)
class Step:
    """Values that save memory, and why each is what it is."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


NO_STEP = Step()

Steps = tuple[Step, ...]


def _together(steps: list[Step]) -> Step:
    changes: dict[str, Any] = {}
    why: dict[str, str] = {}
    for step in steps:
        changes |= step.changes
        why |= step.why
    return Step(changes, why)


def _least(of: Situation, best: Attempt, base: VLLMConfig, orders: Sequence[Steps]) -> Attempt:
    """`best`, or the first of the attempts that meets more; the first step of each must be possible at all."""
    for steps in orders:
        if best.fits or not steps[0].changes:
            return best
        step = _together(list(steps))
        tried = attempt(of, best.layout, base, step.changes, step.why)
        if tried.too_heavy:
            return best
        if tried.better_than(best):
            best = tried
    return best


def _free_steps(of: Situation, base: VLLMConfig) -> Iterator[Step]:
    """What costs next to nothing: a larger share of the card, a smaller step, then both."""
    policy = of.request.policy
    found: list[Step] = []
    used = base.gpu_memory_utilization or of.rules.default_gpu_memory_utilization
    shared = of.gpu.klass in {"consumer", "laptop"} or of.gpu.unified_memory
    alone = of.gpu.memory_used_bytes <= of.gpu.memory_total_bytes * CROWDED_SHARE
    if policy.gpu_memory_utilization is None and policy.headroom_gb == 0 and alone:
        raised, _ = utilization(of, base, None if shared else RAISED_UTILIZATION)
        if raised > used:
            why = f"Raised from {used:g}: no other program uses this card, and the cache needs the room."
            found.append(Step({"gpu_memory_utilization": raised}, {"gpu_memory_utilization": why}))
    least = max(MINIMUM_BATCHED_TOKENS, base.max_num_seqs or 1)
    if policy.max_num_batched_tokens is None and (base.max_num_batched_tokens or 0) > least:
        why = "Lowered: a smaller step leaves more memory for the cache."
        found.append(Step({"max_num_batched_tokens": least}, {"max_num_batched_tokens": why}))
    yield from found
    if len(found) > 1:
        yield _together(found)


def _slot_steps(of: Situation, base: VLLMConfig) -> list[Step]:
    """Fewer requests at once, each with its row of logits."""
    if of.request.policy.max_num_seqs is not None:
        return []
    found = []
    for seqs in (256, 64, 16, 4):
        if seqs < (base.max_num_seqs or 0):
            why = f"Lowered from {base.max_num_seqs:,}: every request at once takes memory for its logits."
            found.append(Step({"max_num_seqs": seqs}, {"max_num_seqs": why}))
    return found


def _cache_step(of: Situation, first: Attempt) -> Step:
    """An 8-bit cache, where the policy, the GPU and the checkpoint leave the choice."""
    model, policy = of.request.model, of.request.policy
    dtype, why = _recommend_kv_cache_dtype(
        model.kv_cache_dtype,
        kv_pressure(of, first),
        of.gpu.compute_capability if has_fp8(of.gpu) else None,
        allowed=policy.allow_fp8_kv,
    )
    if dtype is None or model.kv_cache_dtype != "auto" or "kv_cache_dtype" in of.fields:
        return NO_STEP
    if of.launch(first.config).kv_cache_dtype.startswith("fp8"):
        return NO_STEP
    return Step({"kv_cache_dtype": dtype}, {"kv_cache_dtype": why})


def _graphs_step(of: Situation) -> Step:
    if of.request.policy.enforce_eager:
        return NO_STEP
    why = "CUDA graphs are given up for their memory; decoding gets slower."
    return Step({"enforce_eager": True}, {"enforce_eager": why})


def _weights_step(of: Situation) -> Step:
    model, policy = of.request.model, of.request.policy
    quantization, why = _recommend_quantization(
        model.quantization,
        False,
        checkpoint_method=quantization_method(of.metadata.quantization_config),
        capability=of.gpu.compute_capability if has_fp8(of.gpu) else None,
        allowed=policy.allow_quantized,
        rules=of.rules,
    )
    if quantization is None or model.quantization is not None:
        return NO_STEP
    return Step({"quantization": quantization}, {"quantization": why})


def kv_pressure(of: Situation, first: Attempt) -> float:
    """The workload's cache over the memory that a cache may have, per GPU.

    The larger of all requests at once and of one request of the context asked for.
    """
    layout = kv_layout(of.launch(first.config))
    workload = of.request.workload
    each = (workload.prompt_tokens + workload.gen_tokens) * layout.bytes_per_token
    demand = first.wanted * (each + layout.state_bytes_per_request)
    one = first.enough_length * layout.bytes_per_token + layout.state_bytes_per_request
    room = first.report.per_gpu.kv_cache_available_low_bytes
    return max(demand, one) / max(room, 1 << 20)
