"""Changes to the flags of a typed command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard.planning.changes import Changes
from wizard.planning.launch import Launch, has_fp8, rounds_weights
from wizard.planning.non_torch import unseen_tenants_bytes
from wizard.planning.options import (
    COST_CONTEXT,
    COST_QUALITY,
    COST_SETTING,
    COST_SPEED,
    Option,
    freed_options,
    refusal_options,
)
from wizard.planning.values import LEAST_UTILIZATION
from wizard.schemas.inputs import HardwareInput
from wizard.schemas.outputs import FeasibilityReport, GPUInfo, VLLMConfig


def command_options(
    config: VLLMConfig,
    report: FeasibilityReport,
    launch: Launch,
    gpus: Sequence[GPUInfo],
    hardware: HardwareInput,
) -> Iterator[Option]:
    """Changes to the flags of a typed command."""
    yield from freed_options(gpus)
    yield from refusal_options(launch, as_flags=True)
    yield from _command_settings(report, launch.gpu)
    yield from _command_context(report, launch.metadata.context(launch.rules.number).length)
    capable = has_fp8(launch.gpu)
    if not config.enforce_eager:
        yield Option("--enforce-eager", (("policy.enforce_eager", True),), COST_SPEED, "graphs")
    if capable and not (config.kv_cache_dtype or "").startswith("fp8"):
        changes: Changes = (("model.kv_cache_dtype", "fp8"),)
        yield Option("--kv-cache-dtype fp8", changes, COST_QUALITY, "cache")
    rounds = rounds_weights(launch.gpu, launch.rules.number)
    if rounds and config.quantization is None and launch.metadata.quantization_config is None:
        changes = (("model.quantization", "fp8"),)
        yield Option("--quantization fp8", changes, COST_QUALITY + 0.5, "weights")
    engines = config.pipeline_parallel_size * config.data_parallel_size
    for size in range(1, len(gpus) * hardware.nodes // engines + 1):
        if size != config.tensor_parallel_size:
            changes = (("hardware.tensor_parallel_size", size),)
            # more of the GPUs at hand cost nothing; fewer free some
            yield Option(
                f"--tensor-parallel-size {size}", changes, COST_SETTING + 0.5 - size / 1000, "spread"
            )


def finishing_options(report: FeasibilityReport, gpu: GPUInfo) -> Iterator[Option]:
    """What is left to do where another change almost made it: a shorter context, or another share of the card."""
    if report.cause == "kv_cache_too_small":
        yield from _command_context(report, report.max_model_len)
    elif report.verdict == "tight":
        yield from _utilization_options(report, gpu)


def _utilization_options(report: FeasibilityReport, gpu: GPUInfo) -> Iterator[Option]:
    """Other shares of the card: less where others or what comes on top of the budget need it, else more."""
    part = report.per_gpu
    total = part.total_bytes
    free = total - part.other_processes_bytes - part.context_bytes
    now = part.requested_bytes / total
    if report.cause == "free_memory":
        share = int(free / total * 100) / 100
        shares = [share, round(share - 0.02, 2)]
    else:
        on_top = part.outside_budget_bytes + unseen_tenants_bytes(gpu)
        roomy = int((free - on_top) / total * 100) / 100
        shares = [share for share in (0.92, 0.94, 0.95, 0.96) if now < share <= roomy]
        if roomy < now:
            shares.append(roomy)
    for place, share in enumerate(shares):
        if share > LEAST_UTILIZATION:
            changes: Changes = (("policy.gpu_memory_utilization", share),)
            cost = COST_SETTING + 0.1 + place / 100
            yield Option(f"--gpu-memory-utilization {share:g}", changes, cost, "utilisation")


def _command_settings(report: FeasibilityReport, gpu: GPUInfo) -> Iterator[Option]:
    yield from _utilization_options(report, gpu)
    for tokens in (8192, 4096, 2048, 1024):
        if report.max_num_seqs <= tokens < report.max_num_batched_tokens:
            changes: Changes = (("policy.max_num_batched_tokens", tokens),)
            yield Option(
                f"--max-num-batched-tokens {tokens}", changes, COST_SETTING + 0.3 + 1 / tokens, "tokens"
            )
    for seqs in (256, 128, 64, 32, 16):
        if seqs < report.max_num_seqs:
            changes = (("policy.max_num_seqs", seqs),)
            yield Option(f"--max-num-seqs {seqs}", changes, COST_SETTING + 0.6 + 1 / seqs, "seqs")


def _command_context(report: FeasibilityReport, longest: int) -> Iterator[Option]:
    limit = min(report.max_model_len, longest)
    estimated = report.kv_cache.estimated_max_model_len
    lengths = {limit, limit // 2, limit // 4, limit // 8, 32768, 16384, 8192, 4096, 2048}
    for share in (1.0, 0.9, 0.75):
        lengths.add(int(estimated * share) // 256 * 256)
    for length in sorted(lengths, reverse=True):
        if 256 <= length < report.max_model_len:
            cost = COST_CONTEXT + (1 - length / report.max_model_len) / 2
            yield Option(f"--max-model-len {length}", (("model.max_model_len", length),), cost, "context")
