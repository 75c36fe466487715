"""The recommended settings: layouts compared, the seed's rules applied, concessions made one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wizard.models.metadata import ModelMetadata
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_layout, kv_report
from wizard.planning.launch import quantization_method, resolve
from wizard.planning.layouts import Layout, divides_heads, layouts
from wizard.planning.memory import evaluate
from wizard.planning.non_torch import context_bytes
from wizard.planning.perf import estimate_performance
from wizard.planning.terms import terms
from wizard.planning.values import (
    MINIMUM_BATCHED_TOKENS,
    _recommend_gpu_memory_utilization,
    _recommend_kv_cache_dtype,
    _recommend_max_batched_tokens,
    _recommend_max_model_len,
    _recommend_max_num_seqs,
    _recommend_quantization,
    _recommend_tensor_parallel,
)
from wizard.planning.weights import rank_weights
from wizard.schemas.inputs import BatchingMode, Interconnect, PlanRequest
from wizard.schemas.outputs import FeasibilityReport, GPUInfo, PerfEstimate, VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN, rules


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
    Layouts are compared by what they would serve; the seed's rules fill in the rest. Where nothing
    starts, the plan that comes closest is returned and its verdict says what is short.
    """
    gpus = _capped(gpus, vram_total_bytes)
    chosen_version = version or request.policy.vllm_version or NEWEST_KNOWN
    candidates = [
        build_candidate(request, metadata, gpus, layout, chosen_version)
        for layout in layouts(metadata, len(gpus), request.hardware)
    ]
    if not candidates:
        sizes = Layout(request.hardware.tensor_parallel_size or 1)
        candidates = [build_candidate(request, metadata, gpus, sizes, chosen_version)]
    best = max(candidates, key=lambda candidate: candidate.score(request))
    return _with_rule_of_thumb(request, metadata, gpus, best.config, chosen_version)


def _with_rule_of_thumb(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], config: VLLMConfig, version: str
) -> VLLMConfig:
    """`config`, with the seed's choice of tensor parallel size named where the comparison chose another."""
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    single = config.model_copy(update={"tensor_parallel_size": 1, "pipeline_parallel_size": 1})
    weights = rank_weights(resolve(single, metadata, gpu, version=version)).loaded_bytes
    seed, why = _recommend_tensor_parallel(
        len(gpus),
        weights,
        gpu.memory_total_bytes,
        request.hardware.tensor_parallel_size,
        divides=lambda tp: divides_heads(metadata, tp),
    )
    explanation = config.explanations.get("tensor_parallel_size", "")
    if seed == config.tensor_parallel_size or "You chose" in explanation:
        return config
    explanation = f"{explanation} The rule of thumb would be {seed} ({why[0].lower()}{why[1:].rstrip('.')})."
    return config.model_copy(
        update={"explanations": {**config.explanations, "tensor_parallel_size": explanation}}
    )


_VERDICT_RANK = {"fits": 2, "tight": 1, "wont_start": 0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One layout with its best settings, evaluated."""

    config: VLLMConfig
    report: FeasibilityReport
    performance: PerfEstimate

    def score(self, request: PlanRequest) -> tuple[float, ...]:
        """Larger is better: verdict first, then the SLOs, then what the mode asks for."""
        speed = self.performance
        workload, policy = request.workload, request.policy
        slo = (policy.max_ttft_ms is None or speed.ttft_ms.mid <= policy.max_ttft_ms) and (
            policy.max_tpot_ms is None or speed.tpot_ms.mid <= policy.max_tpot_ms
        )
        latency_ms = speed.ttft_ms.mid + speed.tpot_ms.mid * workload.gen_tokens
        rate = speed.output_tokens_per_s.mid
        merit = {
            BatchingMode.THROUGHPUT: rate,
            BatchingMode.LATENCY: -latency_ms,
            BatchingMode.BALANCED: rate / max(latency_ms, 1e-6),
        }[workload.batching_mode]
        held = min(self.report.concurrency_at_workload, workload.concurrency)
        return (_VERDICT_RANK[self.report.verdict], float(slo), 0.0 if slo else held, merit)


def nvlink_present(request: PlanRequest, gpus: Sequence[GPUInfo]) -> bool:
    """Whether GPUs of a node are linked by NVLink: as told, as detected, else as the card is sold."""
    if request.hardware.interconnect is not Interconnect.UNKNOWN:
        return request.hardware.interconnect is Interconnect.NVLINK
    return all(
        bool(gpu.nvlink_count) if gpu.nvlink_count is not None else bool(gpu.nvlink_gb_s) for gpu in gpus
    )


def build_candidate(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], layout: Layout, version: str
) -> Candidate:
    """The best settings for one layout: the seed's rules, then one concession at a time until it fits.

    Concessions come in the order of what they cost the user: a smaller step, a little less memory use,
    an 8-bit cache, no CUDA graphs, 8-bit weights.
    """
    nvlink = nvlink_present(request, gpus)
    base = _base_config(request, metadata, gpus, layout, version)
    best: tuple[VLLMConfig, FeasibilityReport] | None = None
    for changes, why in _concessions(request, metadata, gpus, base, version, nvlink):
        if best is not None and "quantization" not in changes and _too_heavy(best[1]):
            continue
        config = base.model_copy(update=changes)
        config = _with_context(request, metadata, gpus, config, version, nvlink)
        config = config.model_copy(update={"explanations": {**config.explanations, **why}})
        report = evaluate(
            config,
            metadata,
            gpus,
            version=version,
            workload=request.workload,
            policy=request.policy,
            nvlink=nvlink,
        )
        if best is None or _VERDICT_RANK[report.verdict] > _VERDICT_RANK[best[1].verdict]:
            best = (config, report)
        if report.verdict == "fits" or report.cause in {"invalid_config", "unsupported", "free_memory"}:
            break
    assert best is not None  # the first concession is none at all
    config, report = best
    performance = estimate_performance(
        metadata,
        gpus,
        config,
        request.workload,
        kv_tokens=report.kv_cache.tokens,
        max_concurrency=report.concurrency_at_workload,
        version=version,
        interconnect=Interconnect.NVLINK if nvlink else Interconnect.PCIE,
        nodes=request.hardware.nodes,
    )
    return Candidate(config, report, performance)


def _too_heavy(report: FeasibilityReport) -> bool:
    """The weights alone exceed the budget: no setting but lighter weights can help."""
    return report.per_gpu.weights_bytes >= report.per_gpu.requested_bytes


def _base_config(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], layout: Layout, version: str
) -> VLLMConfig:
    """The settings that the seed's rules give before memory is looked at."""
    model, hardware, workload, policy = request.model, request.hardware, request.workload, request.policy
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    engines = layout.data_parallel_size
    concurrency = -(-workload.concurrency // engines)
    seqs, why_seqs = _recommend_max_num_seqs(concurrency, workload.batching_mode)
    if policy.max_num_seqs is not None:
        seqs, why_seqs = policy.max_num_seqs, f"You chose {policy.max_num_seqs}."
    tokens, why_tokens = _recommend_max_batched_tokens(
        workload.prompt_tokens,
        workload.gen_tokens,
        concurrency,
        workload.batching_mode,
        gpu.memory_total_bytes,
        seqs,
    )
    if policy.max_num_batched_tokens is not None:
        tokens, why_tokens = policy.max_num_batched_tokens, f"You chose {policy.max_num_batched_tokens:,}."
    config = VLLMConfig(
        model=model.model,
        revision=model.revision or metadata.revision,
        tokenizer=model.tokenizer,
        tensor_parallel_size=layout.tensor_parallel_size,
        pipeline_parallel_size=layout.pipeline_parallel_size,
        data_parallel_size=layout.data_parallel_size,
        nnodes=hardware.nodes if layout.gpus > len(gpus) else 1,
        dtype=model.dtype.value,
        quantization=model.quantization,
        kv_cache_dtype=None if model.kv_cache_dtype == "auto" else model.kv_cache_dtype,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        enforce_eager=policy.enforce_eager or None,
        trust_remote_code=model.trust_remote_code or None,
        extra_args=policy.extra_args,
    )
    launch = resolve(config, metadata, gpu, version=version, gpus_per_node=len(gpus))
    utilization, why_utilization = _recommend_gpu_memory_utilization(
        replace(gpu, memory_used_bytes=max(item.memory_used_bytes for item in gpus)),
        launch.rules.default_gpu_memory_utilization,
        policy.gpu_memory_utilization,
        context_bytes=context_bytes(launch),
    )
    explanations = {
        "tensor_parallel_size": _why_layout(request, metadata, gpus, layout),
        "gpu_memory_utilization": why_utilization,
        "max_num_seqs": why_seqs,
        "max_num_batched_tokens": why_tokens,
        "dtype": f"{launch.dtype}, by vLLM's rule for this checkpoint and GPU."
        if model.dtype.value == "auto"
        else f"You chose {model.dtype.value}.",
    }
    return config.model_copy(update={"gpu_memory_utilization": utilization, "explanations": explanations})


def _why_layout(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], layout: Layout
) -> str:
    if request.hardware.tensor_parallel_size is not None:
        return f"You chose {layout.tensor_parallel_size}."
    if len(gpus) * request.hardware.nodes == 1:
        return "One GPU needs no sharding."
    parts = f"{layout.tensor_parallel_size} GPUs share every layer"
    if layout.pipeline_parallel_size > 1:
        parts += f", in {layout.pipeline_parallel_size} pipeline stages"
    if layout.data_parallel_size > 1:
        parts += f", {layout.data_parallel_size} replicas"
    return (
        f"{parts}: best for {request.workload.batching_mode.value} of the ways that divide "
        f"{metadata.num_attention_heads} heads over {len(gpus) * request.hardware.nodes} GPUs."
    )


def _concessions(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    base: VLLMConfig,
    version: str,
    nvlink: bool,
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """What to give up next, with the explanation of each value given up."""
    yield {}, {}
    policy, model = request.policy, request.model
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    changes: dict[str, Any] = {}
    why: dict[str, str] = {}
    if policy.max_num_batched_tokens is None and (base.max_num_batched_tokens or 0) > MINIMUM_BATCHED_TOKENS:
        changes["max_num_batched_tokens"] = max(MINIMUM_BATCHED_TOKENS, base.max_num_seqs or 1)
        why["max_num_batched_tokens"] = "Lowered: a smaller step leaves more memory for the cache."
        yield dict(changes), dict(why)
    if policy.gpu_memory_utilization is None and base.gpu_memory_utilization is not None:
        lowered = round(base.gpu_memory_utilization - 0.04, 2)
        yield (
            {**changes, "gpu_memory_utilization": lowered},
            {**why, "gpu_memory_utilization": "Lowered: graphs and workspaces need room outside the budget."},
        )
    pressure = _kv_pressure(request, metadata, gpus, base, version, nvlink)
    dtype, why_dtype = _recommend_kv_cache_dtype(
        model.kv_cache_dtype, pressure, gpu.compute_capability, allowed=policy.allow_fp8_kv
    )
    if dtype is not None and model.kv_cache_dtype == "auto":
        changes["kv_cache_dtype"] = dtype
        why["kv_cache_dtype"] = why_dtype
        yield dict(changes), dict(why)
    if not policy.enforce_eager:
        yield (
            {**changes, "enforce_eager": True},
            {**why, "enforce_eager": "CUDA graphs are given up for their memory; decoding gets slower."},
        )
    quantization, why_quantization = _recommend_quantization(
        model.quantization,
        False,
        checkpoint_method=quantization_method(metadata.quantization_config),
        capability=gpu.compute_capability,
        allowed=policy.allow_quantized,
        rules=rules(version),
    )
    if quantization is not None and model.quantization is None:
        why["quantization"] = why_quantization
        for extra in ({}, changes, {**changes, "enforce_eager": True}):
            yield {**extra, "quantization": quantization}, dict(why)


def _kv_pressure(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    config: VLLMConfig,
    version: str,
    nvlink: bool,
) -> float:
    """The workload's cache as a share of the memory budget, per GPU."""
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    launch = resolve(config, metadata, gpu, version=version, nvlink=nvlink, gpus_per_node=len(gpus))
    layout = kv_layout(launch)
    workload = request.workload
    concurrency = -(-workload.concurrency // launch.dp)
    each = (workload.prompt_tokens + workload.gen_tokens) * layout.bytes_per_token
    demand = concurrency * (each + layout.state_bytes_per_request)
    return demand / (gpu.memory_total_bytes * launch.gpu_memory_utilization)


def _with_context(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    config: VLLMConfig,
    version: str,
    nvlink: bool,
) -> VLLMConfig:
    """`config` with the length that its own cache can hold."""
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    wanted = request.model.max_model_len
    model_max = metadata.max_position_embeddings
    full = config.model_copy(update={"max_model_len": min(wanted or model_max, model_max)})
    launch = resolve(full, metadata, gpu, version=version, nvlink=nvlink, gpus_per_node=len(gpus))
    if refusal(launch) is not None:
        length, why = wanted or model_max, "Not looked at: vLLM refuses the rest of the settings."
    else:
        low = terms(launch, request.policy).kv_low_bytes
        available = kv_report(launch, low).estimated_max_model_len if low > 0 else 0
        length, why = _recommend_max_model_len(wanted, model_max, available)
    explanations = {**config.explanations, "max_model_len": why}
    return config.model_copy(update={"max_model_len": length, "explanations": explanations})


def _capped(gpus: Sequence[GPUInfo], vram_total_bytes: int | None) -> Sequence[GPUInfo]:
    if vram_total_bytes is None:
        return gpus
    each = vram_total_bytes // len(gpus)
    return [replace(gpu, memory_total_bytes=min(gpu.memory_total_bytes, each)) for gpu in gpus]
