"""Words that both front ends use, so that a plan reads the same wherever it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from wizard.schemas.inputs import ModelInput, PlanRequest
from wizard.schemas.outputs import Estimate, FeasibilityReport, GPUInfo, Plan, Verdict
from wizard.text import count, gib, printable, span, time_span

EXAMPLE_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
"""What a first run starts from: small enough for most cards, known without network."""

EXAMPLE_CARD = "H100 SXM5 80GB"
"""The what-if card of a machine without GPUs."""

VERDICTS: Mapping[Verdict, tuple[str, str]] = MappingProxyType(
    {"fits": ("✓", "Fits"), "tight": ("!", "Tight"), "wont_start": ("✗", "Won't start")}
)
"""Sign and word of each verdict."""

SATURATED = "saturated"
"""Said in place of every speed where more is asked for than the machine serves: the queue grows."""


def first_request() -> PlanRequest:
    """What a first run starts from."""
    return PlanRequest(model=ModelInput(model=EXAMPLE_MODEL))


def machine_words(gpus: tuple[GPUInfo, ...], nodes: int) -> str:
    """`2 × H100 SXM5 80GB`, and how many machines of that."""
    if not gpus:
        return "no GPU"
    kinds = Counter(printable(gpu.label, 60) for gpu in gpus)
    words = " + ".join(f"{number} × {name}" for name, number in kinds.items())
    return f"{nodes} machines of {words}" if nodes > 1 else words


def request_words(request: PlanRequest) -> str:
    """The model's name without its organisation, for a title."""
    return printable(request.model.model.rstrip("/").rsplit("/", 1)[-1] or request.model.model, 80)


def layout_words(plan: Plan) -> str:
    """How the model is spread: `tp 2`, `tp 4 · pp 2`."""
    config = plan.config
    parts = [f"tp {config.tensor_parallel_size}"]
    if config.pipeline_parallel_size > 1:
        parts.append(f"pp {config.pipeline_parallel_size}")
    if config.data_parallel_size > 1:
        parts.append(f"dp {config.data_parallel_size}")
    if plan.replicas > 1:
        parts.append(f"×{plan.replicas}")
    return " · ".join(parts)


def planned_answer(plan: Plan, key: str) -> int | float | None:
    """What the plan answers where a question was left to it; None where it decides nothing of the kind."""
    config, memory = plan.config, plan.feasibility.per_gpu
    match key:
        case "model.max_model_len":
            return plan.feasibility.max_model_len
        case "hardware.gpus":
            return len(plan.gpus)
        case "policy.gpu_memory_utilization":
            share = memory.requested_bytes / memory.total_bytes
            return round(share, 2) if config.gpu_memory_utilization is None else config.gpu_memory_utilization
        case (
            "hardware.tensor_parallel_size"
            | "hardware.pipeline_parallel_size"
            | "hardware.data_parallel_size"
        ):
            size: int = getattr(config, key.split(".")[1])
            return size
    return None


def shortage_words(plan: Plan) -> str:
    """`short 5.1 GiB`, where memory is what is missing."""
    lack = plan.feasibility.headroom_bytes
    if plan.feasibility.verdict == "fits" or lack >= 0:
        return ""
    shown = gib(-lack)
    return f"short {shown} GiB" if shown != "0.0" else ""


def refusal_words(report: FeasibilityReport) -> str:
    """What stands before the sentence of a plan that won't start: whose words it holds."""
    return "vLLM would stop with" if report.quoted else "vLLM would refuse the flags"


def speed_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Name, range and unit of each figure of the forecast; a model that answers with vectors makes no tokens."""
    from wizard.planning.launch import is_pooling  # a plan is there, so planning is loaded

    speed = plan.performance
    if speed is None:
        return []
    if is_pooling(plan.model.architecture):
        return [
            ("answer", *_time(speed.ttft_ms)),
            ("prompts", _span(speed.prefill_tokens_per_s), "tok/s"),
            ("answers", _span(speed.requests_per_s), "/s"),
        ]
    return [
        ("first token", *_time(speed.ttft_ms)),
        ("each token", *_time(speed.tpot_ms)),
        ("output", _span(speed.output_tokens_per_s), "tok/s"),
    ]


def _time(estimate: Estimate) -> tuple[str, str]:
    return time_span(estimate.low, estimate.high)


def _span(estimate: Estimate) -> str:
    return span(estimate.low, estimate.high)


def neighbours_word(basis: str) -> str:
    """Whether runs like this one were measured: `yes`, `in part`, `none`; from a forecast's `basis`."""
    if basis.startswith("no "):
        return "none"
    return "in part" if "other" in basis else "yes"


def plan_reasons(plan: Plan) -> list[tuple[str, str]]:
    """Every explained value of a plan, as `tensor_parallel_size 4`, and why it is that."""
    found = []
    for name, why in plan.config.explanations.items():
        value = getattr(plan.config, name, None)
        shown = "vLLM's own default" if value is None else f"{value:,}" if type(value) is int else str(value)
        found.append((printable(f"{name} {shown}", 120), printable(why, 600)))
    return found


def warning_words(plan: Plan) -> list[str]:
    """What to watch out for: what makes the plan tight first."""
    return [printable(warning, 600) for warning in (*plan.feasibility.warnings, *plan.warnings)]


def plan_lines(plan: Plan) -> list[str]:
    """The feasibility panel in lines to be read from top to bottom."""
    report, memory = plan.feasibility, plan.feasibility.per_gpu
    sign, word = VERDICTS[report.verdict]
    lack = shortage_words(plan)
    lines = [
        f"{sign} {word}{', ' + lack if lack else ''}: {printable(plan.model.id, 120)}",
        f"  on {machine_words(plan.gpus, plan.nodes)}, {layout_words(plan)}, vLLM {plan.vllm_version}",
    ]
    if report.counted:
        left = memory.kv_cache_available_bytes
        lines += [
            f"  {gib(memory.total_bytes)} GiB each: weights {gib(memory.weights_bytes)}, "
            f"activation peak {gib(memory.activation_peak_bytes)}, "
            f"CUDA graphs {gib(memory.cuda_graphs_bytes)},",
            f"  other {gib(memory.non_torch_bytes)}, KV cache {gib(left) if left > 0 else 'none'}, "
            f"not used {gib(memory.unused_bytes)}, other programs {gib(memory.other_processes_bytes)}",
        ]
    if report.verdict == "wont_start":
        from textwrap import wrap

        quoted = wrap(printable(report.error or "", 4000), 74)
        return [*lines, f"  {refusal_words(report)}:", *(f"    {row}" for row in quoted)]
    cache = report.kv_cache
    lines += (
        [
            f"  no cache: an encoder's batch of {count(report.max_num_batched_tokens)} tokens, "
            f"at most {count(report.max_num_seqs)} requests",
        ]
        if not cache.tokens
        else [
            f"  {count(cache.tokens)} tokens in the cache, {cache.max_concurrency:.1f} requests of "
            f"{count(report.max_model_len)} at once,",
            f"  longest possible {count(cache.estimated_max_model_len)}",
        ]
    )
    speed = plan.performance
    if speed is not None and speed.saturated:
        lines.append("  saturated: the workload asks for more than this machine serves")
    elif speed is not None:
        told = (f"{name} {words} {unit}" for name, words, unit in speed_rows(plan))
        lines.append("  " + ", ".join(told))
    return [*lines, *(f"  Watch out: {warning}" for warning in warning_words(plan))]
