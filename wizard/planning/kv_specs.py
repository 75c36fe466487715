"""From a model's cache layers to pages on one rank: formats, heads per rank, block sizes, alignment.

Sources: vLLM 0.33 `model_executor/layers/attention/*.py` (`get_kv_cache_spec`), `platforms/interface.py`
(`update_block_size_for_backend`, `_align_hybrid_block_size`), `models/deepseek_v4`, `models/minimax_m3`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from wizard.models.cache_layers import CacheLayer, CacheModel
from wizard.models.drafts import draft_layers
from wizard.models.facts import Facts
from wizard.planning.kv_groups import PagedLayer
from wizard.planning.kv_pages import Page, ceil_div, round_up
from wizard.planning.launch import Launch
from wizard.vllm.attention_backends import (
    FLASH_ATTN_DIFFKV,
    TRITON_ATTN_DIFFKV,
    AttentionNeed,
    Backend,
    Choice,
    choose,
    flash_version,
    largest_block_within,
    preferred_block,
    smallest_block,
)
from wizard.vllm.kv_dtypes import (
    TURBOQUANT_BITS,
    checkpoint_kv_dtype,
    element_bytes,
    head_bytes,
    latent_bytes,
    quantized,
)

DEFAULT_BLOCK_SIZE = 16
"""Tokens, where the backend has no wish of its own (config/cache.py)."""

INDEX_SCALE_GROUP = 128
"""The sparse-attention index stores its key as fp8 with one float32 scale per 128 values."""
INDEX_BLOCK = 64
"""Block size of the index kernels (mla/indexer.py)."""

COMPRESSED_BLOCK = 256
"""Tokens in a block of DeepSeek-V4's compressed caches."""
COMPRESSED_WINDOW_BLOCK = 64
COMPRESSED_ENTRY_BYTES = 584
"""448 bytes without rotation, 128 with, 8 of scales (models/deepseek_v4/attention.py)."""
COMPRESSED_ALIGNMENT = 576
"""Bytes that DeepSeek-V4's fp8 pages are rounded up to."""
COMPRESSOR_BLOCKS = {4: 4, 128: 8}
"""Compression ratio -> tokens in a block of the compressor's own state (compressor.py)."""

SPARSE_BLOCK = 128
"""MiniMax-M3 chooses blocks of this many tokens; they are the cache's blocks too."""

LATENT_HYBRID_BLOCK = 128
"""Blocks of hybrids with latent attention are multiples of this (platforms/interface.py)."""

FLASHINFER_KEY_WIDTH = 128
"""Key width of FlashInfer's gated delta net on Blackwell; Hopper's takes any."""
FLASHINFER_CHECKPOINT_TOKENS = 64
"""FlashInfer's gated delta net leaves states at multiples of this (layers/mamba/gdn)."""


STATE_MODES = (0, 15, 0)
"""Since then states are cached in mode `align` where the class can't keep one per block."""
ONE_STATE_MODE = (0, 28, 0)
"""Since then every class uses `align` unless told otherwise."""
STATE_CHECKPOINTS = (0, 29, 0)
"""Since then prefix caching keeps one more state, left behind in the middle of a prefill."""

TURBOQUANT_KEPT_LAYERS = 2
"""Layers at each end that TurboQuant doesn't compress (quantization/turboquant/config.py)."""

FP8_ON_BLACKWELL = frozenset(
    {"GlmMoeDsaForCausalLM", "Glm5NextForCausalLM", "Glm5NextForConditionalGeneration"}
)
"""Classes that choose an fp8 cache by themselves on Blackwell data-centre GPUs."""


@dataclass(frozen=True, slots=True)
class CachePlan:
    """All pages of one rank, and what they came from."""

    layers: tuple[PagedLayer, ...]
    block_size: int
    """vLLM's cache_config.block_size."""
    packed: bool
    """All layers of a block lie side by side (block-outermost layout)."""
    backend: str
    kv_dtype: str
    """As vLLM resolves it: auto, fp8, fp8_ds_mla ..."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What pages depend on, besides the layer."""

    launch: Launch
    model: CacheModel
    facts: Facts
    kv_dtype: str
    choice: Choice
    backend: Backend | None
    need: AttentionNeed
    block_size: int

    @property
    def tp(self) -> int:
        return self.launch.tp

    @property
    def dtype(self) -> str:
        return self.launch.dtype


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


def cache_plan(launch: Launch, model: CacheModel) -> CachePlan:
    """Every page of one rank, in the order in which vLLM registers its layers."""
    choice = attention_choice(launch, model)
    need = attention_need(launch, model)
    kinds = {layer.kind for layer in model.layers}
    kv_dtype = _stored_dtype(launch, choice, kinds)
    need = replace(need, kv_dtype=kv_dtype) if not model.sparse else need
    block = _block_size(launch, model, choice.backend, need, kinds)
    setting = Setting(
        launch=launch,
        model=model,
        facts=Facts(launch.metadata.text),
        kv_dtype=kv_dtype,
        choice=choice,
        backend=choice.backend,
        need=need,
        block_size=block,
    )
    state_page = 0
    if model.hybrid:
        block, state_page = _aligned(setting)
        setting = replace(setting, block_size=block)
    drafts = draft_layers(launch.metadata, model, launch.speculative_method, launch.config.speculative_config)
    layers = tuple(
        PagedLayer(layer.index, page)
        for layer in (*model.layers, *drafts)
        for page in _pages(setting, layer, state_page)
    )
    return CachePlan(
        layers=layers,
        block_size=setting.block_size,
        packed="compressed" in kinds,
        backend="FLASHMLA_SPARSE_DSV4"
        if "compressed" in kinds
        else choice.backend.name
        if choice.backend
        else "",
        kv_dtype=kv_dtype,
    )


def _stored_dtype(launch: Launch, choice: Choice, kinds: set[str]) -> str:
    """The cache dtype after the backend and the model class have had their say."""
    dtype = cache_dtype(launch)
    name = choice.backend.name if choice.backend else ""
    if "compressed" in kinds:
        return "fp8_ds_mla"
    if name == "FLASHMLA_SPARSE" and quantized(dtype) and dtype != "nvfp4_ds_mla":
        return "fp8_ds_mla"
    if name == "FLASHINFER_MLA_SPARSE_SM120":
        return "fp8_ds_mla"
    return dtype


def _block_size(
    launch: Launch, model: CacheModel, backend: Backend | None, need: AttentionNeed, kinds: set[str]
) -> int:
    """cache_config.block_size before hybrids are aligned."""
    if "compressed" in kinds:
        return COMPRESSED_BLOCK
    if launch.config.block_size is not None:
        return launch.config.block_size
    if "block_sparse" in kinds:
        return SPARSE_BLOCK
    if backend is None or not (kinds - {"state"}):
        return DEFAULT_BLOCK_SIZE
    typical = replace(need, head_dim=model.head_dim, value_dim=0) if not model.latent else need
    preferred = preferred_block(backend, typical, DEFAULT_BLOCK_SIZE)
    if need.kv_dtype in TURBOQUANT_BITS and not model.hybrid:
        return preferred * element_bytes("auto", launch.dtype)
    if any(layer.index_dim for layer in model.layers):
        return math.lcm(max(preferred, smallest_block(backend, need)), INDEX_BLOCK)
    return preferred


def _pages(setting: Setting, layer: CacheLayer, state_page: int) -> Iterator[Page]:
    match layer.kind:
        case "state":
            yield _state_page(setting, layer, state_page)
        case "latent":
            if layer.index_dim:
                yield _index_page(setting, layer)
            yield _latent_page(setting, layer)
        case "compressed":
            yield from _compressed_pages(layer)
        case "block_sparse":
            yield _head_page(setting, layer, "full")
            yield Page(
                "latent",
                setting.block_size,
                setting.block_size * layer.index_dim * 2,
                ("index", layer.index_dim),
            )
        case "sliding":
            yield _sliding_page(setting, layer)
        case "chunked":
            yield replace(_head_page(setting, layer, "chunked"), window=layer.window)
        case "cross":
            yield replace(_head_page(setting, layer, "full"), family="cross")
        case _:
            yield _head_page(setting, layer, "full")


def _token_bytes(setting: Setting, layer: CacheLayer) -> int:
    """Bytes of one token in one layer on one rank."""
    heads = rank_heads(layer.kv_heads, setting.tp)
    if layer.kind == "block_sparse" or layer.key_dim != layer.value_dim:
        return heads * (layer.key_dim + layer.value_dim) * element_bytes(setting.kv_dtype, setting.dtype)
    return heads * head_bytes(_layer_dtype(setting, layer), setting.dtype, layer.key_dim, layer.value_dim)


def _layer_dtype(setting: Setting, layer: CacheLayer) -> str:
    """TurboQuant leaves the first and last layers of a dense model as they are."""
    if setting.kv_dtype not in TURBOQUANT_BITS or setting.model.hybrid:
        return setting.kv_dtype
    kept = min(TURBOQUANT_KEPT_LAYERS, setting.model.num_layers // 2)
    inside = kept <= layer.index < setting.model.num_layers - kept
    return setting.kv_dtype if inside else "auto"


def _head_page(setting: Setting, layer: CacheLayer, family: str) -> Page:
    heads = rank_heads(layer.kv_heads, setting.tp)
    return Page(
        "chunked" if family == "chunked" else "full",
        setting.block_size,
        setting.block_size * _token_bytes(setting, layer),
        (heads, layer.key_dim, layer.value_dim, _layer_dtype(setting, layer)),
    )


def _sliding_page(setting: Setting, layer: CacheLayer) -> Page:
    """A window's block is the largest kernel block that the model's block size allows."""
    per_token = _token_bytes(setting, layer)
    block = setting.block_size
    if setting.backend is not None:
        need = replace(
            setting.need,
            head_dim=layer.key_dim,
            value_dim=layer.value_dim,
            kv_heads=layer.kv_heads,
            block_size=None,
        )
        block = largest_block_within(setting.backend, need, setting.block_size)
    heads = rank_heads(layer.kv_heads, setting.tp)
    return Page(
        "sliding",
        block,
        block * per_token,
        (heads, layer.key_dim, layer.value_dim),
        window=layer.window,
    )


def _latent_page(setting: Setting, layer: CacheLayer) -> Page:
    size = latent_bytes(setting.kv_dtype, setting.dtype, layer.key_dim)
    return Page(
        "latent",
        setting.block_size,
        setting.block_size * size,
        (layer.key_dim, setting.kv_dtype, "leads" if layer.leads_index else ""),
    )


def _index_page(setting: Setting, layer: CacheLayer) -> Page:
    """The index key of sparse latent attention: fp8 with scales, one per token."""
    size = layer.index_dim + layer.index_dim // INDEX_SCALE_GROUP * 4
    return Page("latent", setting.block_size, setting.block_size * size, ("index", layer.index_dim))


def _compressed_pages(layer: CacheLayer) -> Iterator[Page]:
    """DeepSeek-V4: a window of raw entries, compressed entries, their index, and the compressors' states."""

    def aligned(family: str, block: int, raw: int, *entry: int | str, window: int = 0) -> Page:
        return Page(
            "sliding_latent" if family == "sliding" else "latent",
            block,
            raw,
            entry,
            padded_bytes=round_up(raw, COMPRESSED_ALIGNMENT),
            window=window,
        )

    yield aligned(
        "sliding",
        COMPRESSED_WINDOW_BLOCK,
        COMPRESSED_WINDOW_BLOCK * COMPRESSED_ENTRY_BYTES,
        "window",
        window=layer.window,
    )
    if layer.ratio < 2:
        return
    block = COMPRESSOR_BLOCKS.get(layer.ratio, 8)
    overlap = 2 if layer.ratio == 4 else 1
    widths = [layer.key_dim] + ([layer.index_dim] if layer.index_dim else [])
    yield aligned(
        "full",
        COMPRESSED_BLOCK,
        COMPRESSED_BLOCK // layer.ratio * COMPRESSED_ENTRY_BYTES,
        "entries",
        layer.ratio,
    )
    if layer.index_dim:
        size = layer.index_dim + layer.index_dim // INDEX_SCALE_GROUP * 4
        yield aligned("full", COMPRESSED_BLOCK, COMPRESSED_BLOCK // layer.ratio * size, "index", layer.ratio)
    for width in widths:
        yield aligned(
            "sliding",
            block,
            block * 2 * overlap * width * 4,
            "compressor",
            width,
            window=overlap * layer.ratio,
        )


def state_mode(launch: Launch, kind: str) -> str:
    """How prefix caching keeps states: `none`, `align` (the last ones) or `all` (one per block).

    Source: vLLM 0.14-0.33 model_executor/models/config.py `MambaModelConfig`.
    """
    if not launch.prefix_caching:
        return "none"
    number = launch.rules.number
    if number >= ONE_STATE_MODE:
        return "align"
    if kind in ("mamba1", "mamba2"):
        return "all"
    return "align" if number >= STATE_MODES else "none"


def _state_page(setting: Setting, layer: CacheLayer, padded: int) -> Page:
    raw = _state_bytes(setting, layer)
    launch = setting.launch
    kind = layer.state.kind if layer.state else ""
    mode = state_mode(launch, kind)
    states = 1 + launch.num_speculative_tokens
    if mode == "align":
        states += 1 + _checkpoints(setting, layer)
    return Page(
        "state",
        launch.max_model_len if mode == "none" else setting.block_size,
        raw,
        ("state", kind),
        padded_bytes=padded if padded > raw else 0,
        states=0 if mode == "all" else states,
        sharded=False,
    )


def _checkpoints(setting: Setting, layer: CacheLayer) -> int:
    """State pages that prefix caching keeps for mid-prefill checkpoints."""
    if layer.state is None or setting.launch.rules.number < STATE_CHECKPOINTS:
        return 0
    if layer.state.kind == "mamba2":
        return 1
    if layer.state.kind == "kda":
        return 1 if _flash_kda(setting, layer.state.rows) else 0
    return 1 if layer.state.kind == "gdn" and checkpoint_tokens(setting) > 0 else 0


def _flash_kda(setting: Setting, head_dim: int) -> bool:
    """FlashKDA leaves states behind: head size 128, bfloat16, a bounded gate (models/kimi_k3/nvidia/kda.py)."""
    part = setting.facts.part("linear_attn_config")
    bounded = part is not None and part.has("gate_lower_bound")
    return (
        bounded
        and head_dim == 128
        and setting.dtype == "bfloat16"
        and setting.launch.capability[0] in (9, 10, 12)
    )


def checkpoint_tokens(setting: Setting) -> int:
    """Tokens between the states that every recurrent kernel can leave behind; 0: some can't."""
    if setting.launch.rules.number < STATE_CHECKPOINTS:
        return 0
    kinds = {layer.state.kind for layer in setting.model.layers if layer.state is not None}
    if kinds != {"gdn"} or setting.launch.metadata.architecture.startswith("OlmoHybrid"):
        return 0
    major = setting.launch.capability[0]
    widths = {layer.state.columns for layer in setting.model.layers if layer.state is not None}
    supported = major == 9 or (major in (10, 12) and widths == {FLASHINFER_KEY_WIDTH})
    return FLASHINFER_CHECKPOINT_TOKENS if supported else 0


def _state_bytes(setting: Setting, layer: CacheLayer) -> int:
    """Bytes of one layer's states on one rank."""
    state = layer.state
    if state is None:
        return 0
    conv, recurrent = state_dtypes(setting, state.kind)
    speculative = setting.launch.num_speculative_tokens if state.kind != "mamba1" else 0
    return (
        state.conv_elements(setting.tp, speculative) * conv + state.recurrent_elements(setting.tp) * recurrent
    )


def state_dtypes(setting: Setting, kind: str) -> tuple[int, int]:
    """Bytes per element of the convolution and the recurrent state."""
    config = setting.launch.config
    conv = element_bytes(config.mamba_cache_dtype, setting.dtype)
    chosen = config.mamba_ssm_cache_dtype
    if chosen == "auto":
        chosen = _own_state_dtype(setting, kind)
    if kind == "linear":
        return conv, conv
    return conv, conv if chosen == "auto" else element_bytes(chosen, setting.dtype)


def _own_state_dtype(setting: Setting, kind: str) -> str:
    """The recurrent state's dtype that a model class or its config asks for."""
    if kind == "kda":
        return "float32"
    key = "mamba_ssm_dtype" if kind == "gdn" else "mamba_ssm_cache_dtype"
    named = setting.facts.get(key)
    if isinstance(named, str) and named.removeprefix("torch.") in ("float32", "float16", "bfloat16"):
        if kind == "gdn" or "NemotronH" in setting.launch.metadata.architecture:
            return named.removeprefix("torch.")
        return "auto"
    return "float32" if "NemotronH" in setting.launch.metadata.architecture else "auto"


def _aligned(setting: Setting) -> tuple[int, int]:
    """Block size and state page of a hybrid: attention pages as large as state pages.

    Source: `_align_hybrid_block_size`.
    """
    states = max(_state_bytes(setting, layer) for layer in setting.model.layers if layer.kind == "state")
    attention = next(layer for layer in setting.model.layers if layer.kind != "state")
    if setting.model.latent:
        per_token = latent_bytes(setting.kv_dtype, setting.dtype, attention.key_dim)
    else:
        heads = rank_heads(setting.model.kv_heads, setting.tp)
        per_token = heads * head_bytes(
            setting.kv_dtype, setting.dtype, setting.model.head_dim, setting.model.head_dim
        )
    block = setting.block_size
    if not states or not per_token:
        return block, 0
    kernel = smallest_block(setting.backend, setting.need) if setting.backend else DEFAULT_BLOCK_SIZE
    step = max(kernel, block)
    if setting.model.latent:
        step = max(step, LATENT_HYBRID_BLOCK)
    first = next(layer.state for layer in setting.model.layers if layer.state is not None)
    mode = state_mode(setting.launch, first.kind)
    if mode == "align":
        step = math.lcm(step, checkpoint_tokens(setting) or 1)
    elif mode == "all":
        step = math.lcm(step, setting.facts.int("mamba_chunk_size", "chunk_size", default=2048, low=1))
    block = max(block, round_up(step * ceil_div(states, step * per_token), kernel))
    return block, block * per_token
