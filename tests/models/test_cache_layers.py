"""Which layers keep what, by the mechanisms that configs name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.planning.launching import model
from wizard.errors import ConfigError
from wizard.models.cache_layers import cache_model
from wizard.models.drafts import draft_layers


def kinds(**changes: Any) -> Counter[str]:
    return Counter(layer.kind for layer in cache_model(model(**changes)).layers)


def test_plain_attention_everywhere() -> None:
    assert kinds() == {"full": 32}


def test_a_listed_window_belongs_to_its_layers() -> None:
    words = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 8
    found = cache_model(model(layer_types=words, sliding_window=4096))
    assert Counter(layer.kind for layer in found.layers) == {"sliding": 24, "full": 8}
    assert {layer.window for layer in found.layers} == {0, 4096}


def test_a_window_without_a_list_is_everywhere() -> None:
    assert kinds(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=4096) == {
        "sliding": 32
    }


def test_a_window_of_zero_or_null_is_none() -> None:
    mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    assert kinds(**mistral, sliding_window=0) == {"full": 32}


def test_qwen_windows_are_off_unless_switched_on() -> None:
    qwen = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "sliding_window": 32768}
    assert kinds(**qwen, use_sliding_window=False) == {"full": 32}
    assert kinds(**qwen, use_sliding_window=True, max_window_layers=0) == {"sliding": 32}


def test_gemma2_alternates_by_class() -> None:
    found = kinds(model_type="gemma2", architectures=["Gemma2ForCausalLM"], sliding_window=4096)
    assert found == {"sliding": 16, "full": 16}


def test_a_pattern_of_letters() -> None:
    found = kinds(
        model_type="exaone4",
        architectures=["Exaone4ForCausalLM"],
        sliding_window=4096,
        sliding_window_pattern="LLLG",
    )
    assert found == {"sliding": 24, "full": 8}


def test_cohere_counts_the_window_without_the_token() -> None:
    found = cache_model(
        model(model_type="cohere2", architectures=["Cohere2ForCausalLM"], sliding_window=4096)
    )
    assert {layer.window for layer in found.layers if layer.kind == "sliding"} == {4097}


def test_chunked_layers_are_those_with_positions() -> None:
    found = kinds(
        model_type="llama4_text",
        architectures=["Llama4ForCausalLM"],
        attention_chunk_size=8192,
        no_rope_layers=[],
    )
    assert found == {"chunked": 24, "full": 8}


def test_latent_attention_keeps_one_latent() -> None:
    found = cache_model(
        model(
            model_type="deepseek_v3",
            architectures=["DeepseekV3ForCausalLM"],
            kv_lora_rank=512,
            qk_rope_head_dim=64,
            qk_nope_head_dim=128,
        )
    )
    assert found.latent
    assert {(layer.kind, layer.kv_heads, layer.key_dim) for layer in found.layers} == {("latent", 1, 576)}


def test_latent_keys_that_are_null_mean_plain_attention() -> None:
    assert kinds(model_type="hunyuan_v1_moe", kv_lora_rank=None, qk_rope_head_dim=None) == {"full": 32}


def test_latent_attention_that_vllm_materialises() -> None:
    found = cache_model(
        model(
            model_type="minicpm3",
            architectures=["MiniCPM3ForCausalLM"],
            kv_lora_rank=256,
            qk_rope_head_dim=32,
            qk_nope_head_dim=64,
            num_attention_heads=40,
        )
    )
    assert {(layer.kind, layer.kv_heads, layer.key_dim) for layer in found.layers} == {("full", 40, 96)}


def test_only_some_layers_lead_the_index() -> None:
    found = cache_model(
        model(
            model_type="glm_moe_dsa",
            architectures=["GlmMoeDsaForCausalLM"],
            kv_lora_rank=512,
            qk_rope_head_dim=64,
            qk_nope_head_dim=192,
            index_topk=2048,
            index_head_dim=128,
            index_topk_freq=4,
            index_skip_topk_offset=3,
        )
    )
    leading = [layer.index for layer in found.layers if layer.index_dim]
    assert leading[:5] == [0, 1, 2, 6, 10]


def test_compressed_layers_by_ratio() -> None:
    found = cache_model(
        model(
            model_type="deepseek_v4",
            architectures=["DeepseekV4ForCausalLM"],
            num_hidden_layers=4,
            num_key_value_heads=1,
            head_dim=512,
            compress_ratios=[0, 4, 128, 4],
            index_topk=512,
            sliding_window=128,
        )
    )
    assert [(layer.ratio, layer.index_dim) for layer in found.layers] == [
        (0, 0),
        (4, 128),
        (128, 0),
        (4, 128),
    ]


HYBRID = {
    "model_type": "qwen3_next",
    "architectures": ["Qwen3NextForCausalLM"],
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def test_states_and_attention_side_by_side() -> None:
    found = cache_model(model(**HYBRID, full_attention_interval=4))
    assert found.hybrid
    assert Counter(layer.kind for layer in found.layers) == {"state": 24, "full": 8}


def test_state_shapes_split_over_ranks() -> None:
    state = next(layer.state for layer in cache_model(model(**HYBRID)).layers if layer.state is not None)
    assert state.conv_elements(1, 0) == 3 * (2 * 16 * 128 + 32 * 128)
    assert state.recurrent_elements(4) == 8 * 128 * 128


def test_mamba2_groups_are_repeated_for_ranks_they_dont_divide() -> None:
    found = cache_model(
        model(
            model_type="nemotron_h",
            architectures=["NemotronHForCausalLM"],
            num_hidden_layers=None,
            hybrid_override_pattern="M*",
            mamba_num_heads=64,
            mamba_head_dim=64,
            ssm_state_size=128,
            n_groups=2,
            conv_kernel=4,
        )
    )
    state = found.layers[0].state
    assert state is not None
    assert state.conv_elements(1, 0) == 3 * (4096 + 2 * 2 * 128)
    assert state.conv_elements(4, 0) == 3 * (4096 + 2 * 4 * 128) // 4


def test_layers_that_keep_nothing_are_left_out() -> None:
    blocks = [{"attention": {"no_op": index % 2 == 1, "n_heads_in_group": 8}} for index in range(32)]
    found = cache_model(
        model(model_type="nemotron-nas", architectures=["DeciLMForCausalLM"], block_configs=blocks)
    )
    assert len(found.layers) == 16
    assert {layer.kv_heads for layer in found.layers} == {4}


def test_sharing_layers_have_no_cache_of_their_own() -> None:
    words = (["sliding_attention"] * 3 + ["full_attention"]) * 8
    found = cache_model(
        model(
            model_type="gemma4_text",
            architectures=["Gemma4ForCausalLM"],
            layer_types=words,
            sliding_window=512,
            num_kv_shared_layers=12,
        )
    )
    assert len(found.layers) == 20
    assert found.shared[0] == (20, 18)


def test_encoders_keep_nothing() -> None:
    assert kinds(model_type="bert", architectures=["BertModel"]) == {}
    assert kinds(model_type="qwen2", architectures=["Qwen2Model"], is_causal=False) == {}


def test_a_list_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="fewer"):
        cache_model(model(layer_types=["full_attention"] * 3))


def test_an_unknown_kind_counts_as_attention() -> None:
    assert kinds(layer_types=["something_new"] * 32) == {"full": 32}


def test_drafts_are_copies_of_a_whole_sequence_layer() -> None:
    facts = model(**HYBRID, full_attention_interval=4, num_nextn_predict_layers=2)
    drafts = draft_layers(facts, cache_model(facts), "mtp", {})
    assert [(layer.kind, layer.index) for layer in drafts] == [("full", 31), ("full", 31)]
    assert draft_layers(facts, cache_model(facts), "ngram", {}) == ()
