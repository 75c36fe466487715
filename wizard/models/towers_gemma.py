"""Gemma's vision and audio encoders.

Sources: vLLM 0.33 `model_executor/models/{gemma3_mm,gemma4_mm,gemma4_unified}.py`; transformers' Gemma 4 towers,
which vLLM loads as they are (whole on every rank).
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Block, Linear, Module, Rotary, Tensor
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    siglip_mlp_quantised,
)


def gemma3_tower(config: Facts, text: Facts) -> Tower:
    """SigLIP, then one matrix and a norm."""
    vision = config.part("vision_config") or Facts({})
    width = vision.int("hidden_size", default=1152)
    prefix = "vision_tower.vision_model"
    positions = patch_count(vision, image=896)
    mlp = vision.int("intermediate_size", default=4304)
    style = LayerStyle(
        f"{prefix}.encoder.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        mlp_quantised=siglip_mlp_quantised(width, mlp),
    )
    depth = vision.int("num_hidden_layers", default=27)
    name = "multi_modal_projector"
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=True),
            Tensor(f"{prefix}.embeddings.position_embedding", positions * width),
            Tensor(f"{prefix}.embeddings.position_ids", positions, dtype="int64", buffer=True),
            layer_norm(f"{prefix}.post_layernorm", width),
            Tensor(f"{name}.mm_input_projection_weight", width * hidden_size(text)),
            layer_norm(f"{name}.mm_soft_emb_norm", width, bias=False),
        ),
        heads=vision.int("num_attention_heads", default=16),
    )


def gemma4_tower(config: Facts, text: Facts) -> Tower:
    """A vision encoder and, in the small models, an audio encoder."""
    blocks, modules = _gemma4_vision(config, text)
    audio = config.part("audio_config")
    if audio is not None and audio.values:
        audio_block, audio_modules = _gemma4_audio(audio, text)
        blocks.append(audio_block)
        modules += audio_modules
    return Tower(tuple(blocks), tuple(modules))


def _clip_bounds(vision: Facts, count: int) -> list[Module]:
    """Clipped linears keep four bounds each."""
    return [Tensor("bounds", 4 * count, buffer=True)] if vision.flag("use_clipped_linears") else []


def _gemma4_vision(config: Facts, text: Facts) -> tuple[list[Block], list[Module]]:
    vision = config.part("vision_config") or Facts({})
    width = vision.int("hidden_size", default=768)
    dim = vision.int("head_dim", default=64)
    inner = vision.int("num_attention_heads", default=12) * dim
    keys = vision.int("num_key_value_heads", default=12) * dim
    mlp = vision.int("intermediate_size", default=3072)
    size = vision.int("patch_size", default=16)
    depth = vision.int("num_hidden_layers", default=16)
    bias = vision.flag("attention_bias")
    name = "vision_tower"
    layer: list[Module] = [
        Linear("self_attn.q_proj", width, (inner,), "whole", bias),
        Linear("self_attn.k_proj", width, (keys,), "whole", bias),
        Linear("self_attn.v_proj", width, (keys,), "whole", bias),
        Linear("self_attn.o_proj", inner, (width,), "whole", bias),
        Linear("mlp.gate_proj", width, (mlp,), "whole"),
        Linear("mlp.up_proj", width, (mlp,), "whole"),
        Linear("mlp.down_proj", mlp, (width,), "whole"),
        Tensor("norms", 4 * width + 2 * dim),
        *_clip_bounds(vision, 7),
    ]
    modules: list[Module] = [
        Tensor(
            f"{name}.patch_embedder.position_embedding_table",
            2 * vision.int("position_embedding_size", default=10240) * width,
        ),
        Linear(f"{name}.patch_embedder.input_proj", 3 * size * size, (width,), "whole"),
        Linear("embed_vision.embedding_projection", width, (hidden_size(text),), "whole"),
        Rotary(rows=2, width=dim // 4, key="vision", dtype="float32"),
    ]
    if vision.flag("standardize"):
        modules.append(Tensor(f"{name}.standardisation", 2 * width, buffer=True))
    return [Block(f"{name}.encoder.layers.{{}}", tuple(range(depth)), tuple(layer))], modules


def _gemma4_audio(audio: Facts, text: Facts) -> tuple[Block, list[Module]]:
    """A conformer: two feed-forward parts, relative attention and a gated convolution per layer."""
    width = audio.int("hidden_size", default=1024)
    heads = audio.int("num_attention_heads", default=8, low=1)
    kernel = audio.int("conv_kernel_size", default=5)
    channels = audio.list("subsampling_conv_channels") or (128, 32)
    first, second = (Facts({"channels": item}).int("channels") for item in (channels[0], channels[-1]))
    out = audio.int("output_proj_dims", default=1536)
    depth = audio.int("num_hidden_layers", default=12)
    name = "audio_tower"
    square = [
        Linear(f"self_attn.{part}", width, (width,), "whole")
        for part in ("q_proj", "k_proj", "v_proj", "post", "relative_k_proj")
    ]
    layer: list[Module] = [
        *square,
        *(Linear(f"feed_forward{part}.ffw_layer_1", width, (4 * width,), "whole") for part in (1, 2)),
        *(Linear(f"feed_forward{part}.ffw_layer_2", 4 * width, (width,), "whole") for part in (1, 2)),
        Linear("lconv1d.linear_start", width, (2 * width,), "whole"),
        Linear("lconv1d.linear_end", width, (width,), "whole"),
        Tensor("lconv1d.depthwise_conv1d", width * kernel),
        Tensor("self_attn.per_dim_scale", width // heads),
        Tensor("norms", 9 * width),
        Tensor("self_attn.softcap", 1, buffer=True),
        *_clip_bounds(audio, 10),
    ]
    # two strided convolutions over 128 mel bins leave a quarter of them
    bins = 128 // 4
    modules: list[Module] = [
        Tensor(f"{name}.subsample_conv_projection", first * 9 + first + second * first * 9 + second),
        Linear(f"{name}.subsample_conv_projection.input_proj_linear", second * bins, (width,), "whole"),
        Linear(f"{name}.output_proj", width, (out,), "whole", True),
        Linear("embed_audio.embedding_projection", out, (hidden_size(text),), "whole"),
        Tensor(f"{name}.rel_pos_enc.inv_timescales", width // 2, buffer=True),
    ]
    return Block(f"{name}.layers.{{}}", tuple(range(depth)), tuple(layer)), modules


def gemma4_unified_tower(config: Facts, text: Facts) -> Tower:
    """Patches are embedded straight into the decoder."""
    vision = config.part("vision_config") or Facts({})
    hidden = hidden_size(text)
    width = vision.int("mm_embed_dim", default=hidden)
    patch = vision.int("model_patch_size", default=48)
    pixels = patch * patch * 3
    positions = vision.int("mm_posemb_size", default=1120)
    audio = config.part("audio_config") or Facts({})
    features = audio.int("output_proj_dims", "hidden_size", "audio_embed_dim", default=640)
    return Tower(
        (),
        (),
        everywhere=(
            Tensor("vision_embedder.pos_embedding", 2 * positions * width),
            Linear("vision_embedder.patch_dense", pixels, (width,), "column", True),
            layer_norm("vision_embedder.patch_ln1", pixels),
            layer_norm("vision_embedder.patch_ln2", width, count=2),
            Linear("embed_vision.embedding_projection", width, (hidden,), "whole"),
            Linear("embed_audio.embedding_projection", features, (hidden,), "whole"),
        ),
    )
