"""Vision encoders of document readers: DeepSeek-OCR and dots.ocr.

Sources: vLLM 0.33 `model_executor/models/{deepseek_ocr,deepseek_ocr2,deepencoder,deepencoder2,dots_ocr}.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.metadata import short
from wizard.models.modules import Linear, Module, Tensor
from wizard.models.towers_clip import clip_modules
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patches,
    two_layers,
    vision_frequencies,
    vision_part,
)

SAM_WIDTH, SAM_DEPTH, SAM_HEADS = 768, 12, 12
SAM_IMAGE, SAM_PATCH, SAM_WINDOW = 1024, 16, 14
SAM_GLOBAL_LAYERS = 4
SAM_NECK = 256
"""SAM's ViT-B, which vLLM builds so whatever the config says (deepencoder.py `build_sam_vit_b`)."""

CLIP_LARGE_224 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
}
"""The CLIP that vLLM puts behind it, likewise (deepseek_ocr.py `DeepseekOCRForCausalLM`)."""

QWEN2_WIDTH, QWEN2_DEPTH, QWEN2_MLP, QWEN2_HEADS, QWEN2_KV_HEADS = 896, 24, 4864, 14, 2
"""Qwen2-0.5B as an encoder of DeepSeek-OCR-2 (deepencoder2.py `build_qwen2_decoder_as_encoder`)."""

QWEN2_QUERIES = 144 + 256
"""Learned queries for images of 768 and of 1024 pixels (deepencoder2.py `Qwen2Decoder2Encoder`)."""


def _sam(out: int) -> tuple[LayerStyle, list[Module]]:
    """Windowed attention with relative positions, a neck and two strided convolutions to `out` channels."""
    name = "sam_model"
    style = LayerStyle(
        f"{name}.blocks.{{}}", up="mlp.lin1", down="mlp.lin2", split=False, quantised=False, qkv_parts=()
    )
    head, side = SAM_WIDTH // SAM_HEADS, SAM_IMAGE // SAM_PATCH
    windowed = (SAM_DEPTH - SAM_GLOBAL_LAYERS) * 2 * (2 * SAM_WINDOW - 1)
    everywhere = SAM_GLOBAL_LAYERS * 2 * (2 * side - 1)
    return style, [
        Tensor(f"{name}.pos_embed", side * side * SAM_WIDTH),
        patches(f"{name}.patch_embed.proj", Facts({"patch_size": SAM_PATCH}), SAM_WIDTH, bias=True),
        Tensor(f"{name}.rel_pos", (windowed + everywhere) * head),
        Tensor(f"{name}.neck", SAM_NECK * (SAM_WIDTH + 9 * SAM_NECK)),
        layer_norm(f"{name}.neck.norms", SAM_NECK, count=2),
        Tensor(f"{name}.net_2", 2 * SAM_NECK * 9 * SAM_NECK),
        Tensor(f"{name}.net_3", out * 9 * 2 * SAM_NECK),
    ]


def _projector(config: Facts) -> tuple[Module, int]:
    """One matrix into the decoder, and its width; other projectors belong to DeepSeek-VL2."""
    projector = config.part("projector_config") or Facts({})
    kind = projector.text("projector_type", "linear")
    if kind != "linear":
        raise ConfigError(f"config.json has the projector {short(kind)}, which can't be planned.")
    inputs = projector.int("input_dim", default=1152)
    width = projector.int("n_embed", default=2048)
    return Linear("projector.layers", inputs, (width,), "whole", True, quantised=False), width


def deepseek_ocr(config: Facts, text: Facts) -> Tower:
    """SAM, whose features CLIP goes on with; both are projected."""
    style, sam = _sam(CLIP_LARGE_224["hidden_size"])
    clip = clip_modules(Facts(CLIP_LARGE_224), "vision_model")
    layers = replace(clip.blocks[0], prefix="vision_model.transformer.layers.{}")
    projector, width = _projector(config)
    return Tower(
        (encoder_layers(style, SAM_DEPTH, SAM_WIDTH, 4 * SAM_WIDTH), layers),
        (*sam, *clip.modules, projector),
        everywhere=(Tensor("separators", 2 * width),),
        heads=clip.heads,
    )


def deepseek_ocr2(config: Facts, text: Facts) -> Tower:
    """SAM, whose features a small language model goes on with, whole on every rank."""
    style, sam = _sam(QWEN2_WIDTH)
    prefix = "qwen2_model.model.model"
    keys = QWEN2_WIDTH // QWEN2_HEADS * QWEN2_KV_HEADS
    reader = LayerStyle(
        f"{prefix}.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.o_proj",
        up="mlp.gate_up_proj",
        down="mlp.down_proj",
        bias=False,
        gated=True,
        norm_bias=False,
        split=False,
        quantised=False,
        heads=QWEN2_HEADS,
        kv_heads=QWEN2_KV_HEADS,
        more=QWEN2_WIDTH + 2 * keys,
    )
    projector, width = _projector(config)
    frequencies = QWEN2_WIDTH // QWEN2_HEADS // 2
    return Tower(
        (
            encoder_layers(style, SAM_DEPTH, SAM_WIDTH, 4 * SAM_WIDTH),
            encoder_layers(reader, QWEN2_DEPTH, QWEN2_WIDTH, QWEN2_MLP),
        ),
        (
            *sam,
            layer_norm(f"{prefix}.norm", QWEN2_WIDTH, bias=False),
            Tensor("qwen2_model.queries", QWEN2_QUERIES * QWEN2_WIDTH),
            Tensor(f"{prefix}.rotary_emb", 2 * frequencies, dtype="float32", buffer=True),
            projector,
        ),
        everywhere=(Tensor("view_seperator", width),),
    )


def dots_ocr(config: Facts, text: Facts) -> Tower:
    """Gated MLPs, RMS norms, a norm behind the patches and one behind the layers."""
    vision = vision_part(config)
    width = vision.int("embed_dim", default=1536)
    heads = vision.int("num_attention_heads", default=12, low=1)
    merged = width * vision.int("spatial_merge_size", default=2) ** 2
    name = "vision_tower"
    style = LayerStyle(
        f"{name}.blocks.{{}}",
        up="mlp.fc13",
        down="mlp.fc2",
        bias=vision.flag("use_bias"),
        gated=True,
        norm_bias=False,
        qkv_parts=(),
        up_parts=("fc1", "fc3"),
    )
    depth, mlp = (
        vision.int("num_hidden_layers", default=42),
        vision.int("intermediate_size", default=4224),
    )
    modules: list[Module] = [
        patches(f"{name}.patch_embed.patchifier.proj", vision, width, bias=True),
        layer_norm(f"{name}.patch_embed.patchifier.norm", width, bias=False),
        layer_norm(f"{name}.merger.ln_q", width),
        *two_layers(
            f"{name}.merger.mlp.0",
            f"{name}.merger.mlp.2",
            merged,
            merged,
            vision.int("hidden_size", default=hidden_size(text)),
            quantised=False,
        ),
        vision_frequencies(f"{name}.rotary_pos_emb", width // heads),
    ]
    if vision.flag("post_norm", default=True):
        modules.append(layer_norm(f"{name}.post_trunk_norm", width, bias=False))
    return Tower((encoder_layers(style, depth, width, mlp),), tuple(modules), heads=heads)
