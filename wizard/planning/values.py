"""One function per recommended value: each returns the value and why it is that.

The names and rules are those of the seed API document; where vLLM's own accounting says better, the
function does that and its docstring says what was naive. `recommend` puts them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from wizard.schemas.inputs import BatchingMode
from wizard.schemas.outputs import GIB, GPUInfo
from wizard.vllm.limits import online_fp8_method, rounds_weights
from wizard.vllm.versions import NEWEST_KNOWN, VersionRules, parse_version

WEIGHTS_SHARE_LIMIT = 0.70
"""Weights above this share of one GPU leave too little for the cache (seed rule)."""

CONSUMER_UTILIZATION = 0.88
"""On cards that also drive a desktop (seed rule): 3 GiB of a 24 GiB card for context and display."""

LEAST_UTILIZATION = 0.05

ROUNDING_SHARE = 0.005
"""Kept clear where the free memory decides: half of the last decimal."""

CROWDED_SHARE = 0.02
"""Memory in use above which other processes are named as the reason: a bare driver holds less."""

KV_PRESSURE_LIMIT = 0.40
"""KV demand above this share of what the cache may have asks for an 8-bit cache (seed rule)."""

MINIMUM_BATCHED_TOKENS = 2048
"""vLLM's own smallest default; fewer tokens per step starve prefill."""

CONTEXT_STEP = 1024
"""Lengths that memory decides are rounded down to this: a round number says that it is a limit."""

MOST_SEQUENCES = 1024
"""vLLM's own largest default for --max-num-seqs (engine/arg_utils.py); more costs sampler memory per row."""

SEQUENCE_BUFFERS = {BatchingMode.THROUGHPUT: 4, BatchingMode.LATENCY: 0, BatchingMode.BALANCED: 2}
"""Sequences above the wanted concurrency, by mode (seed rule)."""

BATCH_FACTORS = {BatchingMode.THROUGHPUT: 1.5, BatchingMode.LATENCY: 1.0, BatchingMode.BALANCED: 1.25}
"""Tokens per step over the tokens in flight, by mode (seed rule)."""


def _recommend_tensor_parallel(
    num_gpus: int,
    weights_bytes: int,
    vram_per_gpu_bytes: int,
    requested_tp: int | None = None,
    *,
    divides: Callable[[int], bool] = lambda tp: True,
) -> tuple[int, str]:
    """GPUs that share every layer.

    Seed: as requested; 1 for one GPU; else the largest power of two, raised while the weights take
    more than 70 % of a GPU. The seed never asked whether the size divides the attention heads, which
    vLLM requires: `divides` says so, and sizes that don't are passed over.
    """
    if requested_tp is not None:
        return requested_tp, f"You chose {requested_tp}."
    if num_gpus <= 1:
        return 1, "One GPU needs no sharding."
    allowed = [size for size in range(1, num_gpus + 1) if divides(size)] or [1]
    powers = [size for size in allowed if size & (size - 1) == 0]
    chosen = max(powers, default=allowed[0])
    share = weights_bytes / chosen / vram_per_gpu_bytes
    if share <= WEIGHTS_SHARE_LIMIT:
        return chosen, f"The largest power of two that divides the heads, of {num_gpus} GPUs."
    for size in allowed:
        if size > chosen and weights_bytes / size / vram_per_gpu_bytes <= WEIGHTS_SHARE_LIMIT:
            return size, f"Raised so that weights take at most 70 % of a GPU ({share:.0%} at {chosen})."
    largest = max(allowed)
    return (
        largest,
        f"Every GPU that divides the heads is needed: weights take {share:.0%} of one at {chosen}.",
    )


def _recommend_gpu_memory_utilization(
    gpu: GPUInfo,
    base_utilization: float,
    requested: float | None = None,
    *,
    context_bytes: int = 0,
    outside_bytes: int = 0,
    headroom_bytes: int = 0,
) -> tuple[float, str]:
    """Share of the GPU's CUDA total that vLLM may use.

    Seed: lower on consumer cards. The seed also raised a smaller wish to 0.88; here a wish stands.
    Better than the seed: the value stays below what vLLM's start-up check finds free (total - used - CUDA
    context), and leaves `outside_bytes` for what vLLM takes on top of its share. `headroom_bytes` stay
    unused whatever the value would have been.
    """
    total = gpu.memory_total_bytes
    wanted = f"{headroom_bytes / GIB:.1f} GiB stay unused, as you asked"
    if requested is not None:
        if not headroom_bytes:
            return requested, f"You chose {requested:g}."
        return _share(requested - headroom_bytes / total), f"You chose {requested:g}, and {wanted}."
    value, why = base_utilization, f"vLLM's default, {base_utilization:g}."
    if gpu.klass in {"consumer", "laptop"} and value > CONSUMER_UTILIZATION:
        value = CONSUMER_UTILIZATION
        why = f"Below vLLM's {base_utilization:g}: a consumer card also drives a desktop."
    if headroom_bytes:
        value, why = value - headroom_bytes / total, f"Lowered from {value:g}: {wanted}."
    free_share = (total - gpu.memory_used_bytes - context_bytes - outside_bytes) / total
    if value > free_share:
        value = free_share - ROUNDING_SHARE
        if gpu.memory_used_bytes > total * CROWDED_SHARE:
            why = (
                f"Lowered: other processes hold {gpu.memory_used_bytes / GIB:.1f} GiB, "
                "and vLLM refuses to start when less than its share is free."
            )
        else:
            why = (
                f"Lowered from {base_utilization:g}: graphs, workspaces and the driver need "
                f"{(context_bytes + outside_bytes) / GIB:.1f} GiB outside vLLM's share."
            )
    return _share(value), why


def _share(value: float) -> float:
    """Two decimals, rounded down, and at least 5 %: less than that holds no model."""
    return max(LEAST_UTILIZATION, math.floor(value * 100 + 1e-9) / 100)


def _recommend_kv_cache_dtype(
    requested: str,
    kv_cache_pressure: float,
    capability: tuple[int, int] | None,
    *,
    allowed: bool = True,
) -> tuple[str | None, str]:
    """The cache's dtype; None keeps vLLM's `auto`.

    Seed: fp8 when KV demand exceeds 40 % of the budget on GPUs that have fp8 (Hopper, Ada and later).
    The seed knew the GPUs by name and wrote `fp8_e4m3fn`, which vLLM refuses; the name is `fp8`, and
    the compute capability (8.9) decides. The planner asks only where the model's own precision falls short.
    """
    if requested != "auto":
        return requested, f"You chose {requested}."
    if kv_cache_pressure <= KV_PRESSURE_LIMIT:
        return None, "The cache holds the workload at the model's own precision."
    share = f"{kv_cache_pressure:.0%} of" if kv_cache_pressure < 10 else "many times"
    demand = f"the workload asks for {share} the memory left for a cache"
    if not allowed:
        return None, f"Kept at the model's precision, as you asked, although {demand}."
    if capability is None or capability < (8, 9):
        return None, f"Kept at the model's precision: this GPU has no fp8, although {demand}."
    return "fp8", f"8 bits per value, because {demand}; halves the cache at a small cost in quality."


def _recommend_quantization(
    requested: str | None,
    fits_without_quant: bool,
    *,
    checkpoint_method: str | None = None,
    capability: tuple[int, int] | None = None,
    allowed: bool = True,
    rules: VersionRules | None = None,
    siblings: Sequence[str] = (),
) -> tuple[str | None, str]:
    """`--quantization`, or None to serve the checkpoint as it is.

    Seed: recommend AWQ when the model doesn't fit. vLLM refuses `--quantization awq` on a checkpoint
    that isn't AWQ, so what is recommended here is what works: online fp8 on GPUs from Turing on (below Ada its
    kernels round the weights only), and a quantised checkpoint of the same model, by name, where one is known.
    """
    if requested is not None:
        return requested, f"You chose {requested}."
    if checkpoint_method is not None:
        return None, f"The checkpoint is {checkpoint_method} already; vLLM reads that from its config."
    if fits_without_quant:
        return None, "Not needed: the weights fit as they are."
    if not allowed:
        return None, "Needed to fit, but quantised weights are not allowed."
    named = f" A quantised checkpoint exists: {siblings[0]}." if siblings else ""
    number = rules.number if rules is not None else parse_version(NEWEST_KNOWN)
    if rounds_weights(capability, number):
        why = f"vLLM rounds weights to 8 bits while loading, because 16 bits don't fit.{named}"
        return online_fp8_method(number), why
    return None, f"16 bits don't fit, and this GPU can't quantise while loading.{named}"


def _recommend_max_model_len(
    requested: int | None, model_max: int, available_context: int, needed: int = 0
) -> tuple[int, str]:
    """Longest prompt plus output, in tokens; at least 1 always.

    Seed: as requested, clamped to the model and to what the cache holds for one request; else the
    smaller of the two. The seed printed negative lengths where nothing fits; here the wish (or the
    model's maximum) stands then, and the verdict says why it won't start. Never rounded below `needed`,
    the prompt and output of one request, where those fit.
    """
    wanted = min(requested, model_max) if requested is not None else model_max
    if available_context <= 0:
        return wanted, "No memory is left for a cache at any length."
    if wanted > available_context:
        value = available_context // CONTEXT_STEP * CONTEXT_STEP or available_context
        if value < needed <= available_context:
            value = needed
        return value, f"Lowered from {wanted:,}: the cache holds {available_context:,} tokens of one request."
    if requested is not None and requested > model_max:
        return wanted, f"Lowered from {requested:,}: the model's maximum is {model_max:,}."
    if requested is not None:
        return wanted, f"You chose {requested:,}."
    return wanted, "The model's full length: the cache holds one such request."


def _recommend_max_num_seqs(concurrency: int, mode: BatchingMode) -> tuple[int, str]:
    """Requests that run at once; above it they queue.

    Seed: the wanted concurrency plus a buffer by mode (4, 0, 2). Kept: vLLM's own default of 256-1024
    costs sampler memory for users that will not come. Capped at vLLM's own largest default.
    """
    buffer = SEQUENCE_BUFFERS[mode]
    value = concurrency + buffer
    if value > MOST_SEQUENCES:
        return MOST_SEQUENCES, f"The most that vLLM runs at once by default, for {concurrency:,} users."
    return value, f"{concurrency:,} at once, as you asked" + (f", and {buffer} to spare." if buffer else ".")


def _recommend_max_batched_tokens(
    prompt_tokens: int,
    gen_tokens: int,
    concurrency: int,
    mode: BatchingMode,
    vram_per_gpu_bytes: int,
    max_num_seqs: int = 1,
) -> tuple[int, str]:
    """Tokens that one step may hold (vLLM's chunk of prefill and decode together).

    Seed: (prompt + output) x concurrency x a factor by mode, between a minimum and a cap by memory.
    The seed's caps (16-65 thousand) cost gigabytes of activation memory: vLLM's own tiers are used,
    2048 below 40 GiB, 4096 below 70, 8192 below 160, 16384 above; twice that for throughput.
    """
    tokens = int((prompt_tokens + gen_tokens) * concurrency * BATCH_FACTORS[mode])
    gib = vram_per_gpu_bytes / GIB
    cap = 16384 if gib >= 160 else 8192 if gib >= 70 else 4096 if gib >= 40 else 2048
    if mode is BatchingMode.THROUGHPUT:
        cap *= 2
    rounded = 1 << (max(1, tokens) - 1).bit_length()
    value = max(MINIMUM_BATCHED_TOKENS, min(rounded, cap), max_num_seqs)
    if value == cap:
        return value, f"As many as pay on a {gib:.0f} GiB GPU: each token of a step costs activation memory."
    if value == MINIMUM_BATCHED_TOKENS:
        return value, "The least that keeps prefill busy; the workload needs no more."
    return value, f"Covers the {tokens:,} tokens that this workload can have in flight."
