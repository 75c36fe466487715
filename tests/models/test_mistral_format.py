"""params.json becomes the config that vLLM builds of it, and the same model as its config.json describes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from wizard.errors import ConfigError
from wizard.models import catalogue
from wizard.models.local import load_directory
from wizard.models.metadata import metadata_from_config
from wizard.models.mistral_format import config_from_params
from wizard.models.tree import parameter_count

SMALL_3 = {
    "dim": 5120,
    "n_layers": 40,
    "head_dim": 128,
    "hidden_dim": 32768,
    "n_heads": 32,
    "n_kv_heads": 8,
    "rope_theta": 1000000000.0,
    "norm_eps": 1e-05,
    "vocab_size": 131072,
    "max_position_embeddings": 131072,
}
VISION = {
    "image_token_id": 10,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mm_projector_id": "patch_merge",
    "spatial_merge_size": 2,
    "hidden_size": 1024,
    "num_channels": 3,
    "image_size": 1540,
    "patch_size": 14,
    "rope_theta": 10000.0,
    "add_pre_mm_projector_layer_norm": True,
    "adapter_bias": False,
}


def described(params: dict[str, Any], config: dict[str, Any] | None = None) -> Any:
    return metadata_from_config(config_from_params(params, config or {}), model="m", source="path")


def test_a_dense_decoder() -> None:
    metadata = described(SMALL_3)
    assert metadata.architecture == "MistralForCausalLM"
    assert (metadata.hidden_size, metadata.num_layers, metadata.num_key_value_heads) == (5120, 40, 8)
    assert metadata.max_position_embeddings == 131072
    assert parameter_count(metadata) == 23_572_403_200


def test_a_vision_model_is_the_one_of_its_config_json() -> None:
    other = catalogue.load("mistralai/Mistral-Small-3.1-24B-Instruct-2503")
    assert other is not None
    metadata = described({**SMALL_3, "vision_encoder": VISION})
    assert metadata.architecture == "PixtralForConditionalGeneration"
    assert parameter_count(metadata) == parameter_count(other)
    nested = {**SMALL_3, "multimodal": {"vision_encoder_args": VISION}}
    assert parameter_count(described(nested)) == parameter_count(other)


def test_experts() -> None:
    other = catalogue.load("mistralai/Mixtral-8x7B-v0.1")
    assert other is not None
    params = {
        "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
        "vocab_size": 32000, "moe": {"num_experts": 8, "num_experts_per_tok": 2},
    }  # fmt: skip
    assert parameter_count(described(params)) == parameter_count(other)


def test_latent_attention_with_shared_experts() -> None:
    params = {
        "dim": 7168, "n_layers": 61, "hidden_dim": 16384, "n_heads": 128, "n_kv_heads": 128, "vocab_size": 131072,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "max_position_embeddings": 294912,
        "moe": {"num_experts": 128, "num_experts_per_tok": 4, "num_shared_experts": 1, "first_k_dense_replace": 3,
                "expert_hidden_dim": 4096, "route_every_n": 1},
    }  # fmt: skip
    metadata = described(params)
    assert (metadata.architecture, metadata.num_experts, metadata.is_mla) == (
        "MistralLarge3ForCausalLM",
        128,
        True,
    )
    assert math.isclose(parameter_count(metadata), 673e9, rel_tol=0.02)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"qformat_weight": "fp8_e4m3"}, {"quant_method": "fp8", "activation_scheme": "static"}),
        (
            {"qformat_weight": "fp8_e4m3", "qscheme_act": "NO_SCALES"},
            {"quant_method": "fp8", "activation_scheme": "dynamic"},
        ),
        ({"quant_method": "compressed_tensors", "x": 1}, {"quant_method": "compressed-tensors", "x": 1}),
    ],
)
def test_quantisation(quantization: dict[str, Any], expected: dict[str, Any]) -> None:
    assert described({**SMALL_3, "quantization": quantization}).quantization_config == expected
    seen = described({**SMALL_3, "quantization": quantization, "vision_encoder": VISION})
    assert expected.items() <= seen.quantization_config.items()


def test_windows_by_layer() -> None:
    config = config_from_params({**SMALL_3, "sliding_window": [None, 4096]}, {})
    assert config["layer_types"] == ["full_attention", "sliding_attention"] * 20
    assert config["sliding_window"] == 4096
    assert (
        config_from_params({**SMALL_3, "sliding_window": 4096}, {})["layer_types"]
        == ["sliding_attention"] * 40
    )


def test_yarn_leaves_the_stated_length() -> None:
    params = {
        **SMALL_3,
        "yarn": {"factor": 16, "original_max_position_embeddings": 8192, "beta": 32, "alpha": 1},
    }
    metadata = described(params)
    assert metadata.max_position_embeddings == 131072
    assert metadata.config["rope_parameters"]["beta_fast"] == 32


def test_config_json_fills_what_params_leave_out() -> None:
    params = {
        key: value for key, value in SMALL_3.items() if key not in {"vocab_size", "max_position_embeddings"}
    }
    config = {
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        "hidden_size": 1,
    }
    metadata = described(params, config)
    assert (metadata.vocab_size, metadata.max_position_embeddings) == (32768, 32768)
    assert (metadata.dtype, metadata.hidden_size) == ("bfloat16", 5120)


@pytest.mark.parametrize(
    "wrong",
    [
        {"moe": 8},
        {"vision_encoder": "pixtral"},
        {"quantization": {"qformat_weight": "int3"}},
        {"sliding_window": [1, 2, 3]},
        {"sliding_window": [{}]},
        {"n_layers": "many"},
        {"dim": -1},
    ],
)
def test_what_is_wrong_is_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        described({**SMALL_3, **wrong})
    assert "\n" not in str(caught.value)


def test_a_directory_of_that_format_alone(tmp_path: Path) -> None:
    import struct

    (tmp_path / "params.json").write_text(json.dumps(SMALL_3))
    header = json.dumps({"norm.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "consolidated.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    metadata = load_directory(tmp_path)
    assert (metadata.architecture, metadata.dtype) == ("MistralForCausalLM", "bfloat16")
