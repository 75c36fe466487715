"""Activation peak, non-torch memory and CUDA graphs against what public start-up logs print."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.activations import (
    activation_peak_bytes,
    compile_excess_bytes,
    gathered_bytes,
    moe_workspace_bytes,
    persistent_bytes,
    sampler_bytes,
)
from wizard.planning.bands import kv_band_bytes
from wizard.planning.cuda_graphs import capture_sizes, captures, cuda_graphs_bytes
from wizard.planning.launch import Launch, resolve
from wizard.planning.non_torch import (
    context_bytes,
    fusion_bytes,
    load_transient_bytes,
    non_torch_bytes,
    outside_budget_bytes,
    unseen_tenants_bytes,
)
from wizard.planning.terms import weights_bytes
from wizard.planning.vision import (
    deepstack_bytes,
    encoder_peak_bytes,
    encoder_tokens,
    held_encoder_bytes,
    profiled_items,
    vision_encoder,
)
from wizard.planning.weights import rank_weights
from wizard.schemas.outputs import GIB, MIB, GPUInfo, VLLMConfig


def card(name: str, gib: float, capability: tuple[int, int], **facts: Any) -> GPUInfo:
    return GPUInfo(name=name, memory_total_bytes=int(gib * GIB), compute_capability=capability, **facts)


H100 = card("NVIDIA H100 80GB HBM3", 79.19, (9, 0))
A100 = card("NVIDIA A100-SXM4-80GB", 79.25, (8, 0))
RTX_3090 = card("NVIDIA GeForce RTX 3090", 23.54, (8, 6), klass="consumer")
L4 = card("NVIDIA L4", 22.04, (8, 9))
RTX_5090 = card("NVIDIA GeForce RTX 5090", 31.84, (12, 0), klass="consumer")

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
QWEN_7B = LLAMA_8B | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
}
QWEN3_14B = LLAMA_8B | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "head_dim": 128,
    "intermediate_size": 17408,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}
QWEN3_30B_A3B = QWEN3_14B | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
QWEN25_VL = QWEN_7B | {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "max_position_embeddings": 128000,
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "depth": 32,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}
GEMMA_4_VISION = {
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "default_output_length": 280,
    }
}
GEMMA_3_VISION = {
    "mm_tokens_per_image": 256,
    "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14, "image_size": 896},
}
QWEN3_VL_30B = QWEN3_30B_A3B | {
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "model_type": "qwen3_vl_moe",
    "max_position_embeddings": 262144,
    "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
    "vision_config": {
        "deepstack_visual_indexes": [8, 16, 24],
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}


def model(config: dict[str, Any]) -> ModelMetadata:
    return metadata_from_config(config, model="org/name", source="path")


def launch(
    config: dict[str, Any], gpu: GPUInfo, version: str, *, nvlink: bool = True, **settings: Any
) -> Launch:
    return resolve(
        VLLMConfig(model="org/name", **settings), model(config), gpu, version=version, nvlink=nvlink
    )


def gib(size: int) -> float:
    return size / GIB


@pytest.mark.parametrize(
    ("config", "gpu", "version", "settings", "logged"),
    [
        (LLAMA_8B, H100, "0.19.0", {}, 1.89),
        (LLAMA_8B, H100, "0.19.0", {"tensor_parallel_size": 4}, 1.89),
        (LLAMA_8B, H100, "0.19.0", {"dtype": "float32"}, 2.21),
        (LLAMA_8B, H100, "0.19.0", {"pipeline_parallel_size": 2}, 2.01),
        (LLAMA_8B, H100, "0.11.0", {}, 4.76),
        (QWEN_7B, H100, "0.19.0", {}, 2.21),
        (QWEN3_14B, H100, "0.11.0", {}, 5.64),
        (QWEN3_14B, H100, "0.19.0", {}, 2.23),
        (QWEN3_30B_A3B, H100, "0.10.2", {}, 5.58),
    ],
)
def test_activation_peak_as_logged(
    config: dict[str, Any], gpu: GPUInfo, version: str, settings: dict[str, Any], logged: float
) -> None:
    assert gib(activation_peak_bytes(launch(config, gpu, version, **settings))) == pytest.approx(
        logged, abs=0.02
    )


def test_peak_of_a_quantised_model_on_the_second_runner_holds_the_embedding_benchmark() -> None:
    """Qwen2.5-7B-AWQ on an L4, 0.28: the log prints 1.04 GiB."""
    found = launch(QWEN_7B | {"quantization_config": AWQ}, L4, "0.28.0", max_model_len=32768)
    assert gib(activation_peak_bytes(found)) == pytest.approx(1.04, abs=0.03)


@pytest.mark.parametrize(
    ("config", "version", "settings", "logged"),
    [
        (QWEN_7B, "0.22.0", {"max_num_seqs": 128}, 1.11),
        (QWEN_7B, "0.17.1", {}, 0.56),
    ],
)
def test_a_first_start_holds_a_copy_of_the_embedding_table_since_0_18(
    config: dict[str, Any], version: str, settings: dict[str, Any], logged: float
) -> None:
    """What the logs of small cards leave of the budget for the peak: they profile 2,048 tokens, few rows."""
    found = launch(config, RTX_3090, version, max_model_len=4096, **settings)
    assert gib(activation_peak_bytes(found)) == pytest.approx(logged, abs=0.07)


def test_capability_12_holds_the_table_twice_since_0_27() -> None:
    """Qwen2.5-7B-AWQ on an RTX PRO 4000, 0.28, had 1.2 GiB less than with one copy of its 1.0 GiB."""
    config = QWEN_7B | {"quantization_config": AWQ}
    table = QWEN_7B["vocab_size"] * QWEN_7B["hidden_size"] * 2
    settings = {"max_num_seqs": 16, "max_num_batched_tokens": 2048}

    def peak(gpu: GPUInfo, version: str) -> int:
        return activation_peak_bytes(launch(config, gpu, version, **settings))

    assert peak(RTX_5090, "0.28.0") - peak(L4, "0.28.0") == table
    assert peak(RTX_5090, "0.26.0") == peak(L4, "0.26.0")


def test_the_engine_itself_counts_where_the_memory_is_the_systems() -> None:
    spark = card("NVIDIA GB10", 121.69, (12, 1))
    own, shared = (launch(LLAMA_8B, gpu, "0.26.0") for gpu in (spark, replace(spark, unified_memory=True)))
    assert non_torch_bytes(shared) - non_torch_bytes(own) == 4 * GIB


def test_a_warm_compile_cache_stays_inside_the_band() -> None:
    """A later start needs no copy: the high bound allows for it, the low one doesn't."""
    settings = {"max_num_seqs": 256, "max_num_batched_tokens": 2048}
    cold = launch(QWEN_7B, A100, "0.19.1", **settings)
    spared = compile_excess_bytes(cold)
    assert gib(activation_peak_bytes(cold) - spared) == pytest.approx(gib(sampler_bytes(cold)), abs=0.01)
    low, high = kv_band_bytes(cold)
    assert high >= spared > -low
    many_rows = launch(QWEN_7B, A100, "0.19.1", max_num_seqs=1024, max_num_batched_tokens=8192)
    assert compile_excess_bytes(many_rows) == 0
    assert compile_excess_bytes(launch(QWEN_7B, A100, "0.19.1", enforce_eager=True, **settings)) == 0


def test_experts_take_tokens_in_chunks_until_0_18() -> None:
    def workspace(version: str) -> int:
        settings = {"data_parallel_size": 8, "enable_expert_parallel": True, "max_num_batched_tokens": 8192}
        return moe_workspace_bytes(launch(QWEN3_30B_A3B, H100, version, **settings))

    whole = workspace("0.19.0")
    assert [
        whole // workspace(version) for version in ("0.10.1", "0.11.0", "0.12.0", "0.17.1", "0.18.0")
    ] == [
        2,
        2,
        4,
        4,
        1,
    ]


def test_data_parallel_ranks_gather_their_tokens_for_the_experts() -> None:
    alone, eight = (
        launch(QWEN3_30B_A3B, H100, "0.19.0", data_parallel_size=n, enable_expert_parallel=True)
        for n in (1, 8)
    )
    assert gathered_bytes(alone) == 0
    assert gathered_bytes(eight) == 2 * 8 * eight.max_num_batched_tokens * 2048 * 2
    assert gathered_bytes(launch(LLAMA_8B, H100, "0.19.0", data_parallel_size=8)) == 0


def test_the_encoder_runs_before_the_experts_buffers_exist() -> None:
    """Gemma-4-26B-A4B-NVFP4 on an RTX 5090, 0.20.2: 4.26 GiB by the budget, less than both would take."""
    found = launch(
        QWEN3_30B_A3B | GEMMA_4_VISION, A100, "0.20.2", max_num_batched_tokens=16384, max_num_seqs=2
    )
    encoder, experts = encoder_peak_bytes(found), moe_workspace_bytes(found)
    assert encoder > experts > 0
    assert activation_peak_bytes(found) == encoder + held_encoder_bytes(found)


def test_the_patches_that_are_pooled_into_a_token_count() -> None:
    encoder = vision_encoder(model(QWEN_7B | GEMMA_4_VISION))
    assert encoder is not None
    assert encoder.merge == 3


def test_the_largest_video_of_qwen3_vl_is_kept_with_padding_through_0_12() -> None:
    """Qwen3-VL-30B-A3B on two H100, 0.12.0: a budget of 153600 tokens, each four hidden states wide."""
    padded, plain = (
        launch(QWEN3_VL_30B, H100, version, tensor_parallel_size=2) for version in ("0.12.0", "0.13.0")
    )
    encoder = vision_encoder(padded.metadata)
    assert encoder is not None
    assert profiled_items(padded, encoder).kept_tokens == 153600
    assert held_encoder_bytes(padded) > 153600 * 4 * 2048 * 2
    assert profiled_items(plain, encoder).kept_tokens == profiled_items(plain, encoder).tokens == 16384
    images = launch(QWEN3_VL_30B, H100, "0.12.0", limit_mm_per_prompt={"video": 0})
    assert profiled_items(images, encoder).kept_tokens == 16384


def test_every_image_is_padded_to_the_whole_budget_in_0_11() -> None:
    kept = {
        version: profiled_items(found, encoder)
        for version in ("0.10.2", "0.11.0", "0.11.2", "0.12.0", "0.33.0")
        if (found := launch(QWEN_7B | GEMMA_3_VISION, H100, version, max_num_batched_tokens=8192))
        and (encoder := vision_encoder(found.metadata))
    }
    assert {items.count for items in kept.values()} == {32}
    assert {version: items.kept_tokens for version, items in kept.items()} == {
        "0.10.2": 256,
        "0.11.0": 8192,
        "0.11.2": 8192,
        "0.12.0": 256,
        "0.33.0": 256,
    }


def test_no_more_items_are_profiled_than_the_requests_may_have() -> None:
    settings = {"max_num_batched_tokens": 8192, "max_num_seqs": 2, "limit_mm_per_prompt": {"image": 3}}
    found = launch(QWEN_7B | GEMMA_3_VISION, H100, "0.19.0", **settings)
    encoder = vision_encoder(found.metadata)
    assert encoder is not None
    assert profiled_items(found, encoder).count == 6


def test_deepstack_keeps_a_row_per_token_and_level_with_the_weights() -> None:
    found = launch(QWEN3_VL_30B, H100, "0.12.0", tensor_parallel_size=2)
    assert deepstack_bytes(found) == 3 * found.max_num_batched_tokens * 2048 * 2
    assert weights_bytes(found) == rank_weights(found).loaded_bytes + deepstack_bytes(found)
    assert deepstack_bytes(launch(QWEN3_VL_30B, H100, "0.33.0", language_model_only=True)) == 0
    assert deepstack_bytes(launch(QWEN25_VL, H100, "0.33.0")) == 0


def test_m_rope_kept_four_rows_a_position_through_0_31() -> None:
    early, late = (rank_weights(launch(QWEN3_VL_30B, H100, version)) for version in ("0.31.0", "0.32.0"))
    assert early.loaded_bytes - late.loaded_bytes == 3 * 262144 * 128 * 2


def test_fewer_tokens_and_rows_never_raise_the_peak() -> None:
    peaks = [
        activation_peak_bytes(launch(LLAMA_8B, H100, "0.33.0", max_num_batched_tokens=t, max_num_seqs=s))
        for t, s in ((16384, 1024), (8192, 1024), (8192, 256), (2048, 256), (2048, 16))
    ]
    assert peaks == sorted(peaks, reverse=True)


def test_logits_are_not_cut_by_tensor_parallelism() -> None:
    alone, four = (launch(QWEN3_14B, H100, "0.19.0", tensor_parallel_size=n) for n in (1, 4))
    assert sampler_bytes(alone) == sampler_bytes(four)


def test_penalty_state_counts_only_where_free_memory_is_compared() -> None:
    rows = 256 * 128256 * 33 // 8
    assert persistent_bytes(launch(LLAMA_8B, A100, "0.31.0")) == rows
    assert persistent_bytes(launch(LLAMA_8B, A100, "0.25.1")) == 0
    assert persistent_bytes(launch(LLAMA_8B, A100, "0.19.0")) == 0


def test_expert_workspaces_add_to_the_sampler_since_the_workspace_manager() -> None:
    workspaces = 8192 * 8 * 2 * (2048 + 2048)
    kept, within = (launch(QWEN3_30B_A3B, H100, version) for version in ("0.17.1", "0.12.0"))
    assert activation_peak_bytes(kept) - sampler_bytes(kept) == workspaces
    assert activation_peak_bytes(within) == sampler_bytes(within)


def test_expert_parallelism_does_not_narrow_the_workspaces() -> None:
    tensor = launch(QWEN3_30B_A3B, H100, "0.33.0", tensor_parallel_size=4)
    expert = launch(QWEN3_30B_A3B, H100, "0.33.0", tensor_parallel_size=4, enable_expert_parallel=True)
    assert activation_peak_bytes(expert) >= activation_peak_bytes(tensor)


@pytest.mark.parametrize(
    ("version", "settings", "logged"),
    [
        ("0.19.0", {}, 0.25),
        ("0.11.0", {}, 0.13),
        ("0.19.0", {"pipeline_parallel_size": 2}, 0.07),
        ("0.19.0", {"tensor_parallel_size": 2}, 2.07),
        ("0.19.0", {"tensor_parallel_size": 4}, 2.13),
        ("0.11.0", {"tensor_parallel_size": 2}, 0.54),
    ],
)
def test_non_torch_as_logged_on_h100(version: str, settings: dict[str, Any], logged: float) -> None:
    assert gib(non_torch_bytes(launch(LLAMA_8B, H100, version, **settings))) == pytest.approx(
        logged, abs=0.04
    )


def test_fused_all_reduce_workspace_by_version() -> None:
    two = {"tensor_parallel_size": 2}
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.16.0", **two)) == 0
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.19.0", **two)) == 1536 * MIB
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.33.0", **two)) == 514 * MIB
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.33.0", tensor_parallel_size=8)) == 34 * MIB


def test_who_has_no_fused_all_reduce() -> None:
    two = {"tensor_parallel_size": 2}
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.19.0", nvlink=False, **two)) == 0
    assert fusion_bytes(launch(LLAMA_8B, A100, "0.19.0", **two)) == 0
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.19.0", enforce_eager=True, **two)) == 0
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.19.0", tensor_parallel_size=3)) == 0
    assert fusion_bytes(launch(LLAMA_8B, H100, "0.19.0", pipeline_parallel_size=2, **two)) == 0


def test_nccl_counts_against_the_cache_before_0_11() -> None:
    two = {"tensor_parallel_size": 2}
    old, new = (launch(LLAMA_8B, H100, version, **two) for version in ("0.10.2", "0.11.0"))
    assert non_torch_bytes(old) > non_torch_bytes(new)
    assert context_bytes(old) < context_bytes(new)


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({}, 0.51),
        ({"tensor_parallel_size": 2}, 1.53),
        ({"tensor_parallel_size": 4}, 1.55),
        ({"pipeline_parallel_size": 2}, 1.43),
    ],
)
def test_what_is_used_before_the_baseline(settings: dict[str, Any], used: float) -> None:
    assert gib(context_bytes(launch(LLAMA_8B, H100, "0.19.0", **settings))) == pytest.approx(used, abs=0.03)


@pytest.mark.parametrize(
    ("seqs", "version", "count", "largest"),
    [(1024, "0.19.0", 51, 512), (128, "0.19.0", 35, 256), (64, "0.12.0", 19, 128), (1024, "0.11.0", 67, 512)],
)
def test_captured_sizes(seqs: int, version: str, count: int, largest: int) -> None:
    sizes = capture_sizes(launch(LLAMA_8B, H100, version, max_num_seqs=seqs))
    assert (len(sizes), sizes[-1]) == (count, largest)
    assert list(sizes) == sorted(set(sizes))


def test_full_graphs_serve_decode_batches_only() -> None:
    """An L4 with 256 slots captured 51 piecewise and 35 full graphs (0.28)."""
    found = captures(launch(LLAMA_8B, L4, "0.28.0"))
    assert (found.piecewise, found.full) == (51, 35)
    assert captures(launch(LLAMA_8B, H100, "0.10.2")).full == 0
    assert captures(launch(LLAMA_8B, H100, "0.33.0", optimization_level=1)).full == 0


def test_blackwell_captures_up_to_1024() -> None:
    b200 = card("NVIDIA B200", 178.35, (10, 0))
    assert len(capture_sizes(launch(LLAMA_8B, b200, "0.33.0"))) == 83
    assert len(capture_sizes(launch(LLAMA_8B, b200, "0.27.1"))) == 51


@pytest.mark.parametrize(
    ("config", "gpu", "version", "settings", "logged", "within"),
    [
        (LLAMA_8B, H100, "0.19.0", {}, 0.91, 0.1),
        (LLAMA_8B, H100, "0.19.0", {"tensor_parallel_size": 4}, 0.67, 0.1),
        (QWEN_7B, H100, "0.19.0", {}, 0.87, 0.1),
        (LLAMA_8B, RTX_3090, "0.12.0", {"max_num_seqs": 64}, 0.21, 0.05),
        (QWEN3_14B, RTX_3090, "0.12.0", {"max_num_seqs": 32}, 0.14, 0.05),
    ],
)
def test_graphs_as_logged(
    config: dict[str, Any], gpu: GPUInfo, version: str, settings: dict[str, Any], logged: float, within: float
) -> None:
    taken = cuda_graphs_bytes(launch(config, gpu, version, **settings))
    assert gib(taken.actual_bytes) == pytest.approx(logged, abs=within)
    assert taken.subtracted_bytes == 0


def test_when_the_estimate_is_subtracted() -> None:
    def subtracted(version: str, **settings: Any) -> bool:
        return cuda_graphs_bytes(launch(LLAMA_8B, H100, version, **settings)).subtracted_bytes > 0

    assert subtracted("0.20.0")
    assert not subtracted("0.28.0")
    assert subtracted("0.29.0")
    assert not subtracted("0.29.0", enforce_eager=True)


def test_outside_the_budget_come_graphs_that_were_not_subtracted() -> None:
    before = launch(LLAMA_8B, H100, "0.28.0")
    eager = launch(LLAMA_8B, H100, "0.28.0", enforce_eager=True)
    assert (
        outside_budget_bytes(before) - outside_budget_bytes(eager)
        >= cuda_graphs_bytes(before).actual_bytes // 2
    )


def test_loading_holds_a_layer_twice_where_a_kernel_repacks_it() -> None:
    assert load_transient_bytes(launch(QWEN_7B, L4, "0.33.0")) == 0
    assert load_transient_bytes(launch(QWEN_7B | {"quantization_config": AWQ}, L4, "0.33.0")) > 0


def test_a_desktop_may_take_more_of_a_card_nobody_looked_at() -> None:
    assert unseen_tenants_bytes(RTX_3090) > unseen_tenants_bytes(replace(RTX_3090, memory_used_bytes=GIB)) > 0
    assert unseen_tenants_bytes(replace(RTX_3090, index=0)) == 0
    assert unseen_tenants_bytes(H100) == 0


def test_dummy_videos_of_qwen_vl_grow_with_the_context() -> None:
    long, short = (launch(QWEN25_VL, A100, "0.19.0", max_model_len=length) for length in (128000, 8192))
    encoder = vision_encoder(long.metadata)
    assert encoder is not None
    assert encoder_tokens(long, encoder) == 7 * 16384
    assert encoder_tokens(short, encoder) == 16384
    assert encoder_peak_bytes(long) > 9 * GIB


@pytest.mark.parametrize(
    "settings",
    [
        {"language_model_only": True},
        {"limit_mm_per_prompt": {"image": 0, "video": 0}},
        {"skip_mm_profiling": True},
    ],
)
def test_no_encoder_pass_where_none_is_asked_for(settings: dict[str, Any]) -> None:
    found = launch(QWEN25_VL, A100, "0.33.0", **settings)
    assert encoder_peak_bytes(found) == held_encoder_bytes(found) == 0


OVIS = {
    "visual_tokenizer_config": {
        "hidden_stride": 2,
        "backbone_config": {
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "image_size": 448,
            "patch_size": 14,
        },
    }
}


def test_an_encoder_inside_a_tokenizer_of_images_is_found() -> None:
    found = launch(QWEN_7B | OVIS, A100, "0.33.0")
    encoder = vision_encoder(found.metadata)
    assert encoder is not None
    assert encoder.item_tokens(found.max_model_len) == (448 // 14 // 2) ** 2
    assert encoder_peak_bytes(found) > 0


@pytest.mark.parametrize(
    "section",
    [
        {"audio_processor": {"config": {"attention_dim": 1024}}},  # Phi-4
        {"encoder_config": {"hidden_dim": 1024}},  # Granite Speech
        OVIS,
    ],
)
def test_whatever_an_encoder_is_called_its_outputs_are_held(section: dict[str, Any]) -> None:
    assert held_encoder_bytes(launch(QWEN_7B, A100, "0.33.0")) == 0
    assert held_encoder_bytes(launch(QWEN_7B | section, A100, "0.33.0")) > 0
    without = launch(QWEN_7B | section, A100, "0.33.0", language_model_only=True)
    assert held_encoder_bytes(without) == 0


def test_the_tokens_of_an_image_tell_how_many_patches_are_merged() -> None:
    seen = {"vision_config": {"hidden_size": 1792, "image_size": 728, "patch_size": 14}}
    encoder = vision_encoder(model(QWEN_7B | seen | {"image_token_len": 169}))  # Step 3
    assert encoder is not None
    assert encoder.merge == 4


def test_the_band_is_narrow_where_logs_are_many_and_wide_where_they_are_few() -> None:
    def width(gpu: GPUInfo, version: str, **settings: Any) -> float:
        low, high = kv_band_bytes(launch(LLAMA_8B, gpu, version, **settings))
        assert low <= 0 <= high
        return gib(high - low)

    assert width(H100, "0.19.0") < 0.3
    assert width(H100, "0.19.0") < width(RTX_3090, "0.19.0") < width(H100, "0.33.0") < width(H100, "0.10.2")
    assert width(H100, "0.33.0") < width(H100, "0.33.0", tensor_parallel_size=2)
    spark = card("NVIDIA GB10", 121.69, (12, 1), unified_memory=True)
    assert width(spark, "0.33.0") > 6


def test_the_band_is_lower_where_kernels_hold_what_is_not_counted() -> None:
    def lower(config: dict[str, Any], more: dict[str, Any]) -> float:
        plain, other = (kv_band_bytes(launch(each, H100, "0.26.0"))[0] for each in (config, config | more))
        return gib(plain - other)

    assert lower(LLAMA_8B, {"index_topk": 2048}) == pytest.approx(3.0, abs=0.01)
    fp4 = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}}
    experts = gib(moe_workspace_bytes(launch(QWEN3_30B_A3B | fp4, H100, "0.26.0")))
    assert lower(QWEN3_30B_A3B, fp4) > 0.5 * experts > 0
    assert lower(LLAMA_8B, fp4) < 0.1


@pytest.mark.parametrize(("settings", "logged"), [({"max_num_seqs": 1}, 0.39), ({"max_num_seqs": 2}, 0.42)])
def test_flashinfers_workspaces_are_part_of_the_graph_estimate(
    settings: dict[str, Any], logged: float
) -> None:
    """Sizes 1, 2 and 4 on an RTX 5090 with an fp8 cache, 0.20.0: what the log estimates for the graphs."""
    shared = {"max_cudagraph_capture_size": 4, "kv_cache_dtype": "fp8_e4m3", **settings}
    found = launch(QWEN_7B, RTX_5090, "0.20.0", **shared)
    assert gib(cuda_graphs_bytes(found).subtracted_bytes) == pytest.approx(logged, abs=0.04)
    for without in ({"cudagraph_mode": "PIECEWISE"}, {"enforce_eager": True}, {"kv_cache_dtype": "auto"}):
        other = launch(QWEN_7B, RTX_5090, "0.20.0", **shared | without)
        assert gib(cuda_graphs_bytes(other).actual_bytes) < 0.04
