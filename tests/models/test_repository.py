"""What the names of a repository's files tell: which weights count, what to read, what can't be served."""

from __future__ import annotations

import pytest

from wizard.models.repository import (
    index_of,
    is_mistral_format,
    missing_shards,
    needs_index,
    small_files,
    weight_files,
    why_not_servable,
)

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "README.md"], ["model.safetensors"]),
        ([*SHARDS, "original/consolidated.00.safetensors"], SHARDS),
        ([*SHARDS, "consolidated.safetensors", "params.json"], ["consolidated.safetensors"]),
        (["model.safetensors", "adapter_model.safetensors"], ["model.safetensors"]),
        (["pytorch_model.bin"], []),
    ],
)
def test_weights_that_vllm_loads(names: list[str], expected: list[str]) -> None:
    assert weight_files(names) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (SHARDS, []),
        (SHARDS[:1], SHARDS[1:]),
        (["model.safetensors-00001-of-00002.safetensors"], ["model.safetensors-00002-of-00002.safetensors"]),
        (["model-00001-of-99999.safetensors"], []),
        (["model.safetensors"], []),
    ],
)
def test_missing_shards(names: list[str], expected: list[str]) -> None:
    assert missing_shards(names) == expected


def test_an_index_is_needed_for_several_sets_only() -> None:
    index = "model.safetensors.index.json"
    assert not needs_index([*SHARDS, index])
    assert needs_index([*SHARDS, "mtp.safetensors", index])
    assert not needs_index([*SHARDS, "mtp.safetensors"])
    assert index_of(["consolidated-00001-of-00002.safetensors"]) == "consolidated.safetensors.index.json"


def test_mistrals_format_needs_both_parts() -> None:
    assert is_mistral_format(["params.json", "consolidated.safetensors", "config.json"])
    assert not is_mistral_format(["params.json", "model.safetensors"])
    assert not is_mistral_format(["consolidated.safetensors"])


def test_only_what_bears_on_the_plan_is_read() -> None:
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "sentence_bert_config.json",
             "sentence_xlnet_config.json", "adapter_config.json", "modeling.py"]  # fmt: skip
    assert small_files(names) == ["config.json", "sentence_bert_config.json"]


@pytest.mark.parametrize(
    ("names", "files", "words"),
    [
        (["config.json", "model.safetensors"], {}, None),
        (["config.json"], {}, None),
        (["config.json", "pytorch_model.bin", "x.gguf"], {}, None),
        (["params.json", "consolidated.safetensors"], {}, None),
        (["config.json", "model.safetensors", "adapter_config.json"], {}, None),
        (["config.json", "x.gguf"], {}, "GGUF"),
        (["adapter_config.json", "adapter_model.safetensors"], {}, "LoRA adapter: plan its base model and"),
        (
            ["adapter_config.json", "adapter_model.bin"],
            {"adapter_config.json": {"base_model_name_or_path": "org/base\x1b[2J"}},
            "'org/base\\x1b[2J'",
        ),
        (["params.json", "consolidated.00.pth"], {}, "consolidated.safetensors"),
        (["model_index.json", "unet/config.json"], {}, "diffusers"),
        ([], {}, "no config.json"),
    ],
)
def test_what_cannot_be_served(
    names: list[str], files: dict[str, dict[str, object]], words: str | None
) -> None:
    sentence = why_not_servable(names, files, "'org/x'")
    assert (sentence is None) == (words is None)
    if words is not None:
        assert sentence is not None
        assert words in sentence
        assert sentence.isprintable()
