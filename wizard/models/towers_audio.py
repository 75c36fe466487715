"""Audio encoders with their projectors.

Sources: vLLM 0.33 `model_executor/models/{whisper,qwen2_audio,audioflamingo3,voxtral,qwen3_omni_moe_thinker}.py`;
transformers' Whisper encoder, which some of them load as it is (whole on every rank).
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Block, Linear, Module, Tensor
from wizard.models.vit import LayerStyle, Tower, encoder_layers, layer_norm, two_layers


def whisper_layers(name: str, audio: Facts) -> Tower:
    """Transformers' Whisper encoder: two convolutions, learned positions, keys without bias."""
    width = audio.int("d_model", "hidden_size", default=1280)
    mlp = audio.int("encoder_ffn_dim", "intermediate_size", default=5120)
    bins = audio.int("num_mel_bins", default=128)
    positions = audio.int("max_source_positions", default=1500)
    depth = audio.int("encoder_layers", "num_hidden_layers", default=32)
    style = LayerStyle(
        f"{name}.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        up="fc1",
        down="fc2",
        fused_qkv=False,
        split=False,
        quantised=False,
        more=-width,
    )
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            Tensor(f"{name}.conv1", width * (bins * 3 + 1)),
            Tensor(f"{name}.conv2", width * (width * 3 + 1)),
            Tensor(f"{name}.embed_positions", positions * width),
            layer_norm(f"{name}.layer_norm", width),
        ),
    )


def cut_whisper_layers(name: str, audio: Facts) -> Tower:
    """vLLM's own Whisper encoder: fused projections with a bias each, cut by TP."""
    width = audio.int("d_model", "hidden_size", default=1280)
    mlp = audio.int("encoder_ffn_dim", "intermediate_size", default=5120)
    bins = audio.int("num_mel_bins", default=128)
    positions = audio.int("max_source_positions", default=1500)
    depth = audio.int("encoder_layers", "num_hidden_layers", default=32)
    style = LayerStyle(f"{name}.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    return Tower(
        (encoder_layers(style, depth, width, mlp),),
        (
            Tensor(f"{name}.conv1", width * (bins * 3 + 1)),
            Tensor(f"{name}.conv2", width * (width * 3 + 1)),
            Tensor(f"{name}.embed_positions", positions * width),
            layer_norm(f"{name}.layer_norm", width),
        ),
        heads=audio.int("encoder_attention_heads", "num_attention_heads", default=20),
    )


def qwen2_audio(config: Facts, text: Facts) -> Tower:
    """One matrix from the encoder to the decoder."""
    audio = config.part("audio_config") or Facts({})
    tower = whisper_layers("audio_tower", audio)
    width = audio.int("d_model", default=1280)
    projector = Linear(
        "multi_modal_projector.linear", width, (hidden_size(text),), "whole", True, quantised=False
    )
    return Tower(tower.blocks, (*tower.modules, projector))


def audio_flamingo(config: Facts, text: Facts) -> Tower:
    """Two matrices from the encoder to the decoder."""
    audio = config.part("audio_config") or Facts({})
    tower = whisper_layers("audio_tower", audio)
    width, hidden = audio.int("d_model", "hidden_size", default=1280), hidden_size(text)
    name = "multi_modal_projector"
    projector = two_layers(
        f"{name}.linear_1", f"{name}.linear_2", width, hidden, hidden, split=False, quantised=False
    )
    return Tower(tower.blocks, (*tower.modules, *projector))


def voxtral(config: Facts, text: Facts) -> Tower:
    """Groups of frames are projected into the decoder without biases."""
    audio = config.part("audio_config") or Facts({})
    tower = cut_whisper_layers("whisper_encoder.whisper_encoder", audio)
    grouped = audio.int("intermediate_size", default=5120)
    hidden = hidden_size(text)
    projector = two_layers(
        "audio_language_adapter.w_in",
        "audio_language_adapter.w_out",
        grouped,
        hidden,
        hidden,
        bias=False,
        split=False,
        quantised=False,
    )
    return Tower(tower.blocks, (*tower.modules, *projector), heads=tower.heads)


def whisper(config: Facts, text: Facts) -> Tower:
    """The encoder half of an encoder-decoder model."""
    return cut_whisper_layers("model.encoder", config)


def qwen3_audio(audio: Facts, text: Facts) -> tuple[Block, list[Module]]:
    """Three strided convolutions leave an eighth of the mel bins; two matrices lead to the decoder."""
    width = audio.int("d_model", default=1280)
    channels = audio.int("downsample_hidden_size", default=480)
    bins = audio.int("num_mel_bins", default=128)
    positions = audio.int("max_source_positions", default=1500)
    out = audio.int("output_dim", default=hidden_size(text))
    name = "audio_tower"
    style = LayerStyle(
        f"{name}.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj", up="fc1", down="fc2"
    )
    block = encoder_layers(
        style, audio.int("encoder_layers", default=32), width, audio.int("encoder_ffn_dim", default=5120)
    )
    for _ in range(3):
        bins = -(-bins // 2)
    modules: list[Module] = [
        Tensor(f"{name}.conv2d1", channels * 10),
        Tensor(f"{name}.conv2d2", 2 * channels * (9 * channels + 1)),
        Linear(f"{name}.conv_out", channels * bins, (width,), "whole"),
        layer_norm(f"{name}.ln_post", width),
        Linear(f"{name}.proj1", width, (width,), "whole", True),
        Linear(f"{name}.proj2", width, (out,), "whole", True),
        Tensor(f"{name}.positional_embedding", positions * width, dtype="float32", buffer=True),
    ]
    return block, modules


def qwen3_asr(config: Facts, text: Facts) -> Tower:
    thinker = config.part("thinker_config") or config
    block, modules = qwen3_audio(thinker.part("audio_config") or Facts({}), text)
    return Tower((block,), tuple(modules))
