"""vLLM's refusals, in its words, each with the smallest change that passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.launching import launched, model
from wizard.models.metadata import ModelMetadata
from wizard.planning.gates import Refusal, refusal
from wizard.planning.launch import Launch
from wizard.planning.weights import rank_weights

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def refused(launch: Launch) -> Refusal:
    found = refusal(launch)
    assert found is not None
    return found


def mended(metadata: ModelMetadata, found: Refusal, **settings: Any) -> Refusal | None:
    """The same launch with the suggested change."""
    gpu = settings.pop("gpu", "h100")
    gpus = settings.pop("gpus", None)
    return refusal(launched(metadata, gpu=gpu, gpus=gpus, **{**settings, **dict(found.change)}))


def test_a_sound_launch_passes() -> None:
    assert refusal(launched(max_model_len=8192, tensor_parallel_size=4)) is None


def moe() -> ModelMetadata:
    return model(
        model_type="qwen3_moe",
        architectures=["Qwen3MoeForCausalLM"],
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=1024,
    )


def latent() -> ModelMetadata:
    return model(
        model_type="deepseek_v3",
        architectures=["DeepseekV3ForCausalLM"],
        kv_lora_rank=512,
        q_lora_rank=1536,
        qk_rope_head_dim=64,
        qk_nope_head_dim=128,
        v_head_dim=128,
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=2,
        moe_intermediate_size=1024,
        first_k_dense_replace=3,
    )


MOE = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 1024,
}
W4A16 = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
        }
    },
}

CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "context",
        {},
        {"max_model_len": 262144},
        "User-specified max_model_len (262144) is greater than the derived",
    ),
    (
        "heads",
        {},
        {"tensor_parallel_size": 3},
        "Total number of attention heads (32) must be divisible by tensor",
    ),
    (
        "experts",
        {},
        {"enable_expert_parallel": True},
        "Number of experts in the model must be greater than 0",
    ),
    (
        "batch",
        {},
        {"max_num_batched_tokens": 256, "max_num_seqs": 512},
        "max_num_batched_tokens (256) must be greater than or equal to max_num_seqs (512).",
    ),
    (
        "no chunked prefill",
        {},
        {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096, "max_model_len": 8192},
        "max_num_batched_tokens (4096) is smaller than max_model_len (8192).",
    ),
    ("bfloat16 on Turing", {}, {"gpu": "t4", "dtype": "bfloat16"}, "Bfloat16 is only supported on GPUs with"),
    (
        "float16 of Gemma",
        {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]},
        {"dtype": "float16"},
        "The model type 'gemma2' does not support float16.",
    ),
    (
        "quantisation mismatch",
        {"quantization_config": FP8},
        {"quantization": "awq"},
        "Quantization method specified in the model config (fp8) does not match",
    ),
    (
        "unknown quantisation",
        {},
        {"quantization": "bitsandbytes"},
        "Unknown quantization method: bitsandbytes.",
    ),
    ("cache dtype", {}, {"kv_cache_dtype": "float16"}, 'kv_cache_dtype="float16" is incompatible with'),
    ("cache kernels", {}, {"kv_cache_dtype": "nvfp4_4over6"}, "No valid attention backend found for cuda"),
    (
        "forced backend",
        {},
        {"attention_backend": "FLASHMLA"},
        "Selected backend AttentionBackendEnum.FLASHMLA is not",
    ),
    (
        "custom code",
        {"model_type": "own", "architectures": ["OwnModel"], "auto_map": {"AutoConfig": "configuration.Own"}},
        {},
        "The repository org/model contains custom code which must be executed",
    ),
    (
        "dcp",
        {},
        {"tensor_parallel_size": 8, "decode_context_parallel_size": 2},
        "Decode context parallelism for GQA/MQA requires `--tensor-parallel-size` (8) to be greater",
    ),
    (
        "dcp too large",
        {},
        {"tensor_parallel_size": 16, "decode_context_parallel_size": 4},
        "`--decode-context-parallel-size` (4) exceeds the maximum supported value (2)",
    ),
    (
        "drafts",
        {},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}},
        "Expected num_speculative_tokens to be greater than zero (0).",
    ),
    (
        "state groups",
        {
            "architectures": ["FalconH1ForCausalLM"],
            "model_type": "falcon_h1",
            "mamba_d_ssm": 4096,
            "mamba_n_heads": 32,
            "mamba_d_head": 128,
            "mamba_d_state": 256,
            "mamba_n_groups": 2,
        },
        {"tensor_parallel_size": 4},
        "If tensor parallel world size does not divide num_groups, then num_groups must equal 1.",
    ),
    (
        "dtype of delta states",
        {
            "architectures": ["KimiLinearForCausalLM"],
            "model_type": "kimi_linear",
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            "num_experts": 8,
            "num_experts_per_token": 2,
            "moe_intermediate_size": 1024,
            "linear_attn_config": {
                "full_attn_layers": [4, 8, 12, 16, 20, 24, 28, 32],
                "kda_layers": [layer for layer in range(1, 33) if layer % 4],
                "num_heads": 32,
                "head_dim": 128,
                "short_conv_kernel_size": 4,
            },
        },
        {"mamba_ssm_cache_dtype": "float16", "trust_remote_code": True},
        "KDA recurrent state supports only auto, float32, and bfloat16; got float16",
    ),
    (
        "no draft modules",
        {},
        {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}},
        "Unsupported speculative method: 'mtp'",
    ),
    (
        "fp8 cache on Ampere through Triton",
        {"head_dim": 96, "num_attention_heads": 32},
        {"gpu": "a100", "kv_cache_dtype": "fp8"},
        "FP8 KV cache is not supported by the Triton attention backend on NVIDIA A100-SXM4-80GB",
    ),
    (
        "fp8 latents on Ampere through Triton",
        {
            "architectures": ["DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v2",
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
        },
        {"gpu": "a100", "kv_cache_dtype": "fp8"},
        "FP8 KV cache is not supported by the Triton MLA backend on NVIDIA A100-SXM4-80GB",
    ),
    (
        "balanced experts",
        MOE,
        {"extra_args": ("--enable-eplb",)},
        "enable_expert_parallel must be True to use EPLB.",
    ),
    (
        "balanced on one GPU",
        MOE,
        {"extra_args": ("--enable-eplb",), "enable_expert_parallel": True},
        "EPLB requires tensor, prefill-context, or data parallelism, but got TP=1, PCP=1, DP=1.",
    ),
    (
        "adapters in the CPU's memory",
        {},
        {"enable_lora": True, "max_loras": 4, "extra_args": ("--max-cpu-loras", "2")},
        "max_cpu_loras (2) must be >= max_loras (4).",
    ),
    (
        "a negative length",
        {},
        {"max_model_len": -5},
        "max_model_len\n  Input should be greater than or equal",
    ),
    (
        "a dense model behind another balancer",
        {},
        {"data_parallel_size": 2, "extra_args": ("--data-parallel-rank", "1")},
        "Non-MoE models do not support external data parallel mode.",
    ),
    (
        "long prefills",
        {},
        {"extra_args": ("--long-prefill-token-threshold", "999999")},
        "long_prefill_token_threshold (999999) cannot be greater than the max_model_len (131072).",
    ),
    (
        "active requests",
        {},
        {"extra_args": ("--max-num-active-seqs", "5000")},
        "max_num_active_seqs (5000) cannot be greater than max_num_seqs (1024).",
    ),
    (
        "blocks of states",
        {},
        {"mamba_block_size": 512, "enable_prefix_caching": False},
        "--mamba-block-size can only be set with --enable-prefix-caching",
    ),
    (
        "groups torn between ranks",
        {**MOE, "moe_intermediate_size": 768, "quantization_config": W4A16},
        {"tensor_parallel_size": 8, "gpus": 8},
        "CompressedTensors WNA16 MoE with static group scales requires the MoE intermediate size per tensor-parallel "
        "partition (96) to be divisible by group_size (128).",
    ),
    (
        "groups too small to halve",
        {**MOE, "moe_intermediate_size": 1408, "quantization_config": {"quant_method": "awq", "bits": 4}},
        {"tensor_parallel_size": 8, "gpus": 8},
        "AssertionError: assert group_size >= 32",
    ),
    (
        "blocks too small to refine",
        {**MOE, "moe_intermediate_size": 384, "quantization_config": FP8},
        {"tensor_parallel_size": 8, "gpus": 8},
        "The output_size of gate's and up's weight = 48 is not divisible by weight quantization block_n = 128.",
    ),
]


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_refused_in_vllms_words_and_mended_by_the_change(
    changes: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    metadata = model(**changes)
    found = refused(launched(metadata, **settings))
    assert found.error.startswith(sentence)
    assert found.change
    later = mended(metadata, found, **settings)
    assert later is None or later.error != found.error


def test_a_tied_head_is_not_parted_from_its_embedding() -> None:
    ernie = {
        "architectures": ["Ernie4_5_MoeForCausalLM"],
        "model_type": "ernie4_5_moe",
        "moe_num_experts": 8,
        "moe_intermediate_size": 1024,
    }
    parted = launched(model(**ernie, tie_word_embeddings=True), pipeline_parallel_size=2, gpus=2)
    found = refusal(parted)
    assert found is not None
    assert "no attribute 'tie_weights'" in found.error
    assert dict(found.change) == {"pipeline_parallel_size": 1}
    untied = launched(model(**ernie, tie_word_embeddings=False), pipeline_parallel_size=2, gpus=2)
    assert refusal(untied) is None


GLM_4V = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "ffn_hidden_size": 13696,
    "num_hidden_layers": 2,
    "num_key_value_heads": None,
    "multi_query_group_num": 2,
    "padded_vocab_size": 151552,
    "seq_length": 8192,
    "vision_config": {
        "hidden_size": 1792,
        "image_size": 1120,
        "intermediate_size": 15360,
        "num_heads": 16,
        "num_hidden_layers": 63,
        "num_positions": 6401,
        "patch_size": 14,
    },
}


def test_a_model_that_sees_is_not_started_blind() -> None:
    blind = launched(model(**GLM_4V))
    found = refusal(blind)
    assert found is not None
    assert "instantiated the text-only version" in found.error
    seeing = launched(model(**GLM_4V), **dict(found.change))
    assert refusal(seeing) is None
    assert seeing.metadata.architecture == "GLM4VForCausalLM"
    assert rank_weights(seeing).stages[0].param_bytes > 1.5 * rank_weights(blind).stages[0].param_bytes
    again = launched(blind.metadata, **dict(found.change))
    assert again.metadata is launched(blind.metadata, **dict(found.change)).metadata


def test_more_ranks_than_gpus_unless_they_are_elsewhere() -> None:
    found = refused(launched(tensor_parallel_size=4, gpus=2))
    assert found.error.startswith(
        "World size (4) is larger than the number of available GPUs (2) in this node."
    )
    assert refusal(launched(tensor_parallel_size=4, gpus=2, nnodes=2)) is None
    assert refusal(launched(tensor_parallel_size=4, gpus=2, distributed_executor_backend="ray")) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tensor_parallel_size": 4}, "DP adjusted local rank 1 is out of bounds for 1 devices."),
        ({"pipeline_parallel_size": 8}, "DP adjusted local rank 1 is out of bounds for 1 devices."),
        ({"data_parallel_size": 40}, "DP adjusted local rank 1 is out of bounds for 1 devices."),
        (
            {"data_parallel_size": 2, "pipeline_parallel_size": 2},
            "DP adjusted local rank 1 is out of bounds for 1 devices.",
        ),
        ({"data_parallel_size": 3}, "Invalid data-parallel launch options: `--nnodes 2` must evenly divide"),
        ({"data_parallel_size": 1}, "Invalid data-parallel launch options: `--nnodes 2` must evenly divide"),
    ],
)
def test_nodes_bring_their_own_gpus_and_share_the_ranks_evenly(
    settings: dict[str, int], sentence: str
) -> None:
    """Two nodes of one GPU hold two ranks, whichever way they are spread."""
    found = refused(launched(gpus=1, nnodes=2, **settings))
    assert found.cause == "invalid_config"
    assert found.error.startswith(sentence)
    if found.change:
        assert refusal(launched(gpus=1, nnodes=2, **{**settings, **dict(found.change)})) is None


@pytest.mark.parametrize(
    "settings", [{"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}, {"data_parallel_size": 2}]
)
def test_as_many_ranks_as_the_nodes_have_gpus(settings: dict[str, int]) -> None:
    assert refusal(launched(gpus=1, nnodes=2, **settings)) is None


def test_engines_that_would_be_torn_between_nodes() -> None:
    found = refused(launched(gpus=3, nnodes=2, pipeline_parallel_size=2, data_parallel_size=3))
    assert "nnodes (2) must be divisible by the number of data parallel node groups (3 =" in found.error


def test_a_ray_cluster_is_as_large_as_the_machine() -> None:
    settings = {"tensor_parallel_size": 4, "gpus": 2, "distributed_executor_backend": "ray"}
    assert refusal(launched(nodes=2, **settings)) is None
    assert "exceeds the total number of available GPUs" in refused(launched(nodes=1, **settings)).error


def test_nodes_that_never_join() -> None:
    found = refused(launched(gpus=2, nodes=1, nnodes=2, pipeline_parallel_size=4))
    assert "2/4 clients joined" in found.error


@pytest.mark.parametrize(
    ("method", "version", "loads"),
    [
        ("bitsandbytes", "0.33.0", False),
        ("bitsandbytes", "0.28.0", False),
        ("bitsandbytes", "0.27.0", True),
        ("hqq", "0.33.0", False),
        ("hqq", "0.14.1", True),
        ("auto-round", "0.33.0", True),
        ("gptq", "0.19.1", True),
        ("gptq", "0.33.0", True),
        ("frobnicate", "0.33.0", False),
    ],
)
def test_a_checkpoint_needs_a_version_that_knows_its_method(method: str, version: str, loads: bool) -> None:
    metadata = model(quantization_config={"quant_method": method})
    launch = launched(metadata, version=version)
    if loads:
        assert refusal(launch) is None
    else:
        found = refused(launch)
        assert found.cause == "unsupported"
        assert found.error.startswith(f"Unknown quantization method: {method}. Must be one of ['awq',")


def test_key_value_heads_serve_as_many_query_heads_each() -> None:
    assert (
        refused(launched(model(num_key_value_heads=7))).error
        == "num_heads (32) is not divisible by num_kv_heads (7)"
    )


def test_a_dtype_that_torch_does_not_have() -> None:
    """`int3` it has: there vLLM falls back, so that nothing is refused."""
    assert refused(launched(model(dtype="fp16"))).error == "module 'torch' has no attribute 'fp16'"
    assert refusal(launched(model(dtype="int3"))) is None


@pytest.mark.parametrize(("version", "starts"), [("0.33.0", False), ("0.20.0", False), ("0.19.1", True)])
def test_wheels_hold_no_kernels_for_volta_since_cuda_13(version: str, starts: bool) -> None:
    launch = launched(gpu="v100", version=version)
    assert (refusal(launch) is None) is starts
    if not starts:
        assert refused(launch).cause == "unsupported"
        assert refused(launch).error == "CUDA error: no kernel image is available for execution on the device"
    assert refusal(launched(gpu="t4", version=version)) is None


def test_a_removed_architecture_names_its_last_version() -> None:
    baichuan = model(model_type="llama", architectures=["BaichuanForCausalLM"])
    assert refused(launched(baichuan)).error.startswith(
        "Model architecture BaichuanForCausalLM was supported in vLLM until v0.23.0"
    )
    assert refusal(launched(baichuan, version="0.23.0")) is None


def test_unknown_models_are_refused_by_the_version_that_is_known() -> None:
    strange = model(model_type="llama", architectures=["NobodyKnowsForCausalLM"])
    assert refused(launched(strange)).error.startswith(
        "Model architectures ['NobodyKnowsForCausalLM'] are not"
    )
    assert refusal(launched(strange, version="0.19.1")) is None
    assert "does not recognize" in refused(launched(model(model_type="nobody_knows"))).error


def test_pipeline_parallelism_needs_a_model_that_has_it() -> None:
    zamba = model(
        model_type="mamba2",
        architectures=["Mamba2ForCausalLM"],
        num_heads=128,
        head_dim=64,
        state_size=128,
        n_groups=8,
        expand=2,
    )
    found = refused(launched(zamba, pipeline_parallel_size=2))
    assert found.error.startswith("Pipeline parallelism is not supported for this model.")


def test_latent_attention_has_no_plain_fp4_cache() -> None:
    found = refused(launched(latent(), gpu="b200", kv_cache_dtype="nvfp4"))
    assert found.error.startswith("nvfp4 KV cache is not supported with MLA")


def test_sparse_latent_attention_has_no_kernels_before_hopper() -> None:
    sparse = model(
        **{**latent().config, "model_type": "deepseek_v32", "architectures": ["DeepseekV32ForCausalLM"]},
        index_topk=2048,
        index_head_dim=128,
        index_n_heads=64,
    )
    found = refused(launched(sparse, gpu="4090"))
    assert found.error.startswith("No valid attention backend found for cuda")
    assert "FLASHMLA_SPARSE: [compute capability not supported]" in found.error
    assert refusal(launched(sparse)) is None


def test_experts_may_be_parallel_where_there_are_some() -> None:
    assert refusal(launched(moe(), tensor_parallel_size=2, enable_expert_parallel=True)) is None


def test_a_longer_context_was_allowed_while_yarn_multiplied() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    metadata = model(max_position_embeddings=40960, rope_scaling=rope)
    assert refusal(launched(metadata, max_model_len=131072, version="0.19.1")) is None
    assert refused(launched(metadata, max_model_len=131072)).change == (("max_model_len", 40960),)


def test_e5m2_needs_a_checkpoint_without_scales() -> None:
    fp8 = model(quantization_config=FP8)
    assert refused(launched(fp8, gpu="4090", kv_cache_dtype="fp8_e5m2")).error == (
        "fp8_e5m2 kv-cache is not supported with fp8 checkpoints."
    )
    assert refusal(launched(gpu="4090", kv_cache_dtype="fp8_e5m2")) is None


def test_hybrids_need_the_hybrid_cache_manager() -> None:
    hybrid = model(
        model_type="qwen3_next",
        architectures=["Qwen3NextForCausalLM"],
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=512,
        shared_expert_intermediate_size=512,
    )
    found = refused(launched(hybrid, disable_hybrid_kv_cache_manager=True))
    assert found.error == "Failed to promote local KV cache specs to one unified type."


def test_shared_caches_stay_on_one_stage() -> None:
    shared = model(
        model_type="gemma4_text",
        architectures=["Gemma4ForCausalLM"],
        layer_types=(["sliding_attention"] * 3 + ["full_attention"]) * 8,
        sliding_window=512,
        num_kv_shared_layers=16,
    )
    found = refused(launched(shared, pipeline_parallel_size=2))
    assert found.error.startswith("Specified KV sharing target layer for")


def test_sparse_checkpoints_were_served_once() -> None:
    sparse = {**W4A16, "sparsity_config": {"format": "sparse-24-bitmask", "targets": ["Linear"]}}
    metadata = model(quantization_config=sparse)
    assert refused(launched(metadata)).error.startswith("Sparsity support has been removed")
    assert refusal(launched(metadata, version="0.10.2")) is None


def test_what_the_transformers_backend_still_runs_is_not_refused_as_removed() -> None:
    dense = {
        "model_type": "dots1",
        "architectures": ["Dots1ForCausalLM"],
        "n_routed_experts": 8,
        "n_shared_experts": 1,
    }
    served = model(**dense, num_experts_per_tok=2, moe_intermediate_size=1024, first_k_dense_replace=1)
    assert refusal(launched(served)) is None
    hybrid = model(model_type="bamba", architectures=["BambaForCausalLM"], attn_layer_indices=[9, 18, 27])
    error = refused(launched(hybrid)).error
    assert error.startswith("Layer 0 (linear_attention) does not dispatch through the Transformers attention")
