"""Deep vision transformers of the EVA-CLIP kind, whose features convolutions merge: Step 3 and GLM-4V.

Sources: vLLM 0.33 `model_executor/models/{step3_vl,glm4v}.py`.
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Tensor
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    vision_part,
)


def step3(config: Facts, text: Facts) -> Tower:
    """Two strided convolutions and a matrix lead into the decoder; the encoder is never quantised."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1792)
    out = vision.int("output_hidden_size", default=4096)
    positions = patch_count(vision, image=728) + 1
    name = "vision_model"
    style = LayerStyle(
        f"{name}.transformer.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        quantised=False,
    )
    depth, mlp = (
        vision.int("num_hidden_layers", default=63),
        vision.int("intermediate_size", default=3072),
    )
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            Tensor(f"{name}.embeddings.class_embedding", width),
            patches(f"{name}.embeddings.patch_embedding", vision, width, bias=True),
            Tensor(f"{name}.embeddings.position_embedding", positions * width),
            Tensor(f"{name}.embeddings.position_ids", positions, dtype="int64", buffer=True),
            Tensor("vit_downsampler", out * (4 * width + 1)),
            Tensor("vit_downsampler2", 2 * out * (9 * out + 1)),
            Linear(
                "vit_large_projector",
                2 * out,
                (hidden_size(text),),
                "whole",
                config.flag("projector_bias", default=True),
                quantised=False,
            ),
        ),
        heads=vision.int("num_attention_heads", default=16),
    )


def glm_4v(config: Facts, text: Facts) -> Tower:
    """One strided convolution to the decoder's width, then a gated projector as wide as the decoder's MLP."""
    vision = vision_part(config)
    width, hidden = vision.int("hidden_size", low=1), hidden_size(text)
    name = "transformer.vision"
    projector = f"{name}.linear_proj"
    gate = text.int("ffn_hidden_size", low=1)
    style = LayerStyle(
        f"{name}.transformer.layers.{{}}",
        qkv="attention.query_key_value",
        out="attention.dense",
        qkv_parts=(),
    )
    depth, mlp = vision.int("num_hidden_layers", low=1), vision.int("intermediate_size", low=1)
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            Tensor(f"{name}.ends", 2 * hidden),
            Tensor(f"{name}.patch_embedding.cls_embedding", width),
            patches(f"{name}.patch_embedding.proj", vision, width, bias=True),
            Tensor(f"{name}.patch_embedding.position_embedding", vision.int("num_positions") * width),
            Tensor(f"{name}.conv", hidden * (4 * width + 1)),
            Linear(f"{projector}.linear_proj", hidden, (hidden,), "whole"),
            layer_norm(f"{projector}.norm1", hidden),
            Linear(f"{projector}.merged_proj", hidden, (gate, gate), parts=("gate_proj", "dense_h_to_4h")),
            Linear(f"{projector}.dense_4h_to_h", gate, (hidden,), "row"),
        ),
        heads=vision.int("num_heads", default=16),
    )
