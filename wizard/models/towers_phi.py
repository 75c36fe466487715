"""Eyes and ears of Phi-4 multimodal: a SigLIP of fixed sizes and a conformer.

Sources: vLLM 0.33 `model_executor/models/{phi4mm,phi4mm_audio,phi4mm_utils,idefics2_vision_model}.py`.
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Block, Linear, Module, Tensor
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_indices,
    layer_norm,
    patch_count,
    patches,
    two_layers,
)

SIGLIP_448 = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 14,
}
"""The image encoder that vLLM builds without asking the config (phi4mm.py `get_navit_vision_model`)."""

DEFAULT_LAYER = -2
"""The layer whose output is read where `img_processor` doesn't say (phi4mm.py `Phi4MMImageEncoder`)."""


def phi4mm(config: Facts, text: Facts) -> Tower:
    """Images and sound, each with a projector of two matrices; sound has a second one for use beside images."""
    eyes, sight = _image_encoder(config, text)
    ears, hearing = _conformer(config, text)
    return Tower((eyes, ears), (*sight, *hearing), heads=SIGLIP_448["num_attention_heads"])


def _image_encoder(config: Facts, text: Facts) -> tuple[Block, list[Module]]:
    vision = Facts(SIGLIP_448)
    width, depth = SIGLIP_448["hidden_size"], SIGLIP_448["num_hidden_layers"]
    chosen = config.part("img_processor") or Facts({})
    layer = chosen.int("layer_idx", low=-depth, default=DEFAULT_LAYER)
    name = "vision_encoder"
    style = LayerStyle(
        f"{name}.img_processor.encoder.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        quantised=False,
    )
    block = encoder_layers(
        style,
        min(depth, layer + 1 if layer >= 0 else depth + layer + 1),
        width,
        SIGLIP_448["intermediate_size"],
    )
    hidden = hidden_size(text)
    return block, [
        Tensor(f"{name}.separators", 2 * width),
        patches(f"{name}.img_processor.embeddings.patch_embedding", vision, width, bias=True),
        Tensor(f"{name}.img_processor.embeddings.position_embedding", patch_count(vision) * width),
        *two_layers(
            f"{name}.img_projection.0",
            f"{name}.img_projection.2",
            width,
            hidden,
            hidden,
            split=False,
            quantised=False,
        ),
    ]


def _conformer(config: Facts, text: Facts) -> tuple[Block, list[Module]]:
    """Convolutions that shorten time, then layers of two halved MLPs around attention and a convolution.

    Everything is whole on every rank and never quantised.
    """
    audio = (config.part("audio_processor") or Facts({})).part("config") or Facts({})
    width = audio.int("attention_dim", default=256)
    bins = audio.int("input_size", low=1)
    embedding = audio.part("nemo_conv_settings") or Facts({})
    channels = embedding.int("conv_channels", default=width)
    stages = max(1, audio.int("time_reduction", default=4, low=1).bit_length() - 1)
    left = bins
    for _ in range(stages):
        left = -(-left // 2)
    bias = audio.part("relative_attention_bias_args") or Facts({})
    distance = bias.int("t5_bias_max_distance", default=1000)
    sides = 1 if bias.flag("t5_bias_symmetric") else 2
    name = "embed_tokens_extend"
    modules: list[Module] = [
        Tensor(
            f"{name}.encoder.embed.conv", stages * 10 * channels + (stages - 1) * channels * (channels + 1)
        ),
        _whole(f"{name}.encoder.embed.out", channels * left, width),
        Tensor(
            f"{name}.encoder.relative_attention_bias_layer",
            sides * distance * audio.int("attention_heads", default=4),
        ),
        Tensor(f"{name}.encoder.encoder_embedding", 2 * bins),
        Tensor(f"{name}.encoder.dev_type", 1, buffer=True),
    ]
    hidden = hidden_size(text)
    settings = (config.part("embd_layer") or Facts({})).part("audio_embd_layer") or Facts({})
    merged = width * settings.int("downsample_rate", default=1, low=1)
    for projector in ("audio_projection", "audio_projection_for_vision"):
        first, second = f"{name}.{projector}.0", f"{name}.{projector}.2"
        modules += two_layers(first, second, merged, hidden, hidden, split=False, quantised=False)
    return _conformer_layers(f"{name}.encoder.encoders.{{}}", audio, width), modules


def _conformer_layers(prefix: str, audio: Facts, width: int) -> Block:
    inner = audio.int("linear_units", default=2048)
    out = audio.int("ext_pw_out_channel", default=0)
    depthwise = audio.int("depthwise_seperable_out_channel", default=256)
    kernel = audio.int("kernel_size", default=3)
    modules: list[Module] = []
    for part in ("feed_forward_in", "feed_forward_out"):
        modules += [
            _whole(f"{part}.net.0.linear", width, 2 * inner),
            _whole(f"{part}.net.2", inner, width),
        ]
    modules += [_whole(f"self_attn.linear_{part}", width, width) for part in ("q", "k", "v", "out")]
    modules += [
        _whole("conv.glu.ext_pw_conv_1d", width, 2 * out),
        _whole("conv.ext_pw_conv_1d", width, out),
        Tensor("conv.dw_conv", width * (kernel + 1)),
        _whole("conv.pw_conv", width, depthwise),
        layer_norm("norms", width, count=5),
    ]
    if audio.flag("bias_in_glu", default=True):
        modules.append(Tensor("conv.glu.biases", 2 * out))
    return Block(prefix, layer_indices(audio.int("num_blocks", default=6)), tuple(modules))


def _whole(name: str, inputs: int, outputs: int) -> Linear:
    return Linear(name, inputs, (outputs,), "whole", True, quantised=False)
