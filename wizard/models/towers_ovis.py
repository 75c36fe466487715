"""Vision encoders of Ovis: a backbone whose features are looked up in a vocabulary of visual words.

Sources: vLLM 0.33 `model_executor/models/{ovis,ovis2_5,aimv2,siglip,siglip2navit}.py`.
"""

from __future__ import annotations

from wizard.errors import ConfigError
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.metadata import short
from wizard.models.modules import Linear, Module, Tensor
from wizard.models.towers_clip import siglip_modules
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    vision_frequencies,
)

INDICATORS, INDICATORS_2_5 = 5, 4
"""Visual words that only mark places and that the encoder never says (`IMAGE_INDICATOR_IDS`, `INDICATOR_IDS`)."""


def _visual_words(width: int, vocabulary: int, indicators: int, hidden: int) -> list[Module]:
    """The head over visual words and their embedding: whole on every rank, never quantised."""
    said = max(0, vocabulary - indicators)
    return [
        Linear("visual_tokenizer.head.0", width, (said,), "whole", quantised=False),
        layer_norm("visual_tokenizer.head.1", said),
        Tensor("vte", vocabulary * hidden),
    ]


def _aimv2(vision: Facts, name: str) -> Tower:
    """AIMv2: learned positions, RMS norms, gated MLPs; Ovis reads the layers without a last norm."""
    width = vision.int("hidden_size", default=1024)
    style = LayerStyle(
        f"{name}.trunk.blocks.{{}}",
        up="mlp.fc13",
        down="mlp.fc2",
        bias=vision.flag("qkv_bias"),
        out_bias=vision.flag("mlp_bias", "use_bias"),
        mlp_bias=vision.flag("mlp_bias", "use_bias"),
        gated=True,
        norm_bias=False,
        qkv_parts=(),
        up_parts=("fc1", "fc3"),
    )
    depth = vision.int("num_hidden_layers", default=24)
    return Tower(
        (encoder_layers(style, depth, width, vision.int("intermediate_size", default=2816)),),
        (
            Tensor(f"{name}.preprocessor.pos_embed", patch_count(vision) * width),
            patches(f"{name}.preprocessor.patchifier.proj", vision, width, bias=True),
            layer_norm(f"{name}.preprocessor.patchifier.norm", width, bias=False),
        ),
        heads=vision.int("num_attention_heads", default=8),
    )


def ovis(config: Facts, text: Facts) -> Tower:
    """Ovis 1.6 (SigLIP) and 2 (AIMv2)."""
    tokenizer = config.part("visual_tokenizer_config") or Facts({})
    vision = tokenizer.part("backbone_config") or Facts({})
    kind, name = vision.text("model_type", "aimv2"), "visual_tokenizer.backbone"
    if kind in ("aimv2", "aimv2_vision_model"):
        tower = _aimv2(vision, name)
    elif kind == "siglip_vision_model":
        tower = siglip_modules(vision, f"{name}.vision_model")
    else:
        raise ConfigError(f"config.json has the visual tokenizer {short(kind)}, which can't be planned.")
    stride = tokenizer.int("hidden_stride", default=1, low=1)
    width = vision.int("hidden_size", default=1024) * stride * stride
    words = _visual_words(width, tokenizer.int("vocab_size", default=16384), INDICATORS, hidden_size(text))
    return Tower(tower.blocks, (*tower.modules, *words), heads=tower.heads)


def ovis2_5(config: Facts, text: Facts) -> Tower:
    """Ovis 2.5 and 2.6: a SigLIP 2 for any resolution, with rotary positions beside the learned ones."""
    vision = config.part("vit_config") or Facts({})
    width = vision.int("hidden_size", default=1152)
    heads = vision.int("num_attention_heads", default=16, low=1)
    name = "visual_tokenizer.vit.vision_model"
    count = vision.get("num_patches")
    fixed = isinstance(count, int) and count > 0
    positions = vision.int("num_patches") if fixed else patch_count(vision, image=512, patch=16)
    style = LayerStyle(f"{name}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    modules: list[Module] = [
        patches(f"{name}.embeddings.patch_embedding", vision, width, bias=True),
        layer_norm(f"{name}.post_layernorm", width),
        vision_frequencies(f"{name}.encoder.rotary_pos_emb", width // heads),
    ]
    if vision.flag("preserve_original_pe", default=True):
        modules.append(Tensor(f"{name}.embeddings.position_embedding", positions * width))
    stride = vision.int("hidden_stride", default=2, low=1)
    vocabulary = config.int("visual_vocab_size", default=65536)
    modules += _visual_words(width * stride * stride, vocabulary, INDICATORS_2_5, hidden_size(text))
    depth = vision.int("num_hidden_layers", default=27)
    block = encoder_layers(style, depth, width, vision.int("intermediate_size", default=4304))
    return Tower((block,), tuple(modules), heads=heads)
