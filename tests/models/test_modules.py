"""The table of architectures, and models described by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from typing import Any

import pytest

from tests.planning.launching import model
from wizard.errors import ConfigError, WizardError
from wizard.models import catalogue
from wizard.models.architectures import Traits, known_architectures, traits_of
from wizard.models.encoders import EXTRAS, POOLERS
from wizard.models.facts import Facts
from wizard.models.layers import LAYERS, MIXERS, alike
from wizard.models.metadata import metadata_from_config
from wizard.models.modules import Experts, Linear, Vocabulary
from wizard.models.patterns import PATTERNS, SPARSE
from wizard.models.sparse import WIDTHS
from wizard.models.towers import TOWERS
from wizard.models.tree import module_tree, parameter_count, traits_for

TABLE = json.loads(resources.files("wizard.data").joinpath("architectures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", known_architectures())
def test_every_entry_names_builders_that_exist(name: str) -> None:
    traits = traits_of(name)
    assert traits is not None
    named: list[tuple[str, Mapping[str, Any]]] = [
        (traits.layer, LAYERS),
        (traits.mixer, MIXERS),
        *((mixer, MIXERS) for mixer in traits.mixers.values()),
        (traits.layer_types, PATTERNS),
        (traits.moe, SPARSE),
        (traits.width_rule, WIDTHS),
        (traits.tower, TOWERS),
        (traits.pooler, POOLERS),
        *((extra, EXTRAS) for extra in traits.extras),
    ]
    assert [word for word, choices in named if word and word not in choices] == []


@pytest.mark.parametrize("table", [LAYERS, MIXERS, EXTRAS, TOWERS])
def test_every_builder_that_is_loaded_late_is_where_the_table_says(table: Mapping[str, Any]) -> None:
    assert len(table) == len(set(table)) > 5
    assert all(callable(table[name]) for name in table)
    with pytest.raises(KeyError):
        table["nothing"]


def test_layers_said_to_be_alike_are() -> None:
    seen = 0
    for found in catalogue.models().values():
        metadata = catalogue.load(found.id)
        assert metadata is not None
        try:
            traits = traits_for(metadata)
        except ConfigError:
            continue  # known by its files alone
        facts = Facts(metadata.text, traits.defaults)
        if alike(facts, traits):
            seen += 1
            build = LAYERS[traits.layer]
            layers = [build(facts, traits, index) for index in {0, 1, facts.layers // 2, facts.layers - 1}]
            assert all(layer == layers[0] for layer in layers), found.id
    assert seen > 50
    assert not alike(Facts({"intermediate_size": [8, 8]}), Traits())


def test_the_table_holds_nothing_that_no_one_reads() -> None:
    known = {field.name for field in fields(Traits)} | {"like", "wraps"}
    entries = TABLE["architectures"]
    assert {key for entry in entries.values() for key in entry} <= known
    assert {entry["like"] for entry in entries.values() if "like" in entry} <= set(entries)
    assert set(TABLE["decoders"].values()) <= set(entries)
    assert set(TABLE["named_by_type"].values()) <= set(entries)


def test_a_decoder_of_equal_layers_is_described_once() -> None:
    tree = module_tree(model(num_hidden_layers=80))
    assert [len(block.indices) for block in tree.blocks] == [80]
    assert module_tree(metadata := model()) is module_tree(metadata)


def test_dense_layers_before_sparse_ones_are_two_kinds() -> None:
    metadata = model(
        architectures=["DeepseekForCausalLM"],
        model_type="deepseek",
        n_routed_experts=8,
        moe_intermediate_size=1024,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=3,
    )
    assert [block.indices[:1] + block.indices[-1:] for block in module_tree(metadata).blocks] == [
        (0, 2),
        (3, 31),
    ]


def test_a_classifier_has_a_scoring_matrix_for_its_head() -> None:
    metadata = model(architectures=["LlamaForSequenceClassification"], num_labels=1)
    tree = module_tree(metadata)
    assert not any(isinstance(module, Vocabulary) and module.head for module in tree.last)
    assert Linear("score", 4096, (1,), "whole", quantised=False, dtype="float32") in tree.every


def test_an_embedding_model_is_its_decoder_without_a_head() -> None:
    assert parameter_count(model(architectures=["LlamaModel"])) <= parameter_count(model())


def test_a_wrapper_takes_the_decoder_that_its_config_names() -> None:
    text = {key: value for key, value in model().text.items() if key != "architectures"}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
    }
    vision |= {"num_attention_heads": 4, "image_size": 28, "patch_size": 14}

    def described(kind: str) -> list[Linear]:
        config = {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "text_config": {**text, "model_type": kind},
            "vision_config": vision,
        }
        tree = module_tree(metadata_from_config(config, model="org/model", source="path"))
        return [module for block in tree.blocks for module in block.modules if isinstance(module, Linear)]

    assert [linear.bias for linear in described("llama")] == [False] * 4
    assert [linear.bias for linear in described("qwen2")] == [True, False, False, False]


def test_experts_know_how_many_work_for_one_token() -> None:
    metadata = model(
        architectures=["MixtralForCausalLM"], model_type="mixtral", num_local_experts=8, num_experts_per_tok=2
    )
    experts = [module for module in module_tree(metadata).blocks[0].modules if isinstance(module, Experts)]
    assert [(item.count, item.active) for item in experts] == [(8, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 100_000}, "100000"),
        ({"hidden_size": "large"}, "hidden_size"),
        ({"architectures": ["../../etc/passwd"]}, "is not known here"),
        ({"architectures": ["Jamba ForCausalLM\x1b[31m"]}, "is not known here"),
    ],
)
def test_a_config_that_cannot_be_described_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WizardError, match=message) as caught:
        module_tree(model(**changes))
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).endswith(".")
