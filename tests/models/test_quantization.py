"""Quantisation sections read as vLLM reads them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.launching import model
from wizard.dataclass import replace
from wizard.errors import UnsizedError, WizardError
from wizard.models.matching import Names, Patterns
from wizard.models.metadata import Checkpoint, TensorInfo
from wizard.models.quantization import method_name, quantization_of
from wizard.models.quantized import Quantization
from wizard.models.storage import PLAIN
from wizard.models.tree import module_tree

QKV = Names(
    "model.layers.0.self_attn.qkv_proj",
    tuple(f"model.layers.0.self_attn.{part}_proj" for part in "qkv"),
)
DOWN = Names("model.layers.0.mlp.down_proj")
HEAD = Names("lm_head")
EXPERTS = Names(
    "model.layers.0.mlp.experts",
    tuple(f"model.layers.0.mlp.experts.0.{part}_proj" for part in ("gate", "up", "down")),
)


def read(section: dict[str, Any], **changes: Any) -> Quantization:
    found = quantization_of(model(quantization_config=section, **changes))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("section", "method"),
    [
        ({"quant_method": "gptq"}, "auto_gptq"),
        ({"quant_method": "awq"}, "auto_awq"),
        ({"quant_method": "compressed_tensors"}, "compressed-tensors"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "modelopt_mixed"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "auto-round", "bits": 4}, "inc"),
        ({}, ""),
    ],
)
def test_the_name_that_vllm_gives_a_method(section: dict[str, Any], method: str) -> None:
    assert method_name(model(quantization_config=section)) == method


def test_a_plain_checkpoint_has_no_quantisation() -> None:
    assert quantization_of(model()) is None


def test_fp8_without_blocks_has_one_scale_per_matrix() -> None:
    found = read(
        {
            "quant_method": "fp8",
            "activation_scheme": "static",
            "ignored_layers": ["model.layers.0.mlp.down_proj"],
        }
    )
    assert (found.scheme(QKV, "linear").kind, found.scheme(QKV, "linear").static_input) == (
        "fp8_tensor",
        True,
    )
    assert found.scheme(DOWN, "linear") == PLAIN
    assert found.scheme(HEAD, "head") == PLAIN


def test_a_fused_matrix_is_plain_when_all_its_parts_are_ignored() -> None:
    all_parts = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
    section = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    assert read({**section, "ignored_layers": all_parts}).scheme(QKV, "linear") == PLAIN
    assert read({**section, "ignored_layers": []}).scheme(QKV, "linear").kind == "fp8_block"


def test_gptq_rules_by_expression_change_bits_and_leave_modules_out() -> None:
    section = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "dynamic": {r"+:.*\.down_proj$": {"bits": 8, "group_size": 64}, r"-:.*\.0\.self_attn\..*": {}},
    }
    found = read(section)
    assert (found.scheme(DOWN, "linear").bits, found.scheme(DOWN, "linear").group) == (8, 64)
    assert found.scheme(QKV, "linear") == PLAIN


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "desc_act=True"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "bits=3"),
        ({"quant_method": "awq", "bits": 8, "group_size": 128}, "Unsupported num_bits = 8"),
        ({"quant_method": "fbgemm_fp8"}, "deprecated"),
        ({"quant_method": "auto-round", "bits": 4, "sym": False}, "bits=4, sym=False is not supported"),
    ],
)
def test_what_vllm_refuses_in_its_words(section: dict[str, Any], words: str) -> None:
    assert words in read(section).refusal


def test_awq_leaves_out_modules_by_parts_of_their_names() -> None:
    found = read({"quant_method": "awq", "bits": 4, "group_size": 64, "modules_to_not_convert": ["mlp"]})
    assert found.scheme(DOWN, "linear") == PLAIN
    assert found.scheme(QKV, "linear").kind == "awq"


def ct(weights: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **more,
    }


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (
            ct(
                {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
                format="pack-quantized",
            ),
            "packed",
        ),
        (
            ct({"num_bits": 8, "type": "int", "strategy": "channel"}, {"num_bits": 8, "dynamic": True}),
            "int8_channel",
        ),
        (
            ct({"num_bits": 8, "type": "float", "strategy": "channel"}, {"num_bits": 8, "dynamic": True}),
            "fp8_channel",
        ),
        (ct({"num_bits": 8, "type": "float", "strategy": "tensor"}, {"num_bits": 8}), "fp8_tensor"),
        (
            ct({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}),
            "fp8_block",
        ),
        (ct({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}), "nvfp4"),
    ],
)
def test_compressed_tensors_by_their_numbers(section: dict[str, Any], kind: str) -> None:
    found = read(section)
    assert found.scheme(DOWN, "linear").kind == kind
    assert found.scheme(HEAD, "head") == PLAIN


def test_compressed_tensors_ignore_by_expression() -> None:
    section = ct({"num_bits": 4, "type": "int", "group_size": 128}, ignore=["re:.*mlp.*"])
    assert read(section).scheme(DOWN, "linear") == PLAIN
    assert read(section).scheme(QKV, "linear").kind == "packed"


def test_mixed_precision_follows_the_list_of_layers() -> None:
    layers = {
        "model.layers.0.mlp.experts.0.gate_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "model.layers.0.mlp.down_proj": {"quant_algo": "FP8"},
    }
    found = read({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert found.scheme(EXPERTS, "experts").kind == "nvfp4"
    assert found.scheme(DOWN, "linear").kind == "fp8_tensor"
    assert found.scheme(QKV, "linear") == PLAIN


def test_what_is_said_oddly_of_a_layer_reads_as_its_algorithm_needs_it() -> None:
    """FP8 has no groups, so that a list there means nothing; NVFP4 has."""
    odd = {"quant_algo": "FP8", "group_size": [16]}
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    found = read({**mixed, "quantized_layers": {"model.layers.0.mlp.down_proj": odd}})
    assert found.scheme(DOWN, "linear").kind == "fp8_tensor"
    with pytest.raises(WizardError, match="group_size"):
        read({**mixed, "quantized_layers": {"a.b": {**odd, "quant_algo": "NVFP4"}}})


def test_twenty_thousand_listed_experts_make_as_many_rules_as_algorithms() -> None:
    listed = {
        f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj": {"quant_algo": "NVFP4", "group_size": 16}
        for layer in range(40)
        for expert in range(170)
        for part in ("gate", "up", "down")
    }
    found = read({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": listed})
    assert len(found.rules) == 1
    assert found.scheme(EXPERTS, "experts").kind == "nvfp4"


def test_only_experts_are_four_bit_in_mxfp4() -> None:
    found = read({"quant_method": "mxfp4"})
    assert found.scheme(EXPERTS, "experts").kind == "mxfp4"
    assert found.scheme(QKV, "linear") == PLAIN


@pytest.mark.parametrize(
    "pattern",
    ["re:(a+)+$", "re:(", "re:" + "a" * 5000, "re:" + ".*" * 20],
)
def test_an_expression_that_could_run_away_is_refused(pattern: str) -> None:
    with pytest.raises(WizardError, match="quantization_config: the pattern") as caught:
        Patterns(exact=(pattern,))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "section",
    [
        {"quant_method": "fp8", "weight_block_size": [128]},
        {"quant_method": "fp8", "ignored_layers": "all"},
        {"quant_method": "gptq", "bits": 64},
        {"quant_method": "awq", "bits": -4},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": 1}},
        {"quant_method": "bitsandbytes"},
        {"quant_method": 4},
    ],
)
def test_a_malformed_section_is_one_sentence(section: dict[str, Any]) -> None:
    with pytest.raises(WizardError) as caught:
        quantization_of(model(quantization_config=section))
    assert str(caught.value).endswith(".")


AUTO_ROUND = {
    "quant_method": "auto-round",
    "bits": 4,
    "group_size": 128,
    "packing_format": "auto_round:auto_gptq",
}


def test_auto_round_layers_with_numbers_of_their_own() -> None:
    extra = {
        "lm_head": {"bits": 8},
        r".*\.down_proj$": {"bits": 16},
        **{part: {"bits": 8} for part in QKV.parts},
    }
    found = read({**AUTO_ROUND, "extra_config": extra})
    assert found.scheme(DOWN, "linear") == PLAIN
    assert (found.scheme(QKV, "linear").kind, found.scheme(QKV, "linear").bits) == ("gptq", 8)
    assert found.scheme(HEAD, "head").bits == 8
    assert read(AUTO_ROUND).scheme(HEAD, "head") == PLAIN


def test_auto_round_packs_the_named_blocks_alone() -> None:
    found = read({**AUTO_ROUND, "block_name_to_quantize": "model.layers.0"})
    assert found.scheme(DOWN, "linear").bits == 4
    assert found.scheme(Names("model.layers.1.mlp.down_proj"), "linear") == PLAIN


@pytest.mark.parametrize(
    "section",
    [
        {"quant_method": "torchao", "quant_type": {"default": "int4wo-128"}},
        {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int3"}}},
    ],
)
def test_a_form_that_the_config_does_not_tell_is_asked_of_the_headers(section: dict[str, Any]) -> None:
    with pytest.raises(
        UnsizedError, match="its config doesn't tell; use a model directory or id whose safetensors"
    ):
        read(section)
    stored = Checkpoint({"model.layers.0.mlp.down_proj.weight": TensorInfo("U8", (64, 32), 2048)}, 2048)
    metadata = replace(model(quantization_config=section), checkpoint=stored)
    tree = module_tree(metadata)
    assert quantization_of(metadata) is not None
    assert [module.elements for block in tree.blocks for module in block.modules] == [2048]
