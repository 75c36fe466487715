"""What the planner answers. `VLLMConfig` crosses edges and is validated; the rest is computed.

Units live in names: `_bytes` are integers, `_gib` are 2^30 floats, times `_ms`, rates `_per_s`.
Memory figures are per GPU of the worst rank unless said otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from wizard.dataclass import dataclass, field
from wizard.schemas.checked import Bounds, Checked

GIB = 1 << 30
MIB = 1 << 20

Verdict = Literal["fits", "tight", "wont_start"]
Cause = Literal[
    "kv_cache_too_small", "no_kv_memory", "out_of_memory", "free_memory", "invalid_config", "unsupported"
]
Risk = Literal["low", "medium", "high"]


class VLLMConfig(Checked):
    """One `vllm serve` command: the seed's fields, and every other flag that moves memory.

    `None` leaves the flag out, so that vLLM's default for the version and GPU applies.
    `swap_space` is kept for the seed's sake: vLLM removed CPU swap (V1), so renderers leave it out.
    """

    model: str
    revision: str | None = None
    tokenizer: str | None = None
    tensor_parallel_size: Annotated[int, Bounds(ge=1)] = 1
    pipeline_parallel_size: Annotated[int, Bounds(ge=1)] = 1
    data_parallel_size: Annotated[int, Bounds(ge=1)] = 1
    decode_context_parallel_size: Annotated[int, Bounds(ge=1)] = 1
    prefill_context_parallel_size: Annotated[int, Bounds(ge=1)] = 1
    enable_expert_parallel: bool = False
    nnodes: Annotated[int, Bounds(ge=1)] = 1
    distributed_executor_backend: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    gpu_memory_utilization: Annotated[float, Bounds(gt=0, le=1)] | None = None
    max_model_len: int | None = None
    """`-1` is vLLM's own `auto`: the longest that fits one request."""
    max_num_seqs: Annotated[int, Bounds(ge=1)] | None = None
    max_num_batched_tokens: Annotated[int, Bounds(ge=1)] | None = None
    block_size: Annotated[int, Bounds(ge=1)] | None = None
    swap_space: float | None = None
    enforce_eager: bool | None = None
    trust_remote_code: bool | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    async_scheduling: bool | None = None
    kv_cache_memory_bytes: Annotated[int, Bounds(ge=1)] | None = None
    num_gpu_blocks_override: Annotated[int, Bounds(ge=1)] | None = None
    cpu_offload_gb: Annotated[float, Bounds(ge=0)] = 0.0
    disable_hybrid_kv_cache_manager: bool = False
    mamba_cache_dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    mamba_block_size: int | None = None
    attention_backend: str | None = None
    optimization_level: int | None = None
    performance_mode: str | None = None
    max_cudagraph_capture_size: int | None = None
    cudagraph_mode: str | None = None
    disable_custom_all_reduce: bool = False
    skip_mm_profiling: bool = False
    language_model_only: bool = False
    limit_mm_per_prompt: dict[str, Any] | None = None
    mm_encoder_tp_mode: str | None = None
    enable_lora: bool = False
    max_loras: Annotated[int, Bounds(ge=1)] = 1
    max_lora_rank: Annotated[int, Bounds(ge=1)] = 16
    speculative_config: dict[str, Any] | None = None
    hf_overrides: dict[str, Any] | None = None
    extra_args: tuple[str, ...] = ()
    """Flags that don't move memory, as typed, already validated against the flag table."""
    explanations: dict[str, str] = field(default_factory=dict)

    @property
    def world_size(self) -> int:
        """GPUs that one engine needs: TP x PP x DP x PCP."""
        return (
            self.tensor_parallel_size
            * self.pipeline_parallel_size
            * self.data_parallel_size
            * self.prefill_context_parallel_size
        )


@dataclass(frozen=True, slots=True)
class GPUProcess:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class GPUInfo:
    """One GPU, detected or from the catalogue. Unknown is `None`, never a guess."""

    name: str
    memory_total_bytes: int
    """CUDA's total (cudaMemGetInfo): what vLLM multiplies by the utilisation. NVML's is larger."""
    compute_capability: tuple[int, int] | None = None
    memory_used_bytes: int = 0
    """Held by other processes before vLLM starts."""
    catalogue_name: str | None = None
    """Canonical name in `data/gpus.json`; bandwidth, FLOPS and links are looked up there."""
    vendor: Literal["nvidia", "amd", "intel", "other"] = "nvidia"
    driver_version: str | None = None
    cuda_version: str | None = None
    index: int | None = None
    uuid: str | None = None
    nvml_total_bytes: int | None = None
    unified_memory: bool = False
    mig_profile: str | None = None
    ecc: bool | None = None
    power_limit_w: float | None = None
    pcie_gen: int | None = None
    pcie_width: int | None = None
    nvlink_count: int | None = None
    """Active NVLinks of this GPU; 0: none; `None`: not known."""
    numa_node: int | None = None
    processes: tuple[GPUProcess, ...] = ()
    estimated_total: bool = False
    """True where the CUDA total was derived by rule, not logged on a real card: the band widens."""
    bandwidth_gb_s: float | None = None
    """Memory bandwidth, GB/s (10^9), from the catalogue."""
    tflops_bf16: float | None = None
    """Dense, without sparsity, fp32 accumulate; fp16 where the card has no bf16."""
    tflops_fp8: float | None = None
    tflops_fp4: float | None = None
    tops_int8: float | None = None
    nvlink_gb_s: float | None = None
    """Aggregate bidirectional NVLink/xGMI bandwidth of one GPU; `None`: PCIe only."""
    klass: str | None = None
    """datacenter | workstation | consumer | laptop | edge"""
    tdp_w: float | None = None
    usd_per_hour: float | None = None
    """Of one GPU, on the instance that sells it cheapest, or as the user named it."""
    offers: tuple[tuple[int, float], ...] = ()
    """Instances as sold, the cheapest of each size: GPUs, and dollars an hour for all of them."""
    priced_on: str | None = None
    """The day of those prices, ISO 8601."""
    arch: str | None = None
    machine_devices: int | None = None
    """Devices that the driver lists on this GPU's machine, whether they may be used or not."""

    @property
    def device_id(self) -> str | None:
        """What CUDA_VISIBLE_DEVICES and docker take: the index, or the UUID of a MIG instance."""
        if self.mig_profile is not None and self.uuid is not None:
            return self.uuid
        return None if self.index is None else str(self.index)

    @property
    def label(self) -> str:
        """Its name for people, with the profile and the beginning of the UUID where it is a MIG instance."""
        name = self.catalogue_name or self.name
        if self.mig_profile is None:
            return name
        return f"{name} MIG {self.mig_profile}" + (f" {self.uuid[:12]}" if self.uuid else "")

    @property
    def vram_mib(self) -> int:
        return self.memory_total_bytes // MIB

    @property
    def vram_gib(self) -> float:
        return self.memory_total_bytes / GIB

    @property
    def vram_gb(self) -> float:
        """Seed name; the seed's `_gb` fields are GiB throughout."""
        return self.vram_gib


@dataclass(frozen=True, slots=True)
class MemoryBreakdown:
    """Where one GPU's memory goes (worst rank)."""

    total_bytes: int
    requested_bytes: int
    """ceil(utilisation x total): vLLM's budget."""
    weights_bytes: int
    activation_peak_bytes: int
    """Transient peak plus persistent buffers of the profile run."""
    non_torch_bytes: int
    cuda_graphs_bytes: int
    """What the targeted version subtracts from the budget for CUDA graphs (0 where it subtracts nothing)."""
    kv_cache_available_bytes: int
    kv_cache_available_low_bytes: int
    kv_cache_available_high_bytes: int
    unused_bytes: int
    """Total minus budget minus other processes; context, NCCL and lazy workspaces live here."""
    other_processes_bytes: int = 0
    context_bytes: int = 0
    """CUDA context, NCCL and handles taken before the baseline: only the free-memory check sees them."""
    outside_budget_bytes: int = 0
    """Taken after sizing, on top of the budget: graphs where not subtracted, block tables, workspaces."""


@dataclass(frozen=True, slots=True)
class KVCacheReport:
    """The KV cache as vLLM's groups lay it out."""

    block_size: int
    bytes_per_block: int
    num_gpu_blocks: int
    tokens: int
    max_concurrency: float
    bytes_per_token: float
    """Attention bytes that one more token takes on one GPU (all its layers)."""
    estimated_max_model_len: int
    needed_bytes: int = 0
    """For one request of max_model_len."""
    state_bytes_per_request: int = 0
    """Constant per request (Mamba, GDN, KDA, convolution), on one GPU."""
    tokens_low: int = 0
    tokens_high: int = 0
    groups: int = 1
    kind: str = "full"


@dataclass(frozen=True, slots=True)
class FeasibilityReport:
    """Will it start, and will it serve the workload? Seed names beside the exact ones."""

    verdict: Verdict
    cause: Cause | None
    error: str | None
    """The sentence that vLLM would raise."""
    fits: bool
    oom_risk: Risk
    per_gpu: MemoryBreakdown
    kv_cache: KVCacheReport
    max_model_len: int
    """After vLLM's defaulting: what `config.max_model_len` came to."""
    max_num_seqs: int
    max_num_batched_tokens: int
    concurrency_at_workload: float = 0.0
    """Requests of the stated workload (prompt + output tokens) that the cache holds at once."""
    bytes_per_request: int = 0
    """Cache of one GPU that one more of them takes; 0 where there is no cache, or it holds none."""
    warnings: tuple[str, ...] = ()
    headroom_bytes: int = 0
    """KV memory beyond what the workload needs, low estimate; negative: short by that much."""
    quoted: bool = True
    """`error` is vLLM's sentence; False: this program's own, for what vLLM's parser would refuse."""

    @property
    def counted(self) -> bool:
        """Whether memory was counted at all; else its terms are unknown, and hold 0."""
        return self.cause not in {"invalid_config", "unsupported"}

    @property
    def vram_total_gb(self) -> float:
        return self.per_gpu.total_bytes / GIB

    @property
    def vram_target_alloc_gb(self) -> float:
        return self.per_gpu.requested_bytes / GIB

    @property
    def weights_gb(self) -> float:
        return self.per_gpu.weights_bytes / GIB

    @property
    def kv_cache_gb(self) -> float:
        return self.per_gpu.kv_cache_available_bytes / GIB

    @property
    def overhead_gb(self) -> float:
        part = self.per_gpu
        return (part.activation_peak_bytes + part.non_torch_bytes + part.cuda_graphs_bytes) / GIB

    @property
    def headroom_gb(self) -> float:
        """Signed, unlike the ancestor's, which hid a shortage behind 0."""
        return self.headroom_bytes / GIB

    @property
    def max_concurrency_at_context(self) -> int:
        return int(self.kv_cache.max_concurrency)

    @property
    def max_context_at_concurrency(self) -> int:
        return self.kv_cache.estimated_max_model_len


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the range that holds for 8 measured runs of 10."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True, slots=True)
class PerfEstimate:
    """Expected speed of the stated workload on the whole deployment."""

    ttft_ms: Estimate
    tpot_ms: Estimate
    output_tokens_per_s: Estimate
    prefill_tokens_per_s: Estimate
    requests_per_s: Estimate
    basis: str
    assumptions: tuple[str, ...] = ()
    saturated: bool = False
    """True when the workload asks for more than the machine can serve."""
    usd_per_million_output_tokens: Estimate | None = None
    output_tokens_per_s_per_watt: Estimate | None = None

    @property
    def decode_toks_per_s_range(self) -> tuple[float, float]:
        return (self.output_tokens_per_s.low, self.output_tokens_per_s.high)

    @property
    def prefill_toks_per_s_range(self) -> tuple[float, float]:
        return (self.prefill_tokens_per_s.low, self.prefill_tokens_per_s.high)

    @property
    def ttft_ms_range(self) -> tuple[float, float]:
        return (self.ttft_ms.low, self.ttft_ms.high)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A ranked plan that differs in kind from the recommended one."""

    title: str
    config: VLLMConfig
    feasibility: FeasibilityReport
    performance: PerfEstimate | None
    why: str
    request_changes: tuple[tuple[str, Any], ...] = ()
    """`(path, value)` pairs for `PlanRequest.with_value` that choose this plan."""
    replicas: int = 1
    """Independent servers behind a router, beyond `config.data_parallel_size`."""


@dataclass(frozen=True, slots=True)
class Fix:
    """The smallest change that helps, and what it leads to."""

    title: str
    changes: tuple[tuple[str, Any], ...]
    """`(path, value)` pairs for `PlanRequest.with_value`, applied together."""
    effect: str
    verdict_after: Verdict


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The model as the plan saw it."""

    id: str
    revision: str | None
    source: str
    architecture: str
    params: int | None
    """None where the model can't be sized, and isn't served either."""
    attention: str
    max_position_embeddings: int
    quantization: str | None = None
    dtype: str = "bfloat16"
    gated: bool = False
    """True where the hub is known to ask for an accepted licence and a token; False also where unknown."""
    weights_exact: bool = False
    """True when sizes came from safetensors headers."""
    notes: tuple[str, ...] = ()
    """Those of the plan's warnings that are about the model's files and who may have them."""
    hub_requests: int = 0
    hub_bytes: int = 0
    """What reading the model's facts from the hub has cost; 0 where they were at hand."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What vLLM comes to run with, for every setting that moves memory, given or left to its defaults."""

    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    gpu_memory_utilization: float
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int | None
    """Tokens; None where vLLM stops before it has a cache."""
    enforce_eager: bool
    enable_prefix_caching: bool
    enable_chunked_prefill: bool
    async_scheduling: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a request: config, verdict, forecast, alternatives and fixes."""

    vllm_version: str
    model: ModelSummary
    nodes: int
    gpus: tuple[GPUInfo, ...]
    """GPUs of one node that the plan may use."""
    config: VLLMConfig
    feasibility: FeasibilityReport
    performance: PerfEstimate | None
    alternatives: tuple[Alternative, ...] = ()
    fixes: tuple[Fix, ...] = ()
    replicas: int = 1
    """Independent engines behind a router, beyond `config.data_parallel_size`."""
    warnings: tuple[str, ...] = ()
    left_to_vllm: tuple[str, ...] = ()
    """Settings of `config` that this version chooses itself on these GPUs: files leave their flags out."""
    artifacts: dict[str, str] = field(default_factory=dict)
    resolved: Resolved | None = None
    """None only in plans that were put together by hand."""

    @property
    def engines(self) -> int:
        """Caches that requests are spread over; the figures of `feasibility` are one's."""
        return self.config.data_parallel_size * self.replicas
