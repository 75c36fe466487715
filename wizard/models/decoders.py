"""Decoder layers that no combination of standard pieces describes.

Sources: vLLM 0.33 `model_executor/models/{gemma4,nemotron_h,nemotron_nas,falcon,minicpm,lfm2}.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.architectures import Traits
from wizard.models.attention import Heads, grouped_query, heads_of, hidden_size, rotary_of
from wizard.models.facts import Facts
from wizard.models.metadata import short
from wizard.models.mixers import mamba2
from wizard.models.modules import CacheScales, Experts, Linear, Module, Tensor
from wizard.models.patterns import PATTERNS
from wizard.models.sparse import gated_mlp, sparse_block


def gemma4_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Gemma 4: global layers with wider heads, layers that share keys and values, per-layer embeddings, experts."""
    hidden = hidden_size(facts)
    kind = PATTERNS[traits.layer_types](facts, index)
    shared = facts.int("num_kv_shared_layers", default=0)
    borrows = shared > 0 and index >= facts.layers - shared
    heads = _gemma4_heads(facts, traits, kind)
    bias = facts.flag("attention_bias")
    query, key = heads.queries * heads.dim, heads.keys * heads.dim
    name = traits.attn
    modules: list[Module]
    if borrows:
        modules = [Linear(f"{name}.q_proj", hidden, (query,), bias=bias)]
    else:
        modules = [
            Linear(
                f"{name}.qkv_proj",
                hidden,
                (query, key, key),
                bias=bias,
                parts=traits.qkv_parts,
                heads=(0, heads.keys, heads.keys),
            ),
            Tensor(f"{name}.k_norm", heads.dim),
        ]
    modules += [
        Linear(f"{name}.o_proj", query, (hidden,), "row", bias=bias),
        Tensor(f"{name}.q_norm", heads.dim),
        CacheScales(f"{name}.attn", kv_heads=heads.keys),
        *rotary_of(facts, traits, heads.dim, kind),
    ]
    wide = 2 if borrows and facts.flag("use_double_wide_mlp") else 1
    modules += gated_mlp(facts, traits, traits.mlp, wide * facts.int("intermediate_size"))
    norms = 4
    if facts.has("num_experts"):
        modules += _gemma4_experts(facts, hidden)
        norms += 3
    per_layer = facts.int("hidden_size_per_layer_input", default=0)
    if per_layer:
        modules += [
            Linear("per_layer_input_gate", hidden, (per_layer,), "whole"),
            Linear("per_layer_projection", per_layer, (hidden,), "whole"),
        ]
        norms += 1
    return [*modules, Tensor("norms", norms * hidden), Tensor("layer_scalar", 1, buffer=True)]


def _gemma4_heads(facts: Facts, traits: Traits, kind: str) -> Heads:
    heads = heads_of(facts, traits)
    if kind != "full_attention":
        return heads
    dim = facts.int("global_head_dim", default=0) or heads.dim
    keys = heads.keys
    if facts.flag("attention_k_eq_v"):
        keys = facts.int("num_global_key_value_heads", default=0) or keys
    return Heads(heads.queries, keys, dim, dim)


def _gemma4_experts(facts: Facts, hidden: int) -> list[Module]:
    count = facts.int("num_experts", low=1)
    return [
        Linear("router.proj", hidden, (count,), "whole", quantised=False),
        Tensor("router.scale", hidden + count),
        Tensor("router.root_size", 1, buffer=True),
        Experts(
            "experts",
            count,
            hidden,
            facts.int("moe_intermediate_size", "expert_intermediate_size", low=1),
            active=facts.int("top_k_experts", default=1),
        ),
    ]


def nemotron_h_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Nemotron-H: one mixer per layer, either Mamba-2, attention, a dense MLP or experts."""
    hidden = hidden_size(facts)
    kind = PATTERNS[traits.layer_types](facts, index)
    build = _NEMOTRON_MIXERS.get(kind)
    if build is None:
        raise ConfigError(f"config.json has layers of type {short(kind)}, which can't be planned.")
    return [*build(facts, traits, index), Tensor("norm", hidden)]


def _nemotron_mamba(facts: Facts, traits: Traits, index: int) -> list[Module]:
    return mamba2(facts, traits, index, "")


def _nemotron_attention(facts: Facts, traits: Traits, index: int) -> list[Module]:
    return grouped_query(facts, traits, index, "")


def _nemotron_mlp(facts: Facts, traits: Traits, index: int) -> list[Module]:
    width = facts.get("intermediate_size")
    if isinstance(width, list | tuple):
        pattern = facts.text("hybrid_override_pattern")
        width = facts.item("intermediate_size", max(0, pattern[: index + 1].count("-") - 1))
    return list(gated_mlp(facts, traits, "mixer", width or facts.int("intermediate_size")))


def _nemotron_experts(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Experts may work in a narrower latent space, with a projection into it and one out of it."""
    hidden = hidden_size(facts)
    latent = facts.int("moe_latent_size", default=0)
    width = facts.int("moe_shared_expert_intermediate_size", default=0) * facts.int(
        "n_shared_experts", default=0
    )
    modules: list[Module] = []
    for module in sparse_block(facts, traits, index):
        modules.append(replace(module, hidden=latent) if latent and isinstance(module, Experts) else module)
    if width:
        modules += [
            replace(matrix, sequence_parallel=True)
            for matrix in gated_mlp(facts, traits, "mixer.shared_experts", width)
        ]
    if latent:
        bias = facts.flag("mlp_bias")
        modules += [
            Linear("mixer.fc1_latent_proj", hidden, (latent,), "whole", bias=bias),
            Linear("mixer.fc2_latent_proj", latent, (hidden,), "whole", bias=bias),
        ]
    return modules


_NEMOTRON_MIXERS = {
    "mamba": _nemotron_mamba,
    "attention": _nemotron_attention,
    "mlp": _nemotron_mlp,
    "moe": _nemotron_experts,
}


def deci_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Nemotron-NAS: every layer has its own heads and width, or lacks attention or MLP altogether."""
    blocks = facts.list("block_configs")
    if blocks is None or index >= len(blocks) or not isinstance(blocks[index], Mapping):
        raise ConfigError("config.json: block_configs must hold an object for every layer.")
    block = Facts(blocks[index])
    hidden = hidden_size(facts)
    attention, ffn = block.part("attention"), block.part("ffn")
    modules: list[Module] = []
    if attention is not None and not attention.flag("no_op") and not attention.flag("replace_with_linear"):
        heads = heads_of(facts, traits)
        keys = heads.queries // attention.int("n_heads_in_group", default=1, low=1)
        shape = replace(heads, keys=max(1, keys))
        modules += [*grouped_query(facts, traits, index, "", shape), Tensor("input_layernorm", hidden)]
    if ffn is not None and not ffn.flag("no_op") and not ffn.flag("replace_with_linear"):
        if ffn.has("ffn_mult"):
            width = int(2 * ffn.number("ffn_mult", 1.0) * hidden / 3)
            width = -(-width // 256) * 256
        else:
            width = ffn.int("intermediate_size", low=1)
        modules += [*gated_mlp(facts, traits, traits.mlp, width), Tensor("post_attention_layernorm", hidden)]
    return modules


def falcon_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Falcon: one, few or all heads have keys and values; one or two norms beside parallel attention."""
    hidden = hidden_size(facts)
    new = facts.flag("new_decoder_architecture")
    queries = facts.int("num_attention_heads", "n_head", low=1)
    if new:
        keys = facts.int("num_kv_heads", default=queries, low=1)
    else:
        keys = 1 if facts.flag("multi_query", default=True) else queries
    dim = hidden // queries
    modules = grouped_query(facts, traits, index, "", Heads(queries, keys, dim, dim))
    if facts.flag("alibi"):
        modules = modules[:3]
    width = facts.int("ffn_hidden_size", default=0) or 4 * hidden
    parallel = facts.flag("parallel_attn", default=True)
    norms = 2 if (new and facts.int("num_ln_in_parallel_attn", default=2) == 2) or not parallel else 1
    return [*modules, *gated_mlp(facts, traits, traits.mlp, width), Tensor("norms", 2 * norms * hidden)]


def gpt_bigcode_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """GPT-BigCode: one key and value head unless told otherwise; the MLP has no plan by which to cut it."""
    hidden = hidden_size(facts)
    queries = facts.int("n_head", "num_attention_heads", low=1)
    keys = 1 if facts.flag("multi_query", default=True) else queries
    dim = hidden // queries
    modules = grouped_query(facts, traits, index, "", Heads(queries, keys, dim, dim))
    width = facts.int("n_inner", default=0) or 4 * hidden
    modules += [replace(matrix, split="whole") for matrix in gated_mlp(facts, traits, traits.mlp, width)]
    return [*modules, Tensor("norms", 4 * hidden)]


def opt_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """OPT: the MLP stands in the layer itself."""
    hidden = hidden_size(facts)
    width = facts.int("ffn_dim", low=1)
    bias = facts.flag("enable_bias", default=True)
    return [
        *grouped_query(facts, traits, index, ""),
        Linear("fc1", hidden, (width,), bias=bias),
        Linear("fc2", width, (hidden,), "row", bias),
        Tensor("norms", 4 * hidden),
    ]


def granite_hybrid_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Granite 4: Mamba-2 or attention; experts and a shared MLP, either of which may be missing."""
    hidden = hidden_size(facts)
    kind = PATTERNS[traits.layer_types](facts, index)
    if kind == "mamba":
        modules = mamba2(facts, traits, index, kind)
    else:
        rope = facts.text("position_embedding_type", "rope") == "rope"
        modules = grouped_query(facts, traits if rope else replace(traits, rope="none"), index, kind)
    if facts.int("num_local_experts", default=0):
        modules = modules + sparse_block(facts, traits, index)
    shared = facts.int("shared_intermediate_size", default=0)
    if shared:
        modules += gated_mlp(facts, traits, traits.mlp, shared)
    return [*modules, Tensor("norms", 2 * hidden)]
