"""RADIO, the vision encoder of Nemotron Nano VL, and Parakeet beside it in Nemotron Omni.

Sources: vLLM 0.33 `model_executor/models/{nano_nemotron_vl,radio}.py`, `transformers_utils/configs/radio.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard.errors import ConfigError
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.metadata import short
from wizard.models.modules import Block, Module, Tensor
from wizard.models.towers_speech import parakeet
from wizard.models.vit import LayerStyle, Tower, encoder_layers, layer_norm, two_layers, vision_part

VIT_SIZES: Mapping[str, tuple[int, int, int, int]] = {
    "vit_small_patch16_224": (384, 12, 6, 1536),
    "vit_base_patch16_224": (768, 12, 12, 3072),
    "vit_large_patch16_224": (1024, 24, 16, 4096),
    "vit_huge_patch16_224": (1280, 32, 16, 5120),
    "vit_so400m_patch16_224": (1152, 27, 16, 4304),
}
"""timm's names of vision transformers, which the config gives instead of sizes -> width, layers, heads, MLP width
(configs/radio.py `VIT_TIMM_DIM_BY_NAME`)."""


def _radio(vision: Facts) -> tuple[Block, list[Module], int]:
    """Layer scales, positions for the largest image, a class token per teacher with registers beside them."""
    settings = vision.part("args") or Facts({})
    named = settings.text("model")
    if named not in VIT_SIZES:
        raise ConfigError(f"config.json names the vision encoder {short(named)}, whose sizes are not known.")
    width, depth, heads, mlp = VIT_SIZES[named]
    size = vision.int("patch_size", default=16, low=1)
    side = round(settings.int("cpe_max_size", default=2048) / size)
    name = "vision_model.model"
    modules: list[Module] = [
        Tensor(f"{name}.patch_generator.pos_embed", side * side * width),
        Tensor(f"{name}.patch_generator.embedder", 3 * size * size * width),
        Tensor(f"{name}.patch_generator.cls_token", _class_tokens(settings) * width),
    ]
    frames = vision.int("video_temporal_patch_size", default=1)
    if frames > 1:
        modules.append(Tensor(f"{name}.patch_generator.video_embedder", 3 * frames * size * size * width))
    summaries = sum(teacher.flag("use_summary", default=True) for teacher in _teachers(settings))
    if summaries:
        modules.append(Tensor("vision_model.summary_idxs", summaries, dtype="int64", buffer=True))
    normed = settings.flag("qk_normalization")
    rms = settings.text("norm_type", "layer_norm") == "rms_norm"
    style = LayerStyle(
        f"{name}.encoder.layers.{{}}",
        bias=settings.flag("qkv_bias", default=True),
        out_bias=True,
        mlp_bias=True,
        norm_bias=not rms,
        more=2 * width,
        head_norm=width if normed else 0,
        quantised=False,
    )
    return encoder_layers(style, depth, width, mlp), modules, heads


def _teachers(settings: Facts) -> list[Facts]:
    """The models that the encoder was taught by; each is an object."""
    listed = settings.list("teachers") or ()
    found = [Facts({"teacher": item}).part("teacher") for item in listed]
    return [teacher for teacher in found if teacher is not None]


def _class_tokens(settings: Facts) -> int:
    """One per teacher (or one), filled up with registers to a multiple; a full multiple gets another one."""
    names = {str(teacher.get("name")) for teacher in _teachers(settings)}
    tokens = len(names) if settings.flag("cls_token_per_teacher") else 1
    multiple = settings.int("register_multiple", default=0)
    return tokens + (multiple - tokens % multiple if multiple else 0)


def nemotron_vl(config: Facts, text: Facts) -> Tower:
    """RADIO, patches shuffled into channels, two matrices; all but the layers is whole on every rank."""
    block, modules, heads = _radio(vision_part(config))
    width = config.int("vit_hidden_size", low=1)
    ratio = config.number("downsample_ratio", 0.5)
    merged = width * (round(1 / ratio) ** 2 if ratio else 1)
    middle = config.int("projector_hidden_size", low=1)
    if text.int("num_nextn_predict_layers", default=0):
        modules.append(layer_norm("vision_final_layernorm", width))
    modules += [
        layer_norm("mlp1.0", merged, bias=False),
        *two_layers(
            "mlp1.1", "mlp1.3", merged, middle, hidden_size(text), bias=False, split=False, quantised=False
        ),
    ]
    sound = config.part("sound_config")
    if sound is None:
        return Tower((block,), tuple(modules), heads=heads)
    ears, hearing = parakeet(sound, text)
    return Tower((block, ears), (*modules, *hearing), heads=heads)
