"""Vision and audio encoders with their projectors, by family.

Sources: vLLM 0.33 `model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,glm4_1v,gemma3_mm,gemma4_mm,gemma4_unified,
mllama4,mistral3,pixtral,llava,llava_next,lfm2_vl,muse_glimmer,kimi_k25,qwen2_audio,phi3v,molmo}.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Rotary, Tensor
from wizard.models.towers_gemma import gemma3_tower, gemma4_tower, gemma4_unified_tower
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    two_layers,
)

ROTARY_ROWS = 8192
"""Positions of the vision rotary table (qwen2_vl.py, qwen3_vl.py, glm4_1v.py: `max_position=8192`)."""


def _vision(config: Facts) -> Facts:
    return config.part("vision_config", "visual_config", "vision_tower_config") or Facts({})


def _rotary(head_dim: int, rows: int = ROTARY_ROWS) -> Rotary:
    """Half of a vision head rotates."""
    return Rotary(rows=rows, width=head_dim // 2, key="vision")


def qwen2_vl(config: Facts, text: Facts) -> Tower:
    """Window-free vision transformer with a patch merger."""
    vision = _vision(config)
    width = vision.int("embed_dim", default=1280)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    out = vision.int("hidden_size", default=hidden_size(text))
    style = LayerStyle("visual.blocks.{}")
    mlp = int(width * vision.number("mlp_ratio", 4.0))
    return Tower(
        (encoder_layers(style, vision.int("depth", default=32), width, mlp),),
        (
            patches("visual.patch_embed.proj", vision, width, bias=False, frames=vision.int("temporal_patch_size", default=2)),
            layer_norm("visual.merger.ln_q", width),
            *two_layers("visual.merger.mlp.0", "visual.merger.mlp.2", merged, merged, out),
            _rotary(width // heads),
        ),
        heads=heads,
    )


def qwen2_5_vl(config: Facts, text: Facts) -> Tower:
    """Gated MLPs and RMS norms."""
    vision = _vision(config)
    width = vision.int("hidden_size", default=1280)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    style = LayerStyle("visual.blocks.{}", up="mlp.gate_up_proj", down="mlp.down_proj", gated=True, norm_bias=False)
    depth = vision.int("depth", default=32)
    out = vision.int("out_hidden_size", default=hidden_size(text))
    return Tower(
        (encoder_layers(style, depth, width, vision.int("intermediate_size", default=3420)),),
        (
            patches("visual.patch_embed.proj", vision, width, bias=False, frames=vision.int("temporal_patch_size", default=2)),
            layer_norm("visual.merger.ln_q", width, bias=False),
            *two_layers("visual.merger.mlp.0", "visual.merger.mlp.2", merged, merged, out),
            _rotary(width // heads),
        ),
        heads=heads,
    )


def qwen3_vl(config: Facts, text: Facts) -> Tower:
    """Learned positions, and mergers for the levels that are fed into deeper decoder layers."""
    vision = _vision(config)
    width = vision.int("hidden_size", default=1152)
    heads = vision.int("num_heads", default=16, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    out = vision.int("out_hidden_size", default=hidden_size(text))
    levels = len(vision.list("deepstack_visual_indexes") or ())
    style = LayerStyle("visual.blocks.{}", up="mlp.linear_fc1", down="mlp.linear_fc2")
    modules: list[Module] = [
        patches("visual.patch_embed.proj", vision, width, bias=True, frames=vision.int("temporal_patch_size", default=2)),
        Tensor("visual.pos_embed", vision.int("num_position_embeddings", default=2304) * width),
        layer_norm("visual.merger.norm", width),
        *two_layers("visual.merger.linear_fc1", "visual.merger.linear_fc2", merged, merged, out),
        _rotary(width // heads),
    ]
    for level in range(levels):
        name = f"visual.deepstack_merger_list.{level}"
        modules.append(layer_norm(f"{name}.norm", merged))
        modules += two_layers(f"{name}.linear_fc1", f"{name}.linear_fc2", merged, merged, out)
    block = encoder_layers(style, vision.int("depth", default=27), width, vision.int("intermediate_size", default=4304))
    return Tower((block,), tuple(modules), heads=heads)


def glm4v(config: Facts, text: Facts) -> Tower:
    """GLM-4.1V and 4.5V: bias-free layers, a strided convolution and a gated merger."""
    vision = _vision(config)
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
    block = encoder_layers(style, vision.int("depth", default=24), width, vision.int("out_hidden_size", default=4096))
    return Tower(
        (block,),
        (
            patches("visual.patch_embed.proj", vision, width, bias=True, frames=vision.int("temporal_patch_size", default=2)),
            Tensor("visual.embeddings.position_embedding", count * width),
            Tensor("visual.embeddings.position_ids", count, dtype="int64", buffer=True),
            layer_norm("visual.layernorms", width, bias=False, count=2),
            Tensor("visual.downsample", out * (width * merge * merge + 1)),
            Linear("visual.merger.proj", out, (out,)),
            layer_norm("visual.merger.post_projection_norm", out),
            Linear("visual.merger.gate_up_proj", out, (context, context), parts=("gate_proj", "up_proj")),
            Linear("visual.merger.down_proj", context, (out,), "row"),
            _rotary(width // heads),
        ),
        heads=heads,
    )


def clip_modules(vision: Facts, prefix: str, *, layers_short: int = 0) -> Tower:
    """CLIP: a class token, learned positions, a norm before the layers; the last layers may be unused."""
    width = vision.int("hidden_size", default=1024)
    depth = max(0, vision.int("num_hidden_layers", default=24) - layers_short)
    style = LayerStyle(f"{prefix}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    positions = patch_count(vision, image=336) + 1
    return Tower(
        (encoder_layers(style, depth, width, vision.int("intermediate_size", default=4096)),),
        (
            Tensor(f"{prefix}.embeddings.class_embedding", width),
            patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=False),
            Tensor(f"{prefix}.embeddings.position_embedding", positions * width),
            Tensor(f"{prefix}.embeddings.position_ids", positions, dtype="int64", buffer=True),
            layer_norm(f"{prefix}.pre_layrnorm", width),
        ),
        heads=vision.int("num_attention_heads", default=16),
    )


def siglip_modules(vision: Facts, prefix: str, *, layers_short: int = 0) -> Tower:
    """SigLIP: learned positions, a norm after the layers where all of them are used."""
    width = vision.int("hidden_size", default=1152)
    depth = max(0, vision.int("num_hidden_layers", default=27) - layers_short)
    style = LayerStyle(f"{prefix}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    positions = patch_count(vision, image=384)
    modules: list[Module] = [
        patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=True),
        Tensor(f"{prefix}.embeddings.position_embedding", positions * width),
        Tensor(f"{prefix}.embeddings.position_ids", positions, dtype="int64", buffer=True),
    ]
    if not layers_short:
        modules.append(layer_norm(f"{prefix}.post_layernorm", width))
    block = encoder_layers(style, depth, width, vision.int("intermediate_size", default=4304))
    return Tower((block,), tuple(modules), heads=vision.int("num_attention_heads", default=16))


def _layers_short(config: Facts, default: int = -2) -> int:
    """How many of the last encoder layers `vision_feature_layer` leaves out."""
    value = config.get("vision_feature_layer")
    if isinstance(value, list | tuple):
        value = max((item for item in value if isinstance(item, int)), default=default)
    layer = value if isinstance(value, int) and not isinstance(value, bool) else default
    return max(0, -layer - 1) if layer < 0 else 0


def _image_encoder(config: Facts) -> Tower:
    vision = _vision(config)
    build = _ENCODERS.get(vision.text("model_type", "clip_vision_model"), clip_modules)
    return build(vision, "vision_tower.vision_model", layers_short=_layers_short(config))


_ENCODERS: Mapping[str, Callable[..., Tower]] = {
    "clip_vision_model": clip_modules,
    "siglip_vision_model": siglip_modules,
}


def llava(config: Facts, text: Facts) -> Tower:
    tower = _image_encoder(config)
    vision = _vision(config)
    width = vision.int("hidden_size", default=1024)
    bias = config.flag("multimodal_projector_bias", default=True)
    name = "multi_modal_projector"
    hidden = hidden_size(text)
    projector = two_layers(f"{name}.linear_1", f"{name}.linear_2", width, hidden, hidden, bias=bias)
    return Tower(tower.blocks, (*tower.modules, *projector), heads=tower.heads)


def llava_next(config: Facts, text: Facts) -> Tower:
    tower = llava(config, text)
    return replace(tower, everywhere=(Tensor("image_newline", hidden_size(text)),))


def llama4(config: Facts, text: Facts) -> Tower:
    """Llama 4: pixel shuffle between two adapter matrices, one projection."""
    vision = _vision(config)
    width = vision.int("hidden_size", default=768)
    size = vision.int("patch_size", default=14, low=1)
    positions = patch_count(vision, image=448) + 1
    heads = vision.int("num_attention_heads", default=16, low=1)
    style = LayerStyle("vision_model.model.layers.{}", qkv="self_attn.qkv_proj", out="self_attn.o_proj", quantised=False)
    inner = vision.int("projector_input_dim", default=4096)
    outer = vision.int("projector_output_dim", default=4096)
    mlp = vision.int("intermediate_size", default=5632)
    adapter = "vision_model.vision_adapter.mlp"
    block = encoder_layers(
        style, vision.int("num_hidden_layers", default=34), width, mlp
    )
    return Tower(
        (block,),
        (
            Tensor("vision_model.class_embedding", width),
            Tensor("vision_model.positional_embedding_vlm", positions * width),
            Linear("vision_model.patch_embedding.linear", 3 * size * size, (width,), quantised=False),
            layer_norm("vision_model.layernorms", width, count=2),
            *two_layers(f"{adapter}.fc1", f"{adapter}.fc2", mlp, inner, outer, bias=False, quantised=False),
            Linear("multi_modal_projector.linear_1", vision.int("vision_output_dim", default=7680), (hidden_size(text),), quantised=False),
            Rotary(rows=positions, width=width // heads, key="vision", dtype="float32"),
        ),
        heads=heads,
    )


def pixtral(config: Facts, text: Facts) -> Tower:
    """Mistral 3 with the Pixtral encoder: patches are merged by a matrix that every rank keeps whole."""
    vision = _vision(config)
    width = vision.int("hidden_size", default=1024)
    heads = vision.int("num_attention_heads", default=16, low=1)
    dim = vision.int("head_dim", default=width // heads)
    merge = config.int("spatial_merge_size", default=2)
    style = LayerStyle(
        "vision_tower.transformer.layers.{}",
        qkv="attention.qkv_proj",
        out="attention.o_proj",
        up="feed_forward.gate_up_proj",
        down="feed_forward.down_proj",
        bias=False,
        gated=True,
        norm_bias=False,
    )
    hidden = hidden_size(text)
    name = "multi_modal_projector"
    bias = config.flag("multimodal_projector_bias")
    block = encoder_layers(
        style, vision.int("num_hidden_layers", default=24), width, vision.int("intermediate_size", default=4096)
    )
    return Tower(
        (block,),
        (
            patches("vision_tower.patch_conv", vision, width, bias=False),
            layer_norm("vision_tower.ln_pre", width, bias=False),
            Rotary(rows=2, width=dim // 2, key="vision", dtype="float32"),
            layer_norm(f"{name}.norm", width, bias=False),
            Linear(f"{name}.patch_merger.merging_layer", width * merge * merge, (width,), "whole", quantised=False),
            *two_layers(f"{name}.linear_1", f"{name}.linear_2", width, hidden, hidden, bias=bias),
        ),
        heads=heads,
    )


def lfm2_vl(config: Facts, text: Facts) -> Tower:
    """SigLIP 2 with linear patches; the projector stays whole on every rank."""
    vision = _vision(config)
    width = vision.int("hidden_size", default=1152)
    size = vision.int("patch_size", default=16, low=1)
    prefix = "vision_tower.vision_model"
    style = LayerStyle(f"{prefix}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    factor = config.int("downsample_factor", default=2)
    merged = width * factor * factor
    middle = config.int("projector_hidden_size", default=2560)
    name = "multi_modal_projector"
    depth = vision.int("num_hidden_layers", default=27) - _layers_short(config, default=-1)
    modules: list[Module] = [
        Tensor(f"{prefix}.embeddings.patch_embedding", width * (3 * size * size + 1)),
        Tensor(f"{prefix}.embeddings.position_embedding", vision.int("num_patches", default=256) * width),
        layer_norm(f"{prefix}.post_layernorm", width),
    ]
    if config.flag("projector_use_layernorm"):
        modules.append(layer_norm(f"{name}.layer_norm", merged))
    bias = config.flag("projector_bias", default=True)
    modules += two_layers(
        f"{name}.linear_1", f"{name}.linear_2", merged, middle, hidden_size(text), bias=bias, split=False, quantised=False
    )
    block = encoder_layers(style, max(0, depth), width, vision.int("intermediate_size", default=4304))
    return Tower((block,), tuple(modules), heads=vision.int("num_attention_heads", default=16))


def muse_glimmer(config: Facts, text: Facts) -> Tower:
    """Attention is cut by TP; MLPs and adapter are copied."""
    vision = _vision(config)
    width = vision.int("hidden_size", "width", default=1536)
    size = vision.int("patch_size", default=14, low=1)
    frames = vision.int("temporal_patch_size", default=2)
    depth = vision.int("num_hidden_layers", "layers", default=50)
    mlp = vision.int("intermediate_size", default=0) or int(width * vision.number("mlp_ratio", 35 / 6))
    merge = vision.int("spatial_merge_size", default=2)
    inner = vision.int("projector_input_dim", "projector_hidden_size", default=4096)
    style = LayerStyle(
        "vision_encoder.transformer.{}",
        qkv="attn.qkv_proj",
        out="attn.o_proj",
        up="mlp.c_fc",
        down="mlp.c_proj",
        mlp_split=False,
    )
    positions = vision.int("num_position_embeddings", default=1024)
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            Tensor("vision_encoder.positional_embedding_vlm", positions * width),
            Tensor("vision_encoder.conv1_linear", width * 3 * frames * size * size),
            layer_norm("vision_encoder.norms", width, count=2),
            *two_layers(
                "vision_adapter.c_fc", "vision_adapter.c_proj", width * merge * merge, inner, inner, bias=False, split=False
            ),
            Linear("vision_projection", inner, (hidden_size(text),), "whole"),
        ),
        heads=vision.int("num_attention_heads", "heads", default=16),
        copied_if_uneven=True,
    )


def kimi_k25(config: Facts, text: Facts) -> Tower:
    """MoonViT for images and clips: interpolated positions and a time table."""
    vision = _vision(config)
    width = vision.int("vt_hidden_size", "hidden_size", default=1152)
    heads = vision.int("vt_num_attention_heads", "num_attention_heads", default=16)
    depth = vision.int("vt_num_hidden_layers", "num_hidden_layers", default=27)
    mlp = vision.int("vt_intermediate_size", "intermediate_size", default=4304)
    rows = vision.int("init_pos_emb_height", default=64) * vision.int("init_pos_emb_width", default=64)
    times = vision.int("init_pos_emb_time", default=4)
    kernel = vision.list("merge_kernel_size") or (2, 2)
    merged = width * Facts({"k": kernel[0]}).int("k") * Facts({"k": kernel[-1]}).int("k")
    quantised = config.part("quantization_config") or text.part("quantization_config")
    table = "float32" if quantised and quantised.text("quant_method") != "compressed-tensors" else ""
    style = LayerStyle(
        "vision_tower.encoder.blocks.{}", qkv="wqkv", out="wo", up="mlp.fc0", down="mlp.fc1", quantised=False
    )
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            patches("vision_tower.patch_embed.proj", vision, width, bias=True),
            Tensor("vision_tower.patch_embed.pos_emb", rows * width),
            Tensor("vision_tower.patch_embed.pos_emb.time_weight", times * width, dtype=table, buffer=True),
            layer_norm("vision_tower.encoder.final_layernorm", width),
            layer_norm("mm_projector.pre_norm", width),
            *two_layers(
                "mm_projector.linear_1",
                "mm_projector.linear_2",
                merged,
                merged,
                hidden_size(text),
                split=False,
                quantised=False,
            ),
        ),
        heads=heads,
        copied_if_uneven=True,
    )


def qwen2_audio(config: Facts, text: Facts) -> Tower:
    """A Whisper encoder from transformers: whole on every rank, keys without bias."""
    audio = config.part("audio_config") or Facts({})
    width = audio.int("d_model", default=1280)
    mlp = audio.int("encoder_ffn_dim", default=5120)
    bins = audio.int("num_mel_bins", default=128)
    positions = audio.int("max_source_positions", default=1500)
    depth = audio.int("encoder_layers", default=32)
    name = "audio_tower"
    style = LayerStyle(
        f"{name}.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        up="fc1",
        down="fc2",
        fused_qkv=False,
        split=False,
        quantised=False,
    )
    block = encoder_layers(style, depth, width, mlp)
    return Tower(
        (block,),
        (
            Tensor(f"{name}.conv1", width * (bins * 3 + 1)),
            Tensor(f"{name}.conv2", width * (width * 3 + 1)),
            Tensor(f"{name}.embed_positions", positions * width),
            layer_norm(f"{name}.layer_norm", width),
            Tensor(f"{name}.absent_key_bias", -depth * width),
            Linear("multi_modal_projector.linear", width, (hidden_size(text),), "whole", True, quantised=False),
        ),
    )


TOWERS: Mapping[str, Callable[[Facts, Facts], Tower]] = {
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "glm4v": glm4v,
    "gemma3": gemma3_tower,
    "gemma4": gemma4_tower,
    "gemma4_unified": gemma4_unified_tower,
    "llava": llava,
    "llava_next": llava_next,
    "llama4": llama4,
    "pixtral": pixtral,
    "lfm2_vl": lfm2_vl,
    "muse_glimmer": muse_glimmer,
    "kimi_k25": kimi_k25,
    "qwen2_audio": qwen2_audio,
}
