"""Vision encoders of their own kind.

Sources: vLLM 0.33 `model_executor/models/{mllama4,internvl,intern_vit,interns1,nvlm_d,deepseek_vl2,molmo}.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Block, Linear, Module, Rotary, Tensor
from wizard.models.towers_clip import CLIP_LARGE_336
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    two_layers,
    vision_part,
)


def llama4(config: Facts, text: Facts) -> Tower:
    """Llama 4: pixel shuffle between two adapter matrices, one projection."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=768)
    size = vision.int("patch_size", default=14, low=1)
    positions = patch_count(vision, image=448) + 1
    heads = vision.int("num_attention_heads", default=16, low=1)
    style = LayerStyle(
        "vision_model.model.layers.{}", qkv="self_attn.qkv_proj", out="self_attn.o_proj", quantised=False
    )
    inner = vision.int("projector_input_dim", default=4096)
    outer = vision.int("projector_output_dim", default=4096)
    mlp = vision.int("intermediate_size", default=5632)
    adapter = "vision_model.vision_adapter.mlp"
    block = encoder_layers(style, vision.int("num_hidden_layers", default=34), width, mlp)
    return Tower(
        (block,),
        (
            Tensor("vision_model.class_embedding", width),
            Tensor("vision_model.positional_embedding_vlm", positions * width),
            Linear("vision_model.patch_embedding.linear", 3 * size * size, (width,), quantised=False),
            layer_norm("vision_model.layernorms", width, count=2),
            *two_layers(f"{adapter}.fc1", f"{adapter}.fc2", mlp, inner, outer, bias=False, quantised=False),
            Linear(
                "multi_modal_projector.linear_1",
                vision.int("vision_output_dim", default=7680),
                (hidden_size(text),),
                quantised=False,
            ),
            Rotary(rows=positions, width=width // heads, key="vision", dtype="float32"),
        ),
        heads=heads,
    )


NVLM_ADDED_HEADS = 7
"""Empty heads of NVLM's encoder (nvlm_d.py `_init_vision_model`: 25 + 7 divide by 8)."""


def intern_vl(config: Facts, text: Facts, *, added_heads: int = 0) -> Tower:
    """InternViT: a class token, layer scales, patches shuffled into channels. Both forms of its config."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1024)
    normed = vision.flag("qk_normalization", "use_qk_norm")
    rms = vision.text("norm_type", "layer_norm") == "rms_norm"
    positions = patch_count(_square(vision), image=448) + 1
    style = LayerStyle(
        "vision_model.encoder.layers.{}",
        bias=vision.flag("qkv_bias", "attention_bias"),
        out_bias=True,
        mlp_bias=True,
        norm_bias=not rms,
        more=2 * width,
        head_norm=width if normed else 0,
    )
    depth = vision.int("num_hidden_layers", default=24)
    layer = config.int("select_layer", low=-depth - 1, default=-1)
    depth = max(0, depth + layer + 1) if layer < 0 else min(depth, layer + 1)
    ratio = config.number("downsample_ratio", 0.5)
    merged = int(width / (ratio * ratio)) if ratio else width
    hidden = hidden_size(text)
    heads = vision.int("num_attention_heads", default=16, low=1)
    padded = width // heads * (heads + added_heads)
    if normed and added_heads:
        style = replace(style, head_norm=padded)
    mlp = vision.int("intermediate_size", default=4096)
    return Tower(
        (encoder_layers(style, depth, width, mlp, padded),),
        (
            Tensor("vision_model.embeddings.class_embedding", width),
            patches("vision_model.embeddings.patch_embedding", _square(vision), width, bias=True),
            Tensor("vision_model.embeddings.position_embedding", positions * width),
            layer_norm("mlp1.0", merged),
            *two_layers("mlp1.1", "mlp1.3", merged, hidden, hidden, split=False, quantised=False),
        ),
        heads=heads + added_heads,
    )


def nvlm(config: Facts, text: Facts) -> Tower:
    """InternViT with heads added so that TP divides them; the projector is as wide as the decoder's MLP."""
    tower = intern_vl(config, text, added_heads=NVLM_ADDED_HEADS)
    first = next(module for module in tower.modules if module.name == "mlp1.1")
    merged = first.inputs if isinstance(first, Linear) else 0
    middle, hidden = text.int("intermediate_size", low=1), hidden_size(text)
    kept = tuple(module for module in tower.modules if module.name not in ("mlp1.1", "mlp1.3"))
    projector = two_layers(
        "mlp1.1", "mlp1.3", merged, middle, hidden, bias=False, split=False, quantised=False
    )
    return replace(tower, modules=(*kept, *projector))


def intern_s1(config: Facts, text: Facts) -> Tower:
    """The same encoder in transformers' form: attention is whole on every rank, the MLPs are cut."""
    tower = intern_vl(config, text)
    return replace(
        tower, blocks=tuple(replace(block, modules=_attention_whole(block)) for block in tower.blocks)
    )


def _attention_whole(block: Block) -> tuple[Module, ...]:
    return tuple(
        replace(module, split="whole")
        if isinstance(module, Linear) and module.name.startswith("attn")
        else module
        for module in block.modules
    )


def _square(vision: Facts) -> Facts:
    """Sizes that may be given as [height, width]."""
    sizes = {}
    for name in ("image_size", "patch_size"):
        value = vision.get(name)
        if isinstance(value, list | tuple) and value:
            sizes[name] = value[0]
    return Facts({**vision.values, **sizes}, vision.defaults) if sizes else vision


def deepseek_vl2(config: Facts, text: Facts) -> Tower:
    """A SigLIP of timm with its pooling head, whole on every rank."""
    vision = vision_part(config)
    width = vision.int("width", default=1152)
    mlp = int(width * vision.number("mlp_ratio", 3.7362))
    style = LayerStyle("vision.blocks.{}", split=False, mlp_split=True, quantised=False)
    positions = patch_count(vision, image=384)
    hidden = hidden_size(text)
    projector = config.part("projector_config") or Facts({})
    factor = projector.int("downsample_ratio", default=2)
    depth = projector.int("depth", default=2)
    ratio = projector.int("mlp_ratio", default=1)
    merged = width * factor * factor
    inner = hidden * ratio
    square = [
        Linear(f"projector.layers.{2 * number}", inner, (inner,), "whole", True, quantised=False)
        for number in range(1, depth - 1)
    ]
    return Tower(
        (encoder_layers(style, vision.int("layers", default=27), width, mlp),),
        (
            patches("vision.patch_embed.proj", vision, width, bias=True),
            Tensor("vision.pos_embed", positions * width),
            layer_norm("vision.norm", width),
            Tensor("vision.attn_pool.latent", width),
            Linear("vision.attn_pool.q", width, (width,), "whole", True, quantised=False),
            Linear("vision.attn_pool.kv", width, (2 * width,), "whole", True, quantised=False),
            Linear("vision.attn_pool.proj", width, (width,), "whole", True, quantised=False),
            layer_norm("vision.attn_pool.norm", width),
            *two_layers("vision.attn_pool.mlp.fc1", "vision.attn_pool.mlp.fc2", width, mlp, width),
            Linear("projector.layers.0", merged, (inner,), "whole", True, quantised=False),
            *square,
            Linear("projector.layers.last", inner, (hidden,), "whole", True, quantised=False),
        ),
        everywhere=(Tensor("image_newline", 2 * hidden),),
    )


def molmo(config: Facts, text: Facts) -> Tower:
    """CLIP by another hand; two layers are read, windows are pooled by attention."""
    width, mlp = CLIP_LARGE_336["hidden_size"], CLIP_LARGE_336["intermediate_size"]
    prefix = "vision_backbone.image_vit"
    style = LayerStyle(
        f"{prefix}.transformer.resblocks.{{}}",
        qkv="attention.wqkv",
        out="attention.wo",
        up="feed_forward.w1",
        down="feed_forward.w2",
        fused_qkv=False,
        qkv_parts=("wq", "wk", "wv"),
    )
    size = CLIP_LARGE_336["patch_size"]
    positions = patch_count(Facts(CLIP_LARGE_336)) + 1
    hidden = hidden_size(text)
    inner = text.int("intermediate_size", low=2) // 2
    pool = "vision_backbone.image_pooling_2d"
    projector = "vision_backbone.image_projector"
    return Tower(
        (encoder_layers(style, CLIP_LARGE_336["num_hidden_layers"] - 1, width, mlp),),
        (
            Tensor("vision_backbone.pad_embed", 4 * width),
            Tensor(f"{prefix}.class_embedding", width),
            Tensor(f"{prefix}.positional_embedding", positions * width),
            Linear(f"{prefix}.patch_embedding", 3 * size * size, (width,), "whole", quantised=False),
            layer_norm(f"{prefix}.pre_ln", width),
            *(Linear(f"{pool}.{part}", 2 * width, (width,), bias=True) for part in ("wq", "wk", "wv")),
            Linear(f"{pool}.wo", width, (width,), "row", True),
            Linear(f"{projector}.merged_linear", width, (inner, inner)),
            Linear(f"{projector}.down_proj", inner, (hidden,), "row"),
        ),
        heads=CLIP_LARGE_336["num_attention_heads"],
    )
