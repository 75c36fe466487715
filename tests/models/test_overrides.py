"""What --hf-overrides changes of a model: how long its sequences may be, as vLLM 0.27 takes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.launching import card, launched, model
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.models.overrides import with_overrides
from wizard.planning.gates import refusal
from wizard.planning.launch import resolve
from wizard.schemas.outputs import VLLMConfig

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 131072}
SHORT = {"max_position_embeddings": 8192}


def nested() -> ModelMetadata:
    text = {
        "model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }  # fmt: skip
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "text_config": text, "vision_config": {"hidden_size": 1152},
    }  # fmt: skip
    return metadata_from_config(config, model="org/model", source="path")


def cause(overrides: dict[str, Any] | None, length: int, version: str) -> str | None:
    config = VLLMConfig(model="org/model", max_model_len=length, hf_overrides=overrides)
    found = refusal(resolve(config, model(), card("h100"), version=version))
    return found.cause if found else None


@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
def test_yarn_lets_a_longer_length_start(name: str) -> None:
    assert cause(None, 524288, "0.27.1") == "invalid_config"
    assert cause({name: YARN}, 524288, "0.27.1") is None
    assert cause({name: YARN}, 524289, "0.27.1") == "invalid_config"


def test_since_0_30_yarn_alone_lengthens_nothing() -> None:
    assert cause({"rope_parameters": YARN}, 524288, "0.30.0") == "invalid_config"
    longer = {"rope_parameters": YARN, "max_position_embeddings": 524288}
    assert cause(longer, 524288, "0.30.0") is None


def test_a_length_in_the_overrides_is_the_default_length() -> None:
    assert launched(hf_overrides=SHORT).max_model_len == 8192


def test_beside_a_decoder_section_a_key_at_the_top_changes_nothing_of_it() -> None:
    metadata = nested()
    assert with_overrides(metadata, SHORT) is metadata
    assert with_overrides(metadata, {"text_config": SHORT}).max_position_embeddings == 8192


def test_within_a_decoder_section_rope_keys_are_merged() -> None:
    changed = with_overrides(nested(), {"text_config": {"rope_scaling": {"factor": 2.0}}})
    assert changed.text["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    "overrides",
    [
        {"max_position_embeddings": -1},
        {"max_position_embeddings": "long"},
        {"rope_parameters": {"rope_type": "yarn", "factor": "x"}},
        {"rope_parameters": {**YARN, "original_max_position_embeddings": [1]}},
        {"rope_parameters": []},
        {"text_config": 3},
        {"num_labels": 2},
    ],
)
def test_what_makes_no_length_is_not_looked_at(overrides: dict[str, Any]) -> None:
    assert launched(hf_overrides=overrides).max_model_len == 131072


def test_the_same_overrides_give_the_same_object() -> None:
    metadata = model()
    assert with_overrides(metadata, dict(SHORT)) is with_overrides(metadata, dict(SHORT))
    renamed = with_overrides(metadata, {**SHORT, "architectures": ["MistralForCausalLM"]})
    assert (renamed.architecture, renamed.max_position_embeddings) == ("MistralForCausalLM", 8192)
