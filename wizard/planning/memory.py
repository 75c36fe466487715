"""One GPU's memory, term by term, and the verdict that follows from it.

Source of the accounting: vLLM 0.33 `v1/worker/gpu_worker.py` (`determine_available_memory`),
`v1/core/kv_cache_planning.py` (the one-request gate); older rules by `VersionRules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wizard.dataclass import dataclass, replace
from wizard.models.metadata import ModelMetadata
from wizard.planning.gates import Refusal, refusal
from wizard.planning.kv_cache import concurrency_for, kv_layout, kv_report, kv_tokens
from wizard.planning.launch import Launch, resolve
from wizard.planning.non_torch import load_transient_bytes, unseen_tenants_bytes
from wizard.planning.terms import Terms, terms
from wizard.planning.verdicts import EMPTY_KV, RISKS, Failure
from wizard.schemas.inputs import PolicyInput, WorkloadInput
from wizard.schemas.outputs import (
    GIB,
    FeasibilityReport,
    GPUInfo,
    KVCacheReport,
    MemoryBreakdown,
    Verdict,
    VLLMConfig,
)
from wizard.vllm import errors
from wizard.vllm.versions import NEWEST_KNOWN

if TYPE_CHECKING:
    from wizard.planning.seed import (
        compute_feasibility,
        compute_kv_cache_memory,
        compute_overhead,
        compute_weights_memory,
    )

__all__ = [
    "compute_feasibility",
    "compute_kv_cache_memory",
    "compute_overhead",
    "compute_weights_memory",
    "decisive_gpu",
    "evaluate",
    "refused_report",
]


def __getattr__(name: str) -> Any:
    """The seed's functions, which stand on this module; nothing here needs them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wizard.planning import seed

    return getattr(seed, name)


def evaluate(
    config: VLLMConfig,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    *,
    version: str = NEWEST_KNOWN,
    workload: WorkloadInput | None = None,
    policy: PolicyInput | None = None,
    nvlink: bool = True,
    nodes: int | None = None,
) -> FeasibilityReport:
    """Will `config` start on these GPUs (one node's), and does the cache hold the workload?

    Without a workload, one request of max_model_len is all that is asked, as vLLM's own gate does.
    Total: every valid config gets a report; what vLLM would refuse comes back as `wont_start` with
    vLLM's sentence. Mixed GPUs are judged by the smallest and the fullest. `nodes` is how many machines there
    are; None: as many as the config asks for.
    """
    gpu = decisive_gpu(gpus)
    launch = resolve(
        config, metadata, gpu, version=version, nvlink=nvlink, gpus_per_node=len(gpus), nodes=nodes
    )
    refused = refusal(launch)
    if refused is not None:
        return refused_report(launch, refused)
    parts = terms(launch, policy)
    kv = kv_report(launch, max(0, parts.kv_available_bytes))
    failure = _failure(launch, parts, kv)
    need = Need.of(launch, workload, policy)
    held_low = need.held(launch, parts.kv_low_bytes)
    held = need.held(launch, parts.kv_available_bytes)
    warnings: list[str] = []
    verdict: Verdict = "wont_start"
    if failure is None:
        warnings += _risks(launch, parts)
        warnings += _shortfalls(launch, need, held, workload)
        low_starts = kv.needed_bytes <= parts.kv_low_bytes - _reserved(launch, kv)
        verdict = "tight" if warnings or not low_starts or held_low < need.requests else "fits"
    return FeasibilityReport(
        verdict=verdict,
        cause=failure.cause if failure else None,
        error=failure.error if failure else None,
        fits=verdict != "wont_start",
        oom_risk=RISKS[verdict],
        per_gpu=_breakdown(launch, parts),
        kv_cache=replace(
            kv,
            tokens_low=kv_tokens(launch, max(0, parts.kv_low_bytes)),
            tokens_high=kv_tokens(launch, max(0, parts.kv_high_bytes)),
        ),
        max_model_len=launch.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
        concurrency_at_workload=held,
        bytes_per_request=(
            round(need.left(launch, parts.kv_available_bytes) / held) if held and kv.tokens else 0
        ),
        warnings=tuple(warnings),
        headroom_bytes=parts.kv_low_bytes - need.bytes(launch, kv),
    )


@dataclass(frozen=True, slots=True)
class Need:
    """What one engine must hold at once."""

    requests: int
    """One engine's part of the wanted concurrency."""
    tokens: int
    """Per request, without what all requests share."""
    shared_tokens: int
    whole_tokens: int
    """Of one request, prompt and output, as max_model_len counts them."""

    @classmethod
    def of(cls, launch: Launch, workload: WorkloadInput | None, policy: PolicyInput | None) -> Need:
        """Without a workload: one request of max_model_len, as vLLM's own gate asks."""
        length = launch.max_model_len
        if workload is None:
            return cls(requests=1, tokens=length, shared_tokens=0, whole_tokens=length)
        factor = policy.fragmentation_factor if policy else 1.0
        shared = int(workload.prompt_tokens * workload.prefix_share) if launch.prefix_caching else 0
        tokens = math.ceil((workload.prompt_tokens - shared + workload.gen_tokens) * factor)
        return cls(
            requests=math.ceil(workload.concurrency / launch.dp),
            tokens=min(tokens, length),
            shared_tokens=min(shared, length),
            whole_tokens=workload.prompt_tokens + workload.gen_tokens,
        )

    def held(self, launch: Launch, available_bytes: int) -> float:
        """Requests of this size that fit into `available_bytes` of cache at once."""
        left = self.left(launch, available_bytes)
        return concurrency_for(launch, left, self.tokens) if left > 0 else 0.0

    def left(self, launch: Launch, available_bytes: int) -> int:
        """Of `available_bytes`, what the shared tokens leave to the requests' own."""
        return int(available_bytes - self.shared_tokens * kv_layout(launch).bytes_per_token)

    def bytes(self, launch: Launch, kv: KVCacheReport) -> int:
        """Cache that the need takes, at least what vLLM's one-request gate asks for."""
        each = self.tokens * kv.bytes_per_token + kv.state_bytes_per_request
        total = self.requests * each + self.shared_tokens * kv.bytes_per_token
        return max(int(total), kv.needed_bytes)


def decisive_gpu(gpus: Sequence[GPUInfo]) -> GPUInfo:
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
    if parts.kv_fixed:
        peak = max(peak, parts.weights_bytes + parts.non_torch_bytes + parts.kv_available_bytes)
    if peak > free:
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


def _risks(launch: Launch, parts: Terms) -> list[str]:
    """Start-up risks inside the uncertainty: each makes the verdict tight."""
    total = launch.gpu.memory_total_bytes
    free = total - launch.gpu.memory_used_bytes - parts.context_bytes
    taken = parts.requested_bytes
    if parts.kv_fixed:
        taken = parts.spoken_for_bytes + parts.kv_available_bytes
    short = parts.outside_budget_bytes + unseen_tenants_bytes(launch.gpu) - (free - taken)
    if short <= 0:
        return []
    remedy = "a smaller cache" if parts.kv_fixed else "a lower gpu_memory_utilization"
    return [
        f"About {short / GIB:.1f} GiB short for what vLLM takes on top of its budget (graphs, block tables, "
        f"workspaces): {remedy} leaves room for it."
    ]


def _shortfalls(launch: Launch, need: Need, held: float, workload: WorkloadInput | None) -> list[str]:
    """What of the stated workload this launch can't serve, though it starts."""
    if workload is None:
        return []
    found = []
    length, longest = launch.max_model_len, launch.metadata.max_position_embeddings
    if need.whole_tokens > length:
        limit = f"the model's {longest:,}" if need.whole_tokens > longest else f"max_model_len, {length:,}"
        found.append(
            f"vLLM will refuse these requests: {workload.prompt_tokens:,} prompt and {workload.gen_tokens:,} "
            f"output tokens exceed {limit}."
        )
    several = launch.dp > 1
    each = " of each engine" if several else ""
    if held < need.requests:
        found.append(
            f"The cache{each} holds {held:,.1f} of {need.requests:,} requests at once; the rest wait in the queue."
        )
    if launch.max_num_seqs < need.requests:
        found.append(
            f"max_num_seqs lets {launch.max_num_seqs:,} of {need.requests:,} requests{each} run at once; "
            "the rest wait in the queue."
        )
    return found


def _breakdown(launch: Launch, parts: Terms) -> MemoryBreakdown:
    """Terms that add up to `requested_bytes`; a cache of fixed size makes its own budget."""
    total = launch.gpu.memory_total_bytes
    requested = parts.requested_bytes
    if parts.kv_fixed:
        requested = parts.spoken_for_bytes + parts.kv_available_bytes
    return MemoryBreakdown(
        total_bytes=total,
        requested_bytes=requested,
        weights_bytes=parts.weights_bytes,
        activation_peak_bytes=parts.activation_peak_bytes,
        non_torch_bytes=parts.non_torch_bytes,
        cuda_graphs_bytes=parts.graphs_subtracted_bytes,
        kv_cache_available_bytes=parts.kv_available_bytes,
        kv_cache_available_low_bytes=parts.kv_low_bytes,
        kv_cache_available_high_bytes=parts.kv_high_bytes,
        unused_bytes=max(0, total - requested - launch.gpu.memory_used_bytes),
        other_processes_bytes=launch.gpu.memory_used_bytes,
        context_bytes=parts.context_bytes,
        outside_budget_bytes=parts.outside_budget_bytes,
    )


def refused_report(launch: Launch, refused: Refusal) -> FeasibilityReport:
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
            unused_bytes=max(0, total - requested - launch.gpu.memory_used_bytes),
            other_processes_bytes=launch.gpu.memory_used_bytes,
        ),
        kv_cache=EMPTY_KV,
        max_model_len=launch.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
    )
