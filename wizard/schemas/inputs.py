"""What the user asks for: one frozen `PlanRequest` of five parts.

`None` always means "not chosen": the planner then recommends, or takes vLLM's own default.
`model_copy(update=...)` does not validate; use `PlanRequest.with_value` to change one answer.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from wizard.schemas.checked import Bounds, Checked, Rule, Spellings, Text


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


DTYPE_SPELLINGS = Spellings({"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"})

KV_DTYPE_SPELLINGS = Spellings({"fp16": "float16", "bf16": "bfloat16", "fp8_e4m3fn": "fp8_e4m3"})
"""The ancestor wrote `fp8_e4m3fn`, a name vLLM refuses; it means `fp8_e4m3`."""

Line = Annotated[str, Text(strip=True, least=1, most=4096)]
Tokens = Annotated[int, Bounds(ge=1, le=1 << 27)]
Count = Annotated[int, Bounds(ge=1, le=4096)]


_SECRET_FLAG = re.compile(r"--(?:api[-_]?k|hf[-_]?t)\w*", re.IGNORECASE)
"""--api-key and --hf-token, with the prefixes and misspellings that mean them; no other flag starts so."""

_SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
"""A token of huggingface.co, wherever it stands."""

SECRETS_BY_ENVIRONMENT = (
    "a key or a token never goes into a file; leave it out and set VLLM_API_KEY or HF_TOKEN "
    "in the environment"
)


def is_secret_flag(word: str) -> bool:
    """Whether a word of a command is a flag whose value must not be kept."""
    return _SECRET_FLAG.match(word) is not None


_ADDRESS_FLAG = re.compile(r"--(?:host|port)(?:=|$)")


def _allowed_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Neither secrets nor a second address: probes, services and scripts follow the one that is asked for."""
    if any(_ADDRESS_FLAG.match(word) for word in words):
        raise ValueError("the address is an answer of its own; give it as --host and --port of this command")
    if any(is_secret_flag(word) or _SECRET_VALUE.search(word) for word in words):
        raise ValueError(SECRETS_BY_ENVIRONMENT)
    return words


def _host(text: str) -> str:
    """An IP address or a host name, nothing else: it ends up in scripts, units and URLs."""
    import ipaddress

    host = text.strip().removeprefix("[").removesuffix("]")
    try:
        if "%" not in host:  # a zone such as fe80::1%eth0 means something else in every file
            return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.split(".")
    numeric = all(label.isdigit() for label in labels)
    if numeric or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "write an address of this machine such as 127.0.0.1, 0.0.0.0 for all, or a host name"
        )
    return host


_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


class ModelInput(Checked):
    """Which model, and how its weights and cache are to be stored."""

    model: Line
    """Hugging Face id, or a directory on disk."""
    revision: str | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
    dtype: Annotated[DType, DTYPE_SPELLINGS] = DType.AUTO
    quantization: str | None = None
    """`--quantization`: a method the checkpoint already has, or an online one. `None`: as the checkpoint says."""
    kv_cache_dtype: Annotated[str, KV_DTYPE_SPELLINGS] = "auto"
    max_model_len: Tokens | None = None
    params_b: Annotated[float, Bounds(gt=0, le=1e5)] | None = None
    """Billions of parameters, to override what the config says (seed name)."""


class HardwareInput(Checked):
    """Which GPUs: detected ones, or a what-if machine."""

    gpu: Line = "auto"
    """`auto` detects with NVML; anything else is looked up in the catalogue."""
    gpus: Count | None = None
    """GPUs per node; `None`: all detected, or one what-if GPU."""
    nodes: Annotated[int, Bounds(ge=1, le=512)] = 1
    device_ids: tuple[str, ...] | None = None
    """Indices or UUIDs of the detected GPUs to use; `None`: all."""
    vram_gb: Annotated[float, Bounds(gt=0, le=4096)] | None = None
    """CUDA total per GPU in GiB, overriding catalogue and detection (seed name)."""
    used_gib: Annotated[float, Bounds(ge=0, le=4096)] | None = None
    """GiB per GPU already held by others; `None`: as detected, or nothing."""
    interconnect: Interconnect = Interconnect.UNKNOWN
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    data_parallel_size: Count | None = None
    price_per_hour: Annotated[float, Bounds(ge=0, le=1e6)] | None = None
    """US dollars per GPU and hour, for cost per token."""


class WorkloadInput(Checked):
    """What one typical request looks like, and how many are served at once."""

    prompt_tokens: Tokens = 1024
    gen_tokens: Tokens = 256
    concurrency: Annotated[int, Bounds(ge=1, le=1 << 20)] = 8
    prefix_share: Annotated[float, Bounds(ge=0, le=1)] = 0.0
    """Part of the prompt that requests have in common (0..1)."""
    batching_mode: BatchingMode = BatchingMode.BALANCED
    streaming: bool = True
    target_latency_ms: Annotated[float, Bounds(gt=0, le=1e8)] | None = None


class PolicyInput(Checked):
    """What is allowed, and how much room to leave."""

    gpu_memory_utilization: Annotated[float, Bounds(gt=0, le=1)] | None = None
    """`None`: the default of the targeted vLLM version."""
    headroom_gb: Annotated[float, Bounds(ge=0, le=4096)] = 0.0
    """GiB per GPU to leave unused on top of what the utilisation leaves (seed name)."""
    overhead_gb: Annotated[float, Bounds(ge=0, le=4096)] | None = None
    """GiB per GPU to take for non-torch memory instead of the calibrated term (seed name)."""
    fragmentation_factor: Annotated[float, Bounds(ge=1, le=2)] = 1.0
    """Kept for the seed's sake: vLLM's cache is paged, so 1.0 is right; more demands more cache."""
    allow_quantized: bool = True
    allow_fp8_kv: bool = True
    max_ttft_ms: Annotated[float, Bounds(gt=0, le=1e8)] | None = None
    max_tpot_ms: Annotated[float, Bounds(gt=0, le=1e8)] | None = None
    cost: bool = False
    """Forecast dollars and watts per token; a price of one's own asks for that too."""
    vllm_version: Annotated[str, Text(pattern=r"^\d+\.\d+(\.\d+)?$")] | None = None
    """The version to plan for; `None`: the installed one, else the newest known."""
    enforce_eager: bool = False
    max_num_seqs: Annotated[int, Bounds(ge=1, le=1 << 20)] | None = None
    max_num_batched_tokens: Annotated[int, Bounds(ge=1, le=1 << 24)] | None = None
    extra_args: Annotated[tuple[str, ...], Rule(_allowed_words)] = ()
    """Further `vllm serve` flags as typed, validated against the flag table; never a key or a token."""


class ServingInput(Checked):
    """Where the server will be reached; moves no memory."""

    host: Annotated[str, Rule(_host)] = "127.0.0.1"
    """The address to listen on: this machine alone by default, `0.0.0.0` for everyone who reaches it."""
    port: Annotated[int, Bounds(ge=1, le=65535)] = 8000


class PlanRequest(Checked):
    """Everything the planner needs to know; frozen, validated."""

    model: ModelInput
    hardware: HardwareInput = HardwareInput()
    workload: WorkloadInput = WorkloadInput()
    policy: PolicyInput = PolicyInput()
    serving: ServingInput = ServingInput()
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
