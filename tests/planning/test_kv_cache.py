"""The KV cache against figures that vLLM 0.33's own classes print, and the rules of older versions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.launching import launched, model
from wizard.models.metadata import ModelMetadata
from wizard.planning.kv_cache import concurrency_for, kv_layout, kv_report
from wizard.schemas.outputs import GIB

MIB = 1 << 20


def gpt_oss() -> ModelMetadata:
    """gpt-oss-120b's attention."""
    return model(
        model_type="gpt_oss",
        architectures=["GptOssForCausalLM"],
        hidden_size=2880,
        num_hidden_layers=36,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"] * 18,
    )


def deepseek(**changes: Any) -> ModelMetadata:
    return model(
        **{
            "model_type": "deepseek_v3",
            "architectures": ["DeepseekV3ForCausalLM"],
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            **changes,
        }
    )


def qwen35() -> ModelMetadata:
    """Qwen3.5-35B-A3B's mixers: 30 gated delta nets and 10 attention layers."""
    return model(
        model_type="qwen3_5_moe_text",
        architectures=["Qwen3_5MoeForCausalLM"],
        hidden_size=2048,
        num_hidden_layers=40,
        num_attention_heads=16,
        num_key_value_heads=2,
        head_dim=256,
        full_attention_interval=4,
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
        mamba_ssm_dtype="float32",
    )


def test_one_group_of_full_attention() -> None:
    report = kv_report(launched(max_model_len=8192), 40 * GIB)
    assert report.bytes_per_block == 32 * 16 * 8 * 2 * 128 * 2
    assert (report.num_gpu_blocks, report.tokens, report.max_concurrency) == (20480, 327680, 40.0)
    assert report.bytes_per_token == 131072
    assert report.needed_bytes == GIB


def test_windows_and_full_attention_share_blocks() -> None:
    report = kv_report(launched(gpt_oss(), max_model_len=8192), 40 * GIB)
    assert (report.num_gpu_blocks, report.tokens) == (72817, 581967)
    assert report.max_concurrency == pytest.approx(71.0409756097561)
    assert report.needed_bytes == 604569600


def test_a_small_batch_shrinks_what_windows_hold() -> None:
    wide = kv_report(launched(gpt_oss(), max_model_len=131072), 40 * GIB).max_concurrency
    narrow = kv_report(
        launched(gpt_oss(), max_model_len=131072, max_num_batched_tokens=2048), 40 * GIB
    ).max_concurrency
    assert narrow > wide


def test_windows_kept_like_full_attention_without_the_hybrid_manager() -> None:
    launch = launched(gpt_oss(), max_model_len=8192, disable_hybrid_kv_cache_manager=True)
    assert len(kv_layout(launch).groups) == 1
    assert kv_report(launch, 40 * GIB).tokens == 40 * GIB // (36 * 16 * 2048) * 16


def test_uneven_kinds_are_padded_to_the_smaller_or_the_larger() -> None:
    def groups(full: int, sliding: int) -> list[int]:
        words = ["full_attention"] * full + ["sliding_attention"] * sliding
        metadata = model(num_hidden_layers=full + sliding, layer_types=words, sliding_window=1024)
        return [len(group.layers) for group in kv_layout(launched(metadata)).groups]

    assert groups(10, 52) == [10, 9, 9, 9, 9, 8, 8]
    assert groups(13, 12) == [13, 12]


def test_group_size_followed_another_rule_before_0_18() -> None:
    words = ["full_attention"] * 9 + ["sliding_attention"] * 12
    metadata = model(num_hidden_layers=21, layer_types=words, sliding_window=1024)
    sizes = {
        version: max(len(group.layers) for group in kv_layout(launched(metadata, version=version)).groups)
        for version in ("0.11.0", "0.17.1", "0.18.0")
    }
    assert sizes == {"0.11.0": 9, "0.17.1": 9, "0.18.0": 12}


def test_latent_attention_is_not_split_by_tensor_parallelism() -> None:
    one = kv_report(launched(deepseek(), max_model_len=8192), 40 * GIB)
    eight = kv_report(launched(deepseek(), max_model_len=8192, tensor_parallel_size=8), 40 * GIB)
    assert one.bytes_per_token == eight.bytes_per_token == 61 * 576 * 2


@pytest.mark.parametrize(
    ("gpu", "kv_dtype", "block"),
    [("h100", None, 16), ("h100", "fp8", 64), ("b200", None, 32), ("4090", "fp8", 16)],
)
def test_latent_blocks_are_the_backends(gpu: str, kv_dtype: str | None, block: int) -> None:
    assert kv_layout(launched(deepseek(), gpu=gpu, kv_cache_dtype=kv_dtype)).block_size == block


def test_sparse_latent_attention_stores_an_index_beside_the_latent() -> None:
    sparse = deepseek(model_type="deepseek_v32", architectures=["DeepseekV32ForCausalLM"], index_topk=2048)
    report = kv_report(launched(sparse, max_model_len=8192), 40 * GIB)
    assert (report.bytes_per_block, report.num_gpu_blocks) == (5012736, 8568)
    assert report.max_concurrency == 66.9375


def test_compressed_caches_pack_their_pages() -> None:
    ratios = [0, 0] + [4, 128] * 20 + [4]
    flash = model(
        model_type="deepseek_v4",
        architectures=["DeepseekV4ForCausalLM"],
        num_hidden_layers=43,
        num_attention_heads=64,
        num_key_value_heads=1,
        head_dim=512,
        compress_ratios=ratios,
        index_topk=512,
        sliding_window=128,
    )
    report = kv_report(launched(flash, max_model_len=8192), 40 * GIB)
    assert (report.bytes_per_block, report.num_gpu_blocks) == (1002240, 42853)
    assert report.max_concurrency == pytest.approx(12.738703923900118)


def test_states_decide_the_block_of_a_hybrid() -> None:
    layout = kv_layout(launched(qwen35(), max_model_len=8192))
    assert (layout.block_size, layout.bytes_per_block, layout.kv_dtype) == (1088, 22282240, "auto")
    report = kv_report(launched(qwen35(), max_model_len=8192), 40 * GIB)
    assert (report.num_gpu_blocks, report.tokens) == (1927, 928587)
    assert report.state_bytes_per_request == 66846720


def test_kernels_without_checkpoints_need_a_smaller_block() -> None:
    layout = kv_layout(launched(qwen35(), gpu="4090", max_model_len=8192))
    assert (layout.block_size, layout.pages_per_request(8192)) == (1056, 14)


def test_without_prefix_caching_a_request_holds_one_state() -> None:
    launch = launched(qwen35(), max_model_len=8192, enable_prefix_caching=False)
    assert kv_layout(launch).pages_per_request(8192) == 3 + -(-8192 // 1056)


def test_hybrids_cached_no_prefixes_by_default_before_0_28() -> None:
    assert kv_layout(launched(qwen35(), version="0.27.0")).pages_per_request(8192) == 3 + -(-8192 // 1056)


def test_pages_of_different_width_are_matched_by_their_blocks() -> None:
    gemma = model(
        model_type="gemma4_text",
        architectures=["Gemma4ForCausalLM"],
        num_hidden_layers=30,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=256,
        global_head_dim=512,
        num_global_key_value_heads=2,
        attention_k_eq_v=True,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 5,
        sliding_window=1024,
    )
    groups = kv_layout(launched(gemma, max_model_len=8192)).groups
    assert [(len(group.layers), group.first.block_size) for group in groups] == [(5, 16)] * 5 + [(5, 32)]


def test_keys_and_values_of_different_width() -> None:
    mimo = model(head_dim=192, v_head_dim=128, num_key_value_heads=4)
    assert kv_report(launched(mimo), 40 * GIB).bytes_per_token == 32 * 4 * (192 + 128) * 2


@pytest.mark.parametrize(
    ("kv_dtype", "bytes_per_head"),
    [
        ("fp8", 256),
        ("int8_per_token_head", 256 + 8),
        ("int4_per_token_head", 128 + 8),
        ("fp8_e5m2", 256),
    ],
)
def test_cache_formats(kv_dtype: str, bytes_per_head: int) -> None:
    report = kv_report(launched(kv_cache_dtype=kv_dtype), 40 * GIB)
    assert report.bytes_per_token == 32 * 8 * bytes_per_head


def test_nvfp4_takes_nine_sixteenths_of_a_byte() -> None:
    report = kv_report(launched(gpu="b200", kv_cache_dtype="nvfp4"), 40 * GIB)
    assert report.bytes_per_token == 32 * 8 * 2 * (64 + 8)


def test_turboquant_keeps_the_ends_plain() -> None:
    report = kv_report(launched(kv_cache_dtype="turboquant_4bit_nc"), 40 * GIB)
    assert report.block_size == 32
    assert report.bytes_per_token == 8 * (28 * 134 + 4 * 512)


def test_checkpoints_may_bring_their_own_format() -> None:
    scheme = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
    assert kv_layout(launched(model(quantization_config=scheme))).kv_dtype == "fp8_e4m3"
    assert (
        kv_layout(launched(model(quantization_config=scheme), kv_cache_dtype="bfloat16")).kv_dtype
        == "bfloat16"
    )


def test_kv_heads_are_split_then_repeated() -> None:
    sizes = [kv_report(launched(tensor_parallel_size=tp), GIB).bytes_per_token for tp in (1, 2, 8, 16)]
    assert sizes == [131072, 65536, 16384, 16384]


def test_decode_context_parallelism_splits_the_sequence() -> None:
    launch = launched(deepseek(), max_model_len=8192, tensor_parallel_size=8, decode_context_parallel_size=8)
    assert kv_layout(launch).pages_per_request(8192) == 8192 // 8 // 16


def test_the_widest_pipeline_stage_decides() -> None:
    launch = launched(model(num_hidden_layers=33), pipeline_parallel_size=2)
    assert kv_layout(launch).bytes_per_block == 17 * 16 * 4096


def test_encoders_have_no_cache() -> None:
    bert = model(model_type="bert", architectures=["BertModel"], max_position_embeddings=512)
    report = kv_report(launched(bert), 10 * GIB)
    assert (report.groups, report.tokens, report.num_gpu_blocks) == (0, 0, 1)
    assert concurrency_for(launched(bert), 10 * GIB, 512) > 0


def test_the_estimate_reserves_the_null_block_since_0_29() -> None:
    available = 2 * MIB * 64
    assert kv_report(launched(max_model_len=131072), available).estimated_max_model_len == 63 * 16
    old = launched(max_model_len=131072, version="0.28.0")
    assert kv_report(old, available).estimated_max_model_len == 64 * 16


def test_the_estimate_is_zero_where_no_token_fits() -> None:
    assert kv_report(launched(), 1000).estimated_max_model_len == 0


def test_tokens_of_hybrids_ignored_windows_before_0_20() -> None:
    report = kv_report(launched(gpt_oss(), max_model_len=8192, version="0.19.1"), 40 * GIB)
    assert report.tokens == report.num_gpu_blocks // 2 * 16


def test_a_fixed_number_of_blocks_replaces_the_memory() -> None:
    report = kv_report(launched(max_model_len=8192, num_gpu_blocks_override=512), GIB)
    assert (report.num_gpu_blocks, report.max_concurrency) == (512, 1.0)


def test_short_requests_fit_more_often_than_long_ones() -> None:
    launch = launched(max_model_len=8192)
    assert concurrency_for(launch, 10 * GIB, 1024) == pytest.approx(
        8 * concurrency_for(launch, 10 * GIB, 8192)
    )


def test_a_window_caps_what_a_long_request_holds() -> None:
    swa = model(sliding_window=4096, model_type="mistral", architectures=["MistralForCausalLM"])
    launch = launched(swa, max_num_batched_tokens=2048)
    long, longer = (concurrency_for(launch, 40 * GIB, tokens) for tokens in (65536, 131072))
    assert long == longer > concurrency_for(launched(), 40 * GIB, 65536)


def test_more_memory_and_shorter_context_never_hold_less() -> None:
    for metadata in (model(), gpt_oss(), deepseek(), qwen35()):
        blocks = [kv_report(launched(metadata), size * GIB).num_gpu_blocks for size in (1, 2, 8, 40)]
        assert blocks == sorted(blocks)
        held = [
            kv_report(launched(metadata, max_model_len=length), 40 * GIB).max_concurrency
            for length in (1024, 8192, 65536)
        ]
        assert held == sorted(held, reverse=True)


def test_auto_context_is_the_longest_that_fits_one_request() -> None:
    report = kv_report(launched(max_model_len=-1), GIB)
    assert report.estimated_max_model_len == 8192 - 16
    assert report.needed_bytes == GIB - report.bytes_per_block
    assert report.max_concurrency == pytest.approx(512 / 511)


def test_a_stage_of_states_alone_keeps_small_blocks_since_its_worker_sizes_them() -> None:
    jamba = model(
        architectures=["JambaForCausalLM"],
        model_type="jamba",
        num_hidden_layers=28,
        attn_layer_period=8,
        attn_layer_offset=4,
        num_experts=1,
        mamba_d_state=16,
        mamba_d_conv=4,
        mamba_expand=2,
    )

    def block_sizes(version: str, stages: int) -> set[int]:
        launch = launched(
            jamba, version=version, pipeline_parallel_size=stages, enable_prefix_caching=True, gpus=stages
        )
        return {group.first.block_size for group in kv_layout(launch).groups}

    assert len(block_sizes("0.33.0", 1)) == 1
    assert block_sizes("0.33.0", 4) == {16} | block_sizes("0.33.0", 1)
    assert 16 not in block_sizes("0.19.0", 4)
