"""The best settings for one layout: the seed's rules, then as little given up as it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wizard.dataclass import dataclass, field
from wizard.planning.attempts import CHEAP, RAISED_UTILIZATION, Attempt, attempt, base_config, utilization
from wizard.planning.kv_cache import kv_layout
from wizard.planning.launch import has_fp8, quantization_method, rounds_weights
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

    Graphs are given up only for a start, or for the length asked for, and the precision of weights also where that
    lets many more of the users in: a few who wait in a queue are a lesser evil, and the fixes offer the rest.
    Room for fewer users is made only where nothing starts otherwise: each row of the sampler costs memory.
    """
    if first.fits or first.refused:
        return first
    base = base_config(of, first.layout)
    free = _together(list(_free_steps(of, base))[-1:])
    cache, graphs, weights = _cache_step(of, first), _graphs_step(of), _weights_step(of)
    slots = _slot_steps(of, base)
    best = first
    if not first.too_heavy:
        if not first.starts:
            best = _least(of, best, base, [order for each in slots for order in ((each,), (each, free))])
        best = _least(of, best, base, [(cache,), (cache, free)])
        if not best.reaches:
            best = _least(of, best, base, [(graphs,), (graphs, free), (graphs, cache, free)])
    if best.reaches and not best.fits and not best.given_up - CHEAP:
        lighter = _least(of, best, base, [(weights,), (weights, free), (weights, cache, free)])
        if lighter.held >= MANY_MORE * best.held:
            best = lighter
    if not best.reaches:
        orders: list[Steps] = [(weights,), (weights, free), (weights, cache, free)]
        best = _least(of, best, base, [*orders, (weights, graphs, cache, free, *slots[-1:])])
    return best


STEP_TOKENS = (4096, 2048, 1024, 512)
"""Tokens per step to try where a limit on the time per token is missed: less of each step goes to others' prompts."""


def for_limits(of: Situation, found: Attempt, keeps: Callable[[Attempt], bool]) -> Iterator[Attempt]:
    """The same layout with what may bring it under a limit on time: smaller steps, then 8-bit weights or cache.

    Ends with the first that `keeps` all limits. What gives up precision without keeping them is left out.
    """
    base = base_config(of, found.layout)
    given = {name: getattr(found.config, name) for name in found.given_up}
    kept = Step(given, {name: found.config.explanations.get(name, "") for name in given})
    tokens = [NO_STEP]
    if of.request.policy.max_num_batched_tokens is None:
        now = found.config.max_num_batched_tokens or 0
        why = f"Lowered from {now:,} for your limit: less of each step goes to the prompts of others."
        for value in STEP_TOKENS:
            if (found.config.max_num_seqs or 1) <= value < now:
                tokens.append(Step({"max_num_batched_tokens": value}, {"max_num_batched_tokens": why}))
    cache, weights = _cache_step(of, found, for_speed=True), _weights_step(of, for_speed=True)
    rounded = [step for step in (cache, weights) if step.changes]
    if len(rounded) > 1:
        rounded.append(_together(rounded))
    for precision in (NO_STEP, *rounded):
        for size in tokens:
            step = _together([kept, precision, size])
            if step.changes == kept.changes:
                continue
            tried = attempt(of, found.layout, base, step.changes, step.why)
            if not tried.starts:
                continue
            kept_now = keeps(tried)
            if kept_now or not tried.quality_given_up - found.quality_given_up:
                yield tried
            if kept_now:
                return


@dataclass(frozen=True, slots=True)
class Step:
    """Values that save memory, and why each is what it is."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


NO_STEP = Step()

Steps = tuple[Step, ...]

MANY_MORE = 1.5
"""Times the requests at once for which weights are rounded although the plan starts without."""


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
    raised = _raised_step(of, base)
    if raised.changes:
        yield raised
    least = max(MINIMUM_BATCHED_TOKENS, base.max_num_seqs or 1)
    if policy.max_num_batched_tokens is None and (base.max_num_batched_tokens or 0) > least:
        why = "Lowered: a smaller step leaves more memory for the cache."
        smaller = Step({"max_num_batched_tokens": least}, {"max_num_batched_tokens": why})
        yield smaller
        # a smaller step needs less outside of vLLM's share, so that this may be larger
        raised = _raised_step(of, base.model_copy(update=smaller.changes))
        if raised.changes:
            yield _together([raised, smaller])


def _raised_step(of: Situation, base: VLLMConfig) -> Step:
    """A larger share of a card that nobody else uses."""
    policy = of.request.policy
    used = base.gpu_memory_utilization or of.rules.default_gpu_memory_utilization
    shared = of.gpu.klass in {"consumer", "laptop"} or of.gpu.unified_memory
    alone = of.gpu.memory_used_bytes <= of.gpu.memory_total_bytes * CROWDED_SHARE
    if policy.gpu_memory_utilization is not None or policy.headroom_gb != 0 or not alone:
        return NO_STEP
    raised, _ = utilization(of, base, None if shared else RAISED_UTILIZATION)
    if raised <= used:
        return NO_STEP
    why = f"Raised from {used:g}: no other program uses this card, and the cache needs the room."
    return Step({"gpu_memory_utilization": raised}, {"gpu_memory_utilization": why})


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


def _cache_step(of: Situation, first: Attempt, *, for_speed: bool = False) -> Step:
    """An 8-bit cache, where the policy, the GPU and the checkpoint leave the choice."""
    model, policy = of.request.model, of.request.policy
    dtype, why = _recommend_kv_cache_dtype(
        model.kv_cache_dtype,
        math.inf if for_speed else kv_pressure(of, first),
        of.gpu.compute_capability if has_fp8(of.gpu) else None,
        allowed=policy.allow_fp8_kv,
    )
    if for_speed:
        why = f"8 bits per value, because 16 would miss {_limits(of)}; at a small cost in quality."
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


def _limits(of: Situation) -> str:
    """The limits on time that were given, in words."""
    policy, workload = of.request.policy, of.request.workload
    told = (
        ("to the first token", policy.max_ttft_ms),
        ("per token", policy.max_tpot_ms),
        ("to the last token", workload.target_latency_ms),
    )
    return "your " + " and ".join(f"{limit:,.0f} ms {what}" for what, limit in told if limit is not None)


def _weights_step(of: Situation, *, for_speed: bool = False) -> Step:
    model, policy = of.request.model, of.request.policy
    quantization, why = _recommend_quantization(
        model.quantization,
        False,
        checkpoint_method=quantization_method(of.metadata.quantization_config),
        capability=of.gpu.compute_capability if rounds_weights(of.gpu, of.rules.number) else None,
        allowed=policy.allow_quantized,
        rules=of.rules,
    )
    if quantization is None or model.quantization is not None:
        return NO_STEP
    if for_speed:
        why = f"vLLM rounds weights to 8 bits while loading, because 16 would miss {_limits(of)}."
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
