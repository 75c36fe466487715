"""Decoder layers with experts that no combination of standard pieces describes.

Sources: vLLM 0.33 `model_executor/models/{dbrx,longcat_flash,step3_text,step3p5}.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.architectures import Traits
from wizard.models.attention import Heads, grouped_query, heads_of, hidden_size, rotary_of
from wizard.models.facts import Facts
from wizard.models.latent import latent
from wizard.models.modules import CacheScales, Experts, Linear, Module, Rotary, Tensor
from wizard.models.patterns import PATTERNS, SPARSE
from wizard.models.rotary import rope_parameters, rotary_table
from wizard.models.sparse import dense_width, gated_mlp, sparse_block


def longcat_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Two attentions and two dense blocks per layer; some of the router's experts do nothing."""
    hidden = hidden_size(facts)
    width = facts.int("ffn_hidden_size", "intermediate_size", low=1)
    routed = facts.int("n_routed_experts", low=1)
    reached = routed + facts.int("zero_expert_num", default=0)
    modules: list[Module] = []
    for half in ("0", "1"):
        modules += latent(facts, replace(traits, attn=f"{traits.attn}.{half}"), index, "")
        modules += gated_mlp(facts, traits, f"mlps.{half}", width)
    return [
        *modules,
        Linear("mlp.router.classifier", hidden, (reached,), "whole", quantised=False, dtype="float32"),
        Tensor("mlp.router.e_score_correction_bias", reached, dtype="float32"),
        Experts(
            "mlp.experts",
            routed,
            hidden,
            facts.int("expert_ffn_hidden_size", "moe_intermediate_size", low=1),
            active=facts.int("moe_topk", "num_experts_per_tok", default=1),
        ),
        Tensor("norms", 4 * hidden),
    ]


def step_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Step 3.5: sliding layers with more heads, rotation told layer by layer."""
    hidden = hidden_size(facts)
    kind = PATTERNS[traits.layer_types](facts, index)
    heads = heads_of(facts, traits)
    if kind == "sliding_attention":
        other = facts.part("attention_other_setting") or Facts({})
        queries = facts.int("num_sliding_attention_heads", default=0) or other.int(
            "num_attention_heads", default=heads.queries, low=1
        )
        heads = Heads(queries, heads.keys, heads.dim, heads.value_dim)
    modules = grouped_query(facts, replace(traits, rope="none"), index, kind, heads)
    modules.append(_step_rotary(facts, heads.dim, index, kind))
    if SPARSE[traits.moe](facts, index):
        modules += sparse_block(facts, traits, index)
    else:
        modules += gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index))
    return [*modules, Tensor("norms", 2 * hidden)]


def _step_rotary(facts: Facts, dim: int, index: int, kind: str) -> Module:
    nested = rope_parameters(facts, kind)
    if facts.part("rope_parameters") is not None:
        return rotary_table(facts, dim, parameters=nested, key=kind)
    scaled = facts.list("yarn_only_types")
    scaling = {} if scaled and kind not in scaled else rope_parameters(facts)
    fractions = facts.list("partial_rotary_factors")
    base = facts.get("rope_theta")
    if isinstance(base, list):
        base = base[index] if index < len(base) else None
    fraction = 1.0
    if fractions is not None:
        if index >= len(fractions):
            raise ConfigError("config.json: partial_rotary_factors has fewer entries than the layers.")
        fraction = Facts({"partial_rotary_factor": fractions[index]}).number("partial_rotary_factor", 1.0)
    key = f"{fraction}|{base!r:.32}|{bool(scaling)}"
    return rotary_table(facts, dim, fraction=fraction, parameters=dict(scaling), key=key)


def step3_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Step 3: queries come from a low rank that every rank keeps whole, as it does the one head of keys and values."""
    hidden = hidden_size(facts)
    heads = heads_of(facts, traits)
    rank = facts.int("share_q_dim", default=0) or heads.queries * heads.dim
    key = heads.keys * heads.dim
    query = heads.queries * heads.dim
    modules: list[Module] = [
        Linear(f"{traits.attn}.qkv_proj", hidden, (rank + 2 * key,), "whole", parts=traits.qkv_parts),
        Tensor(f"{traits.attn}.inter_norm", rank),
        Linear(f"{traits.attn}.wq", rank, (query,)),
        Linear(f"{traits.attn}.o_proj", query, (hidden,), "row"),
        CacheScales(f"{traits.attn}.attn", kv_heads=heads.keys),
        *rotary_of(facts, traits, heads.dim, ""),
    ]
    if SPARSE[traits.moe](facts, index):
        modules += sparse_block(facts, traits, index)
        modules += gated_mlp(facts, traits, "share_expert", facts.int("share_expert_dim", low=1))
    else:
        modules += gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index))
    return [*modules, Tensor("norms", 2 * hidden)]


def dbrx_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """DBRX: attention and experts have sections of their own; no biases anywhere."""
    hidden = hidden_size(facts)
    attention, experts = facts.part("attn_config") or Facts({}), facts.part("ffn_config") or Facts({})
    queries = facts.int("n_heads", "num_attention_heads", low=1)
    keys, dim = attention.int("kv_n_heads", default=1, low=1), hidden // queries
    count = experts.int("moe_num_experts", default=4, low=1)
    name = "norm_attn_norm.attn"
    return [
        Linear(
            f"{name}.Wqkv", hidden, (queries * dim, keys * dim, keys * dim), heads=(0, keys, keys), parts=()
        ),
        Linear(f"{name}.out_proj", queries * dim, (hidden,), "row"),
        Rotary(rows=facts.int("max_seq_len", "max_position_embeddings", low=1), width=dim, key=""),
        CacheScales(f"{name}.attn"),
        Linear("ffn.router.layer", hidden, (count,), "whole", quantised=False),
        Experts(
            "ffn.experts",
            count,
            hidden,
            experts.int("ffn_hidden_size", default=3584, low=1),
            active=experts.int("moe_top_k", default=1),
            kernel_routes=True,
        ),
        Tensor("norms", 2 * hidden),
    ]
