"""Attention layers as modules: grouped-query attention in its variants, and latent attention (MLA).

Sources: vLLM 0.33 `model_executor/models/llama.py`, `qwen3.py`, `olmoe.py`, `minimax_m2.py`, `deepseek_v2.py`
and their like; `model_executor/layers/mla.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from wizard.models.architectures import Switch, Traits
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Tensor
from wizard.models.rotary import rotary_table


def switched(facts: Facts, switch: Switch) -> bool:
    """A trait's switch: a constant, or the config keys any of which turns it on."""
    return switch if isinstance(switch, bool) else facts.flag(*switch)


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
    dim = 0 if traits.head_dim_from_hidden else facts.int("head_dim", "attention_head_dim", "kv_channels", default=0)
    dim = dim or hidden // queries
    return Heads(queries, keys, dim, facts.int("v_head_dim", default=0) or dim)


def hidden_size(facts: Facts) -> int:
    return facts.int("hidden_size", "n_embd", "d_model", low=1)


def grouped_query(facts: Facts, traits: Traits, index: int, kind: str, heads: Heads | None = None) -> list[Module]:
    """Q, K, V in one matrix, an output matrix, and what the family adds: norms, gates, sinks."""
    heads = heads or heads_of(facts, traits)
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
            kv_heads=heads.keys,
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
        modules += _qk_norms(traits, heads, query, key)
    if traits.gate in ("head", "channel"):
        width = heads.queries if traits.gate == "head" else query
        modules.append(Linear(f"{traits.attn}.g_proj", hidden, (width,), quantised=quantised))
    if switched(facts, traits.sinks):
        modules.append(Tensor(f"{traits.attn}.sinks", heads.queries, split=True))
    if traits.rope != "none":
        layer_type = kind if traits.rope == "by_type" else ""
        modules.append(rotary_table(facts, heads.dim, fraction=traits.rotary_fraction, layer_type=layer_type))
    return modules


def _qk_norms(traits: Traits, heads: Heads, query: int, key: int) -> list[Module]:
    q_name, k_name = f"{traits.attn}.q_norm", f"{traits.attn}.k_norm"
    match traits.qk_norm:
        case "all":
            return [Tensor(q_name, query, split=True), Tensor(k_name, key, kv_heads=heads.keys)]
        case "all_whole":
            return [Tensor(q_name, query), Tensor(k_name, key)]
        case _:
            return [Tensor(q_name, heads.dim), Tensor(k_name, heads.dim)]


def latent(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """MLA: low-rank queries and one latent for keys and values; projections to the latent are copied."""
    hidden = hidden_size(facts)
    heads = facts.int("num_attention_heads", low=1)
    nope = facts.int("qk_nope_head_dim")
    rope = facts.int("qk_rope_head_dim")
    value = facts.int("v_head_dim")
    kv_rank = facts.int("kv_lora_rank")
    q_rank = facts.int("q_lora_rank", default=0)
    name = traits.attn
    modules: list[Module] = []
    if q_rank:
        modules += [
            Linear(
                f"{name}.fused_qkv_a_proj",
                hidden,
                (q_rank, kv_rank + rope),
                "whole",
                parts=("q_a_proj", "kv_a_proj_with_mqa"),
            ),
            Tensor(f"{name}.q_a_layernorm", q_rank),
            Linear(f"{name}.q_b_proj", q_rank, (heads * (nope + rope),)),
        ]
    else:
        modules += [
            Linear(f"{name}.kv_a_proj_with_mqa", hidden, (kv_rank + rope,), "whole"),
            Linear(f"{name}.q_proj", hidden, (heads * (nope + rope),)),
        ]
    modules += [
        Tensor(f"{name}.kv_a_layernorm", kv_rank),
        Linear(f"{name}.kv_b_proj", kv_rank, (heads * (nope + value),)),
        Linear(f"{name}.o_proj", heads * value, (hidden,), "row"),
        CacheScales(f"{name}.attn", latent=True),
        rotary_table(facts, rope),
    ]
    return modules
