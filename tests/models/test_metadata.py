"""config.json -> facts, and nothing but ConfigError from a broken one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.launching import LLAMA, card
from wizard.errors import ConfigError, WizardError
from wizard.models.metadata import metadata_from_config
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_report
from wizard.planning.launch import resolve
from wizard.schemas.outputs import GIB, VLLMConfig


def read(config: Any, **more: Any) -> Any:
    return metadata_from_config(config, model="org/model", source="path", **more)


def test_plain_facts() -> None:
    facts = read(LLAMA)
    assert (facts.num_layers, facts.num_attention_heads, facts.num_key_value_heads) == (32, 32, 8)
    assert (facts.head_dim, facts.max_position_embeddings, facts.text_type) == (128, 131072, "llama")


def test_explicit_head_dim_wins_over_the_quotient() -> None:
    assert read({**LLAMA, "head_dim": 64}).head_dim == 64
    assert read({**LLAMA, "head_dim": None}).head_dim == 128


def test_absent_kv_heads_mean_the_class_default_and_null_means_all_heads() -> None:
    without = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert read(without).num_key_value_heads == 32
    mistral = {**without, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    assert read(mistral).num_key_value_heads == 8
    assert read({**mistral, "num_key_value_heads": None}).num_key_value_heads == 32


def test_a_sparse_nested_config_takes_the_defaults_of_its_class() -> None:
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34},
        "vision_config": {"hidden_size": 1152},
    }
    facts = read(config)
    assert (facts.num_attention_heads, facts.num_key_value_heads, facts.head_dim) == (8, 4, 256)
    assert (facts.vocab_size, facts.max_position_embeddings) == (262208, 131072)


def test_aliases_of_older_classes() -> None:
    gpt2 = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 1280,
        "n_layer": 36,
        "n_head": 20,
    }
    facts = read({**gpt2, "vocab_size": 50257, "n_positions": 1024})
    assert (facts.hidden_size, facts.num_layers, facts.num_attention_heads) == (1280, 36, 20)
    assert facts.max_position_embeddings == 1024


def test_multi_query_has_one_kv_head() -> None:
    falcon = {**LLAMA, "model_type": "falcon", "architectures": ["FalconForCausalLM"], "multi_query": True}
    assert (
        read({**falcon, "new_decoder_architecture": False, "num_key_value_heads": None}).num_key_value_heads
        == 1
    )
    assert read({**falcon, "new_decoder_architecture": True, "num_kv_heads": 8}).num_key_value_heads == 8


def test_layers_may_be_counted_by_their_list() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
    hybrid = {**config, "model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"]}
    assert read({**hybrid, "hybrid_override_pattern": "M-M*-"}).num_layers == 5


def test_no_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="architecture"):
        read({key: value for key, value in LLAMA.items() if key != "architectures"})


@pytest.mark.parametrize("value", [None, [], "config", 3, ["a"]])
def test_a_config_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        read(value)


BROKEN: list[Any] = [
    None,
    -1,
    0,
    1,
    1 << 40,
    10**400,
    float("inf"),
    float("nan"),
    1.5,
    "x",
    "",
    [],
    {},
    [1, 2],
    {"a": 1},
    True,
    [None],
    ["full_attention"],
    [[]],
    [{}],
    {"rope_type": 3},
    "9" * 50,
    [1] * 5000,
]
"""What a broken or hostile file may hold where a number, a list or an object belongs."""


def _places(part: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in part.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += _places(value, (*above, key))
    return found


def _plan(config: dict[str, Any]) -> None:
    """Everything that a config's facts are used for here."""
    launch = resolve(VLLMConfig(model="org/model", tensor_parallel_size=2), read(config), card())
    if refusal(launch) is None:
        kv_report(launch, 20 * GIB)


HYBRID = {
    **LLAMA,
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
}
WINDOWED = {
    **LLAMA,
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 16,
}
LATENT = {
    **LLAMA,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "n_routed_experts": 8,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "kv_cache_scheme": None},
}


ENCODERS = (
    "deepseek-ai/DeepSeek-OCR",
    "rednote-hilab/dots.ocr",
    "microsoft/Phi-4-multimodal-instruct",
    "baidu/ERNIE-4.5-VL-28B-A3B-PT",
    "AIDC-AI/Ovis2-8B",
    "AIDC-AI/Ovis2.5-9B",
    "allenai/Molmo2-8B",
    "stepfun-ai/step3",
    "zai-org/glm-4v-9b",
    "Kwai-Keye/Keye-VL-8B-Preview",
    "ibm-granite/granite-speech-3.3-2b",
    "test/ultravox-with-projector-layers",
    "rhymes-ai/Aria",
    "test/nemotron-omni",
    "nvidia/NVLM-D-72B",
)


def _golden(*names: str) -> list[dict[str, Any]]:
    """Configs of the models whose weights vLLM has told."""
    lines = Path(__file__).parents[1].joinpath("planning", "weights_golden.jsonl").read_text(encoding="utf-8")
    known = {line["model"]: line["config"] for line in map(json.loads, lines.splitlines())}
    return [known[name] for name in names]


@settings(max_examples=500)
@given(data=st.data())
def test_mutated_configs_raise_nothing_but_our_own_error(data: st.DataObject) -> None:
    plain = [LLAMA, HYBRID, WINDOWED, LATENT]
    config = copy.deepcopy(data.draw(st.sampled_from([*plain, *_golden(*ENCODERS)])))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from(_places(config)))
        part = config
        for name in above:
            part = part[name]
        if data.draw(st.booleans()):
            part[key] = copy.deepcopy(data.draw(st.sampled_from(BROKEN)))
        else:
            del part[key]
        if not config:
            break
    try:
        _plan(config)
    except WizardError as error:
        assert "\n" not in str(error)


def test_every_known_config_plans_or_is_refused_in_a_sentence(shared: Path) -> None:
    for path in sorted(shared.glob("configs/*/*/config.json")):
        try:
            _plan(json.loads(path.read_text(encoding="utf-8")))
        except ConfigError as error:
            assert str(error).endswith("."), path
