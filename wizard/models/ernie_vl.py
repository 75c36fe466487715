"""ERNIE 4.5-VL: experts of their own for text and for images, and the encoder with its resampler.

Sources: vLLM 0.33 `model_executor/models/{ernie45_vl,ernie45_vl_moe}.py`,
`layers/rotary_embedding/ernie45_vl_rope.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.models.architectures import Traits
from wizard.models.attention import grouped_query, heads_of, hidden_size, switched
from wizard.models.facts import Facts
from wizard.models.layers import norm
from wizard.models.modules import Experts, Linear, Module, Tensor
from wizard.models.sparse import gated_mlp
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patches,
    vision_frequencies,
    vision_part,
)

ROTARY_ROWS_PER_POSITION = 4
"""As M-RoPE keeps (mrope.py); every layer builds a table of its own, so that none is shared."""


def ernie_vl_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """A layer whose experts come twice: numbers that differ are lists of [text, images]."""
    hidden = hidden_size(facts)
    heads = heads_of(facts, traits)
    positions = facts.int("max_position_embeddings", default=131072)
    modules = grouped_query(facts, replace(traits, rope="none"), index, "", heads)
    modules.append(
        Tensor(f"{traits.attn}.rotary_emb", ROTARY_ROWS_PER_POSITION * positions * heads.dim, buffer=True)
    )
    width = facts.int("intermediate_size", low=1)
    if _sparse(facts, index):
        modules += _two_kinds_of_experts(facts, traits, index, hidden, width)
    else:
        modules += gated_mlp(facts, traits, traits.mlp, width)
    return [*modules, norm("norms", hidden, switched(facts, traits.norm_bias), traits.norms)]


def _both(facts: Facts, name: str, default: int | None = None) -> tuple[int, int]:
    """[text, images] of a config, or one number for both."""
    return facts.item(name, 0, default), facts.item(name, 1, default)


def _sparse(facts: Facts, index: int) -> bool:
    interval = max(1, facts.int("moe_layer_interval", default=1))
    first = min(_both(facts, "moe_layer_start_index", 0))
    last = max(_both(facts, "moe_layer_end_index", facts.layers - 1))
    return (index + 1) % interval == 0 and first <= index <= last


def _two_kinds_of_experts(facts: Facts, traits: Traits, index: int, hidden: int, dense: int) -> list[Module]:
    counts, widths = _both(facts, "moe_num_experts"), _both(facts, "moe_intermediate_size")
    starts, ends = (
        _both(facts, "moe_layer_start_index", 0),
        _both(facts, "moe_layer_end_index", facts.layers - 1),
    )
    name = traits.mlp
    modules: list[Module] = [
        Tensor(f"{name}.e_score_correction_bias", 2 * counts[0], dtype=traits.correction)
    ]
    shared = facts.int("moe_num_shared_experts", default=0)
    if shared:
        modules += gated_mlp(facts, traits, f"{name}.{traits.shared_name}", widths[0] * shared)
    chosen = facts.int("moe_k", default=1)
    kinds = (("text_experts", chosen), ("vision_experts", 0))  # a token of text passes the others by
    for (kind, active), count, width, start, end in zip(kinds, counts, widths, starts, ends, strict=True):
        if not start <= index <= end:
            modules += gated_mlp(facts, traits, f"{name}.{kind}", dense)
            continue
        gate = f"{name}.{kind}_gate"
        modules += [
            Linear(gate, hidden, (count,), "whole", dtype=traits.router_dtype),
            Experts(f"{name}.{kind}", count, hidden, width, active=active),
        ]
    return modules


def ernie_vl_tower(config: Facts, text: Facts) -> Tower:
    """A vision transformer with rotary positions; the resampler merges patches in space, then in time."""
    vision = vision_part(config)
    width = vision.int("embed_dim", "hidden_size", default=1280)
    heads = vision.int("num_heads", default=16, low=1)
    mlp = int(width * vision.number("mlp_ratio", 4.0))
    space = text.int("spatial_conv_size", default=2)
    merged = text.int("pixel_hidden_size", default=width) * space * space
    hidden = hidden_size(text)
    name = "resampler_model"
    modules: list[Module] = [
        patches("vision_model.patch_embed.proj", vision, width, bias=False),
        layer_norm("vision_model.ln", width),
        vision_frequencies("vision_model.rotary_pos_emb", width // heads),
        *(_gathered(f"{name}.spatial_linear{part}", merged, merged) for part in (1, 2)),
        layer_norm(f"{name}.spatial_norm", merged),
        _gathered(f"{name}.mlp", merged, hidden),
        layer_norm(f"{name}.after_norm", hidden, bias=False),
    ]
    if text.flag("use_temporal_conv", default=True):
        time = text.int("temporal_conv_size", default=2)
        modules += [
            _gathered(f"{name}.temporal_linear1", merged * time, merged),
            _gathered(f"{name}.temporal_linear2", merged, merged),
            layer_norm(f"{name}.temporal_norm", merged),
        ]
    tokens = ("im_patch_id", "image_start_token_id", "image_end_token_id")
    known = sum(text.has(token) for token in (*tokens, "video_start_token_id", "video_end_token_id"))
    cache = Tensor("_visual_token_ids_tensor_cache", max(1, known), dtype="int64", buffer=True)
    style = LayerStyle("vision_model.blocks.{}", qkv_parts=())
    block = encoder_layers(style, vision.int("depth", default=32), width, mlp)
    return Tower((block,), tuple(modules), everywhere=(cache,), heads=heads)


def _gathered(name: str, inputs: int, outputs: int) -> Linear:
    """Cut by outputs and gathered again."""
    return Linear(name, inputs, (outputs,), "column", True, quantised=False)
