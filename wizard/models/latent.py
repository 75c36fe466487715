"""Latent attention (MLA) as modules, with the sparse indexer of DeepSeek-V3.2 and GLM-5.

Sources: vLLM 0.33 `model_executor/models/deepseek_v2.py`, `minicpm3.py`; `models/deepseek_v32/attention.py`;
`models/kimi_k3/nvidia/mla.py`.
"""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.models.architectures import Traits
from wizard.models.attention import grouped_query, hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Tensor
from wizard.models.rotary import rope_kind, rope_parameters, rotary_table


@dataclass(frozen=True, slots=True)
class LatentShape:
    """Ranks and head dimensions of latent attention."""

    heads: int
    nope: int
    rope: int
    value: int
    kv_rank: int
    q_rank: int
    """0: queries are projected directly."""


def latent_shape(facts: Facts) -> LatentShape:
    return LatentShape(
        heads=facts.int("num_attention_heads", low=1),
        nope=facts.int("qk_nope_head_dim"),
        rope=facts.int("qk_rope_head_dim"),
        value=facts.int("v_head_dim", default=hidden_size(facts) // facts.int("num_attention_heads", low=1)),
        kv_rank=facts.int("kv_lora_rank"),
        q_rank=facts.int("q_lora_rank", default=0),
    )


def latent(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """Low-rank queries and one latent for keys and values; projections to the latent are copied on all ranks.

    Sparse attention turns the fused rotary kernel on, which keeps a YaRN table in float32
    (rotary_embedding/deepseek_scaling_rope.py), and the indexer may rotate by a table of its own.
    """
    if not facts.int("kv_lora_rank", default=0):
        return grouped_query(facts, traits, index, kind)
    hidden, shape, name = hidden_size(facts), latent_shape(facts), traits.attn
    down = shape.kv_rank + shape.rope
    query = shape.heads * (shape.nope + shape.rope)
    modules: list[Module] = []
    if shape.q_rank:
        parts = ("q_a_proj", "kv_a_proj_with_mqa")
        modules += [
            Linear(f"{name}.fused_qkv_a_proj", hidden, (shape.q_rank, down), "whole", parts=parts),
            Tensor(f"{name}.q_a_layernorm", shape.q_rank),
            Linear(f"{name}.q_b_proj", shape.q_rank, (query,)),
        ]
    else:
        modules += [
            Linear(f"{name}.kv_a_proj_with_mqa", hidden, (down,), "whole"),
            Linear(f"{name}.q_proj", hidden, (query,)),
        ]
    modules += [
        Tensor(f"{name}.kv_a_layernorm", shape.kv_rank),
        Linear(
            f"{name}.kv_b_proj", shape.kv_rank, (shape.heads * (shape.nope + shape.value),), absorbed=True
        ),
        Linear(f"{name}.o_proj", shape.heads * shape.value, (hidden,), "row"),
        CacheScales(f"{name}.attn", latent=True),
    ]
    sparse = facts.has("index_topk")
    dtype = "float32" if sparse and rope_kind(rope_parameters(facts)) == "yarn" else traits.rotary_dtype
    modules.append(rotary_table(facts, shape.rope, dtype=dtype))
    if sparse and has_indexer(facts, index):
        modules += indexer(facts, name, hidden, shape.q_rank)
        if not facts.flag("indexer_rope_interleave"):
            modules.append(rotary_table(facts, shape.rope, dtype=dtype, key="indexer"))
    return modules


def latent_expanded(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """MiniCPM3: low-rank projections, but ordinary heads in the cache."""
    hidden, shape, name = hidden_size(facts), latent_shape(facts), traits.attn
    return [
        Linear(f"{name}.q_a_proj", hidden, (shape.q_rank,), "whole"),
        Tensor(f"{name}.q_a_layernorm", shape.q_rank),
        Linear(f"{name}.q_b_proj", shape.q_rank, (shape.heads * (shape.nope + shape.rope),)),
        Linear(f"{name}.kv_a_proj_with_mqa", hidden, (shape.kv_rank + shape.rope,), "whole"),
        Tensor(f"{name}.kv_a_layernorm", shape.kv_rank),
        Linear(f"{name}.kv_b_proj", shape.kv_rank, (shape.heads * (shape.nope + shape.value),)),
        Linear(f"{name}.o_proj", shape.heads * shape.value, (hidden,), "row"),
        CacheScales(f"{name}.attn"),
        rotary_table(facts, shape.rope),
    ]


def has_indexer(facts: Facts, index: int) -> bool:
    """GLM-5.2 and later choose tokens in some layers and reuse the choice in others."""
    pattern = facts.get("index_topk_pattern")
    if isinstance(pattern, str | list | tuple):
        return index >= len(pattern) or pattern[index] != "S"
    listed = facts.list("indexer_types")
    if listed is not None and index < len(listed) and not facts.has("index_topk_freq"):
        return bool(listed[index] != "shared")
    every = max(1, facts.int("index_topk_freq", default=1))
    offset = facts.int("index_skip_topk_offset", default=2)
    return every == 1 or max(index - offset + 1, 0) % every == 0


def indexer(facts: Facts, name: str, hidden: int, q_rank: int) -> list[Module]:
    """The lightning indexer: copied on every rank; its key norm is float32."""
    heads, dim = facts.int("index_n_heads"), facts.int("index_head_dim")
    return [
        Linear(f"{name}.indexer.wq_b", q_rank, (dim * heads,), "whole"),
        Linear(f"{name}.indexer.wk_weights_proj", hidden, (dim, heads), "whole", quantised=False),
        Tensor(f"{name}.indexer.k_norm", 2 * dim, dtype="float32"),
    ]
