"""What vLLM will really run: a `VLLMConfig` after vLLM's own defaulting for version, GPU and model.

Every memory term takes a `Launch`, so that a default is decided in one place only.
Source of the defaults: vLLM 0.33 `engine/arg_utils.py`, `config/*.py` (VersionRules says what was
different before).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from wizard.dataclass import dataclass
from wizard.models.cache_layers import is_attention_free, is_encoder, is_encoder_decoder
from wizard.models.drafts import draft_of, method_of
from wizard.models.metadata import ModelMetadata
from wizard.models.overrides import with_overrides
from wizard.schemas.outputs import GPUInfo, VLLMConfig
from wizard.vllm import limits
from wizard.vllm.defaults import batch_defaults, keeps_states, uses_v2_runner
from wizard.vllm.versions import NEWEST_KNOWN, VersionRules, rules


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """One engine's resolved settings; sizes are per GPU unless said otherwise."""

    config: VLLMConfig
    metadata: ModelMetadata
    gpu: GPUInfo
    """The smallest GPU of the group: its memory decides."""
    rules: VersionRules
    capability: tuple[int, int]
    """CUDA compute capability, (9, 0) where the GPU doesn't tell."""
    tp: int
    pp: int
    dp: int
    dcp: int
    pcp: int
    ep: bool
    dtype: str
    """float16 | bfloat16 | float32, after vLLM's rules for the capability."""
    dtype_bytes: int
    quantization: str | None
    """Resolved method: of the checkpoint, or the online one asked for."""
    online_quantization: bool
    """True where the checkpoint is not quantised and vLLM quantises while loading."""
    kv_cache_dtype: str
    """Never `auto`: the dtype name stored in the cache (bfloat16, fp8_e4m3, fp8_ds_mla ...)."""
    gpu_memory_utilization: float
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_in_flight_tokens: int
    """max_num_batched_tokens x concurrent batches (async scheduling, PP)."""
    enforce_eager: bool
    prefix_caching: bool
    chunked_prefill: bool
    async_scheduling: bool
    v2_runner: bool
    pooling: bool
    speculative_method: str | None
    num_speculative_tokens: int
    shortened_from: int
    """The max_model_len that a model which drafts has lowered; 0: none has."""
    nvlink: bool
    """GPUs of a node reach each other by NVLink/NVSwitch."""
    gpus_per_node: int
    nodes: int | None
    """Nodes of the machine; None where nobody told: then as many as the settings ask for."""


DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
_DTYPE_NAMES = {"half": "float16", "float": "float32"}

DEFAULT_CAPABILITY = (9, 0)
"""Assumed where the GPU doesn't tell: Hopper, the class most of vLLM's defaults were written for."""

FLOAT16_UNSAFE_TYPES = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""Model types vLLM refuses to run in float16 (config/model.py `_FLOAT16_NOT_SUPPORTED_MODELS`)."""

POOLING_SUFFIXES = (
    "Model",
    "ForSequenceClassification",
    "ForMaskedLM",
    "ForTokenClassification",
    "RewardModel",
    "ForProcessRewardModel",
)
GENERATIVE_SUFFIXES = ("ChatModel", "LMHeadModel")
GENERATIVE_MODELS = frozenset({"ChatGLMModel"})
"""Architectures that generate although they are named like encoders (vLLM's config/model.py, registry.py)."""


def is_pooling(architecture: str) -> bool:
    """True for architectures that vLLM runs as pooling models by default."""
    if architecture.endswith(GENERATIVE_SUFFIXES) or architecture in GENERATIVE_MODELS:
        return False
    return architecture.endswith(POOLING_SUFFIXES)


FP8_CAPABILITY = (8, 9)
"""Ada and later compute in 8-bit floats, and keep a cache in them; for weights see `rounds_weights`."""

AMD_WITH_FP8 = ((9, 4), (9, 5))
AMD_MAJOR_WITH_FP8 = 12
"""gfx942, gfx950 and gfx12xx (vLLM 0.33 `platforms/rocm.py` `supports_fp8`); gfx numbers are no CUDA capabilities."""


def has_fp8(gpu: GPUInfo) -> bool:
    """Whether the GPU computes in 8-bit floats, by its architecture; an unknown one counts as Hopper."""
    capability = gpu.compute_capability or DEFAULT_CAPABILITY
    if gpu.vendor == "amd":
        return capability in AMD_WITH_FP8 or capability[0] == AMD_MAJOR_WITH_FP8
    return capability >= FP8_CAPABILITY


def rounds_weights(gpu: GPUInfo, number: tuple[int, ...]) -> bool:
    """Whether vLLM rounds weights to fp8 while loading on this GPU; AMD has no kernels that widen them again."""
    if gpu.vendor == "amd":
        return has_fp8(gpu)
    return limits.rounds_weights(gpu.compute_capability or DEFAULT_CAPABILITY, number)


def resolve_dtype(requested: str, metadata: ModelMetadata, capability: tuple[int, int]) -> str:
    """vLLM's `--dtype` rule: float32 checkpoints are halved, bfloat16 needs capability 8.0.

    Source: vLLM 0.33 config/model.py `_get_and_verify_dtype`. An explicit dtype is kept as it is;
    the gates refuse it where the GPU can't.
    """
    if requested != "auto":
        return _DTYPE_NAMES.get(requested, requested)
    if metadata.dtype != "float32" and capability >= (8, 0):
        return metadata.dtype
    halved = metadata.model_type not in FLOAT16_UNSAFE_TYPES
    if is_pooling(metadata.architecture) and metadata.dtype == "float32" and halved:
        return "float16"
    if capability >= (8, 0):
        return "bfloat16"
    return "float16" if halved else "float32"


def resolve_kv_cache_dtype(
    requested: str, metadata: ModelMetadata, dtype: str, capability: tuple[int, int]
) -> str:
    """The dtype that the cache stores; `auto` follows the checkpoint's own KV scheme, else the model dtype.

    Source: vLLM 0.33 utils/torch_utils.py `get_kv_cache_quant_algo_string`, layers/attention/attention.py.
    """
    if requested in {"bfloat16", "float16"}:
        return requested
    if requested != "auto":
        return "fp8_e4m3" if requested == "fp8" else requested
    quantization = metadata.quantization_config or {}
    scheme = quantization.get("kv_cache_scheme")
    algorithm = quantization.get("kv_cache_quant_algo")
    if isinstance(algorithm, str) and algorithm.upper().startswith("NVFP4"):
        return "nvfp4"
    if isinstance(algorithm, str) and algorithm.upper() == "FP8":
        return "fp8_e4m3"
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8_e4m3"
    return dtype


def draft_length(metadata: ModelMetadata, config: VLLMConfig, rules: VersionRules) -> int | None:
    """Tokens that a whole model which drafts can read; the V2 runner lowers max_model_len to it.

    None where no such model is known. Source: vLLM 0.33 config/vllm.py `_limit_max_model_len_to_draft` (0.26 has none).
    """
    speculative = config.speculative_config
    if method_of(speculative) != "draft_model":
        return None
    told = (speculative or {}).get("max_model_len")
    if isinstance(told, int) and told > 0:
        return told
    draft = draft_of(metadata, speculative)
    return None if draft is None else draft.context(rules.number).default


def quantization_method(quantization_config: Mapping[str, Any] | None) -> str | None:
    """The checkpoint's own method name, lower case: fp8, awq, gptq, compressed-tensors, modelopt ..."""
    if not quantization_config:
        return None
    method = quantization_config.get("quant_method")
    if isinstance(method, str) and method:
        return method.lower()
    if "config_groups" in quantization_config:
        return "compressed-tensors"
    if "quant_algo" in quantization_config:
        return "modelopt"
    return None


def resolve(
    config: VLLMConfig,
    metadata: ModelMetadata,
    gpu: GPUInfo,
    *,
    version: str = NEWEST_KNOWN,
    nvlink: bool = True,
    gpus_per_node: int | None = None,
    nodes: int | None = None,
) -> Launch:
    """What vLLM `version` makes of `config` on `gpu`; total: refusals are the gates' business.

    Raises nothing for any valid config: a setting that vLLM refuses is resolved as if it were accepted.
    """
    metadata = with_overrides(metadata, config.hf_overrides)
    version_rules = rules(version)
    capability = gpu.compute_capability or DEFAULT_CAPABILITY
    dtype = resolve_dtype(config.dtype, metadata, capability)
    own_method = quantization_method(metadata.quantization_config)
    quantization = own_method or config.quantization
    pooling = is_pooling(metadata.architecture)
    max_model_len = config.max_model_len or 0
    if max_model_len <= 0:
        derived = metadata.context(version_rules.number)
        max_model_len = derived.length if max_model_len < 0 else derived.default
    speculative = config.speculative_config or {}
    speculative_tokens = speculative.get("num_speculative_tokens")
    num_speculative_tokens = speculative_tokens if isinstance(speculative_tokens, int) else 0
    whole_input = pooling and is_encoder(metadata)
    chunked_prefill = config.enable_chunked_prefill is not False and not whole_input
    batch = batch_defaults(gpu, version_rules, performance_mode=config.performance_mode)
    max_num_batched_tokens = config.max_num_batched_tokens or batch.max_num_batched_tokens
    max_num_seqs = config.max_num_seqs or batch.max_num_seqs
    if config.max_num_batched_tokens is None:
        if not chunked_prefill:
            max_num_batched_tokens = max(max_num_batched_tokens, max_model_len)
        max_num_batched_tokens = min(max_num_batched_tokens, max_num_seqs * max_model_len)
    if config.max_num_seqs is None:
        max_num_seqs = min(max_num_seqs, max_num_batched_tokens)
    async_scheduling = (
        version_rules.async_scheduling if config.async_scheduling is None else config.async_scheduling
    ) and not whole_input
    speculative_method = method_of(speculative)
    v2_runner = uses_v2_runner(
        version_rules,
        metadata,
        quantized=quantization is not None,
        pooling=pooling,
        speculative_method=speculative_method,
    )
    concurrent_batches = config.pipeline_parallel_size
    if async_scheduling:
        concurrent_batches = config.pipeline_parallel_size + 1 if v2_runner else max(2, concurrent_batches)
    drafted = draft_length(metadata, config, version_rules) if v2_runner else None
    prefix_caching = config.enable_prefix_caching
    if prefix_caching is None:
        hybrid = keeps_states(metadata.text)
        unsupported = whole_input or is_attention_free(metadata) or is_encoder_decoder(metadata)
        prefix_caching = not unsupported and (version_rules.hybrid_prefix_caching or not hybrid)
    return Launch(
        config=config,
        metadata=metadata,
        gpu=gpu,
        rules=version_rules,
        capability=capability,
        tp=config.tensor_parallel_size,
        pp=config.pipeline_parallel_size,
        dp=config.data_parallel_size,
        dcp=config.decode_context_parallel_size,
        pcp=config.prefill_context_parallel_size,
        ep=config.enable_expert_parallel,
        dtype=dtype,
        dtype_bytes=DTYPE_BYTES.get(dtype, 2),
        quantization=quantization,
        online_quantization=own_method is None and config.quantization is not None,
        kv_cache_dtype=resolve_kv_cache_dtype(config.kv_cache_dtype or "auto", metadata, dtype, capability),
        gpu_memory_utilization=config.gpu_memory_utilization or version_rules.default_gpu_memory_utilization,
        max_model_len=min(max_model_len, drafted or max_model_len),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_in_flight_tokens=concurrent_batches * max_num_batched_tokens,
        enforce_eager=bool(config.enforce_eager) or config.optimization_level == 0,
        prefix_caching=prefix_caching,
        chunked_prefill=chunked_prefill,
        async_scheduling=async_scheduling,
        v2_runner=v2_runner,
        pooling=pooling,
        speculative_method=speculative_method,
        num_speculative_tokens=num_speculative_tokens,
        shortened_from=max_model_len if drafted is not None and drafted < max_model_len else 0,
        nvlink=nvlink,
        gpus_per_node=gpus_per_node or config.world_size,
        nodes=nodes,
    )


Answer = TypeVar("Answer")


def per_launch(term: Callable[[Launch], Answer]) -> Callable[[Launch], Answer]:
    """A term that keeps its last answer: in one evaluation the others ask for it several times."""
    latest: tuple[Launch, Answer] | None = None

    @wraps(term)
    def remembering(launch: Launch) -> Answer:
        nonlocal latest
        found = latest
        if found is None or found[0] is not launch:
            latest = found = launch, term(launch)
        return found[1]

    return remembering
