"""A plan as plain lines of text: what `plan` and `check` print, and what the plain wizard shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wizard.planning.launch import is_pooling
from wizard.schemas.outputs import FeasibilityReport, PerfEstimate, Plan, VLLMConfig
from wizard.text import count, dollars, gib, params, plural, printable, span, time_span
from wizard.wording import refusal_words

WIDTH = 110
"""Columns of a wrapped sentence."""

LONGEST = 4000
"""Characters of one sentence: the longest of vLLM's have some 1,500."""

VERDICT_WORDS = {"fits": "FITS", "tight": "TIGHT", "wont_start": "WON'T START"}


def render_report(plan: Plan) -> str:
    """The whole plan as text for a terminal or a log; no colour, no control characters."""
    return "\n".join(line.rstrip() for line in _lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    model, feasibility = plan.model, plan.feasibility
    nodes = f" on {plural(plan.nodes, 'node')}" if plan.nodes > 1 else ""
    kinds = Counter(printable(gpu.label) for gpu in plan.gpus)
    cards = " + ".join(f"{number * plan.nodes} x {name}" for name, number in kinds.items())
    yield f"{printable(model.id)} · {cards}{nodes} · vLLM {plan.vllm_version}"
    stored = model.quantization or model.dtype
    known = model.params is not None
    size = f"{params(model.params)} parameters" if known else "size not known"
    attention = f"{model.attention} · " if known else ""
    yield f"{size} · {stored} · {attention}up to {model.max_position_embeddings:,} tokens"
    yield ""
    yield VERDICT_WORDS[feasibility.verdict]
    if feasibility.error:
        yield f"  {refusal_words(feasibility)}:"
        yield from _wrapped(feasibility.error, "    ")
    for warning in (*feasibility.warnings, *plan.warnings):
        yield from _wrapped(warning, "  ! ")
    yield ""
    yield from _memory(feasibility)
    if plan.performance is not None:
        yield ""
        yield from _performance(plan.performance, is_pooling(model.architecture))
    yield from _settings(plan.config)
    if plan.fixes:
        yield ""
        yield "Fixes"
        for number, fix in enumerate(plan.fixes, 1):
            yield f"  {number} {printable(fix.title)}: {VERDICT_WORDS[fix.verdict_after].lower()}, {fix.effect}"
    if model.hub_requests:
        yield ""
        yield f"Read from the hub: {plural(model.hub_requests, 'request')}, {model.hub_bytes / 1000:,.0f} kB"


def _settings(config: VLLMConfig) -> Iterator[str]:
    """What was chosen or has a reason; nothing where all is left to vLLM."""
    rows = [
        (field, getattr(config, field), config.explanations.get(field, ""))
        for field in (
            "tensor_parallel_size",
            "pipeline_parallel_size",
            "data_parallel_size",
            "dtype",
            "quantization",
            "kv_cache_dtype",
            "gpu_memory_utilization",
            "max_model_len",
            "max_num_seqs",
            "max_num_batched_tokens",
            "enforce_eager",
            "enable_prefix_caching",
            "enable_expert_parallel",
        )
    ]
    told = [each for each in rows if each[2] or each[1] not in (None, 1, False, "auto")]
    if told:
        yield ""
        yield "Settings"
    for field, value, why in told:
        shown = "default" if value is None else str(value)
        yield f"  {field:<24} {printable(shown):<12} {printable(why)}"


def _wrapped(text: str, head: str) -> Iterator[str]:
    """The whole text, however long; line breaks of its own are kept."""
    from textwrap import wrap

    rest = " " * len(head)
    for row in text.splitlines() or [""]:
        yield from wrap(
            printable(row, LONGEST),
            WIDTH,
            initial_indent=head,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        head = rest


def encoder_words(feasibility: FeasibilityReport) -> str:
    """What an encoder takes at once: it keeps no cache."""
    return (
        f"no KV cache: an encoder's batch of {count(feasibility.max_num_batched_tokens)} tokens, "
        f"at most {count(feasibility.max_num_seqs)} requests of up to {count(feasibility.max_model_len)}"
    )


def _memory(feasibility: FeasibilityReport) -> Iterator[str]:
    """The terms, and what comes of them: the cache, or what is short. Without terms where none were counted."""
    part, kv = feasibility.per_gpu, feasibility.kv_cache
    starts = feasibility.verdict != "wont_start"
    yield "Memory of one GPU, GiB"
    rows = [("CUDA total", part.total_bytes), ("budget of vLLM", part.requested_bytes)]
    if feasibility.counted:
        rows += [
            ("weights", part.weights_bytes),
            ("activation peak", part.activation_peak_bytes),
            ("CUDA graphs", part.cuda_graphs_bytes),
            ("other", part.non_torch_bytes),
        ]
        if part.kv_cache_available_bytes > 0:
            rows.append(("KV cache" if kv.tokens or not starts else "left", part.kv_cache_available_bytes))
    for name, value in (*rows, ("other processes", part.other_processes_bytes)):
        yield f"  {name:<16} {gib(value, 2):>8}"
    if not feasibility.counted:
        yield "  the rest is not counted: vLLM stops before it"
        return
    if not starts:
        yield from _short(feasibility)
        return
    if not kv.tokens:
        yield f"  {encoder_words(feasibility)}"
        return
    low, high = gib(part.kv_cache_available_low_bytes, 2), gib(part.kv_cache_available_high_bytes, 2)
    yield f"  KV cache lies between {low} and {high} in 9 starts of 10"
    yield (
        f"  {count(kv.tokens)} tokens of cache; vLLM will log {kv.max_concurrency:.2f}x at "
        f"{feasibility.max_model_len:,} tokens per request"
    )


def _short(feasibility: FeasibilityReport) -> Iterator[str]:
    """What is missing, in the place of a cache that never comes."""
    part, kv = feasibility.per_gpu, feasibility.kv_cache
    available = part.kv_cache_available_bytes
    if feasibility.cause == "free_memory":
        return  # vLLM's sentence holds both figures
    if available <= 0:
        yield f"  {gib(-available, 2)} GiB more than the budget is needed before the first token of cache"
    elif kv.needed_bytes > available:
        yield (
            f"  one request of {feasibility.max_model_len:,} tokens needs {gib(kv.needed_bytes, 2)} GiB of cache, "
            f"{gib(kv.needed_bytes - available, 2)} more than there is"
        )


def _performance(performance: PerfEstimate, pooling: bool) -> Iterator[str]:
    if performance.saturated:
        yield f"Expected speed: saturated ({printable(performance.basis)})"
        for note in performance.assumptions:
            if note.startswith("Saturated"):
                yield f"  {printable(note)}"
        return
    yield f"Expected speed (about 8 of 10 measured runs lie inside; {printable(performance.basis)})"
    first = " ".join(time_span(performance.ttft_ms.low, performance.ttft_ms.high))
    if pooling:
        prompts = performance.prefill_tokens_per_s
        yield f"  time to the answer   {first}"
        yield f"  prompts              {span(prompts.low, prompts.high)} tokens/s"
        return
    yield f"  time to first token  {first}"
    yield f"  time per token       {' '.join(time_span(performance.tpot_ms.low, performance.tpot_ms.high))}"
    rate = performance.output_tokens_per_s
    yield f"  output               {span(rate.low, rate.high)} tokens/s"
    cost, energy = performance.usd_per_million_output_tokens, performance.output_tokens_per_s_per_watt
    if cost is not None:
        yield f"  cost                 {dollars(cost.low, cost.high)} per million output tokens"
    if energy is not None:
        yield f"  energy               {energy.low:.2f}–{energy.high:.2f} tokens/s per watt"
    yield from (f"  {printable(note)}" for note in performance.assumptions if note.startswith("Cost:"))
