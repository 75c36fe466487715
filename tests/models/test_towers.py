"""Encoders whose sizes a config tells by a name, or doesn't tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.launching import launched, model
from wizard.errors import ConfigError
from wizard.models.tree import module_tree, parameter_count
from wizard.planning.vision import held_encoder_bytes, is_multimodal

ULTRAVOX = {"architectures": ["UltravoxModel"], "model_type": "ultravox", "stack_factor": 8}
DECODER = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
MEDIUM = {
    "model_type": "whisper",
    "d_model": 1024,
    "encoder_layers": 24,
    "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "num_mel_bins": 80,
}
RADIO = {
    "architectures": ["NemotronH_Nano_VL_V2"],
    "model_type": "NemotronH_Nano_VL_V2",
    "vit_hidden_size": 1280,
    "projector_hidden_size": 20480,
    "hybrid_override_pattern": "*-*-",
    "num_hidden_layers": 4,
}


def _parameters(**changes: Any) -> int:
    return parameter_count(model(**changes))


def test_a_named_whisper_is_as_large_as_one_whose_sizes_are_given() -> None:
    named = _parameters(**ULTRAVOX, text_config=DECODER, audio_model_id="openai/whisper-medium")
    assert named == _parameters(**ULTRAVOX, text_config=DECODER, audio_config=MEDIUM)
    english = _parameters(**ULTRAVOX, text_config=DECODER, audio_model_id="openai/whisper-medium.en")
    assert english == named
    larger = _parameters(**ULTRAVOX, text_config=DECODER, audio_model_id="openai/whisper-large-v3-turbo")
    assert larger > named + 300_000_000


def test_a_model_that_only_names_its_ears_hears() -> None:
    metadata = model(**ULTRAVOX, text_config=DECODER, audio_model_id="openai/whisper-medium")
    assert is_multimodal(metadata)
    assert held_encoder_bytes(launched(metadata)) > 0


def test_an_encoder_elsewhere_that_is_not_known_is_asked_for() -> None:
    metadata = model(**ULTRAVOX, text_config=DECODER, audio_model_id="org/own-ears")
    with pytest.raises(ConfigError, match=r"leaves its audio encoder to 'org/own-ears'.*into audio_config"):
        module_tree(metadata)


def test_a_decoder_elsewhere_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"leaves its decoder to 'org/decoder'.*into text_config"):
        model(**ULTRAVOX, audio_config=MEDIUM, text_model_id="org/decoder")
    both = model(**ULTRAVOX, audio_config=MEDIUM, text_config=DECODER, text_model_id="org/decoder")
    assert both.hidden_size == 2048


def test_a_vision_encoder_is_as_large_as_its_name_says() -> None:
    huge = model(**RADIO, vision_config={"args": {"model": "vit_huge_patch16_224"}})
    large = model(**RADIO, vision_config={"args": {"model": "vit_large_patch16_224"}})
    assert [len(block.indices) for block in module_tree(huge).towers] == [32]
    assert [len(block.indices) for block in module_tree(large).towers] == [24]
    assert parameter_count(huge) > parameter_count(large) + 300_000_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (RADIO | {"vision_config": {"args": {"model": "vit_own"}}}, "names the vision encoder 'vit_own'"),
        (
            {
                "architectures": ["Ovis"],
                "model_type": "ovis",
                "visual_tokenizer_config": {"backbone_config": {"model_type": "own_vit"}},
            },
            "the visual tokenizer 'own_vit', which can't be planned",
        ),
        (
            {
                "architectures": ["DeepseekOCRForCausalLM"],
                "model_type": "deepseek_vl_v2",
                "projector_config": {"projector_type": "identity"},
            },
            "the projector 'identity', which can't be planned",
        ),
        (
            {
                "architectures": ["DotsOCRForCausalLM"],
                "model_type": "dots_ocr",
                "vision_config": {"num_hidden_layers": 5_000_000},
            },
            "5000000 encoder layers are out of any model's range",
        ),
    ],
    ids=["RADIO's name", "Ovis' backbone", "OCR's projector", "depth"],
)
def test_an_encoder_that_cannot_be_described_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        module_tree(model(**changes))
    assert "\n" not in str(caught.value)
