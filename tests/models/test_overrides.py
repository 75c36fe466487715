"""`--hf-overrides` changes what is planned, as it changes what vLLM builds."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.planning.launching import launched, model
from wizard.models.overrides import with_overrides
from wizard.planning.gates import refusal

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def refused(version: str, **overrides: object) -> bool:
    short = model(max_position_embeddings=40960)
    found = launched(short, version=version, max_model_len=131072, hf_overrides=overrides or None)
    return refusal(found) is not None


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters"])
def test_yarn_lengthens_the_context_until_0_30(name: str) -> None:
    """As for Qwen3-32B with 131072 tokens on four H100, 0.10.0; later the length is overridden beside it."""
    assert refused("0.10.0")
    assert not refused("0.10.0", **{name: YARN})
    assert refused("0.33.0", **{name: YARN})
    assert not refused("0.33.0", **{name: YARN, "max_position_embeddings": 131072})


def test_one_name_of_the_rotation_replaces_the_other() -> None:
    scaled = model(rope_parameters=YARN | {"factor": 2.0}, max_position_embeddings=40960)
    found = with_overrides(scaled, {"rope_scaling": YARN})
    assert found.context((0, 10, 0)).length == 131072


def test_a_nested_config_keeps_what_is_not_named() -> None:
    text = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 128256}
    found = with_overrides(model(text_config=text), {"text_config": {"num_hidden_layers": 4}})
    assert (found.num_layers, found.hidden_size) == (4, 4096)


def test_the_same_overrides_give_the_same_model() -> None:
    plain = model()
    assert with_overrides(plain, {"vocab_size": 1000}) is with_overrides(plain, {"vocab_size": 1000})
    assert with_overrides(plain, {"vocab_size": 1000}).vocab_size == 1000
    assert with_overrides(plain, None) is plain


def test_what_leaves_no_usable_config_changes_nothing() -> None:
    plain = model()
    assert with_overrides(plain, {"num_hidden_layers": "many"}) is plain


def test_a_model_that_nothing_changes_is_let_go() -> None:
    plain = model()
    assert with_overrides(plain, {"architectures": [plain.architecture]}) is plain
    gone = weakref.ref(plain)
    del plain
    gc.collect()
    assert gone() is None
