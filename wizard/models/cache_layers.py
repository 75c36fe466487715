"""What each decoder layer keeps between steps: keys and values, a latent, a window of them, or a state.

Pure: config -> layers, before any parallelism, dtype or GPU. `wizard.planning.kv_specs` turns them into pages.
Sources: vLLM 0.33 `model_executor/models/*.py`, `model_executor/layers/attention`, `layers/mamba`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, replace
from wizard.errors import ConfigError
from wizard.models.facts import LARGEST_LAYER_COUNT, Facts
from wizard.models.layer_kinds import SLIDING, layer_kinds, window_switched_off
from wizard.models.metadata import ModelMetadata
from wizard.models.state_geometry import StateGeometry, state_of

Kind = Literal["full", "sliding", "chunked", "latent", "compressed", "block_sparse", "state", "cross"]


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """One layer's cache, whole (before tensor parallelism)."""

    kind: Kind
    index: int
    """Position in the stack, for pipeline stages."""
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window: int = 0
    """Tokens that a sliding window or a chunk spans."""
    state: StateGeometry | None = None
    ratio: int = 0
    """Tokens per stored entry of a compressed cache; 0: window only."""
    index_dim: int = 0
    """Width of the sparse-attention index key beside the cache; 0: none."""
    sinks: bool = False
    leads_index: bool = False
    """Owns an index that later layers share."""


@dataclass(frozen=True, eq=False)
class CacheModel:
    """All layers that keep a cache, and what the choice of attention kernels depends on."""

    layers: tuple[CacheLayer, ...]
    num_layers: int
    """Decoder layers, with those that keep nothing."""
    query_heads: int
    kv_heads: int
    head_dim: int
    """The model's one head size, as vLLM asks it for block sizes (latent width for MLA)."""
    latent: bool
    hybrid: bool
    """Attention and states in one model."""
    image_prefix: bool
    """Images attend to themselves in both directions (PrefixLM), which few kernels can."""
    sparse: bool
    """Latent attention over chosen tokens (DSA)."""
    window: int = 0
    """The window of the whole model (`cache_config.sliding_window`), where it has one; 0: layers have their own."""
    shared: tuple[tuple[int, int], ...] = ()
    """(layer, the earlier layer whose cache it reads)."""

    @cached_property
    def keeps_states(self) -> bool:
        """Whether some layer keeps a recurrent state instead of a page per block of tokens."""
        return any(layer.kind == "state" for layer in self.layers)


_models: WeakKeyDictionary[ModelMetadata, CacheModel] = WeakKeyDictionary()


def cache_model(metadata: ModelMetadata) -> CacheModel:
    """The cache of a model, read once per metadata object. Raises ConfigError in one sentence."""
    model = _models.get(metadata)
    if model is None:
        model = _models[metadata] = _read(metadata)
    return model


ENCODERS = (
    "Bert",
    "Roberta",
    "XLMRoberta",
    "ModernBert",
    "NomicBert",
    "GteNew",
    "ModernVBert",
    "Siglip",
    "CLIP",
)
"""Architectures that start so look at the whole input at once and keep nothing (`EncoderOnlyAttention`)."""

WHOLE_MODEL_WINDOWS = frozenset(
    {
        "qwen2",
        "qwen2_5_omni_text",
        "qwen2_5_vl_text",
        "qwen2_moe",
        "qwen2_vl_text",
        "qwen3",
        "qwen3_moe",
        "qwen3_vl_text",
    }
)
"""Model types whose vLLM classes know a window for all layers or for none, whatever `layer_types` says."""

WINDOW_PLUS_ONE = frozenset({"cohere2", "cohere2_moe", "modernbert"})
"""Model types whose config counts the window without the token itself."""

LATENT_TYPES = frozenset(
    {
        "axk1",
        "bailing_hybrid",
        "deepseek_mtp",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "deepseek_v4",
        "deepseek_v41",
        "dots3_note",
        "glm4_moe_lite",
        "glm_moe_dsa",
        "hy_v4",
        "kimi_k2",
        "kimi_linear",
        "longcat_flash",
        "pangu_ultra_moe",
        "sarvam_mla",
    }
)
"""Text model types that vLLM runs with latent attention when the config has a latent rank
(`model_arch_config_convertor.py` `is_deepseek_mla`; Sarvam's class builds it by itself)."""

IMAGE_PREFIX_TYPES = frozenset({"bagel", "gemma3", "molmo2", "moondream3", "paligemma"})
"""`is_mm_prefix_lm`; Gemma 4 says so itself by `use_bidirectional_attention`."""

INDEXED_RATIO = 4
"""DeepSeek-V4: layers that keep one entry for 4 tokens choose among them with an index."""

ATTENTION_FREE_TYPES = frozenset({"falcon_mamba", "mamba", "mamba2"})
STATE_WORDS = frozenset({"mamba", "linear_attention", "lightning_attention", "conv"})
EMPTY_WORDS = frozenset({"mlp", "moe"})
SHARED_BLOCK = "hybrid"
"""Layers with a state whose attention is a block that several share (Zamba 2): it is built before the stack."""
BOTH_WORDS = frozenset({"parallel", SHARED_BLOCK})
"""Layers with attention and a state side by side (Falcon-H1), in this order."""


def is_encoder(metadata: ModelMetadata) -> bool:
    """True for models that attend in both directions and therefore keep no cache."""
    causal = metadata.text.get("is_causal", metadata.config.get("is_causal"))
    if metadata.architecture.startswith(ENCODERS):
        return "Decoder" not in metadata.architecture
    if metadata.architecture == "Gemma3TextModel":  # models/config.py `Gemma3TextModelConfig`
        return metadata.text.get("use_bidirectional_attention") is True
    return causal is False


def is_attention_free(metadata: ModelMetadata) -> bool:
    """True for models of states alone, whose prefixes vLLM doesn't reuse unless asked (`IsAttentionFree`)."""
    return metadata.text_type in ATTENTION_FREE_TYPES


def is_encoder_decoder(metadata: ModelMetadata) -> bool:
    """True for models whose decoder layers also read an encoder's output (Whisper)."""
    return any(part.get("is_encoder_decoder") is True for part in (metadata.config, metadata.text))


def _read(metadata: ModelMetadata) -> CacheModel:
    facts = Facts(metadata.text)
    model_type = metadata.text_type
    heads = metadata.num_attention_heads
    latent = _is_latent(facts, model_type)
    kinds = layer_kinds(facts, model_type)
    total = len(kinds) if kinds is not None and not facts.has("num_hidden_layers") else metadata.num_layers
    if is_encoder_decoder(metadata):
        total = facts.int("decoder_layers", default=total, low=1)
    if kinds is not None and len(kinds) < total:
        raise ConfigError(f"config.json lists the kinds of {len(kinds)} layers, fewer than its {total}.")
    if total > LARGEST_LAYER_COUNT:
        raise ConfigError(f"config.json: {total} layers are out of any model's range.")
    if is_encoder(metadata):
        layers: tuple[CacheLayer, ...] = ()
    else:
        layers = tuple(_layers(metadata, facts, model_type, kinds, total, latent))
        ahead = {index for index, word in enumerate(kinds or ()) if word == SHARED_BLOCK}
        layers = tuple(sorted(layers, key=lambda layer: layer.kind == "state" or layer.index not in ahead))
    if any(layer.kind != "state" and not layer.key_dim * layer.kv_heads for layer in layers):
        raise ConfigError(
            f"config.json has attention layers without heads: {heads} heads, {metadata.num_key_value_heads} of them "
            f"with keys, share a width of {metadata.hidden_size}."
        )
    return CacheModel(
        layers=layers,
        num_layers=total,
        query_heads=heads,
        kv_heads=metadata.num_key_value_heads,
        head_dim=latent_width(facts)
        if latent
        else max(metadata.head_dim, facts.int("global_head_dim", default=0)),
        latent=latent,
        hybrid=any(layer.kind == "state" for layer in layers)
        and any(layer.kind != "state" for layer in layers),
        image_prefix=_image_prefix(metadata),
        sparse=latent and facts.has("index_topk"),
        window=0 if latent else _whole_window(facts, model_type, kinds),
        shared=tuple(_shared(facts, kinds, total)),
    )


def _is_latent(facts: Facts, model_type: str) -> bool:
    if model_type not in LATENT_TYPES:
        return False
    if facts.has("compress_ratios") or facts.has("compress_rates"):
        return facts.has("head_dim")
    return facts.int("kv_lora_rank", default=0) > 0


def latent_width(facts: Facts) -> int:
    """Elements that latent attention stores per token: the latent and its rotary part."""
    if facts.has("compress_ratios") or facts.has("compress_rates"):
        return facts.int("head_dim", low=1)
    return facts.int("kv_lora_rank", low=1) + facts.int("qk_rope_head_dim", default=0)


def _image_prefix(metadata: ModelMetadata) -> bool:
    said = metadata.config.get("is_mm_prefix_lm")
    if said is not None:
        return bool(said)
    if not any(name in metadata.config for name in ("vision_config", "vit_config")):
        return False
    if metadata.text.get("use_bidirectional_attention") == "vision":
        return True
    return str(metadata.config.get("model_type")) in IMAGE_PREFIX_TYPES


def _layers(
    metadata: ModelMetadata,
    facts: Facts,
    model_type: str,
    kinds: Sequence[str] | None,
    total: int,
    latent: bool,
) -> Iterator[CacheLayer]:
    plain = CacheLayer(
        "full",
        0,
        kv_heads=metadata.num_key_value_heads,
        key_dim=metadata.head_dim,
        value_dim=metadata.head_dim,
        sinks=_has_sinks(facts, model_type),
    )
    if latent:
        plain = replace(plain, kind="latent", kv_heads=1, key_dim=latent_width(facts), value_dim=0)
    elif facts.int("kv_lora_rank", default=0) and facts.int("qk_nope_head_dim", default=0):
        width = facts.int("qk_nope_head_dim") + facts.int("qk_rope_head_dim", default=0)
        heads = metadata.num_attention_heads
        plain = replace(plain, kv_heads=heads, key_dim=width, value_dim=width)
    window = _window(facts, model_type)
    everywhere = _whole_window(facts, model_type, kinds)
    chunk = facts.int("attention_chunk_size", default=0)
    crossed = is_encoder_decoder(metadata)
    for index in range(total):
        word = kinds[index] if kinds is not None else ""
        if word in EMPTY_WORDS or _no_op(facts, index):
            continue
        if word in STATE_WORDS:
            yield CacheLayer("state", index, state=state_of(facts, word))
            continue
        layer = replace(plain, index=index)
        index_width = _block_sparse_width(facts, index)
        if index_width:
            layer = replace(layer, kind="block_sparse", index_dim=index_width)
        elif word == SLIDING and window and model_type not in WHOLE_MODEL_WINDOWS and not latent:
            layer = replace(layer, kind="sliding", window=window)
        elif everywhere and not latent:
            layer = replace(layer, kind="sliding", window=everywhere)
        elif chunk and facts.has("no_rope_layer_interval") and _uses_rope(facts, index):
            layer = replace(layer, kind="chunked", window=chunk)
        if latent:
            layer = _latent_layer(facts, layer, index)
        layer = _geometry(metadata, facts, layer)
        if not _shares(facts, index, total):
            yield layer
        if crossed:
            yield replace(layer, kind="cross", window=0)
        if word in BOTH_WORDS:
            yield CacheLayer("state", index, state=state_of(facts, word))


def _latent_layer(facts: Facts, layer: CacheLayer, index: int) -> CacheLayer:
    """A latent layer with its compression (DeepSeek-V4) or its sparse index (DeepSeek-V3.2, GLM-5)."""
    index_dim = facts.int("index_head_dim", default=128) if facts.has("index_topk") else 0
    ratios = compress_ratios(facts)
    if ratios is not None:
        ratio = ratios[index] if index < len(ratios) else 0
        return replace(
            layer,
            kind="compressed",
            ratio=ratio,
            window=facts.int("sliding_window", default=128),
            index_dim=index_dim if ratio == INDEXED_RATIO else 0,
        )
    if index_dim and not _reuses_index(facts, index):
        return replace(layer, index_dim=index_dim, leads_index=True)
    return layer


def compress_ratios(facts: Facts) -> list[int] | None:
    """Tokens per stored entry of each layer (DeepSeek-V4); 0 keeps a window alone; `None`: not compressed.

    Source: vLLM 0.33 transformers_utils/deepseek_v4_utils.py `get_compress_ratios`.
    """
    listed = facts.list("compress_ratios")
    if listed is not None:
        return [facts.item("compress_ratios", index, default=0) for index in range(len(listed))]
    rates = facts.part("compress_rates")
    kinds = facts.list("layer_types")
    if rates is None or kinds is None:
        return None
    return [rates.int(str(kind), default=0) for kind in kinds]


def _reuses_index(facts: Facts, index: int) -> bool:
    """GLM-5.2: only some layers choose tokens, the others follow (`index_topk_freq`, `index_topk_pattern`)."""
    pattern = facts.get("index_topk_pattern")
    if isinstance(pattern, str | list) and pattern:
        return index < len(pattern) and pattern[index] == "S"
    every = facts.int("index_topk_freq", default=1, low=1)
    offset = facts.int("index_skip_topk_offset", default=2)
    return max(index - offset + 1, 0) % every != 0


def _block_sparse_width(facts: Facts, index: int) -> int:
    """MiniMax-M3: width of the key by which a layer chooses blocks of tokens; 0 where it doesn't."""
    part = facts.part("sparse_attention_config")
    if part is None or not part.flag("use_sparse_attention", default=True):
        return 0
    chosen = part.list("sparse_attention_freq") or ()
    if index >= len(chosen) or not chosen[index]:
        return 0
    return part.int("sparse_index_dim", default=128, low=1)


def _window(facts: Facts, model_type: str) -> int:
    """The sliding window in tokens; 0: none."""
    if window_switched_off(facts, model_type):
        return 0
    window = facts.get("sliding_window")
    if isinstance(window, list | tuple):
        window = next((item for item in window if item), None)
    if window is None:
        return 0
    tokens = Facts({"sliding_window": window}).int("sliding_window")
    return tokens + 1 if tokens and model_type in WINDOW_PLUS_ONE else tokens


def _whole_window(facts: Facts, model_type: str, kinds: Sequence[str] | None) -> int:
    """The window that all layers have; 0: none, or not all."""
    return _window(facts, model_type) if kinds is None or set(kinds) == {SLIDING} else 0


def _uses_rope(facts: Facts, index: int) -> bool:
    """Llama 4: layers without rotary positions are the global ones; every 4th where the list is empty."""
    listed = facts.list("no_rope_layers")
    if listed:
        return bool(facts.item("no_rope_layers", index))
    interval = facts.int("no_rope_layer_interval", default=4, low=1)
    return (index + 1) % interval != 0


def _has_sinks(facts: Facts, model_type: str) -> bool:
    return model_type == "gpt_oss" or facts.flag("attention_sinks", "add_full_attention_sink_bias")


def _block(facts: Facts, index: int) -> Mapping[str, Any] | None:
    """Nemotron-NAS: the attention part of a layer's own description."""
    blocks = facts.list("block_configs")
    if blocks is None or index >= len(blocks):
        return None
    part = Facts({"block": blocks[index]}).part("block")
    attention = part.part("attention") if part is not None else None
    return attention.values if attention is not None else None


def _no_op(facts: Facts, index: int) -> bool:
    block = _block(facts, index)
    return block is not None and bool(block.get("no_op") or block.get("replace_with_linear"))


def _shares(facts: Facts, index: int, total: int) -> bool:
    """Gemma 3n and 4: the last layers read an earlier layer's cache."""
    return index >= total - facts.int("num_kv_shared_layers", default=0) > 0


def _shared(facts: Facts, kinds: Sequence[str] | None, total: int) -> Iterator[tuple[int, int]]:
    """Each sharing layer with the last earlier one of its kind that has a cache of its own."""
    first = total - facts.int("num_kv_shared_layers", default=0)
    if first >= total or first <= 0:
        return
    last = {kinds[index] if kinds is not None else "": index for index in range(first)}
    for index in range(first, total):
        word = kinds[index] if kinds is not None else ""
        if word in last:
            yield index, last[word]


def _geometry(metadata: ModelMetadata, facts: Facts, layer: CacheLayer) -> CacheLayer:
    """A layer with its own head counts and widths, where the config gives layers different ones."""
    block = _block(facts, layer.index)
    if block is not None:
        group = Facts(block).int("n_heads_in_group", default=0)
        if group:
            return replace(layer, kv_heads=max(1, metadata.num_attention_heads // group))
        return layer
    if layer.kind in ("latent", "compressed"):
        return layer
    if facts.int("kv_lora_rank", default=0):
        return layer
    value = facts.int("v_head_dim", default=0)
    if layer.kind == "sliding":
        return replace(
            layer,
            kv_heads=facts.int("swa_num_key_value_heads", default=layer.kv_heads, low=1),
            key_dim=facts.int("swa_head_dim", default=layer.key_dim, low=1),
            value_dim=facts.int("swa_v_head_dim", default=value or layer.value_dim, low=1),
        )
    wide = facts.int("global_head_dim", default=0)
    if wide:
        shared = facts.flag("attention_k_eq_v")
        heads = facts.int("num_global_key_value_heads", default=0) if shared else 0
        return replace(layer, key_dim=wide, value_dim=wide, kv_heads=heads or layer.kv_heads)
    return replace(layer, value_dim=value or layer.value_dim)
