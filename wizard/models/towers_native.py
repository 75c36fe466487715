"""Vision encoders that take images at their own resolution.

Sources: vLLM 0.33 `model_executor/models/{mistral3,pixtral,muse_glimmer,kimi_k25,kimi_k25_vit}.py`,
`models/kimi_k3/nvidia/model.py`, `models/minimax_m3/common/vision_tower.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Rotary, Tensor
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patches,
    two_layers,
    vision_part,
)


def pixtral_encoder(vision: Facts, *, layers_short: int = 0) -> Tower:
    """The Pixtral encoder alone: gated layers without biases, positions that rotate."""
    width = vision.int("hidden_size", default=1024)
    heads = vision.int("num_attention_heads", default=16, low=1)
    dim = vision.int("head_dim", default=width // heads)
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
    depth = max(0, vision.int("num_hidden_layers", default=24) - layers_short)
    block = encoder_layers(style, depth, width, vision.int("intermediate_size", default=4096))
    sized = Facts(vision.values, {"patch_size": 16})
    return Tower(
        (block,),
        (
            patches("vision_tower.patch_conv", sized, width, bias=False),
            layer_norm("vision_tower.ln_pre", width, bias=False),
            Rotary(rows=2, width=dim // 2, key="vision", dtype="float32"),
        ),
        heads=heads,
    )


def pixtral(config: Facts, text: Facts) -> Tower:
    """Mistral 3 with the Pixtral encoder: patches are merged by a matrix that every rank keeps whole."""
    vision = vision_part(config)
    encoder = pixtral_encoder(vision)
    width = vision.int("hidden_size", default=1024)
    merge = config.int("spatial_merge_size", default=2)
    hidden = hidden_size(text)
    name = "multi_modal_projector"
    bias = config.flag("multimodal_projector_bias")
    return Tower(
        encoder.blocks,
        (
            *encoder.modules,
            layer_norm(f"{name}.norm", width, bias=False),
            Linear(
                f"{name}.patch_merger.merging_layer",
                width * merge * merge,
                (width,),
                "whole",
                quantised=False,
            ),
            *two_layers(f"{name}.linear_1", f"{name}.linear_2", width, hidden, hidden, bias=bias),
        ),
        heads=encoder.heads,
    )


def pixtral_native(config: Facts, text: Facts) -> Tower:
    """Mistral's own format: the encoder without a table, and an adapter that every rank keeps whole."""
    vision = vision_part(config)
    encoder = pixtral_encoder(vision)
    width, hidden = vision.int("hidden_size", default=1024), hidden_size(text)
    plain = tuple(
        replace(module, quantised=False) if isinstance(module, Linear) else module
        for module in encoder.blocks[0].modules
    )
    modules: list[Module] = [module for module in encoder.modules if not isinstance(module, Rotary)]
    if vision.flag("add_pre_mm_projector_layer_norm"):
        modules.append(layer_norm("pre_mm_projector_norm", width, bias=False))
    if vision.text("mm_projector_id") == "patch_merge":
        merge = vision.int("spatial_merge_size", default=1, low=1)
        modules.append(
            Linear("patch_merger.merging_layer", width * merge * merge, (width,), "whole", quantised=False)
        )
    modules += two_layers(
        "vision_language_adapter.w_in",
        "vision_language_adapter.w_out",
        width,
        hidden,
        hidden,
        bias=vision.flag("adapter_bias", default=True),
        split=False,
        quantised=False,
    )
    return Tower((replace(encoder.blocks[0], modules=plain),), tuple(modules), heads=encoder.heads)


def muse_glimmer(config: Facts, text: Facts) -> Tower:
    """Attention is cut by TP; MLPs and adapter are copied."""
    vision = vision_part(config)
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
                "vision_adapter.c_fc",
                "vision_adapter.c_proj",
                width * merge * merge,
                inner,
                inner,
                bias=False,
                split=False,
            ),
            Linear("vision_projection", inner, (hidden_size(text),), "whole"),
        ),
        heads=vision.int("num_attention_heads", "heads", default=16),
        copied_if_uneven=True,
    )


def kimi_k25(config: Facts, text: Facts) -> Tower:
    """MoonViT for images and clips: interpolated positions and a time table."""
    vision = vision_part(config)
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


def kimi_vl(config: Facts, text: Facts) -> Tower:
    """MoonViT for images alone: no time table."""
    tower = kimi_k25(config, text)
    kept = tuple(module for module in tower.modules if not module.name.endswith("time_weight"))
    return replace(tower, modules=kept, copied_if_uneven=False)


def kimi_k3(config: Facts, text: Facts) -> Tower:
    """MoonViT without biases, with attention wider than its layers."""
    vision = vision_part(config)
    width = vision.int("vt_hidden_size", default=1024)
    inner = vision.int("qkv_hidden_size", default=width)
    bias = vision.flag("linear_bias")
    rows = vision.int("init_pos_emb_height", default=64) * vision.int("init_pos_emb_width", default=64)
    times = vision.int("init_pos_emb_time", default=4)
    kernel = vision.list("merge_kernel_size") or (2, 2)
    merged = width * Facts({"k": kernel[0]}).int("k") * Facts({"k": kernel[-1]}).int("k")
    style = LayerStyle(
        "vision_tower.encoder.blocks.{}",
        qkv="wqkv",
        out="wo",
        up="mlp.fc0",
        down="mlp.fc1",
        bias=vision.flag("attn_bias"),
        mlp_bias=bias,
        norm_bias=False,
        quantised=False,
    )
    hidden = hidden_size(text)
    block = encoder_layers(
        style,
        vision.int("vt_num_hidden_layers", default=27),
        width,
        vision.int("vt_intermediate_size", default=4096),
        inner,
    )
    return Tower(
        (block,),
        (
            patches(
                "vision_tower.patch_embed.proj", vision, width, bias=vision.flag("patch_embed_proj_bias")
            ),
            Tensor("vision_tower.patch_embed.pos_emb", rows * width),
            Tensor(
                "vision_tower.patch_embed.pos_emb.time_weight", times * width, dtype="float32", buffer=True
            ),
            layer_norm("vision_tower.encoder.final_layernorm", width, bias=False),
            *two_layers(
                "mm_projector.linear_1",
                "mm_projector.linear_2",
                merged,
                merged,
                hidden,
                bias=False,
                split=False,
                quantised=False,
            ),
            layer_norm("mm_projector.post_norm", hidden, bias=False),
        ),
        heads=vision.int("vt_num_attention_heads", default=12),
        copied_if_uneven=True,
    )


def minimax_m3(config: Facts, text: Facts) -> Tower:
    """Patches are projected first and merged afterwards."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1280)
    heads = vision.int("num_attention_heads", default=16, low=1)
    compression = (
        vision.part("img_token_compression_config")
        or config.part("img_token_compression_config")
        or Facts({})
    )
    merge = compression.int("spatial_merge_size", default=2)
    hidden = hidden_size(text)
    inner = config.int("projector_hidden_size", default=hidden)
    bias = config.flag("multimodal_projector_bias", default=True)
    prefix = "vision_tower.vision_model"
    style = LayerStyle(
        f"{prefix}.encoder.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        up="fc1",
        down="fc2",
    )
    block = encoder_layers(
        style,
        vision.int("num_hidden_layers", default=32),
        width,
        vision.int("intermediate_size", default=5120),
    )
    frames = compression.int("temporal_patch_size", default=2)
    projector, merger = "vision_tower.multi_modal_projector", "vision_tower.patch_merge_mlp"
    return Tower(
        (block,),
        (
            patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=False, frames=frames),
            layer_norm(f"{prefix}.pre_layrnorm", width),
            Tensor(f"{prefix}.inv_freq", 3 * (width // heads // 6), dtype="float32", buffer=True),
            *two_layers(f"{projector}.linear_1", f"{projector}.linear_2", width, inner, hidden, bias=bias),
            *two_layers(
                f"{merger}.linear_1", f"{merger}.linear_2", hidden * merge * merge, inner, hidden, bias=bias
            ),
        ),
        heads=heads,
    )
