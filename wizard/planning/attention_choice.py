"""Which attention kernels a launch gets for each kind of layer, and in which format they keep the cache.

Sources: vLLM 0.33 `engine/arg_utils.py`, `model_executor/models/config.py`, `platforms/cuda.py`.
"""

from __future__ import annotations

from wizard.models.cache_layers import CacheLayer, CacheModel
from wizard.models.facts import Facts
from wizard.planning.launch import Launch
from wizard.vllm.attention_backends import (
    FLASH_ATTN_DIFFKV,
    TRITON_ATTN_DIFFKV,
    Choice,
    choose,
    flash_version,
)
from wizard.vllm.attention_needs import AttentionNeed
from wizard.vllm.kv_dtypes import checkpoint_kv_dtype

FP8_ON_BLACKWELL = frozenset(
    {"GlmMoeDsaForCausalLM", "Glm5NextForCausalLM", "Glm5NextForConditionalGeneration"}
)
"""Classes that choose an fp8 cache by themselves on Blackwell data-centre GPUs."""


def cache_dtype(launch: Launch) -> str:
    """--kv-cache-dtype after vLLM's defaulting: the checkpoint's scheme, the model class's wish, else `auto`.

    Source: vLLM 0.33 engine/arg_utils.py, model_executor/models/config.py.
    """
    asked = launch.config.kv_cache_dtype or "auto"
    metadata = launch.metadata
    sparse = "index_topk" in metadata.text
    if asked == "bfloat16" and sparse:
        return "auto"
    if asked != "auto":
        return asked
    declared = checkpoint_kv_dtype(metadata.quantization_config, latent=metadata.is_mla)
    if (
        declared == "auto"
        and metadata.architecture in FP8_ON_BLACKWELL
        and launch.capability[0] == 10
        and sparse
    ):
        return "fp8_e4m3"
    return declared


def rank_heads(kv_heads: int, tp: int) -> int:
    """KV heads on one rank: split, or at least one, repeated."""
    return max(1, kv_heads // tp)


def attention_need(launch: Launch, model: CacheModel, layer: CacheLayer | None = None) -> AttentionNeed:
    """What the layer (default: the model's usual one) asks of an attention backend."""
    text = Facts(launch.metadata.text)
    layer = layer or next((item for item in model.layers if item.kind != "state"), None)
    head_dim = layer.key_dim if layer is not None else model.head_dim
    value_dim = layer.value_dim if layer is not None else model.head_dim
    sinks = layer.sinks if layer is not None else False
    return AttentionNeed(
        capability=launch.capability,
        dtype=launch.dtype,
        kv_dtype=cache_dtype(launch),
        head_dim=head_dim,
        value_dim=0 if model.latent else value_dim,
        heads=max(1, model.query_heads // launch.tp),
        kv_heads=rank_heads(model.kv_heads, launch.tp),
        latent=model.latent,
        sparse=model.sparse,
        sinks=sinks and not model.latent,
        image_prefix=model.image_prefix and not launch.config.language_model_only,
        softcap=text.has("attn_logit_softcapping"),
        window=layer is not None and layer.kind == "sliding",
        dcp=launch.dcp,
        block_size=launch.config.block_size,
        nope_dim=text.int("qk_nope_head_dim", default=0),
        rope_dim=text.int("qk_rope_head_dim", default=0),
        latent_rank=text.int("kv_lora_rank", default=0),
        index_topk=text.int("index_topk", default=0),
        flash_version=_forced_flash_version(launch, model),
    )


def _forced_flash_version(launch: Launch, model: CacheModel) -> int | None:
    """Gemma 4: layers of several head sizes all take FlashAttention 4, but for fp8 caches on Hopper."""
    widths = {layer.key_dim for layer in model.layers if layer.kind in ("full", "sliding")}
    if "global_head_dim" not in launch.metadata.text or len(widths) < 2 or max(widths) > 512:
        return None
    if launch.capability[0] not in (9, 10):
        return None
    return None if launch.capability[0] == 9 and cache_dtype(launch).startswith("fp8") else 4


def attention_choice(launch: Launch, model: CacheModel, layer: CacheLayer | None = None) -> Choice:
    """The backend of a layer, as vLLM chooses it."""
    need = attention_need(launch, model, layer)
    layer = layer or next((item for item in model.layers if item.kind != "state"), None)
    forced = launch.config.attention_backend
    if layer is not None and not model.latent and layer.value_dim != layer.key_dim:
        flash = flash_version(need) in (3, 4)
        return Choice(FLASH_ATTN_DIFFKV if flash else TRITON_ATTN_DIFFKV)
    if forced is None and _needs_triton(launch, model):
        forced = "TRITON_ATTN"
    return choose(need, forced.upper() if forced else None)


def _needs_triton(launch: Launch, model: CacheModel) -> bool:
    """Gemma 4 with several head sizes, where FlashAttention 4 is not to be had."""
    widths = {layer.key_dim for layer in model.layers if layer.kind in ("full", "sliding")}
    mixed = "global_head_dim" in launch.metadata.text and len(widths) > 1
    return mixed and launch.capability[0] not in (9, 10)
