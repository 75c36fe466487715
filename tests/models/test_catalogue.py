"""The built-in catalogue: large enough, sourced, searchable, every entry as its head says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from wizard.errors import ConfigError
from wizard.hardware.resolve import resolve_hardware
from wizard.models import catalogue
from wizard.models.load import load, load_siblings
from wizard.models.metadata import load_model_metadata, metadata_from_config
from wizard.models.tree import parameter_count
from wizard.planning.memory import evaluate
from wizard.schemas.inputs import HardwareInput
from wizard.schemas.outputs import VLLMConfig


def test_at_least_sixty_models_each_with_its_source() -> None:
    models = catalogue.models()
    assert len(models) >= 60
    assert all(model.source for model in models.values())


def test_every_entry_loads() -> None:
    for model in catalogue.models().values():
        metadata = catalogue.load(model.id)
        assert metadata is not None
        assert metadata.model == model.id


def test_heads_tell_what_the_configs_do() -> None:
    for model in list(catalogue.models().values())[::9]:
        metadata = catalogue.load(model.id)
        assert metadata is not None
        assert model.dtype == metadata.dtype
        assert (model.quantization is None) == (metadata.quantization_config is None)
        if model.params is not None:
            assert model.params == pytest.approx(parameter_count(metadata), rel=0.01)


def test_most_sizes_and_licences_are_known() -> None:
    models = catalogue.models().values()
    assert sum(model.params is not None for model in models) > 0.9 * len(models)
    assert sum(model.license is not None for model in models) > 0.6 * len(models)


@pytest.mark.parametrize("text", ["qwen3 30b", "30B qwen3", "QWEN3-30b"])
def test_words_in_any_order_and_case(text: str) -> None:
    assert "Qwen/Qwen3-30B-A3B" in [model.id for model in catalogue.search(text)]


def test_empty_search_lists_all() -> None:
    assert len(catalogue.search("")) == len(catalogue.models())


def test_a_name_is_found_in_any_case() -> None:
    metadata = catalogue.load("qwen/QWEN3-8b")
    assert metadata is not None
    assert metadata.model == "Qwen/Qwen3-8B"
    assert catalogue.load("nobody/nothing") is None


def test_one_model_is_found_as_among_all_and_every_base_is_there_as_spelled() -> None:
    models = catalogue.models()
    ids = {model.id for model in models.values()}
    for model in models.values():
        assert catalogue.find(model.id) == catalogue.find(model.id.lower()) == model
        assert model.base is None or model.base in ids
        family = {model.base or model.id}
        kin = [other for other in models.values() if {other.id, other.base} & family and other != model]
        assert catalogue.siblings(model.id) == kin
    assert catalogue.find('nobody/"nothing') is None and catalogue.siblings("nobody/nothing") == []


def test_quantised_forms_of_a_base_and_back() -> None:
    names = {model.id for model in catalogue.siblings("Qwen/Qwen3-32B")}
    assert "Qwen/Qwen3-32B-FP8" in names
    assert "Qwen/Qwen3-32B" in {model.id for model in catalogue.siblings("Qwen/Qwen3-32B-FP8")}


def test_siblings_load_with_their_quantisation() -> None:
    found = load_siblings(load("Qwen/Qwen3-32B", offline=True))
    assert all(metadata.quantization_config for metadata in found.values())


def test_parameters_can_be_overridden() -> None:
    metadata = load_model_metadata("Qwen/Qwen3-8B", params_b=9.5, offline=True)
    assert metadata.params_override == 9_500_000_000


def test_a_catalogue_entry_plans_as_the_whole_config_does(shared: Path) -> None:
    """What was left out of a config, no rule reads; a null is kept, for a key left out has its class's default."""
    machine = resolve_hardware(HardwareInput(gpu="H200 SXM 141GB", gpus=1))
    compared = 0
    for path in sorted((shared / "configs").glob("*/*/config.json")):
        name = "/".join(path.parts[-3:-1])
        kept = catalogue.load(name)
        if kept is None:
            continue
        compared += 1
        quantised = path.with_name("hf_quant_config.json")
        whole = metadata_from_config(
            json.loads(path.read_text(encoding="utf-8")),
            model=name,
            source="catalogue",
            hf_quant_config=json.loads(quantised.read_text(encoding="utf-8"))
            if quantised.is_file()
            else None,
        )
        config = VLLMConfig(model=name)
        try:
            expected = evaluate(config, whole, machine)
        except ConfigError as error:
            with pytest.raises(ConfigError, match=re.escape(str(error))):
                evaluate(config, kept, machine)
        else:
            assert evaluate(config, kept, machine) == expected, name
    assert compared > 200
