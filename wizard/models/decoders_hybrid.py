"""Decoder layers that mix attention and state-space blocks in ways of their own.

Sources: vLLM 0.33 `model_executor/models/{falcon_h1,zamba2}.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.models.architectures import Traits
from wizard.models.attention import grouped_query, heads_of, hidden_size, rotary_of
from wizard.models.facts import Facts
from wizard.models.mixers import mamba2
from wizard.models.modules import CacheScales, Linear, Module, Tensor
from wizard.models.patterns import PATTERNS
from wizard.models.sparse import dense_width, gated_mlp


def falcon_h1_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Attention and Mamba-2 side by side; a buffer scales the parts of the latter's projection."""
    hidden = hidden_size(facts)
    heads = facts.int("mamba_n_heads", low=1)
    inner = facts.int("mamba_d_ssm", default=0) or facts.int("mamba_expand", default=2) * hidden
    groups = facts.int("mamba_n_groups", default=1, low=1)
    states = 2 * groups * facts.int("mamba_d_state", low=1)
    return [
        *grouped_query(facts, traits, index, ""),
        *mamba2(facts, traits, index, ""),
        Tensor("mamba.mup_vector.x", 2 * inner + heads, split=True, buffer=True),
        Tensor("mamba.mup_vector.bc", states, kv_heads=groups, buffer=True),
        *gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index)),
        Tensor("norms", 2 * hidden),
    ]


def zamba2_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Mamba-2 everywhere; hybrid layers add a transformer block that is shared by turns, with adapters."""
    hidden = hidden_size(facts)
    hybrid = [
        number for number in range(facts.layers) if PATTERNS[traits.layer_types](facts, number) == "hybrid"
    ]
    if index not in hybrid:
        return [*mamba2(facts, traits, index, ""), Tensor("norms", hidden)]
    inner = replace(traits, mamba="mamba_decoder.mamba")
    modules = [
        *mamba2(facts, inner, index, ""),
        Tensor("norms", hidden),
        Linear("linear", hidden, (hidden,), "whole"),
    ]
    blocks = facts.int("num_mem_blocks", default=1, low=1)
    if hybrid.index(index) < blocks:
        modules += _zamba2_shared(facts, traits, len(hybrid), hybrid.index(index), blocks)
    return modules


def _zamba2_shared(facts: Facts, traits: Traits, uses: int, block: int, blocks: int) -> list[Module]:
    """One of the shared blocks: attention over the hidden state and the embedding, an MLP, an adapter per use."""
    hidden = hidden_size(facts)
    heads = heads_of(facts, traits)
    wide = facts.int("attention_hidden_size", default=0) or 2 * hidden
    dim = facts.int("attention_head_dim", default=0) or wide // heads.queries
    query, key = heads.queries * dim, heads.keys * dim
    width = facts.int("intermediate_size", low=1)
    rank = facts.int("adapter_rank", default=128)
    name = "shared_transformer"
    modules: list[Module] = [
        Linear(f"{name}.self_attn.qkv_proj", wide, (query, key, key), heads=(0, heads.keys, heads.keys)),
        Linear(f"{name}.self_attn.o_proj", query, (hidden,), "row"),
        *(CacheScales(f"{name}.self_attn.attn.{use}") for use in range(block, uses, blocks)),
        Linear(f"{name}.feed_forward.gate_up_proj", hidden, (width, width)),
        Linear(f"{name}.feed_forward.down_proj", width, (hidden,), "row"),
        Tensor(f"{name}.norms", wide + hidden),
    ]
    adapters: list[tuple[str, int, tuple[int, ...]]] = [("feed_forward.gate_up_proj", hidden, (width, width))]
    if facts.flag("use_shared_attention_adapter"):
        adapters += [(f"self_attn.linear_{part}", wide, (query,)) for part in "qkv"]
    for use in range(block, uses, blocks):
        for target, inputs, outputs in adapters:
            place = f"{name}.{target}_adapter_list.{use}"
            modules += [
                Linear(f"{place}.A", inputs, (rank,)),
                Linear(f"{place}.B", rank, outputs),
            ]
    if facts.flag("use_mem_rope"):
        modules += rotary_of(facts, replace(traits, rope="standard"), dim, "")
    return modules
