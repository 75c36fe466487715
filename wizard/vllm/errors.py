"""The sentences vLLM stops with, as templates; later versions word some of them differently.

Sources: vLLM 0.33 `v1/worker/utils.py` (`request_memory`), `v1/core/kv_cache_planning.py`, `config/model.py`,
`config/scheduler.py`, `config/parallel.py`, `platforms/cuda.py`, `v1/attention/selector.py`; 0.19.1 beside it.
The memory sentences keep vLLM's numbers and rounding, so that they can be compared with a log line by line.
"""

from __future__ import annotations

from wizard.schemas.outputs import GIB

CONSERVING_MEMORY = "https://docs.vllm.ai/en/latest/configuration/conserving_memory/"


def _gib(size_bytes: float) -> str:
    """vLLM's `format_gib`: two decimals, trailing zeros kept as Python's `round` leaves them."""
    return str(round(size_bytes / GIB, 2))


def free_memory(
    *, free_bytes: int, total_bytes: int, utilization: float, requested_bytes: int, device: str = "cuda:0"
) -> str:
    """`v1/worker/utils.py` `request_memory`: less is free at start than the utilisation asks for."""
    return (
        f"Free memory on device {device} ({_gib(free_bytes)}/{_gib(total_bytes)} GiB) on startup is less than "
        f"desired GPU memory utilization ({utilization}, {_gib(requested_bytes)} GiB). Decrease GPU memory "
        "utilization or reduce GPU memory used by other processes."
    )


def out_of_memory(*, total_bytes: int, free_bytes: int, device: int = 0) -> str:
    """PyTorch's allocator error, as far as it is known before the launch."""
    return (
        f"CUDA out of memory. Tried to allocate … GiB. GPU {device} has a total capacity of {_gib(total_bytes)} GiB "
        f"of which {_gib(max(0, free_bytes))} GiB is free."
    )


def no_kv_memory(*, number: tuple[int, int, int] = (0, 33, 0)) -> str:
    """Weights and activations leave nothing for the cache."""
    start = (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
        "the engine"
    )
    if number < (0, 13, 0):
        return start + "."
    aside = " (this flag also controls CPU memory reservation on the CPU backend, despite its name)"
    return f"{start}{aside if number >= (0, 22, 0) else ''}. See {CONSERVING_MEMORY} for more details."


def kv_cache_too_small(
    *,
    max_model_len: int,
    needed_bytes: int,
    available_bytes: int,
    estimated_max_model_len: int,
    number: tuple[int, int, int] = (0, 33, 0),
) -> str:
    """One request of max_model_len doesn't fit; the estimate is left out where not even one token does."""
    estimate = (
        f"Based on the available memory, the estimated maximum model length is {estimated_max_model_len}. "
        if estimated_max_model_len > 0
        else ""
    )
    aside = " (which also controls CPU memory on the CPU backend)" if number >= (0, 22, 0) else ""
    see = f" See {CONSERVING_MEMORY} for more details." if number >= (0, 13, 0) else ""
    return (
        f"To serve at least one request with the model's max seq len ({max_model_len}), "
        f"({_gib(needed_bytes)} GiB KV cache is needed, which is larger than the available KV cache memory "
        f"({_gib(available_bytes)} GiB). {estimate}Try increasing `gpu_memory_utilization`{aside} or decreasing "
        f"`max_model_len` when initializing the engine.{see}"
    )


NO_TOKEN_FITS = (
    "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. "
    "Try increasing `gpu_memory_utilization`."
)
"""--max-model-len auto with no room at all."""


def context_too_long(
    *, max_model_len: int, derived: float, key: str | None, model_max_length: int | None
) -> str:
    """`config/model.py` `_get_and_verify_max_len`; vLLM prints the derived length as a float where it scaled it."""
    return (
        f"User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len "
        f"({key}={derived} or model_max_length={model_max_length} in model's config.json). To allow overriding "
        "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be "
        "used with extreme caution. If the model uses relative position encoding (RoPE), positions exceeding "
        "derived_max_model_len lead to nan. If the model uses absolute position encoding, positions exceeding "
        "derived_max_model_len will cause a CUDA array out-of-bounds error."
    )


def heads_not_divisible(*, heads: int, tensor_parallel_size: int) -> str:
    return (
        f"Total number of attention heads ({heads}) must be divisible by tensor parallel size "
        f"({tensor_parallel_size})."
    )


def groups_not_divisible(*, heads: int, kv_heads: int) -> str:
    """`layers/attention/attention.py`: every KV head serves as many query heads."""
    return f"num_heads ({heads}) is not divisible by num_kv_heads ({kv_heads})"


STATE_GROUPS = "If tensor parallel world size does not divide num_groups, then num_groups must equal 1."
"""`layers/mamba/mamba_mixer2.py`: an assertion while the model is built."""


def not_divisible(numerator: int, denominator: int) -> str:
    """`distributed/utils.py` `ensure_divisibility`: an assertion while the model is built."""
    return f"{numerator} is not divisible by {denominator}"


def world_size(*, world: int, gpus: int) -> str:
    """`config/parallel.py`: more ranks than GPUs in this node."""
    return (
        f"World size ({world}) is larger than the number of available GPUs ({gpus}) in this node. If this is "
        "intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.\n"
        "- multiprocessing, set '--nnodes' appropriately."
    )


RAY_GPUS = "The number of required GPUs exceeds the total number of available GPUs in the placement group."
"""`v1/executor/ray_utils.py`: said again and again while it waits for GPUs that never come."""


def nodes_not_divisible(*, nnodes: int, world: int) -> str:
    """`engine/arg_utils.py`: all nodes must get as many ranks."""
    return (
        f"Invalid data-parallel launch options: `--nnodes {nnodes}` must evenly divide the total world size "
        f"({world}). Adjust `--nnodes`, `--data-parallel-size`, `--pipeline-parallel-size`, "
        "`--tensor-parallel-size`, or `--prefill-context-parallel-size`."
    )


def node_groups(*, nnodes: int, groups: int, dp: int, dp_local: int) -> str:
    """`config/parallel.py` `nnodes_within_dp`: an engine is on one node, or on whole nodes."""
    return (
        f"Invalid data parallel configuration: nnodes ({nnodes}) must be divisible by the number of data parallel "
        f"node groups ({groups} = data_parallel_size {dp} / data_parallel_size_local {dp_local})"
    )


def rank_out_of_bounds(*, rank: int, gpus: int) -> str:
    """`v1/worker/gpu_worker.py` `init_device`: a worker whose GPU doesn't exist."""
    return f"DP adjusted local rank {rank} is out of bounds for {gpus} devices."


def nodes_missing(*, there: int, wanted: int) -> str:
    """torch's rendezvous store, after it waited for nodes that never joined."""
    return f"Timed out after 601 seconds waiting for clients. {there}/{wanted} clients joined."


NO_KERNEL_IMAGE = "CUDA error: no kernel image is available for execution on the device"
"""torch, at a worker's first kernel on a card that the wheel holds no code for."""


def architecture_unknown(architectures: list[str]) -> str:
    return f"Model architectures {architectures} are not supported for now."


def architecture_removed(*, architecture: str, last_version: str) -> str:
    return (
        f"Model architecture {architecture} was supported in vLLM until v{last_version}, and is not supported "
        "anymore. Please use an older version of vLLM if you want to use this model architecture."
    )


def beside_attention(*, layer: int) -> str:
    """`model_executor/models/transformers/base.py`: layers that are no attention of transformers."""
    return (
        f"Layer {layer} (linear_attention) does not dispatch through the Transformers attention interface and vLLM "
        "has no other way to handle it."
    )


def architecture_plugin(*, architecture: str, url: str) -> str:
    return (
        f"Model architecture {architecture} is not supported in-tree anymore. Please install the plugin at {url} "
        "if you want to use this model architecture."
    )


def custom_code(model: str) -> str:
    """transformers' `resolve_trust_remote_code`."""
    return (
        f"The repository {model} contains custom code which must be executed to correctly load the model. You can "
        f"inspect the repository content at https://hf.co/{model}. Please pass the argument "
        "`trust_remote_code=True` to allow custom code to be run."
    )


def model_type_unknown(model_type: str) -> str:
    """transformers' `AutoConfig`."""
    return (
        f"The checkpoint you are trying to load has model type `{model_type}` but Transformers does not recognize "
        "this architecture. This could be because of an issue with the checkpoint, or because your version of "
        "Transformers is out of date."
    )


def bfloat16_unsupported(*, gpu: str, capability: tuple[int, int]) -> str:
    return (
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
        f"Your {gpu} GPU has compute capability {capability[0]}.{capability[1]}. You can use float16 instead by "
        "explicitly setting the `dtype` flag in CLI, for example: --dtype=half."
    )


def dtype_unknown(name: str) -> str:
    """Python, where transformers looks the config's word up in torch."""
    return f"module 'torch' has no attribute {name!r}"


def float16_unsupported(model_type: str) -> str:
    return (
        f"The model type {model_type!r} does not support float16. Reason: Numerical instability. "
        "Please use bfloat16 or float32 instead."
    )


def quantization_mismatch(*, declared: str, asked: str) -> str:
    return (
        f"Quantization method specified in the model config ({declared}) does not match the quantization method "
        f"specified in the `quantization` argument ({asked})."
    )


def quantization_unknown(*, method: str, known: list[str]) -> str:
    return f"Unknown quantization method: {method}. Must be one of {known}."


def fp8_on_rocm() -> str:
    """torch's words at the first 8-bit product on a GPU without them (aten `cuda/ScaledBlas.cpp`)."""
    return "torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm MI300+"


def quantization_capability(*, method: str, minimum: int, current: int) -> str:
    return (
        f"The quantization method {method} is not supported for the current GPU. "
        f"Minimum capability: {minimum}. Current capability: {current}."
    )


def quantization_dtype(*, dtype: str, method: str, supported: list[str]) -> str:
    names = ", ".join(f"torch.{name}" for name in supported)
    return f"torch.{dtype} is not supported for quantization method {method}. Supported dtypes: [{names}]"


def batch_below_seqs(*, max_num_batched_tokens: int, max_num_seqs: int) -> str:
    return (
        f"max_num_batched_tokens ({max_num_batched_tokens}) must be greater than or equal to max_num_seqs "
        f"({max_num_seqs})."
    )


def batch_below_context(*, max_num_batched_tokens: int, max_model_len: int) -> str:
    return (
        f"max_num_batched_tokens ({max_num_batched_tokens}) is smaller than max_model_len ({max_model_len}). "
        "This effectively limits the maximum sequence length to max_num_batched_tokens and makes vLLM reject "
        "longer sequences. Please increase max_num_batched_tokens or decrease max_model_len."
    )


NO_EXPERTS = "Number of experts in the model must be greater than 0 when expert parallelism is enabled."

NEGATIVE_LENGTH = "max_model_len\n  Input should be greater than or equal to -1"

NO_PIPELINE = (
    "Pipeline parallelism is not supported for this model. "
    "Supported models implement the `SupportsPP` interface."
)

NVFP4_LATENT = (
    "nvfp4 KV cache is not supported with MLA (Multi-head Latent Attention) backends. Please use a different "
    "--kv-cache-dtype (e.g., 'fp8', 'auto', or 'nvfp4_ds_mla' with a sparse MLA backend) for MLA models such as "
    "DeepSeek."
)

E5M2_WITH_SCALES = "fp8_e5m2 kv-cache is not supported with fp8 checkpoints."

NO_DRAFT_MODULES = "Unsupported speculative method: 'mtp'"

DCP_WINDOW = "DCP not support sliding window."

COMPRESSED_BLOCK = "integer division or modulo by zero"
"""DeepSeek-V4 with blocks too small for one compressed entry."""

COMPRESSED_HYBRID = "MLAAttentionSpec.__init__() got an unexpected keyword argument 'bounded_replay'"
"""DeepSeek-V4 without the hybrid cache manager (0.33)."""

TURBOQUANT_CHUNKED = (
    "Unknown TurboQuant cache dtype: 'auto'. Valid presets: turboquant_k8v4, turboquant_4bit_nc, "
    "turboquant_k3v4_nc, turboquant_3bit_nc"
)

TURBOQUANT_NO_ATTENTION = (
    "TurboQuant KV cache requires identifiable full-attention layers, "
    "but none were found in the hybrid model config."
)

UNPROMOTABLE = "Failed to promote local KV cache specs to one unified type."


def dcp_not_divisor(*, tensor_parallel_size: int, dcp: int) -> str:
    return f"tp_size={tensor_parallel_size} must be divisible by dcp_size={dcp}."


def dcp_needs_more_tp(*, tensor_parallel_size: int, kv_heads: int) -> str:
    return (
        f"Decode context parallelism for GQA/MQA requires `--tensor-parallel-size` ({tensor_parallel_size}) to be "
        f"greater than the model's total number of KV heads ({kv_heads}). Increase `--tensor-parallel-size` or set "
        "`--decode-context-parallel-size 1`."
    )


def dcp_too_large(*, dcp: int, largest: int, tensor_parallel_size: int, kv_heads: int) -> str:
    return (
        f"`--decode-context-parallel-size` ({dcp}) exceeds the maximum supported value ({largest}) for "
        f"`--tensor-parallel-size` ({tensor_parallel_size}) and {kv_heads} model KV heads."
    )


def dcp_queries(*, queries: int, dcp: int) -> str:
    return (
        f"The model's number of query heads per KV head ({queries}) must be divisible by "
        f"`--decode-context-parallel-size` ({dcp}) for GQA/MQA."
    )


def kv_dtype_mismatch(*, kv_dtype: str, dtype: str) -> str:
    allowed = f"`auto` or `{dtype}`" if dtype in ("float16", "bfloat16") else "`auto`"
    return (
        f'kv_cache_dtype="{kv_dtype}" is incompatible with dtype="{dtype}". '
        f"Please set `--kv-cache-dtype` to {allowed}."
    )


def no_attention_backend(
    *,
    head_size: int,
    dtype: str,
    kv_dtype: str,
    block_size: int | None,
    latent: bool,
    sparse: bool,
    reasons: tuple[tuple[str, str], ...],
) -> str:
    """`platforms/cuda.py` `get_attn_backend_cls`; the config is cut to what decides."""
    why = ", ".join(f"{name}: [{reason}]" for name, reason in reasons)
    return (
        f"No valid attention backend found for cuda with AttentionSelectorConfig(head_size={head_size}, "
        f"dtype=torch.{dtype}, kv_cache_dtype={kv_dtype}, block_size={block_size}, use_mla={latent}, "
        f"use_sparse={sparse}). Reasons: {{{why}}}."
    )


def backend_refused(*, backend: str, reason: str) -> str:
    return f"Selected backend AttentionBackendEnum.{backend} is not valid for this configuration. Reason: ['{reason}']"


def drafts_not_positive(count: int) -> str:
    return f"Expected num_speculative_tokens to be greater than zero ({count})."


def drafts_not_divisible(*, count: int, modules: int) -> str:
    return f"num_speculative_tokens:{count} must be divisible by n_predict={modules}"


def drafts_other_words(*, words: int, drafted: int) -> str:
    """vLLM 0.26-0.33 `config/speculative.py` (`verify_equal_vocab_size_if_draft_model`)."""
    return (
        f"Target and draft model should have the same vocabulary size. Target model vocab_size={words}. "
        f"Draft model vocab_size={drafted}. Using models with different tokenizers can cause out-of-bounds errors "
        "during speculative decoding."
    )


def kda_dtype(chosen: str) -> str:
    """`layers/mamba/mamba_utils.py` (`kda_state_dtype`)."""
    return f"KDA recurrent state supports only auto, float32, and bfloat16; got {chosen}"


def triton_fp8(kernel: str, *, gpu: str, capability: tuple[int, int]) -> str:
    """`v1/attention/backends/triton_attn.py`, `mla/triton_mla.py`: no native fp8 before Ada."""
    suggested = "bfloat16" if capability >= (8, 0) else "float16"
    return (
        f"FP8 KV cache is not supported by the {kernel} backend on {gpu} (compute capability "
        f"{capability[0]}.{capability[1]}); native FP8 (fp8e4nv) requires SM89+. Re-run with "
        f"--kv-cache-dtype {suggested}."
    )


def compressed_format(kv_dtype: str) -> str:
    """`models/deepseek_v4/attention.py`: its packed rows hold fp8 alone."""
    return (
        f"DeepseekV4 fp8_ds_mla layout only supports fp8 kv-cache, got {kv_dtype}. Please set "
        "`--kv-cache-dtype fp8` or select a backend that supports it."
    )


def different_widths(kv_dtype: str) -> str:
    """Keys and values of different widths: FlashAttention has few such fp8 kernels."""
    return f"FlashAttention does not support {kv_dtype} kv-cache on this device."


def different_widths_triton(kv_dtype: str) -> str:
    return (
        "TritonAttentionDiffKVBackend supports only fp8/fp8_e4m3 quantized KV cache "
        f"(got kv_cache_dtype={kv_dtype!r})."
    )


def sharing_across_stages(*, layer: int, target: int) -> str:
    """`layers/attention/attention.py` `validate_kv_sharing_target`."""
    return (
        f"Specified KV sharing target layer for model.layers.{layer}.self_attn.attn is not valid: target layer "
        f"model.layers.{target}.self_attn.attn is not a valid Attention layer in the model."
    )
