"""Attention layers as modules: grouped-query attention in its variants.

Sources: vLLM 0.33 `model_executor/models/{llama,qwen3,olmoe,minimax_m2,gpt_oss,laguna,mimo_v2}.py` and their like.
"""

from __future__ import annotations

from wizard.dataclass import dataclass, replace
from wizard.models.architectures import Switch, Traits
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Rotary, Tensor
from wizard.models.patterns import PLAIN_ROPE
from wizard.models.rotary import rope_parameters, rotary_table


def switched(facts: Facts, switch: Switch) -> bool:
    """A trait's switch: a constant, or the config keys any of which turns it on; `key=word` asks for a word."""
    if isinstance(switch, bool):
        return switch
    for key in switch:
        name, asks, word = key.partition("=")
        if facts.get(name) == word if asks else facts.flag(name):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Heads:
    """Head geometry of one layer."""

    queries: int
    keys: int
    dim: int
    value_dim: int


def heads_of(facts: Facts, traits: Traits) -> Heads:
    """Query heads, KV heads and dimensions, in the spellings of every family."""
    queries = facts.int("num_attention_heads", "n_head", "num_heads", low=1)
    keys = facts.int(
        "num_key_value_heads",
        "num_kv_heads",
        "n_head_kv",
        "multi_query_group_num",
        "num_attention_groups",
        default=queries,
        low=1,
    )
    hidden = hidden_size(facts)
    dim = (
        0
        if traits.head_dim_from_hidden
        else facts.int("head_dim", "attention_head_dim", "kv_channels", default=0)
    )
    dim = dim or hidden // queries
    return Heads(queries, keys, dim, facts.int("v_head_dim", default=0) or dim)


def layer_heads(facts: Facts, traits: Traits, index: int, kind: str) -> Heads:
    """Heads of one layer, where sliding-window layers or single layers have their own."""
    heads = heads_of(facts, traits)
    if traits.window_heads and kind == "sliding_attention":
        dim = facts.int("swa_head_dim", default=heads.dim)
        return Heads(
            facts.int("swa_num_attention_heads", default=heads.queries, low=1),
            facts.int("swa_num_key_value_heads", default=heads.keys, low=1),
            dim,
            facts.int("swa_v_head_dim", default=dim),
        )
    if facts.has("num_attention_heads_per_layer"):
        return replace(heads, queries=facts.item("num_attention_heads_per_layer", index))
    return heads


def hidden_size(facts: Facts) -> int:
    return facts.int("hidden_size", "n_embd", "d_model", low=1)


def grouped_query(
    facts: Facts, traits: Traits, index: int, kind: str, heads: Heads | None = None
) -> list[Module]:
    """Q, K, V in one matrix, an output matrix, and what the family adds: norms, gates, sinks."""
    heads = heads or layer_heads(facts, traits, index, kind)
    hidden = hidden_size(facts)
    query = heads.queries * heads.dim
    key = heads.keys * heads.dim
    value = heads.keys * heads.value_dim
    gated = traits.gate == "q" and facts.flag("attn_output_gate", default=True)
    quantised = traits.attention_quantised
    modules: list[Module] = [
        Linear(
            f"{traits.attn}.{traits.qkv}",
            hidden,
            (query * 2 if gated else query, key, value),
            bias=switched(facts, traits.qkv_bias),
            parts=traits.qkv_parts,
            heads=(0, heads.keys, heads.keys),
            quantised=quantised,
        ),
        Linear(
            f"{traits.attn}.{traits.o}",
            heads.queries * heads.value_dim,
            (hidden,),
            "row",
            bias=switched(facts, traits.o_bias),
            quantised=quantised,
        ),
        CacheScales(f"{traits.attn}.{traits.attn_inner}", kv_heads=heads.keys),
    ]
    if traits.qk_norm and switched(facts, traits.qk_norm_if):
        modules += _qk_norms(_norm_kind(facts, traits), traits.attn, heads, query, key)
    if traits.gate in ("head", "channel") and switched(facts, traits.gate_if):
        width = heads.queries if traits.gate == "head" else query
        modules.append(Linear(f"{traits.attn}.{traits.gate_name}", hidden, (width,), quantised=quantised))
    if switched(facts, traits.sinks) and (not traits.window_sinks or kind == "sliding_attention"):
        modules.append(Tensor(f"{traits.attn}.sinks", heads.queries, split=True))
    return modules + rotary_of(facts, traits, heads.dim, kind)


def block_sparse_query(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """MiniMax-M3: layers that choose blocks of tokens project an index query and key with Q, K and V."""
    modules = grouped_query(facts, traits, index, kind)
    section = facts.part("sparse_attention_config")
    chosen = section.list("sparse_attention_freq") if section is not None else None
    if section is None or chosen is None or index >= len(chosen) or not chosen[index]:
        return modules
    heads, dim = section.int("sparse_num_index_heads", low=1), section.int("sparse_index_dim", low=1)
    first = modules[0]
    if isinstance(first, Linear):
        modules[0] = replace(
            first,
            outputs=(*first.outputs, heads * dim),
            heads=(*first.heads, heads),
            parts=(*first.parts, "index_q_proj", "index_k_proj"),
            whole_outputs=dim,
        )
    return [*modules, Tensor(f"{traits.attn}.index_norms", 2 * dim)]


def rotary_of(facts: Facts, traits: Traits, head_dim: int, kind: str) -> list[Module]:
    """The rotary table of a layer, by the family's rule."""
    if traits.rope == "none":
        return []
    if traits.rope.startswith("transformers"):
        own = kind if traits.rope == "transformers_by_type" else ""
        return [transformers_rotary(facts, traits, head_dim, own)]
    if traits.rope == "sliding_only" and kind == "full_attention":
        return []
    if traits.rope == "if_theta" and _without_theta(facts):
        return []
    plain = traits.rope == "scaled_layers" and kind == PLAIN_ROPE
    layer_type = kind if traits.rope == "by_type" else ""
    table = rotary_table(
        facts,
        head_dim,
        rows=facts.int(*traits.rotary_rows, default=0) if traits.rotary_rows else 0,
        fraction=traits.rotary_fraction,
        layer_type=layer_type,
        parameters={"rope_theta": rope_parameters(facts).get("rope_theta")} if plain else None,
        mrope_positions=traits.mrope_positions,
        dtype=traits.rotary_dtype,
    )
    return [table]


def _without_theta(facts: Facts) -> bool:
    """OLMo Hybrid: attention goes without rotation where the parameters have a base of null."""
    parameters = rope_parameters(facts)
    return "rope_theta" in parameters and parameters["rope_theta"] is None


def transformers_rotary(facts: Facts, traits: Traits, head_dim: int, kind: str = "") -> Rotary:
    """vLLM's Transformers backend keeps inverse frequencies, twice, instead of a table; some classes per kind of layer.

    Source: transformers' `modeling_olmo3.py`, `modeling_mellum.py` (`{layer_type}_inv_freq`).
    """
    table = rotary_table(facts, head_dim, fraction=traits.rotary_fraction)
    return Rotary(rows=2, width=table.width // 2, key=f"inverse|{kind}", dtype="float32")


QK_NORM_TYPES = {"qwen3": "head", "olmo": "all_whole"}
"""Molmo 2's `qk_norm_type` -> how queries and keys are normed."""


def _norm_kind(facts: Facts, traits: Traits) -> str:
    """Fixed by the class, or told by the config."""
    if traits.qk_norm != "told":
        return traits.qk_norm
    return QK_NORM_TYPES.get(facts.text("qk_norm_type", "olmo"), "all_whole")


def _qk_norms(kind: str, attn: str, heads: Heads, query: int, key: int) -> list[Module]:
    q_name, k_name = f"{attn}.q_norm", f"{attn}.k_norm"
    match kind:
        case "all":
            return [Tensor(q_name, query, split=True), Tensor(k_name, key, kv_heads=heads.keys)]
        case "per_head":
            return [Tensor(q_name, query, split=True), Tensor(k_name, key, kv_heads=heads.keys)]
        case "all_whole":
            return [Tensor(q_name, query), Tensor(k_name, key)]
        case _:
            return [Tensor(q_name, heads.dim), Tensor(k_name, heads.dim)]
