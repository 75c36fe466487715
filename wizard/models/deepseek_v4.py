"""DeepSeek V4: hyper-connections, compressed attention, hash-routed and 4-bit experts.

Source: vLLM 0.33 `models/deepseek_v4/{attention,compressor,quant_config}.py`, `models/deepseek_v4/nvidia/model.py`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Rotary, Tensor
from wizard.models.sparse import sparse_block

INDEXED_RATIO = 4
"""Layers that compress so many tokens into one choose among them with an indexer, and overlap windows."""

RATIO_OF_TYPE = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
"""Transformers' words for the layers, where the file has no `compress_ratios`."""

SINK_MULTIPLE = 64
"""FlashMLA pads the query heads of a rank to this."""


def deepseek_v4_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """One layer: two hyper-connections, attention over a window and compressed tokens, experts."""
    hidden = hidden_size(facts)
    streams = facts.int("hc_mult", default=4)
    mixes = (2 + streams) * streams
    modules: list[Module] = [
        Tensor("hc_fn", 2 * mixes * streams * hidden, dtype="float32"),
        Tensor("hc_base_and_scale", 2 * (mixes + 3), dtype="float32"),
        *_attention(facts, traits, _ratio(facts, index)),
    ]
    kinds = facts.list("mlp_layer_types") or ()
    hashed = index < facts.int("num_hash_layers", default=list(kinds).count("hash_moe"))
    block = sparse_block(facts, traits, index)
    if hashed:
        words, chosen = facts.int("vocab_size", low=1), facts.int("num_experts_per_tok", low=1)
        block = [module for module in block if not module.name.endswith("e_score_correction_bias")]
        block.append(Tensor(f"{traits.moe_name}.{traits.router}.tid2eid", words * chosen, dtype="int32"))
    modules += block
    return [*modules, Tensor("norms", 2 * hidden)]


def _ratio(facts: Facts, index: int) -> int:
    """Tokens that become one in this layer; 0: none are compressed."""
    ratios = facts.list("compress_ratios")
    if ratios is not None and index < len(ratios):
        return Facts({"compress_ratios": ratios[index]}).int("compress_ratios")
    types = facts.list("layer_types") or ()
    kind = types[index] if index < len(types) else ""
    rates = facts.part("compress_rates")
    if rates is not None and isinstance(kind, str) and rates.has(kind):
        return rates.int(kind)
    return RATIO_OF_TYPE.get(kind, 0) if isinstance(kind, str) else 0


def _attention(facts: Facts, traits: Traits, ratio: int) -> list[Module]:
    hidden, name = hidden_size(facts), traits.attn
    heads, dim = facts.int("num_attention_heads", low=1), facts.int("head_dim", low=1)
    q_rank, o_rank = facts.int("q_lora_rank", low=1), facts.int("o_lora_rank", low=1)
    groups = facts.int("o_groups", default=8, low=1)
    modules: list[Module] = [
        Tensor(f"{name}.attn_sink", heads, split=True, multiple=SINK_MULTIPLE, dtype="float32"),
        Linear(f"{name}.fused_wqa_wkv", hidden, (q_rank, dim), "whole", parts=("wq_a", "wkv")),
        Tensor(f"{name}.q_norm", q_rank),
        Linear(f"{name}.wq_b", q_rank, (heads * dim,)),
        Tensor(f"{name}.kv_norm", dim),
        Linear(f"{name}.wo_a", heads * dim // groups, (groups * o_rank,)),
        Linear(f"{name}.wo_b", groups * o_rank, (hidden,), "row"),
        Rotary(
            rows=facts.int("max_position_embeddings", default=1_048_576),
            width=facts.int("qk_rope_head_dim", default=64),
            key="compressed" if ratio else "plain",
            dtype="float32",
        ),
    ]
    if ratio:
        modules += _compressor(f"{name}.compressor", hidden, dim, ratio)
    if ratio == INDEXED_RATIO:
        index_heads, index_dim = facts.int("index_n_heads", low=1), facts.int("index_head_dim", low=1)
        modules += [
            Linear(f"{name}.indexer.wq_b", q_rank, (index_heads * index_dim,), "whole"),
            Linear(f"{name}.indexer.weights_proj", hidden, (index_heads,), "whole", quantised=False),
            *_compressor(f"{name}.indexer.compressor", hidden, index_dim, ratio),
        ]
    return modules


def _compressor(name: str, hidden: int, dim: int, ratio: int) -> list[Module]:
    """Learned positions and a gated projection; overlapping windows need twice the width."""
    width = dim * (2 if ratio == INDEXED_RATIO else 1)
    return [
        Tensor(f"{name}.ape", ratio * width, dtype="float32"),
        Linear(f"{name}.fused_wkv_wgate", hidden, (width, width), "whole", quantised=False),
        Tensor(f"{name}.norm", dim),
    ]


def hyper_connection_head(facts: Facts, traits: Traits) -> list[Module]:
    """What merges the streams before the output head."""
    streams = facts.int("hc_mult", default=4)
    return [
        Tensor(f"{traits.prefix}.hc_head", streams * (streams * hidden_size(facts) + 1) + 1, dtype="float32")
    ]
