"""Whisper's decoder: attention to itself and to the encoder. The encoder is described as a tower.

Source: vLLM 0.33 `model_executor/models/whisper.py`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Tensor


def whisper_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Two attentions with biases (their buffers count double) and an MLP."""
    hidden = hidden_size(facts)
    width = facts.int("decoder_ffn_dim", low=1)
    return [
        Linear("self_attn.qkv_proj", hidden, (hidden, hidden, hidden), bias=True),
        Linear("self_attn.out_proj", hidden, (hidden,), "row", True),
        Linear("encoder_attn.q_proj", hidden, (hidden,), bias=True),
        Linear("encoder_attn.kv_proj", hidden, (hidden, hidden), bias=True),
        Linear("encoder_attn.out_proj", hidden, (hidden,), "row", True),
        Linear("mlp.fc1", hidden, (width,), bias=True),
        Linear("mlp.fc2", width, (hidden,), "row", True),
        CacheScales("self_attn.attn"),
        CacheScales("encoder_attn.attn"),
        Tensor("norms", 6 * hidden),
    ]


def whisper_positions(facts: Facts, traits: Traits) -> list[Module]:
    return [
        Tensor(
            "model.decoder.embed_positions",
            facts.int("max_target_positions", default=448) * hidden_size(facts),
        )
    ]
