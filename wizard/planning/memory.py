"""One GPU's memory, term by term, and the verdict that follows from it.

Source of the accounting: vLLM 0.33 `v1/worker/gpu_worker.py` (`determine_available_memory`),
`v1/core/kv_cache_planning.py` (the one-request gate); older rules by `VersionRules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wizard.models.metadata import ModelMetadata
from wizard.planning.gates import Refusal, refusal
from wizard.planning.kv_cache import concurrency_for, kv_layout, kv_report
from wizard.planning.launch import DTYPE_BYTES, Launch, resolve
from wizard.planning.non_torch import load_transient_bytes, unseen_tenants_bytes
from wizard.planning.terms import Terms, terms
from wizard.planning.weights import rank_weights
from wizard.schemas.inputs import PolicyInput, WorkloadInput
from wizard.schemas.outputs import (
    GIB,
    Cause,
    FeasibilityReport,
    GPUInfo,
    KVCacheReport,
    MemoryBreakdown,
    Risk,
    Verdict,
    VLLMConfig,
)
from wizard.vllm import errors
from wizard.vllm.versions import NEWEST_KNOWN

RISKS: Mapping[Verdict, Risk] = {"fits": "low", "tight": "medium", "wont_start": "high"}
"""The seed's word for each verdict."""

EMPTY_KV = KVCacheReport(
    block_size=16,
    bytes_per_block=0,
    num_gpu_blocks=0,
    tokens=0,
    max_concurrency=0.0,
    bytes_per_token=0.0,
    estimated_max_model_len=0,
)
"""The cache of a launch that never gets as far as having one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why vLLM would stop, in its own words."""

    cause: Cause
    error: str


def evaluate(
    config: VLLMConfig,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    *,
    version: str = NEWEST_KNOWN,
    workload: WorkloadInput | None = None,
    policy: PolicyInput | None = None,
    nvlink: bool = True,
) -> FeasibilityReport:
    """Will `config` start on these GPUs (one node's), and does the cache hold the workload?

    Without a workload, one request of max_model_len is all that is asked, as vLLM's own gate does.
    Total: every valid config gets a report; what vLLM would refuse comes back as `wont_start` with
    vLLM's sentence. Mixed GPUs are judged by the smallest and the fullest.
    """
    gpu = _decisive_gpu(gpus)
    launch = resolve(config, metadata, gpu, version=version, nvlink=nvlink, gpus_per_node=len(gpus))
    refused = refusal(launch)
    if refused is not None:
        return _refused(launch, refused)
    parts = terms(launch, policy)
    kv = kv_report(launch, max(0, parts.kv_available_bytes))
    failure = _failure(launch, parts, kv)
    need = _Need.of(launch, workload, policy)
    held = {
        name: need.held(launch, available)
        for name, available in (
            ("low", parts.kv_low_bytes),
            ("mid", parts.kv_available_bytes),
        )
    }
    warnings = list(_risks(launch, parts)) if failure is None else []
    low_starts = kv.needed_bytes <= parts.kv_low_bytes - _reserved(launch, kv)
    verdict: Verdict
    if failure is not None:
        verdict = "wont_start"
    elif warnings or not low_starts or held["low"] < need.requests:
        verdict = "tight"
    else:
        verdict = "fits"
    if failure is None and held["mid"] < need.requests:
        warnings.append(
            f"The cache holds {held['mid']:.1f} of the {need.requests} requests at once; the rest wait in the queue."
        )
    return FeasibilityReport(
        verdict=verdict,
        cause=failure.cause if failure else None,
        error=failure.error if failure else None,
        fits=verdict != "wont_start",
        oom_risk=RISKS[verdict],
        per_gpu=_breakdown(launch, parts),
        kv_cache=replace(
            kv,
            tokens_low=kv_report(launch, max(0, parts.kv_low_bytes)).tokens,
            tokens_high=kv_report(launch, max(0, parts.kv_high_bytes)).tokens,
        ),
        max_model_len=launch.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
        concurrency_at_workload=held["mid"],
        warnings=tuple(warnings),
        headroom_bytes=parts.kv_low_bytes - need.bytes(launch, kv),
    )


@dataclass(frozen=True, slots=True)
class _Need:
    """What one engine must hold at once."""

    requests: int
    tokens: int
    """Per request, without what all requests share."""
    shared_tokens: int
    reserve_bytes: int

    @classmethod
    def of(cls, launch: Launch, workload: WorkloadInput | None, policy: PolicyInput | None) -> _Need:
        reserve = int(policy.headroom_gb * GIB) if policy else 0
        if workload is None:
            return cls(requests=1, tokens=launch.max_model_len, shared_tokens=0, reserve_bytes=reserve)
        factor = policy.fragmentation_factor if policy else 1.0
        shared = int(workload.prompt_tokens * workload.prefix_share) if launch.prefix_caching else 0
        tokens = math.ceil((workload.prompt_tokens - shared + workload.gen_tokens) * factor)
        return cls(
            requests=min(math.ceil(workload.concurrency / launch.dp), launch.max_num_seqs),
            tokens=min(tokens, launch.max_model_len),
            shared_tokens=shared,
            reserve_bytes=reserve,
        )

    def held(self, launch: Launch, available_bytes: int) -> float:
        """Requests of this size that fit into `available_bytes` of cache at once."""
        shared = self.shared_tokens * kv_layout(launch).bytes_per_token
        left = available_bytes - self.reserve_bytes - shared
        return concurrency_for(launch, int(left), self.tokens) if left > 0 else 0.0

    def bytes(self, launch: Launch, kv: KVCacheReport) -> int:
        """Cache that the need takes, at least what vLLM's one-request gate asks for."""
        each = self.tokens * kv.bytes_per_token + kv.state_bytes_per_request
        total = self.requests * each + self.shared_tokens * kv.bytes_per_token
        return max(int(total), kv.needed_bytes) + self.reserve_bytes


def _decisive_gpu(gpus: Sequence[GPUInfo]) -> GPUInfo:
    """The smallest GPU, with the memory that the fullest has taken: both decide for every rank."""
    smallest = min(gpus, key=lambda gpu: gpu.memory_total_bytes)
    used = max(gpu.memory_used_bytes for gpu in gpus)
    return smallest if smallest.memory_used_bytes == used else replace(smallest, memory_used_bytes=used)


def _reserved(launch: Launch, kv: KVCacheReport) -> int:
    return kv.bytes_per_block if launch.rules.null_block_in_check else 0


def _failure(launch: Launch, parts: Terms, kv: KVCacheReport) -> Failure | None:
    """The first of vLLM's start-up gates that stops this launch, in the order vLLM meets them."""
    total = launch.gpu.memory_total_bytes
    free = total - launch.gpu.memory_used_bytes - parts.context_bytes
    if free < parts.requested_bytes:
        error = errors.free_memory(
            free_bytes=free,
            total_bytes=total,
            utilization=launch.gpu_memory_utilization,
            requested_bytes=parts.requested_bytes,
        )
        return Failure("free_memory", error)
    peak = parts.weights_bytes + max(
        load_transient_bytes(launch), parts.activation_peak_bytes + parts.non_torch_bytes
    )
    if peak > free:
        return Failure("out_of_memory", errors.out_of_memory(total_bytes=total, free_bytes=free))
    fixed = launch.config.kv_cache_memory_bytes
    if fixed is not None and parts.weights_bytes + parts.non_torch_bytes + fixed > free:
        return Failure("out_of_memory", errors.out_of_memory(total_bytes=total, free_bytes=free))
    if parts.kv_available_bytes <= 0:
        return Failure("no_kv_memory", errors.no_kv_memory(number=launch.rules.number))
    if kv.needed_bytes > parts.kv_available_bytes - _reserved(launch, kv):
        error = errors.kv_cache_too_small(
            max_model_len=launch.max_model_len,
            needed_bytes=kv.needed_bytes,
            available_bytes=parts.kv_available_bytes,
            estimated_max_model_len=kv.estimated_max_model_len,
            number=launch.rules.number,
        )
        return Failure("kv_cache_too_small", error)
    return None


def _risks(launch: Launch, parts: Terms) -> Sequence[str]:
    """Start-up risks inside the uncertainty: each makes the verdict tight."""
    total = launch.gpu.memory_total_bytes
    free_after = total - launch.gpu.memory_used_bytes - parts.context_bytes - parts.requested_bytes
    wanted = parts.outside_budget_bytes + unseen_tenants_bytes(launch.gpu)
    if launch.config.kv_cache_memory_bytes is None and free_after < wanted:
        short = (wanted - free_after) / GIB
        return [
            f"About {short:.1f} GiB short outside vLLM's budget (graphs, block tables, workspaces): "
            "lower gpu_memory_utilization a little."
        ]
    return []


def _breakdown(launch: Launch, parts: Terms) -> MemoryBreakdown:
    total = launch.gpu.memory_total_bytes
    return MemoryBreakdown(
        total_bytes=total,
        requested_bytes=parts.requested_bytes,
        weights_bytes=parts.weights_bytes,
        activation_peak_bytes=parts.activation_peak_bytes,
        non_torch_bytes=parts.non_torch_bytes,
        cuda_graphs_bytes=parts.graphs_subtracted_bytes,
        kv_cache_available_bytes=parts.kv_available_bytes,
        kv_cache_available_low_bytes=parts.kv_low_bytes,
        kv_cache_available_high_bytes=parts.kv_high_bytes,
        unused_bytes=max(0, total - parts.requested_bytes - launch.gpu.memory_used_bytes),
        other_processes_bytes=launch.gpu.memory_used_bytes,
        context_bytes=parts.context_bytes,
        outside_budget_bytes=parts.outside_budget_bytes,
    )


def _refused(launch: Launch, refused: Refusal) -> FeasibilityReport:
    """The report of a launch that vLLM refuses before it looks at memory."""
    total = launch.gpu.memory_total_bytes
    requested = math.ceil(total * launch.gpu_memory_utilization)
    return FeasibilityReport(
        verdict="wont_start",
        cause=refused.cause,
        error=refused.error,
        fits=False,
        oom_risk="high",
        per_gpu=MemoryBreakdown(
            total_bytes=total,
            requested_bytes=requested,
            weights_bytes=0,
            activation_peak_bytes=0,
            non_torch_bytes=0,
            cuda_graphs_bytes=0,
            kv_cache_available_bytes=0,
            kv_cache_available_low_bytes=0,
            kv_cache_available_high_bytes=0,
            unused_bytes=total - requested,
            other_processes_bytes=launch.gpu.memory_used_bytes,
        ),
        kv_cache=EMPTY_KV,
        max_model_len=launch.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
    )


def compute_weights_memory(
    model: ModelMetadata | float,
    dtype: str = "auto",
    quantization: str | None = None,
    *,
    tensor_parallel_size: int = 1,
    gpu: GPUInfo | None = None,
) -> int:
    """Bytes of weights on one GPU (seed name).

    With a `ModelMetadata` the bytes follow from the architecture, layer by layer. The seed took billions
    of parameters; a bare number still works, at the bytes per parameter of the dtype or method, which
    can't know what a checkpoint leaves in 16 bits.
    """
    if isinstance(model, ModelMetadata):
        config = VLLMConfig(
            model=model.model,
            dtype=dtype,
            quantization=quantization,
            tensor_parallel_size=tensor_parallel_size,
        )
        return rank_weights(resolve(config, model, gpu or REFERENCE_GPU)).loaded_bytes
    bits = QUANTIZED_BITS.get(quantization or "none") or 8 * DTYPE_BYTES.get(dtype, 2)
    return math.ceil(model * 1e9 * bits / 8 / tensor_parallel_size)


QUANTIZED_BITS = {"awq": 4.25, "gptq": 4.25, "int8": 8.0, "fp8": 8.0, "fp8_per_tensor": 8.0, "mxfp4": 4.25}
"""Stored bits per parameter, scales and zero points included (group size 128; MXFP4: 8 bits per 32)."""

REFERENCE_GPU = GPUInfo("H100 SXM5 80GB", int(79.19 * GIB), (9, 0))
"""Stands in where a seed function is asked without a GPU: only capability and tier matter then."""


def compute_kv_cache_memory(
    metadata: ModelMetadata,
    context_len: int,
    concurrency: int,
    kv_dtype: str = "auto",
    dtype: str = "auto",
    fragmentation_factor: float = 1.0,
    *,
    tensor_parallel_size: int = 1,
    gpu: GPUInfo | None = None,
) -> int:
    """Bytes of cache on one GPU for `concurrency` requests of `context_len` tokens (seed name).

    In whole blocks of vLLM's groups: windows, states and latents count as what they are. The seed's
    fragmentation factor of 1.15 has no cause in a paged cache; 1.0 adds nothing.
    """
    config = VLLMConfig(
        model=metadata.model,
        dtype=dtype,
        kv_cache_dtype=kv_dtype,
        tensor_parallel_size=tensor_parallel_size,
        max_model_len=min(context_len, metadata.max_position_embeddings),
    )
    launch = resolve(config, metadata, gpu or REFERENCE_GPU)
    return math.ceil(kv_report(launch, 0).needed_bytes * concurrency * fragmentation_factor)


def compute_overhead(
    vram_total_bytes: int,
    tp_size: int = 1,
    fixed_overhead_gb: float | None = None,
    *,
    metadata: ModelMetadata | None = None,
    gpu: GPUInfo | None = None,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
) -> int:
    """Bytes on one GPU beside weights and cache: activation peak, graphs and non-torch (seed name).

    The seed took 2 % of the memory and a quarter GiB per extra GPU; what vLLM takes depends on the
    model, so `metadata` is needed unless `fixed_overhead_gb` gives the answer. `vram_total_bytes` is that
    of one GPU, and decides vLLM's batch tier. Raises ValueError without both.
    """
    if fixed_overhead_gb is not None:
        return int(fixed_overhead_gb * GIB)
    if metadata is None:
        raise ValueError("compute_overhead needs metadata, or a fixed_overhead_gb")
    config = VLLMConfig(
        model=metadata.model,
        tensor_parallel_size=tp_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
    )
    card = replace(gpu or REFERENCE_GPU, memory_total_bytes=vram_total_bytes)
    parts = terms(resolve(config, metadata, card))
    return parts.activation_peak_bytes + parts.non_torch_bytes + parts.graphs_subtracted_bytes


def compute_feasibility(
    weights_bytes: int,
    kv_cache_bytes: int,
    overhead_bytes: int,
    vram_total_bytes: int,
    gpu_memory_utilization: float = 0.92,
    headroom_gb: float = 0.0,
    context_len: int = 4096,
    concurrency: int = 1,
) -> FeasibilityReport:
    """The verdict on bare numbers, all of one GPU (seed name); `evaluate` finds the numbers itself.

    `kv_cache_bytes` is what `concurrency` requests of `context_len` tokens take together. vLLM's own rule
    decides: it starts when one request fits; it fits when all do, with the headroom left.
    """
    requested = math.ceil(vram_total_bytes * gpu_memory_utilization)
    available = requested - weights_bytes - overhead_bytes
    each = max(1, math.ceil(kv_cache_bytes / concurrency))
    headroom = available - kv_cache_bytes - int(headroom_gb * GIB)
    longest = max(0, context_len * available // each)
    failure: Failure | None = None
    if weights_bytes + overhead_bytes > vram_total_bytes:
        failure = Failure(
            "out_of_memory", errors.out_of_memory(total_bytes=vram_total_bytes, free_bytes=vram_total_bytes)
        )
    elif available <= 0:
        failure = Failure("no_kv_memory", errors.no_kv_memory())
    elif each > available:
        failure = Failure(
            "kv_cache_too_small",
            errors.kv_cache_too_small(
                max_model_len=context_len,
                needed_bytes=each,
                available_bytes=available,
                estimated_max_model_len=longest,
            ),
        )
    verdict: Verdict = "wont_start" if failure else "fits" if headroom >= 0 else "tight"
    return FeasibilityReport(
        verdict=verdict,
        cause=failure.cause if failure else None,
        error=failure.error if failure else None,
        fits=failure is None,
        oom_risk=RISKS[verdict],
        per_gpu=MemoryBreakdown(
            total_bytes=vram_total_bytes,
            requested_bytes=requested,
            weights_bytes=weights_bytes,
            activation_peak_bytes=overhead_bytes,
            non_torch_bytes=0,
            cuda_graphs_bytes=0,
            kv_cache_available_bytes=available,
            kv_cache_available_low_bytes=available,
            kv_cache_available_high_bytes=available,
            unused_bytes=vram_total_bytes - requested,
        ),
        kv_cache=replace(
            EMPTY_KV,
            tokens=longest,
            max_concurrency=max(0.0, available / each),
            bytes_per_token=each / context_len,
            estimated_max_model_len=min(context_len, longest),
            needed_bytes=each,
        ),
        max_model_len=context_len,
        max_num_seqs=concurrency,
        max_num_batched_tokens=0,
        concurrency_at_workload=max(0.0, available / each),
        headroom_bytes=headroom,
    )
