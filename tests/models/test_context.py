"""The longest context, by the config's keys and by version."""

from __future__ import annotations

import pytest

from wizard.errors import ConfigError
from wizard.models.context import derived_length

NEW = (0, 33, 0)
OLD = (0, 19, 1)


def test_the_smallest_length_key_counts() -> None:
    assert derived_length({"max_position_embeddings": 8192, "max_seq_length": 4096}).length == 4096


def test_without_any_key_it_is_2048() -> None:
    found = derived_length({})
    assert (found.length, found.key) == (2048, None)


def test_model_max_length_replaces_the_smallest_key() -> None:
    found = derived_length({"max_position_embeddings": 8192, "model_max_length": 131072})
    assert (found.length, found.key) == (131072, "model_max_length")


@pytest.mark.parametrize("name", ["n_positions", "seq_length", "max_seq_len"])
def test_aliases_are_named_as_transformers_names_them(name: str) -> None:
    assert derived_length({name: 512}).key == "max_position_embeddings"


def test_linear_rope_multiplies_the_length() -> None:
    text = {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 8.0}}
    assert derived_length(text).length == 32768


@pytest.mark.parametrize("kind", ["llama3", "longrope", "su", "yarn"])
def test_types_that_hold_the_scaled_length_are_left_alone(kind: str) -> None:
    rope = {"rope_type": kind, "factor": 8.0, "original_max_position_embeddings": 8192}
    assert (
        derived_length({"max_position_embeddings": 131072, "rope_scaling": rope}, number=NEW).length == 131072
    )


def test_yarn_multiplied_the_original_length_before_0_30() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    text = {"max_position_embeddings": 40960, "rope_scaling": rope}
    assert derived_length(text, number=OLD).length == 131072
    assert derived_length(text, number=NEW).length == 40960


def test_longrope_defaults_to_the_original_length_but_allows_more() -> None:
    text = {
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
    }
    found = derived_length(text)
    assert (found.length, found.default) == (131072, 4096)
    assert found.allows(131072)
    assert not found.allows(131073)


def test_gemma3_is_never_scaled() -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_type": "default"},
    }
    text = {"model_type": "gemma3_text", "max_position_embeddings": 131072, "rope_parameters": rope}
    assert derived_length(text).length == 131072


def test_per_layer_rope_scales_by_its_own_factor() -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 2.0},
        "sliding_attention": {"rope_type": "default"},
    }
    assert derived_length({"max_position_embeddings": 4096, "rope_parameters": rope}).length == 8192


def test_tokenizer_limits_absolute_positions_alone() -> None:
    limit = {"model_max_length": 512}
    absolute = {"max_position_embeddings": 1024, "position_embedding_type": "absolute"}
    assert derived_length(absolute, tokenizer_config=limit).length == 512
    assert derived_length({"max_position_embeddings": 1024}, tokenizer_config=limit).length == 1024


def test_sentence_transformers_length_wins() -> None:
    assert derived_length({"max_position_embeddings": 514}, encoder_max_length=512).length == 512


@pytest.mark.parametrize("value", [0, -1, "4096", [4096], float("nan"), float("inf"), True, 1 << 40])
def test_a_length_that_is_none_is_refused_in_a_sentence(value: object) -> None:
    with pytest.raises(ConfigError, match="max_position_embeddings"):
        derived_length({"max_position_embeddings": value})
