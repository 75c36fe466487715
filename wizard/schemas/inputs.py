"""What the user asks for: one frozen `PlanRequest` of four parts.

`None` always means "not chosen": the planner then recommends, or takes vLLM's own default.
`model_copy(update=...)` does not validate; use `PlanRequest.with_value` to change one answer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class BatchingMode(StrEnum):
    """What the plan optimises."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    BALANCED = "balanced"


class Interconnect(StrEnum):
    """How GPUs of one node talk to each other."""

    NVLINK = "nvlink"
    PCIE = "pcie"
    UNKNOWN = "unknown"


class DType(StrEnum):
    """`vllm serve --dtype`; the seed's `fp16`, `bf16` and `fp32` are accepted and mean the same."""

    AUTO = "auto"
    HALF = "half"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT = "float"
    FLOAT32 = "float32"


_DTYPE_ALIASES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
_KV_DTYPE_ALIASES = {"fp16": "float16", "bf16": "bfloat16", "fp8_e4m3fn": "fp8_e4m3"}


def _dtype_alias(value: object) -> object:
    return _DTYPE_ALIASES.get(value, value) if isinstance(value, str) else value


def _kv_dtype_alias(value: object) -> object:
    """The ancestor wrote `fp8_e4m3fn`, a name vLLM refuses; it means `fp8_e4m3`."""
    return _KV_DTYPE_ALIASES.get(value, value) if isinstance(value, str) else value


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]
Tokens = Annotated[int, Field(ge=1, le=1 << 27)]
Count = Annotated[int, Field(ge=1, le=4096)]


class Part(BaseModel):
    """A frozen part of the request; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ModelInput(Part):
    """Which model, and how its weights and cache are to be stored."""

    model: Line
    """Hugging Face id, or a directory on disk."""
    revision: str | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
    dtype: Annotated[DType, BeforeValidator(_dtype_alias)] = DType.AUTO
    quantization: str | None = None
    """`--quantization`: a method the checkpoint already has, or an online one. `None`: as the checkpoint says."""
    kv_cache_dtype: Annotated[str, BeforeValidator(_kv_dtype_alias)] = "auto"
    max_model_len: Tokens | None = None
    params_b: Annotated[float, Field(gt=0, le=1e5)] | None = None
    """Billions of parameters, to override what the config says (seed name)."""


class HardwareInput(Part):
    """Which GPUs: detected ones, or a what-if machine."""

    gpu: Line = "auto"
    """`auto` detects with NVML; anything else is looked up in the catalogue."""
    gpus: Count | None = None
    """GPUs per node; `None`: all detected, or one what-if GPU."""
    nodes: Annotated[int, Field(ge=1, le=512)] = 1
    device_ids: tuple[str, ...] | None = None
    """Indices or UUIDs of the detected GPUs to use; `None`: all."""
    vram_gb: Annotated[float, Field(gt=0, le=4096)] | None = None
    """CUDA total per GPU in GiB, overriding catalogue and detection (seed name)."""
    used_gib: Annotated[float, Field(ge=0, le=4096)] | None = None
    """GiB per GPU already held by others; `None`: as detected, or nothing."""
    interconnect: Interconnect = Interconnect.UNKNOWN
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    data_parallel_size: Count | None = None
    price_per_hour: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """US dollars per GPU and hour, for cost per token."""


class WorkloadInput(Part):
    """What one typical request looks like, and how many are served at once."""

    prompt_tokens: Tokens = 1024
    gen_tokens: Tokens = 256
    concurrency: Annotated[int, Field(ge=1, le=1 << 20)] = 8
    prefix_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the prompt that requests have in common (0..1)."""
    batching_mode: BatchingMode = BatchingMode.BALANCED
    streaming: bool = True
    target_latency_ms: Annotated[float, Field(gt=0, le=1e8)] | None = None


class PolicyInput(Part):
    """What is allowed, and how much room to leave."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """`None`: the default of the targeted vLLM version."""
    headroom_gb: Annotated[float, Field(ge=0, le=4096)] = 0.0
    """GiB per GPU to leave unused on top of what the utilisation leaves (seed name)."""
    overhead_gb: Annotated[float, Field(ge=0, le=4096)] | None = None
    """GiB per GPU to take for non-torch memory instead of the calibrated term (seed name)."""
    fragmentation_factor: Annotated[float, Field(ge=1, le=2)] = 1.0
    """Kept for the seed's sake: vLLM's cache is paged, so 1.0 is right; more demands more cache."""
    allow_quantized: bool = True
    allow_fp8_kv: bool = True
    max_ttft_ms: Annotated[float, Field(gt=0, le=1e8)] | None = None
    max_tpot_ms: Annotated[float, Field(gt=0, le=1e8)] | None = None
    cost: bool = False
    """Forecast dollars and watts per token; a price of one's own asks for that too."""
    vllm_version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+(\.\d+)?$")] | None = None
    """The version to plan for; `None`: the installed one, else the newest known."""
    enforce_eager: bool = False
    max_num_seqs: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    extra_args: tuple[str, ...] = ()
    """Further `vllm serve` flags as typed, validated against the flag table."""


class PlanRequest(Part):
    """Everything the planner needs to know; frozen, validated."""

    model: ModelInput
    hardware: HardwareInput = HardwareInput()
    workload: WorkloadInput = WorkloadInput()
    policy: PolicyInput = PolicyInput()
    explain: bool = True

    def with_value(self, path: str, value: Any) -> Self:
        """A validated copy with one answer changed; `path` is `part.field`, such as `workload.concurrency`.

        Raises pydantic.ValidationError when the value is not allowed, KeyError when the path doesn't exist.
        """
        part_name, field = path.split(".")
        if part_name not in type(self).model_fields:
            raise KeyError(path)
        part = getattr(self, part_name)
        if field not in type(part).model_fields:
            raise KeyError(path)
        rebuilt = type(part)(**{**vars(part), field: value})
        return self.model_copy(update={part_name: rebuilt})
