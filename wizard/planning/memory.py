"""One GPU's memory, term by term, and the verdict that follows from it.

Source of the accounting: vLLM 0.33 `v1/worker/gpu_worker.py` (`determine_available_memory`),
`v1/core/kv_cache_planning.py` (the one-request gate); older rules by `VersionRules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wizard.planning.activations import activation_peak_bytes, persistent_bytes
from wizard.planning.bands import kv_band_bytes
from wizard.planning.cuda_graphs import cuda_graphs_bytes
from wizard.planning.gates import Refusal, refusal
from wizard.planning.kv_cache import concurrency_for, kv_layout, kv_report
from wizard.planning.non_torch import (
    context_bytes,
    load_transient_bytes,
    non_torch_bytes,
    outside_budget_bytes,
)
from wizard.planning.weights import rank_weights

from wizard.models.metadata import ModelMetadata
from wizard.planning.launch import Launch, resolve
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
class Terms:
    """The bytes of each term on one GPU, before the verdict."""

    weights_bytes: int
    activation_peak_bytes: int
    non_torch_bytes: int
    graphs_subtracted_bytes: int
    graphs_actual_bytes: int
    context_bytes: int
    outside_budget_bytes: int
    requested_bytes: int
    kv_available_bytes: int
    kv_low_bytes: int
    kv_high_bytes: int


def terms(launch: Launch, policy: PolicyInput | None = None) -> Terms:
    """Every memory term of a launch that the gates accept; bytes on the worst GPU.

    available KV = requested - weights - activation peak - non-torch - CUDA-graph estimate, or the
    fixed size where --kv-cache-memory-bytes or --num-gpu-blocks-override set one.
    """
    total = launch.gpu.memory_total_bytes
    weights = max(0, rank_weights(launch).loaded_bytes - int(launch.config.cpu_offload_gb * GIB))
    activation = activation_peak_bytes(launch) + persistent_bytes(launch)
    non_torch = non_torch_bytes(launch)
    if policy is not None and policy.overhead_gb is not None:
        non_torch = int(policy.overhead_gb * GIB)
    graphs = cuda_graphs_bytes(launch)
    requested = math.ceil(total * launch.gpu_memory_utilization)
    available = requested - weights - activation - non_torch - graphs.subtracted_bytes
    low, high = kv_band_bytes(launch)
    if launch.config.kv_cache_memory_bytes is not None:
        available, low, high = launch.config.kv_cache_memory_bytes, 0, 0
    return Terms(
        weights_bytes=weights,
        activation_peak_bytes=activation,
        non_torch_bytes=non_torch,
        graphs_subtracted_bytes=graphs.subtracted_bytes,
        graphs_actual_bytes=graphs.actual_bytes,
        context_bytes=context_bytes(launch),
        outside_budget_bytes=outside_budget_bytes(launch),
        requested_bytes=requested,
        kv_available_bytes=available,
        kv_low_bytes=available + low,
        kv_high_bytes=available + high,
    )


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
    risk: Risk = {"fits": "low", "tight": "medium", "wont_start": "high"}[verdict]  # type: ignore[assignment]
    return FeasibilityReport(
        verdict=verdict,
        cause=failure.cause if failure else None,
        error=failure.error if failure else None,
        fits=verdict != "wont_start",
        oom_risk=risk,
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
    if parts.kv_available_bytes <= 0:
        return Failure("no_kv_memory", errors.no_kv_memory())
    if kv.needed_bytes > parts.kv_available_bytes - _reserved(launch, kv):
        error = errors.kv_cache_too_small(
            max_model_len=launch.max_model_len,
            needed_bytes=kv.needed_bytes,
            available_bytes=parts.kv_available_bytes,
            estimated_max_model_len=kv.estimated_max_model_len,
        )
        return Failure("kv_cache_too_small", error)
    return None


def _risks(launch: Launch, parts: Terms) -> Sequence[str]:
    """Start-up risks inside the uncertainty: each makes the verdict tight."""
    total = launch.gpu.memory_total_bytes
    free_after = total - launch.gpu.memory_used_bytes - parts.context_bytes - parts.requested_bytes
    if launch.config.kv_cache_memory_bytes is None and free_after < parts.outside_budget_bytes:
        short = (parts.outside_budget_bytes - free_after) / GIB
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
