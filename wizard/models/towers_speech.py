"""Encoders of speech with projectors of their own: Granite Speech, Ultravox and Nemotron's Parakeet.

Sources: vLLM 0.33 `model_executor/models/{granite_speech,granite_speech_plus,blip2,ultravox,whisper,parakeet}.py`;
transformers' Parakeet encoder.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard.errors import ConfigError
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.metadata import short
from wizard.models.modules import Block, Linear, Module, Tensor
from wizard.models.towers_audio import cut_whisper_layers
from wizard.models.vit import LayerStyle, Tower, encoder_layers, layer_indices, layer_norm


def granite_speech(config: Facts, text: Facts) -> Tower:
    """A conformer whose MLPs alone are cut, and a query transformer that reads windows of it."""
    audio = config.part("encoder_config") or Facts({})
    width = audio.int("hidden_dim", default=1024)
    guess = audio.int("output_dim", default=42)
    projector, modules = _query_transformer(config, text, width)
    return Tower(
        (_conformer(audio, width), projector),
        (
            _matrix("encoder.input_linear", audio.int("input_dim", default=160), width),
            Linear("encoder.out", width, (guess,), bias=True),
            Linear("encoder.out_mid", guess, (width,), "row", True),
            *modules,
        ),
    )


def _conformer(audio: Facts, width: int) -> Block:
    """Halved MLPs around attention with relative positions and a gated convolution with a batch norm."""
    inner = width * audio.int("feedforward_mult", default=4)
    heads = audio.int("num_heads", default=8, low=1)
    dim = audio.int("dim_head", default=0) or width // heads
    attended = heads * dim
    wide = width * audio.int("conv_expansion_factor", default=2)
    kernel = audio.int("conv_kernel_size", default=15)
    modules: list[Module] = []
    for part in ("ff1", "ff2"):
        modules += [
            Linear(f"{part}.up_proj", width, (inner,), bias=True, quantised=False),
            Linear(f"{part}.down_proj", inner, (width,), "row", True, quantised=False),
        ]
    modules += [
        _matrix("attn.to_q", width, attended, bias=False),
        _matrix("attn.to_kv", width, 2 * attended, bias=False),
        _matrix("attn.to_out", attended, width),
        Tensor("attn.rel_pos_emb", (2 * audio.int("max_pos_emb", default=512) + 1) * dim),
        _matrix("conv.up_conv", width, 2 * wide),
        Tensor("conv.depth_conv", wide * kernel),
        *_batch_norm("conv.batch_norm", wide),
        _matrix("conv.down_conv", wide, width),
        layer_norm("norms", width, count=5),
    ]
    depth = audio.int("num_layers", default=10)
    return Block("encoder.layers.{}", layer_indices(depth), tuple(modules))


def _query_transformer(config: Facts, text: Facts, encoded: int) -> tuple[Block, list[Module]]:
    """BLIP-2's: learned queries attend to themselves and, in every n-th layer, to the encoder's output."""
    projector = config.part("projector_config") or Facts({})
    width = projector.int("hidden_size", default=768)
    inner = projector.int("intermediate_size", default=3072)
    depth = projector.int("num_hidden_layers", default=12)
    every = projector.int("cross_attention_frequency", default=2, low=1)
    crossing = -(-depth // every)
    heard = projector.int("encoder_hidden_size", default=encoded)
    window = config.int("window_size", default=15)
    queries = window // config.int("downsample_rate", default=5, low=1)
    name = "projector.qformer"
    style = LayerStyle(
        f"{name}.encoder.layer.{{}}",
        qkv="attention.attention.qkv",
        out="attention.output.dense",
        up="intermediate_query.dense",
        down="output_query.dense",
        fused_qkv=False,
        split=False,
        quantised=False,
        qkv_parts=("query", "key", "value"),
    )
    block = encoder_layers(style, depth, width, inner)
    crossed: list[Module] = []
    for number in range(crossing):
        cross = f"{name}.encoder.layer.{number * every}.crossattention"
        crossed += [
            _matrix(f"{cross}.attention.query", width, width),
            _matrix(f"{cross}.attention.key", heard, width),
            _matrix(f"{cross}.attention.value", heard, width),
            _matrix(f"{cross}.output.dense", width, width),
            layer_norm(f"{cross}.output.LayerNorm", width),
        ]
    return block, [
        *crossed,
        Tensor("projector.query", queries * width),
        layer_norm(f"{name}.layernorm", width),
        _matrix("projector.linear", width, hidden_size(text)),
    ]


def _whisper(width: int, depth: int, heads: int, bins: int = 80) -> Mapping[str, int]:
    return {
        "d_model": width,
        "encoder_layers": depth,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "num_mel_bins": bins,
    }


WHISPERS: Mapping[str, Mapping[str, int]] = {
    "openai/whisper-tiny": _whisper(384, 4, 6),
    "openai/whisper-base": _whisper(512, 6, 8),
    "openai/whisper-small": _whisper(768, 12, 12),
    "openai/whisper-medium": _whisper(1024, 24, 16),
    "openai/whisper-large-v2": _whisper(1280, 32, 20),
    "openai/whisper-large-v3": _whisper(1280, 32, 20, 128),
    "openai/whisper-large-v3-turbo": _whisper(1280, 32, 20, 128),
}
"""The encoders that `audio_model_id` may name instead of giving sizes (openai/whisper `model.py` and README,
configs of the repositories so named)."""


def _ears(config: Facts) -> Facts:
    """The encoder's section, or that of the Whisper that is named: vLLM takes the named one where both are given."""
    named = config.text("audio_model_id")
    if not named:
        return config.part("audio_config") or Facts({})
    sizes = WHISPERS.get(named.removesuffix(".en"))
    section = config.part("audio_config")
    if sizes is None and section is None:
        raise ConfigError(
            f"config.json leaves its audio encoder to {short(named, 80)} and has none of its sizes; put that "
            "model's config.json into audio_config to plan it."
        )
    return Facts(sizes) if sizes is not None else section or Facts({})


def ultravox(config: Facts, text: Facts) -> Tower:
    """vLLM's Whisper encoder, and stacked frames through two matrices or through layers like the encoder's."""
    audio = _ears(config)
    ears = cut_whisper_layers("audio_tower", audio)
    width = audio.int("d_model", "hidden_size", default=1280)
    stacked = width * config.int("stack_factor", default=8)
    hidden, name = hidden_size(text), "multi_modal_projector"
    norm = layer_norm(f"{name}.ln_pre", stacked, bias=False)
    depth = config.int("num_projector_layers", default=0)
    if depth:
        block = ears.blocks[0]
        layers = Block(f"{name}.layers.{{}}", layer_indices(depth), block.modules)
        positions = audio.int("max_source_positions", default=1500)
        projector: tuple[Module, ...] = (
            norm,
            Linear(f"{name}.linear_in", stacked, (width,), "whole", True),
            Tensor(f"{name}.embed_positions", positions * width),
            layer_norm(f"{name}.ln_post", width, bias=False),
            Linear(f"{name}.linear_out", width, (hidden,), "whole", True),
        )
        return Tower((block, layers), (*ears.modules, *projector), heads=ears.heads)
    middle = config.int("hidden_size", default=4096)
    halved = middle // 2 if config.text("projector_act", "swiglu") == "swiglu" else middle
    projector = (
        norm,
        Linear(f"{name}.linear_1", stacked, (middle,), "whole"),
        Linear(f"{name}.linear_2", halved, (hidden,), "whole"),
        layer_norm(f"{name}.ln", halved if config.flag("projector_ln_mid") else hidden, bias=False),
    )
    return Tower(ears.blocks, (*ears.modules, *projector), heads=ears.heads)


def parakeet(sound: Facts, text: Facts) -> tuple[Block, list[Module]]:
    """A conformer behind strided convolutions, and two matrices into the decoder: whole on every rank.

    vLLM takes the biases of attention and MLPs away, whatever the config says (configs/parakeet.py).
    """
    width = sound.int("hidden_size", default=1024)
    inner = sound.int("intermediate_size", default=4096)
    bias = sound.flag("convolution_bias", default=True)
    kernel = sound.int("conv_kernel_size", default=9)
    name = "sound_encoder"
    modules: list[Module] = []
    for part in ("feed_forward1", "feed_forward2"):
        modules += [
            _matrix(f"{part}.linear1", width, inner, bias=False),
            _matrix(f"{part}.linear2", inner, width, bias=False),
        ]
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "relative_k_proj")
    modules += [_matrix(f"self_attn.{part}", width, width, bias=False) for part in parts]
    modules += [
        Tensor("self_attn.biases", 2 * width),
        _matrix("conv.pointwise_conv1", width, 2 * width, bias=bias),
        Tensor("conv.depthwise_conv", width * (kernel + (1 if bias else 0))),
        *_batch_norm("conv.norm", width),
        _matrix("conv.pointwise_conv2", width, width, bias=bias),
        layer_norm("norms", width, count=5),
    ]
    depth = sound.int("num_hidden_layers", default=24)
    layers = Block(f"{name}.encoder.layers.{{}}", layer_indices(depth), tuple(modules))
    channels = sound.int("subsampling_conv_channels", default=256)
    area = sound.int("subsampling_conv_kernel_size", default=3) ** 2 + 1
    stages = max(1, sound.int("subsampling_factor", default=8, low=1).bit_length() - 1)
    stride = sound.int("subsampling_conv_stride", default=2, low=1)
    left = sound.int("num_mel_bins", default=80) // stride**stages
    middle = sound.int("projection_hidden_size", low=1)
    biased = sound.flag("projection_bias")
    return layers, [
        Tensor(
            f"{name}.encoder.subsampling.layers",
            stages * channels * area + (stages - 1) * channels * (channels + 1),
        ),
        _matrix(f"{name}.encoder.subsampling.linear", channels * left, width),
        Tensor(f"{name}.encoder.encode_positions", width // 2, buffer=True),
        layer_norm(f"{name}.projection.norm", width, bias=False),
        _matrix(f"{name}.projection.linear1", width, middle, bias=biased),
        _matrix(f"{name}.projection.linear2", middle, hidden_size(text), bias=biased),
    ]


def _batch_norm(name: str, width: int) -> list[Module]:
    """Weight and bias, and what it has seen: means, variances and how many batches."""
    return [
        layer_norm(name, width),
        Tensor(f"{name}.running", 2 * width, buffer=True),
        Tensor(f"{name}.num_batches_tracked", 1, dtype="int64", buffer=True),
    ]


def _matrix(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Linear:
    """Whole on every rank, stored as the checkpoint's dtype."""
    return Linear(name, inputs, (outputs,), "whole", bias, quantised=False)
