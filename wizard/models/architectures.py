"""Which mechanisms an architecture is built of: `data/architectures.json`, read and checked.

Every entry names what differs from the entry it is `like`; the values are the fields of `Traits`. One that
`wraps` takes the decoder that the config names instead, and `like` only where that is unknown.
A switch is true, false, or the config keys that turn it on (`key=word`: by this word).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from wizard.data import read_text
from wizard.dataclass import dataclass, field

Switch: TypeAlias = bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How vLLM builds an architecture. Names are vLLM's module names."""

    layer: str = "standard"
    """Which builder describes one layer (`wizard.models.layers.LAYERS`)."""
    prefix: str = "model"
    layers: str = "layers"
    embedding: str = "embed_tokens"
    embedding_quantised: bool = True
    embedding_whole: bool = False
    """Neither padded nor cut."""
    embedding_width: tuple[str, ...] = ()
    """Config keys of the width of embedding and head, where it isn't the hidden size."""
    embedding_extra: int = 0
    """Rows of the embedding that the head doesn't have."""
    head: str = "lm_head"
    """Absolute name; empty: the model has none."""
    head_quantised: bool = True
    head_bias: Switch = False
    final_norm: Switch = True
    final_norm_bias: bool | None = None
    """`None`: as the layers' norms."""
    tied: bool | None = False
    """`tie_word_embeddings` where the config doesn't say; `None`: vLLM's class never ties."""
    tied_in_text: bool = False
    """A multimodal config that leaves `tie_word_embeddings` to the decoder's section."""
    always_tied: bool = False
    ends_everywhere: bool = False
    """Embeddings and head are built on every pipeline stage."""
    embedding_everywhere: bool = False
    """The embedding is, the final norm isn't."""
    head_everywhere: bool = False
    """Likewise the head."""

    mixer: str = "gqa"
    mixers: Mapping[str, str] = field(default_factory=dict)
    """Layer type of the config -> mixer, for hybrids."""
    layer_types: str = ""
    """Which rule tells the type of a layer (`wizard.models.patterns.PATTERNS`)."""
    attn: str = "self_attn"
    attn_inner: str = "attn"
    qkv: str = "qkv_proj"
    qkv_parts: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    o: str = "o_proj"
    qkv_bias: Switch = False
    o_bias: Switch = False
    attention_quantised: bool = True
    qk_norm: str = ""
    """'head': one weight per head dimension; 'all': one per projected channel, split with the heads;
    'all_whole': the same on every rank; 'per_head': a weight per head and dimension; 'told': by `qk_norm_type`."""
    qk_norm_if: Switch = True
    gate: str = ""
    """Attention output gate: 'q' doubles the query, 'head' and 'channel' have a projection of their own."""
    gate_if: Switch = True
    gate_name: str = "g_proj"
    sinks: Switch = False
    window_sinks: bool = False
    """Only sliding-window layers have them."""
    window_heads: bool = False
    """Sliding-window layers have heads of their own (`swa_...`)."""
    head_dim_from_hidden: bool = False
    """vLLM's class divides hidden size by heads and ignores `head_dim`."""

    mamba: str = "mamba"
    """Name of the state-space mixer."""
    mamba_norm: Switch = True
    delta_parts: str = "fused"
    """Gated delta nets: 'fused' (Qwen3-Next) or 'apart' (Qwen3.5) in the checkpoint."""

    rope: str = "standard"
    """'standard', 'by_type' (parameters per layer type), 'sliding_only' (full attention goes without),
    'if_theta' (none where the base is null), 'scaled_layers' (some layers unscaled), 'transformers' (that
    backend's) or 'none'."""
    rotary_rows: tuple[str, ...] = ()
    """Config keys of its positions, where not `max_position_embeddings`."""
    rotary_dtype: str = ""
    mrope_positions: int = 4
    rotary_fraction: float = 1.0
    """`partial_rotary_factor` where the config doesn't say."""

    mlp: str = "mlp"
    up: str = "gate_up_proj"
    up_parts: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "down_proj"
    gated: bool = True
    fused_up: bool = True
    """Gate and up in one matrix; apart, per-tensor scales count one by one."""
    mlp_bias: Switch = False
    norms: int = 2
    more_norms_if: Switch = False
    """Two more, behind the blocks."""
    norm_bias: Switch = False
    width: tuple[str, ...] = ("intermediate_size",)
    width_rule: str = ""
    """Which rule derives the dense width (`wizard.models.sparse.WIDTHS`); empty: the number as it stands."""

    moe: str = ""
    """Which rule tells the sparse layers (`wizard.models.patterns.SPARSE`)."""
    moe_name: str = "mlp"
    experts_name: str = "experts"
    experts_count: tuple[str, ...] = (
        "num_experts",
        "n_routed_experts",
        "num_local_experts",
        "moe_num_experts",
    )
    experts_width: tuple[str, ...] = ("moe_intermediate_size", "intermediate_size")
    experts_active: tuple[str, ...] = (
        "num_experts_per_tok",
        "num_experts_per_token",
        "top_k_experts",
        "moe_topk",
        "moe_top_k",
        "moe_k",
    )
    experts_parts: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    experts_gated: bool = True
    experts_bias: bool = False
    router: str = "gate"
    router_bias: Switch = False
    router_dtype: str = ""
    """Empty: the model's; 'told': by the config's `router_dtype`."""
    router_quantised: bool = False
    correction: str = ""
    """dtype of the router's correction bias; empty: none."""
    correction_if: Switch = True
    scoring: str = ""
    """How the router scores experts; empty: as the config says, else softmax."""
    renormalised: Switch = (
        "norm_topk_prob",
        "norm_expert_prob",
        "norm_expert_weight",
        "route_norm",
        "moe_renormalize",
    )
    """The chosen experts' weights add up to 1."""
    correction_buffer: bool = False
    """It is a buffer of the class (transformers'), no parameter."""
    shared: str = ""
    """'count': shared experts x expert width; else the config key of their common width."""
    shared_name: str = "shared_experts"
    shared_gate: bool = False
    shared_copied: bool = False
    """Sequence-parallel MoE (EP with TP and DP) keeps shared experts whole on every rank."""
    dense_copied: bool = False
    """... and the dense blocks of the first layers."""
    dense_too: bool = False
    """Sparse layers have the dense block beside the experts."""

    normalizer: bool = False
    """Gemma: one scalar buffer of the model's dtype."""
    position_offset: int = 0
    """Rows of a learned position table beyond the positions."""
    extras: tuple[str, ...] = ()
    """Further pieces outside the layers (`wizard.models.extras`)."""
    tower: str = ""
    """Which builder describes the vision or audio encoder and its projector (`wizard.models.towers`)."""
    pooler: str = ""
    draft: str = ""
    """'apart': multi-token-prediction layers stand beside the model, else they continue its layers."""
    renames: tuple[tuple[str, str], ...] = ()
    """Checkpoint prefix -> vLLM prefix, for names in ignore lists."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers' config class fills in for keys that the file leaves out."""


POOLING_CHANGES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ForSequenceClassification", {"head": "", "pooler": "score"}),
    ("ForTokenClassification", {"head": "", "pooler": "score"}),
    ("Model", {}),
)


@lru_cache(maxsize=1)
def _document() -> Mapping[str, Any]:
    text = read_text("architectures.json")
    document: Mapping[str, Any] = json.loads(text)
    return document


def _table() -> Mapping[str, Mapping[str, Any]]:
    table: Mapping[str, Mapping[str, Any]] = _document()["architectures"]
    return table


def known_architectures() -> tuple[str, ...]:
    """Every architecture of the table; lower-case entries are bases that others are like."""
    return tuple(name for name in _table() if name[0].isupper())


def architecture_of_type(model_type: str) -> str:
    """The architecture that a config class names by itself; empty for others."""
    found = _document()["named_by_type"].get(model_type, "")
    return found if isinstance(found, str) else ""


@lru_cache(maxsize=512)
def traits_of(architecture: str, decoder_architecture: str = "", decoder_type: str = "") -> Traits | None:
    """The traits of an architecture, or `None` where the table doesn't have it.

    Wrappers (multimodal classes) take their decoder's traits, found by the architecture or the model type
    of the decoder's section, and lay their own over them. vLLM turns decoders into pooling models: `XModel`
    keeps everything of `XForCausalLM`, `XForSequenceClassification` has a scoring matrix for its head
    (models/adapters.py).
    """
    merged = _merged(architecture, decoder_architecture, decoder_type)
    for suffix, changes in POOLING_CHANGES:
        if merged is None and architecture.endswith(suffix):
            merged = _merged(architecture.removesuffix(suffix) + "ForCausalLM")
            merged = merged and {**merged, **changes}
    if merged is None:
        return None
    return Traits(**{name: _frozen(name, value) for name, value in merged.items()})


def _merged(name: str, decoder_architecture: str = "", decoder_type: str = "") -> dict[str, Any] | None:
    entry = _table().get(name)
    if entry is None:
        return None
    base = entry.get("like")
    if entry.get("wraps"):
        by_type = _document()["decoders"].get(decoder_type)
        known = decoder_architecture in _table() and not _table()[decoder_architecture].get("wraps")
        base = decoder_architecture if known else by_type or base
    found = (_merged(base) or {}) if base else {}
    merged = {**found, **{key: value for key, value in entry.items() if key not in ("like", "wraps")}}
    if "defaults" in found and "defaults" in entry:
        merged["defaults"] = {**found["defaults"], **entry["defaults"]}
    return merged


def _frozen(name: str, value: Any) -> Any:
    if name == "renames":
        return tuple((old, new) for old, new in value.items())
    return tuple(value) if isinstance(value, list) else value
