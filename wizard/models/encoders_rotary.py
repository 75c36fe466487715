"""Text encoders that rotate instead of adding positions: ModernBERT, GTE, Nomic BERT.

Sources: vLLM 0.33 `model_executor/models/{modernbert,bert_with_rope}.py`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Rotary, Tensor, Vocabulary


def modern_bert_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Global layers by turns; no norm before the first attention."""
    hidden, width = hidden_size(facts), facts.int("intermediate_size", low=1)
    heads = facts.int("num_attention_heads", low=1)
    every = max(1, facts.int("global_attn_every_n_layers", default=3))
    norm = hidden * (2 if facts.flag("norm_bias") else 1)
    bias, mlp_bias = facts.flag("attention_bias"), facts.flag("mlp_bias")
    return [
        Linear("attn.Wqkv", hidden, (hidden, hidden, hidden), bias=bias),
        Linear("attn.Wo", hidden, (hidden,), "row", bias),
        Linear("mlp.Wi", hidden, (width, width), bias=mlp_bias),
        Linear("mlp.Wo", width, (hidden,), "row", mlp_bias),
        CacheScales("attn.attn"),
        Tensor("norms", norm * (2 if index else 1)),
        Rotary(
            rows=facts.int("max_position_embeddings", default=8192),
            width=hidden // heads,
            key="local" if index % every else "global",
        ),
    ]


def modern_bert_embeddings(facts: Facts, traits: Traits) -> list[Module]:
    hidden = hidden_size(facts)
    return [Tensor("embeddings.norm", hidden * (2 if facts.flag("norm_bias") else 1))]


def rotary_bert_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """BERT's layer with a gated MLP and rotation."""
    hidden = hidden_size(facts)
    heads = facts.int("num_attention_heads", "n_head", low=1)
    width = facts.int("intermediate_size", "n_inner", low=1)
    attention_bias = facts.flag("qkv_proj_bias", default=traits.qkv_bias is True)
    up_bias = facts.flag("mlp_fc1_bias", default=False)
    down_bias = facts.flag("mlp_fc2_bias", default=traits.mlp_bias is True)
    return [
        Linear("attn.qkv_proj", hidden, (hidden, hidden, hidden), bias=attention_bias),
        Linear("attn.out_proj", hidden, (hidden,), "row", attention_bias),
        Linear("mlp.gate_up_proj", hidden, (width, width), bias=up_bias),
        Linear("mlp.down_proj", width, (hidden,), "row", down_bias),
        CacheScales("attn.attn"),
        Tensor("norms", 4 * hidden),
        Rotary(rows=facts.int("max_position_embeddings", "n_positions", default=8192), width=hidden // heads),
    ]


def rotary_bert_embeddings(facts: Facts, traits: Traits) -> list[Module]:
    hidden = hidden_size(facts)
    segments = facts.int("type_vocab_size", default=0)
    modules: list[Module] = [Tensor("embeddings.LayerNorm", 2 * hidden)]
    if segments:
        modules.append(Vocabulary("embeddings.token_type_embeddings", segments, hidden, quantised=False))
    return modules
