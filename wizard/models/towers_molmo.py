"""Molmo 2's vision backbone.

Source: vLLM 0.33 `model_executor/models/molmo2.py`.
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Tensor
from wizard.models.vit import LayerStyle, Tower, encoder_layers

LAYERS_READ = (-3, -9)
"""Where the config doesn't say (molmo2.py `AdapterConfig`)."""


def molmo2(config: Facts, text: Facts) -> Tower:
    """SigLIP by another hand, as deep as the deepest layer that is read; attention pools the layers that are."""
    vision = config.part("vit_config", "vision_config") or Facts({})
    adapter = config.part("adapter_config") or Facts({})
    width = vision.int("hidden_size", default=1152)
    depth = vision.int("num_hidden_layers", default=27)
    name = "vision_backbone.image_vit"
    size = vision.int("image_patch_size", "patch_size", default=14, low=1)
    read = _layers_read(adapter, depth)
    style = LayerStyle(
        f"{name}.transformer.resblocks.{{}}",
        qkv="attention.merged_qkv",
        out="attention.wo",
        up="feed_forward.w1",
        down="feed_forward.w2",
        qkv_parts=("wq", "wk", "wv"),
    )
    pooled = adapter.int("hidden_size", default=width)
    heads, dim = adapter.int("num_attention_heads", default=16), adapter.int("head_dim", default=72)
    keys = adapter.int("num_key_value_heads", default=heads)
    inner, hidden = adapter.int("intermediate_size", default=18944), hidden_size(text)
    pool, projector = "vision_backbone.image_pooling_2d", "vision_backbone.image_projector"
    inputs = width * len(read)
    mlp = vision.int("intermediate_size", default=4304)
    return Tower(
        (encoder_layers(style, max(read) + 1, width, mlp),),
        (
            Tensor(f"{name}.positional_embedding", vision.int("image_num_pos", default=577) * width),
            Linear(f"{name}.patch_embedding", 3 * size * size, (width,), "whole", True, quantised=False),
            Linear(f"{pool}.q_proj", inputs, (heads * dim,), bias=True),
            Linear(
                f"{pool}.merged_kv",
                inputs,
                (keys * dim, keys * dim),
                bias=True,
                parts=("k_proj", "v_proj"),
            ),
            Linear(f"{pool}.o_proj", heads * dim, (pooled,), "row", True),
            Linear(f"{projector}.merged_linear", pooled, (inner, inner), parts=("gate_proj", "up_proj")),
            Linear(f"{projector}.down_proj", inner, (hidden,), "row"),
        ),
        heads=vision.int("num_attention_heads", default=16),
    )


def _layers_read(adapter: Facts, depth: int) -> list[int]:
    """The layers whose outputs are pooled, counted from the first; negative ones count from the end."""
    listed = adapter.list("vit_layers") or LAYERS_READ
    layers = [Facts({"vit_layers": item}).int("vit_layers", low=-depth) for item in listed]
    return [layer if layer >= 0 else layer + depth for layer in layers]
