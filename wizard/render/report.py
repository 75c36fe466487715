"""A plan as plain lines of text: what `plan` and `check` print, and what the plain wizard shows."""

from __future__ import annotations

from collections.abc import Iterator

from wizard.planning.launch import is_pooling
from wizard.schemas.outputs import FeasibilityReport, PerfEstimate, Plan
from wizard.text import count, dollars, gib, params, plural, printable, span

VERDICT_WORDS = {"fits": "FITS", "tight": "TIGHT", "wont_start": "WON'T START"}


def render_report(plan: Plan) -> str:
    """The whole plan as text for a terminal or a log; no colour, no control characters."""
    return "\n".join(line.rstrip() for line in _lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    model, feasibility = plan.model, plan.feasibility
    gpu = plan.gpus[0]
    number = len(plan.gpus) * plan.nodes
    nodes = f" on {plural(plan.nodes, 'node')}" if plan.nodes > 1 else ""
    card = printable(gpu.catalogue_name or gpu.name)
    yield f"{printable(model.id)} · {number} x {card}{nodes} · vLLM {plan.vllm_version}"
    stored = model.quantization or model.dtype
    yield (
        f"{params(model.params)} parameters · {stored} · {model.attention} · "
        f"up to {model.max_position_embeddings:,} tokens"
    )
    yield ""
    yield VERDICT_WORDS[feasibility.verdict]
    if feasibility.error:
        yield f"  vLLM would stop with: {printable(feasibility.error)}"
    for warning in (*feasibility.warnings, *plan.warnings):
        yield f"  ! {printable(warning)}"
    yield ""
    yield from _memory(feasibility)
    if plan.performance is not None:
        yield ""
        yield from _performance(plan.performance, is_pooling(model.architecture))
    yield ""
    yield "Settings"
    config = plan.config
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
    ):
        value = getattr(config, field)
        why = config.explanations.get(field, "")
        if why or (value is not None and value not in (1, False, "auto")):
            shown = "default" if value is None else str(value)
            yield f"  {field:<24} {printable(shown):<12} {printable(why)}"
    if plan.fixes:
        yield ""
        yield "Fixes"
        for number, fix in enumerate(plan.fixes, 1):
            yield f"  {number} {printable(fix.title)}: {VERDICT_WORDS[fix.verdict_after].lower()}, {fix.effect}"


def _memory(feasibility: FeasibilityReport) -> Iterator[str]:
    part, kv = feasibility.per_gpu, feasibility.kv_cache
    yield "Memory of one GPU, GiB"
    for name, value in (
        ("CUDA total", part.total_bytes),
        ("budget of vLLM", part.requested_bytes),
        ("weights", part.weights_bytes),
        ("activation peak", part.activation_peak_bytes),
        ("CUDA graphs", part.cuda_graphs_bytes),
        ("other", part.non_torch_bytes),
        ("KV cache", part.kv_cache_available_bytes),
        ("other processes", part.other_processes_bytes),
    ):
        yield f"  {name:<16} {gib(value, 2):>8}"
    low, high = gib(part.kv_cache_available_low_bytes, 2), gib(part.kv_cache_available_high_bytes, 2)
    yield f"  KV cache lies between {low} and {high} in 9 starts of 10"
    yield (
        f"  {count(kv.tokens)} tokens of cache; vLLM will log {kv.max_concurrency:.2f}x at "
        f"{feasibility.max_model_len:,} tokens per request"
    )


def _performance(performance: PerfEstimate, pooling: bool) -> Iterator[str]:
    if performance.saturated:
        yield f"Expected speed: saturated ({printable(performance.basis)})"
        for note in performance.assumptions:
            if note.startswith("Saturated"):
                yield f"  {printable(note)}"
        return
    yield f"Expected speed (about 8 of 10 measured runs lie inside; {printable(performance.basis)})"
    if pooling:
        prompts = performance.prefill_tokens_per_s
        yield f"  time to the answer   {span(performance.ttft_ms.low, performance.ttft_ms.high)} ms"
        yield f"  prompts              {span(prompts.low, prompts.high)} tokens/s"
        return
    yield f"  time to first token  {span(performance.ttft_ms.low, performance.ttft_ms.high)} ms"
    yield f"  time per token       {span(performance.tpot_ms.low, performance.tpot_ms.high)} ms"
    rate = performance.output_tokens_per_s
    yield f"  output               {span(rate.low, rate.high)} tokens/s"
    cost, energy = performance.usd_per_million_output_tokens, performance.output_tokens_per_s_per_watt
    if cost is not None:
        yield f"  cost                 {dollars(cost.low, cost.high)} per million output tokens"
    if energy is not None:
        yield f"  energy               {energy.low:.2f}–{energy.high:.2f} tokens/s per watt"
    yield from (f"  {printable(note)}" for note in performance.assumptions if note.startswith("Cost:"))
