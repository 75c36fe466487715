"""vLLM's checks while it builds the model: cache formats, kernels, widths that must divide.

Sources: vLLM 0.33 `config/vllm.py`, `platforms/cuda.py`, `model_executor/layers/attention/attention.py`,
`v1/attention/backends`, `model_executor/layers/linear.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from wizard.errors import ConfigError
from wizard.models.cache_layers import CacheLayer, CacheModel, cache_model
from wizard.models.tree import module_tree
from wizard.planning.attention_choice import attention_choice, attention_need, cache_dtype
from wizard.planning.kv_compressed import COMPRESSED_BLOCK
from wizard.planning.launch import Launch
from wizard.planning.refusals import Refusal
from wizard.planning.weights import rank_weights
from wizard.vllm import errors
from wizard.vllm.combination_errors import EXPERT_GROUPS, TIED_APART, eyes_left_out
from wizard.vllm.kv_dtypes import TURBOQUANT_BITS, quantized
from wizard.vllm.limits import method_name

OWN_KERNELS = frozenset({"compressed", "block_sparse"})
"""Layers that bring their kernels along instead of choosing a backend."""


def cache_format(launch: Launch) -> Refusal | None:
    asked = launch.config.kv_cache_dtype or "auto"
    if asked in ("float16", "bfloat16") and asked != launch.dtype:
        error = errors.kv_dtype_mismatch(kv_dtype=asked, dtype=launch.dtype)
        return Refusal("invalid_config", error, (("kv_cache_dtype", "auto"),))
    stored = cache_dtype(launch)
    model = cache_model(launch.metadata)
    change = (("kv_cache_dtype", "fp8"),)
    if stored.startswith("nvfp4") and not stored.endswith("_ds_mla") and model.latent:
        return Refusal("unsupported", errors.NVFP4_LATENT, change)
    kinds = {layer.kind for layer in model.layers}
    if "compressed" in kinds and stored != "auto" and not stored.startswith("fp8"):
        return Refusal("unsupported", errors.compressed_format(stored), change)
    if stored in TURBOQUANT_BITS:
        if model.hybrid and model.latent:
            return Refusal("unsupported", errors.TURBOQUANT_NO_ATTENTION, (("kv_cache_dtype", "auto"),))
        if "chunked" in kinds:
            return Refusal("unsupported", errors.TURBOQUANT_CHUNKED, (("kv_cache_dtype", "auto"),))
    if launch.config.disable_hybrid_kv_cache_manager and (model.hybrid or "compressed" in kinds):
        error = errors.UNPROMOTABLE if model.hybrid else errors.COMPRESSED_HYBRID
        return Refusal("invalid_config", error, (("disable_hybrid_kv_cache_manager", False),))
    block = launch.config.block_size
    if "compressed" in kinds and block is not None and block < COMPRESSED_BLOCK // 2:
        return Refusal("invalid_config", errors.COMPRESSED_BLOCK, (("block_size", None),))
    return None


def _has_cache_scales(launch: Launch) -> bool:
    """True for fp8 checkpoints, whose attention layers hold scales for an e4m3 cache."""
    method = method_name(launch.quantization or "")
    if launch.online_quantization:
        return False
    scheme = (launch.metadata.quantization_config or {}).get("kv_cache_scheme")
    return method in ("fp8", "modelopt", "modelopt_fp4", "modelopt_mixed") or (
        method == "compressed-tensors" and scheme is not None
    )


def kernels(launch: Launch) -> Refusal | None:
    """Every kind of attention layer needs a backend that can serve it."""
    model = cache_model(launch.metadata)
    attending = _attending(model)
    if launch.gpu.vendor != "nvidia" or {layer.kind for layer in attending} & OWN_KERNELS:
        return None
    for layer in attending:
        found = _kernel(launch, model, layer)
        if found is not None:
            return found
    if launch.dcp > 1 and any(layer.kind == "sliding" for layer in attending):
        return Refusal("unsupported", errors.DCP_WINDOW, (("decode_context_parallel_size", 1),))
    if cache_dtype(launch) == "fp8_e5m2" and _has_cache_scales(launch):
        return Refusal("unsupported", errors.E5M2_WITH_SCALES, (("kv_cache_dtype", "fp8"),))
    return None


@lru_cache(maxsize=64)
def _attending(model: CacheModel) -> tuple[CacheLayer, ...]:
    """One layer of every kind that a choice of kernels can depend on, in the model's order."""
    found: dict[tuple[str, int, int], CacheLayer] = {}
    for layer in model.layers:
        if layer.kind != "state":
            found.setdefault((layer.kind, layer.key_dim, layer.value_dim), layer)
    return tuple(found.values())


def _kernel(launch: Launch, model: CacheModel, layer: CacheLayer) -> Refusal | None:
    stored = cache_dtype(launch)
    own = launch.config.kv_cache_dtype is not None and quantized(stored)
    plain: tuple[tuple[str, Any], ...] = (("kv_cache_dtype", "auto"),) if own else ()
    choice = attention_choice(launch, model, layer)
    if choice.backend is None:
        forced = launch.config.attention_backend
        if forced:
            error = errors.backend_refused(backend=forced.upper(), reason=choice.reasons[0][1])
            return Refusal("unsupported", error, (("attention_backend", None),))
        change = (("block_size", None),) if launch.config.block_size is not None else plain
        return Refusal("unsupported", _no_backend(launch, model, layer), change)
    name, major = choice.backend.name, launch.capability[0]
    if name.endswith("_DIFFKV") and (stored in TURBOQUANT_BITS or stored.startswith("nvfp4")):
        return Refusal("unsupported", errors.different_widths_triton(stored), plain)
    if name == "FLASH_ATTN_DIFFKV" and quantized(stored) and (major != 9 or stored == "fp8_e5m2"):
        return Refusal("unsupported", errors.different_widths(stored), plain)
    if name.startswith(TRITON) and stored.startswith("fp8") and launch.capability < (8, 9):
        kernel = "Triton MLA" if name == "TRITON_MLA" else "Triton attention"
        error = errors.triton_fp8(kernel, gpu=launch.gpu.name, capability=launch.capability)
        return Refusal("unsupported", error, plain)
    return None


TRITON = ("TRITON_ATTN", "TRITON_MLA")
"""Attention kernels that need the GPU's own 8-bit floats for an 8-bit cache."""


def _no_backend(launch: Launch, model: CacheModel, layer: CacheLayer) -> str:
    need = attention_need(launch, model, layer)
    return errors.no_attention_backend(
        head_size=need.head_dim,
        dtype=need.dtype,
        kv_dtype=need.kv_dtype,
        block_size=need.block_size,
        latent=need.latent,
        sparse=need.sparse,
        reasons=attention_choice(launch, model, layer).reasons,
    )


ALLOW_DEPRECATED = "--allow-deprecated-quantization"
DEPRECATED_SINCE = (0, 14, 0)
"""The flag and the refusal that it lifts came with 0.14 (config/model.py)."""


SEEING_CLASSES = {"ChatGLMModel": "GLM4VForCausalLM", "ChatGLMForConditionalGeneration": "GLM4VForCausalLM"}
"""Classes for text alone that refuse a config with an encoder -> the class to ask for instead (chatglm.py)."""


def eyes(launch: Launch) -> Refusal | None:
    """GLM-4V's config names ChatGLM's class, which is for text alone."""
    metadata = launch.metadata
    better = SEEING_CLASSES.get(metadata.architecture)
    if better is None or "vision_config" not in metadata.config:
        return None
    overrides = {**(launch.config.hf_overrides or {}), "architectures": [better]}
    return Refusal("unsupported", eyes_left_out(better), (("hf_overrides", overrides),))


TIED_ON_EVERY_STAGE = frozenset({"Ernie4_5_MoeForCausalLM", "Ernie4_5_VLMoeForConditionalGeneration"})
"""Classes that tie the head to the embedding on stages that lack one of them (ernie45_moe.py, ernie45_vl_moe.py)."""


def ends(launch: Launch) -> Refusal | None:
    """A head that is the embedding, where a pipeline puts them on different GPUs."""
    if launch.pp == 1 or launch.metadata.architecture not in TIED_ON_EVERY_STAGE:
        return None
    try:
        tied = module_tree(launch.metadata).tied
    except ConfigError:
        return None
    return Refusal("unsupported", TIED_APART, (("pipeline_parallel_size", 1),)) if tied else None


def shards(launch: Launch) -> Refusal | None:
    """Widths that tensor or expert parallelism can't divide, and quantised formats that vLLM refuses."""
    try:
        found = rank_weights(launch).refusals
    except ConfigError:
        return None
    if found and ALLOW_DEPRECATED in found[0]:
        if launch.rules.number < DEPRECATED_SINCE or ALLOW_DEPRECATED in launch.config.extra_args:
            return None
        allowed = (*launch.config.extra_args, ALLOW_DEPRECATED)
        return Refusal("unsupported", found[0], (("extra_args", allowed),))
    if not found:
        return None
    halves = launch.tp // 2
    narrower = "divisible" in found[0] or found[0] == EXPERT_GROUPS
    change = (("tensor_parallel_size", halves),) if halves and narrower else ()
    return Refusal("invalid_config" if change else "unsupported", found[0], change)


def states(launch: Launch) -> Refusal | None:
    """Recurrent layers split their heads over TP, and Mamba-2 its groups, unless it has but one."""
    model = cache_model(launch.metadata)
    for layer in model.layers:
        state = layer.state
        if state is not None and state.heads and not state.splits_over(launch.tp):
            width = state.heads if state.heads % launch.tp else state.conv_channels
            return Refusal(
                "invalid_config",
                errors.not_divisible(width, launch.tp),
                (("tensor_parallel_size", max(1, launch.tp // 2)),),
            )
        if state is not None and state.groups > 1 and state.groups % launch.tp:
            fitting = math.gcd(state.groups, launch.tp)
            return Refusal("invalid_config", errors.STATE_GROUPS, (("tensor_parallel_size", fitting),))
    chosen = launch.config.mamba_ssm_cache_dtype
    delta = any(layer.state is not None and layer.state.kind == "kda" for layer in model.layers)
    if delta and chosen not in KDA_DTYPES and launch.rules.number >= KDA_DTYPES_SINCE:
        return Refusal("invalid_config", errors.kda_dtype(chosen), (("mamba_ssm_cache_dtype", "auto"),))
    return None


KDA_DTYPES = frozenset({"auto", "float32", "bfloat16"})
KDA_DTYPES_SINCE = (0, 33, 0)
"""Read in 0.33; 0.26 keeps such states in float32 whatever is asked."""
