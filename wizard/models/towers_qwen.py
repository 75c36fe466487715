"""Vision encoders of the Qwen line and of those built like it.

Sources: vLLM 0.33 `model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,glm4_1v,glm_ocr,exaone4_5}.py`.
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Tensor
from wizard.models.towers_audio import qwen3_audio, whisper_layers
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    two_layers,
    vision_part,
    vision_rotary,
)


def qwen2_vl(config: Facts, text: Facts) -> Tower:
    """Window-free vision transformer with a patch merger."""
    vision = vision_part(config)
    width = vision.int("embed_dim", default=1280)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    out = vision.int("hidden_size", default=hidden_size(text))
    style = LayerStyle("visual.blocks.{}")
    mlp = int(width * vision.number("mlp_ratio", 4.0))
    return Tower(
        (encoder_layers(style, vision.int("depth", default=32), width, mlp),),
        (
            patches(
                "visual.patch_embed.proj",
                vision,
                width,
                bias=False,
                frames=vision.int("temporal_patch_size", default=2),
            ),
            layer_norm("visual.merger.ln_q", width),
            *two_layers("visual.merger.mlp.0", "visual.merger.mlp.2", merged, merged, out),
            vision_rotary(width // heads),
        ),
        heads=heads,
    )


def qwen2_5_vl(config: Facts, text: Facts) -> Tower:
    """Gated MLPs and RMS norms."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1280)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    style = LayerStyle(
        "visual.blocks.{}",
        up="mlp.gate_up_proj",
        down="mlp.down_proj",
        gated=True,
        norm_bias=False,
        kv_heads=vision.int("num_key_value_heads", default=0),
        heads=heads,
    )
    depth = vision.int("depth", default=32)
    out = vision.int("out_hidden_size", default=hidden_size(text))
    return Tower(
        (encoder_layers(style, depth, width, vision.int("intermediate_size", default=3420)),),
        (
            patches(
                "visual.patch_embed.proj",
                vision,
                width,
                bias=False,
                frames=vision.int("temporal_patch_size", default=2),
            ),
            layer_norm("visual.merger.ln_q", width, bias=False),
            *two_layers("visual.merger.mlp.0", "visual.merger.mlp.2", merged, merged, out),
            vision_rotary(width // heads),
        ),
        heads=heads,
    )


def qwen3_vl(config: Facts, text: Facts) -> Tower:
    """Learned positions, and mergers for the levels that are fed into deeper decoder layers."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    out = vision.int("out_hidden_size", default=hidden_size(text))
    levels = len(vision.list("deepstack_visual_indexes") or ())
    style = LayerStyle("visual.blocks.{}", up="mlp.linear_fc1", down="mlp.linear_fc2")
    modules: list[Module] = [
        patches(
            "visual.patch_embed.proj",
            vision,
            width,
            bias=True,
            frames=vision.int("temporal_patch_size", default=2),
        ),
        Tensor("visual.pos_embed", vision.int("num_position_embeddings", default=2304) * width),
        layer_norm("visual.merger.norm", width),
        *two_layers("visual.merger.linear_fc1", "visual.merger.linear_fc2", merged, merged, out),
        vision_rotary(width // heads),
    ]
    for level in range(levels):
        name = f"visual.deepstack_merger_list.{level}"
        modules.append(layer_norm(f"{name}.norm", merged))
        modules += two_layers(f"{name}.linear_fc1", f"{name}.linear_fc2", merged, merged, out)
    block = encoder_layers(
        style, vision.int("depth", default=27), width, vision.int("intermediate_size", default=4304)
    )
    return Tower((block,), tuple(modules), heads=heads)


def glm4v(config: Facts, text: Facts) -> Tower:
    """GLM-4.1V and 4.5V: bias-free layers, a strided convolution and a gated merger."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1536)
    heads = vision.int("num_heads", default=12, low=1)
    out = vision.int("out_hidden_size", default=hidden_size(text))
    merge = vision.int("spatial_merge_size", default=2)
    bias = vision.flag("attention_bias")
    style = LayerStyle(
        "visual.blocks.{}",
        up="mlp.gate_up_proj",
        down="mlp.down_proj",
        bias=bias,
        mlp_bias=False,
        gated=True,
        norm_bias=False,
    )
    count = patch_count(vision, image=336)
    context = vision.int("intermediate_size", default=13696)
    block = encoder_layers(
        style, vision.int("depth", default=24), width, vision.int("out_hidden_size", default=4096)
    )
    return Tower(
        (block,),
        (
            patches(
                "visual.patch_embed.proj",
                vision,
                width,
                bias=True,
                frames=vision.int("temporal_patch_size", default=2),
            ),
            Tensor("visual.embeddings.position_embedding", count * width),
            Tensor("visual.embeddings.position_ids", count, dtype="int64", buffer=True),
            layer_norm("visual.layernorms", width, bias=False, count=2),
            Tensor("visual.downsample", out * (width * merge * merge + 1)),
            Linear("visual.merger.proj", out, (out,)),
            layer_norm("visual.merger.post_projection_norm", out),
            Linear("visual.merger.gate_up_proj", out, (context, context), parts=("gate_proj", "up_proj")),
            Linear("visual.merger.down_proj", context, (out,), "row"),
            vision_rotary(width // heads),
        ),
        heads=heads,
    )


def glm_ocr(config: Facts, text: Facts) -> Tower:
    """Normed queries and keys, biases everywhere in the layers, no position table."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1024)
    heads = vision.int("num_heads", default=16, low=1)
    out = vision.int("out_hidden_size", default=hidden_size(text))
    merge = vision.int("spatial_merge_size", default=2)
    mlp = vision.int("intermediate_size", default=4096)
    bias = vision.flag("attention_bias", default=True)
    style = LayerStyle(
        "visual.blocks.{}",
        up="mlp.gate_up_proj",
        down="mlp.down_proj",
        bias=bias,
        gated=True,
        norm_bias=False,
        head_norm=width // heads,
    )
    frames = vision.int("temporal_patch_size", default=2)
    return Tower(
        (encoder_layers(style, vision.int("depth", default=24), width, mlp),),
        (
            patches("visual.patch_embed.proj", vision, width, bias=True, frames=frames),
            layer_norm("visual.post_layernorm", width, bias=False),
            Tensor("visual.downsample", out * (width * merge * merge + 1)),
            Linear("visual.merger.proj", out, (out,)),
            layer_norm("visual.merger.post_projection_norm", out),
            Linear("visual.merger.gate_up_proj", out, (mlp, mlp), parts=("gate_proj", "up_proj")),
            Linear("visual.merger.down_proj", mlp, (out,), "row"),
            vision_rotary(width // heads),
        ),
        heads=heads,
    )


def qwen2_5_omni(config: Facts, text: Facts) -> Tower:
    """The thinker's ears and eyes."""
    thinker = config.part("thinker_config") or config
    eyes = qwen2_5_vl(thinker, text)
    audio = thinker.part("audio_config") or Facts({})
    ears = whisper_layers("audio_tower", audio)
    width = audio.int("d_model", default=1280)
    out = audio.int("output_dim", default=3584)
    rows = audio.int("max_source_positions", default=1500)
    return Tower(
        (*ears.blocks, *eyes.blocks),
        (
            *(module for module in ears.modules if "embed_positions" not in module.name),
            Tensor("audio_tower.audio_bos_eos_token", 2 * out),
            Tensor("audio_tower.positional_embedding", rows * width, dtype="float32", buffer=True),
            Linear("audio_tower.proj", width, (out,), "whole", True, quantised=False),
            *eyes.modules,
        ),
        heads=eyes.heads,
    )


def qwen3_omni(config: Facts, text: Facts) -> Tower:
    """An audio encoder over strided convolutions, beside the vision encoder of Qwen3-VL."""
    thinker = config.part("thinker_config") or config
    eyes = qwen3_vl(thinker, text)
    block, ears = qwen3_audio(thinker.part("audio_config") or Facts({}), text)
    return Tower((block, *eyes.blocks), (*ears, *eyes.modules), heads=eyes.heads)
