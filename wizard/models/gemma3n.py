"""Gemma 3n: several residual streams, low-rank side paths, shared keys and values, embeddings per layer.

Source: vLLM 0.33 `model_executor/models/{gemma3n,gemma3n_mm}.py`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import heads_of, hidden_size, rotary_of
from wizard.models.facts import Facts
from wizard.models.modules import CacheScales, Linear, Module, Tensor, Vocabulary
from wizard.models.patterns import PATTERNS
from wizard.models.sparse import gated_mlp
from wizard.models.vit import Tower

ENCODER_PARAMETERS = 983_281_504
"""MobileNet v5, the audio encoder and their embedders: what `google/gemma-3n-E4B-it` (7,849,978,192 parameters)
holds beside its decoder.

Its config names a timm model without sizes; both published sizes have the same encoders.
"""


def gemma3n_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """The last layers borrow keys and values and project queries alone."""
    hidden = hidden_size(facts)
    kind = PATTERNS[traits.layer_types](facts, index)
    heads = heads_of(facts, traits)
    bias = facts.flag("attention_bias")
    query, key = heads.queries * heads.dim, heads.keys * heads.dim
    borrows = index >= facts.layers - facts.int("num_kv_shared_layers", default=0)
    streams = facts.int("altup_num_inputs", default=4)
    inner = facts.int("hidden_size_per_layer_input", default=256)
    rank = facts.int("laurel_rank", default=64)
    name = traits.attn
    modules: list[Module]
    if borrows:
        modules = [Linear(f"{name}.q_proj", hidden, (query,), bias=bias), Tensor(f"{name}.q_norm", heads.dim)]
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
            Tensor(f"{name}.qk_norms", 2 * heads.dim),
        ]
    return [
        *modules,
        Linear(f"{name}.o_proj", query, (hidden,), "row", bias),
        CacheScales(f"{name}.attn", kv_heads=heads.keys),
        *rotary_of(facts, traits, heads.dim, kind),
        *gated_mlp(facts, traits, traits.mlp, facts.item("intermediate_size", index)),
        Linear("altup.correction_coefs", streams, (streams,), "whole"),
        Linear("altup.prediction_coefs", streams, (streams * streams,), "whole"),
        Linear("altup.modality_router", hidden, (streams,), "whole"),
        Tensor("altup.router_norm", hidden),
        Tensor("altup.router_input_scale", 1, buffer=True),
        Tensor("altup.correct_output_scale", hidden, dtype="float32"),
        Linear("laurel.linear_left", hidden, (rank,)),
        Linear("laurel.linear_right", rank, (hidden,), "row"),
        Linear("per_layer_input_gate", hidden, (inner,), "whole"),
        Linear("per_layer_projection", inner, (hidden,), "whole"),
        Tensor("norms", 6 * hidden),
    ]


def gemma3n_ends(facts: Facts, traits: Traits) -> list[Module]:
    """The second embedding table and the projections between the streams."""
    hidden, streams = hidden_size(facts), facts.int("altup_num_inputs", default=4)
    inner = facts.int("hidden_size_per_layer_input", default=256)
    rows = facts.int("vocab_size_per_layer_input", default=262_144, low=1)
    total, name = inner * facts.layers, traits.prefix
    return [
        Vocabulary(f"{name}.embed_tokens_per_layer", rows, total),
        Linear(f"{name}.per_layer_model_projection", hidden, (total,)),
        Tensor(f"{name}.per_layer_projection_norm", inner),
        Tensor(f"{name}.scales", 4, buffer=True),
        *(
            Linear(f"{name}.altup_{part}.{stream}", hidden, (hidden,))
            for part in ("projections", "unembed_projections")
            for stream in range(streams - 1)
        ),
    ]


def gemma3n_tower(config: Facts, text: Facts) -> Tower:
    """Encoders of transformers and timm, whole on every rank."""
    return Tower((), (Tensor("vision_and_audio", ENCODER_PARAMETERS),))
