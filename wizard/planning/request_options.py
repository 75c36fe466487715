"""Changes to the answers of a request: the user's own values given up, then context, users, precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard.errors import WizardError
from wizard.planning.changes import Changes
from wizard.planning.launch import has_fp8, rounds_weights
from wizard.planning.options import (
    COST_CONCURRENCY,
    COST_CONTEXT,
    COST_QUALITY,
    COST_SETTING,
    COST_SPEED,
    Option,
    freed_options,
    refusal_options,
)
from wizard.planning.situation import Situation
from wizard.schemas.outputs import FeasibilityReport, VLLMConfig
from wizard.vllm.flags import flag_table
from wizard.vllm.serve_args import arguments, parse_serve_command, validate_extra_args
from wizard.vllm.serve_config import FIELD_FLAGS


def request_options(
    of: Situation, config: VLLMConfig, report: FeasibilityReport, engines: int
) -> Iterator[Option]:
    """Changes to the answers: the user's own values given up, then context, users, precision.

    `engines`: caches that requests are spread over. What no answer forbids is left out: planning has tried it.
    """
    yield from freed_options(of.gpus)
    yield from (each for each in refusal_options(of.launch(config)) if not each.settings & RELEASED)
    yield from _released(of)
    yield from _typed_flags(of)
    yield from _shorter(of, report)
    if report.verdict == "tight":
        yield from _fewer(of, engines, report)
    yield from _precision(of, config)


RELEASED = frozenset(
    {
        "hardware.tensor_parallel_size",
        "hardware.pipeline_parallel_size",
        "hardware.data_parallel_size",
        "policy.max_num_batched_tokens",
        "policy.max_num_seqs",
        "model.quantization",
    }
)
"""Answers that the planner chooses better than a refusal's own suggestion does."""


def _released(of: Situation) -> Iterator[Option]:
    """Each value that the user chose, left to the planner instead."""
    request = of.request
    policy, model, hardware = request.policy, request.model, request.hardware
    if policy.headroom_gb:
        yield Option("no headroom", (("policy.headroom_gb", 0.0),), COST_SETTING, "headroom")
    if policy.overhead_gb:
        yield Option("overhead as measured", (("policy.overhead_gb", None),), COST_SETTING, "overhead")
    if policy.gpu_memory_utilization is not None:
        yield Option(
            "memory utilisation as planned",
            (("policy.gpu_memory_utilization", None),),
            COST_SETTING + 0.1,
            "utilisation",
            lambda config: f"memory utilisation {config.gpu_memory_utilization:g}",
        )
    if policy.max_num_batched_tokens is not None:
        yield Option(
            "max_num_batched_tokens as planned",
            (("policy.max_num_batched_tokens", None),),
            COST_SETTING + 0.2,
            "tokens",
            lambda config: f"max_num_batched_tokens {config.max_num_batched_tokens:,}",
        )
    if policy.max_num_seqs is not None:
        yield Option(
            "max_num_seqs as planned",
            (("policy.max_num_seqs", None),),
            COST_SETTING + 0.3,
            "seqs",
            lambda config: f"max_num_seqs {config.max_num_seqs:,}",
        )
    sizes = tuple(
        (f"hardware.{name}", None)
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        if getattr(hardware, name) is not None
    )
    if sizes:
        yield Option("spread as planned", sizes, COST_SETTING + 0.4, "spread", _spread_words)
    if model.dtype.value not in {"auto", "bfloat16"}:
        yield Option("dtype auto", (("model.dtype", "auto"),), COST_SETTING + 0.5, "dtype")
    if model.quantization is not None:
        yield Option("weights as stored", (("model.quantization", None),), COST_SETTING + 0.6, "quantization")
    if model.params_b is not None:
        changes: Changes = (("model.params_b", None),)
        yield Option("parameters as the config says", changes, COST_SETTING + 0.7, "parameters")


def _spread_words(config: VLLMConfig) -> str:
    parts = [f"tensor parallel {config.tensor_parallel_size}"]
    if config.pipeline_parallel_size > 1:
        parts.append(f"pipeline {config.pipeline_parallel_size}")
    if config.data_parallel_size > 1:
        parts.append(f"data {config.data_parallel_size}")
    return ", ".join(parts)


def _typed_flags(of: Situation) -> Iterator[Option]:
    """Each extra flag that moves memory, left out."""
    for name in of.fields:
        flag = FIELD_FLAGS.get(name)
        left = without_flag(of.request.policy.extra_args, flag, of.version) if flag else None
        if left is not None:
            yield Option(
                f"without {flag}", (("policy.extra_args", left),), COST_SETTING + 0.8, f"flag {name}"
            )


def without_flag(extra: Sequence[str], flag: str, version: str) -> tuple[str, ...] | None:
    """`extra` without one flag; None where it isn't among them under that name."""
    table = flag_table(version)
    if flag not in table:
        return None
    try:
        values = parse_serve_command(["model", *extra], version=version).values
        if flag not in values:
            return None
        left = {name: value for name, value in values.items() if name != flag}
        return validate_extra_args(arguments(left, table), version=version)
    except WizardError:
        return None


def _shorter(of: Situation, report: FeasibilityReport) -> Iterator[Option]:
    """A context that the cache holds, and prompts that it or the model holds."""
    wish = of.request.model.max_model_len
    workload = of.request.workload
    if wish is not None and report.verdict == "tight" and report.max_model_len < wish:
        length = report.max_model_len
        yield Option(f"context {length:,}", (("model.max_model_len", length),), COST_CONTEXT, "context")
    whole = of.whole_length
    if wish is not None and wish < whole <= of.longest:
        changes: Changes = (("model.max_model_len", whole),)
        yield Option(f"context {whole:,}", changes, COST_SETTING + 0.9, "context")
    room = min(report.max_model_len, of.longest)
    prompt = (room - workload.gen_tokens) // 256 * 256
    if whole > room and prompt >= 256:
        changes = (("workload.prompt_tokens", prompt),)
        yield Option(f"prompts of {prompt:,} tokens", changes, COST_CONTEXT + 0.2, "prompt")


def _fewer(of: Situation, engines: int, report: FeasibilityReport) -> Iterator[Option]:
    """Fewer requests at once: as many as the cache surely holds."""
    wanted = of.request.workload.concurrency
    part = report.per_gpu
    mid = report.concurrency_at_workload * engines
    low = mid * max(0.0, part.kv_cache_available_low_bytes / max(1, part.kv_cache_available_bytes))
    slots = report.max_num_seqs * engines
    for place, users in enumerate((slots, int(mid * 1.1), int(mid), int(low), int(low * 0.8))):
        if 1 <= users < wanted:
            changes: Changes = (("workload.concurrency", users),)
            cost = COST_CONCURRENCY + place / 10
            title = f"{users:,} requests at once" if users > 1 else "one request at a time"
            yield Option(title, changes, cost, "users")


def _precision(of: Situation, config: VLLMConfig) -> Iterator[Option]:
    """Graphs, cache and weights for memory, where an answer forbids it or only a queue would gain."""
    policy = of.request.policy
    capable = has_fp8(of.gpu)
    if not config.enforce_eager:
        yield Option("no CUDA graphs", (("policy.enforce_eager", True),), COST_SPEED, "graphs")
    if capable and not (config.kv_cache_dtype or "").startswith("fp8"):
        changes: Changes = (("model.kv_cache_dtype", "fp8"),)
        if not policy.allow_fp8_kv:
            changes += (("policy.allow_fp8_kv", True),)
        yield Option("8-bit KV cache", changes, COST_QUALITY, "cache")
    rounds = rounds_weights(of.gpu, of.rules.number)
    if rounds and config.quantization is None and of.metadata.quantization_config is None:
        changes = (("model.quantization", "fp8"),)
        if not policy.allow_quantized:
            changes += (("policy.allow_quantized", True),)
        yield Option("8-bit weights while loading", changes, COST_QUALITY + 0.5, "weights")
