"""How weights are cut over GPUs, and what loading makes of them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.launching import card, launched, model
from wizard.dataclass import replace
from wizard.errors import WizardError
from wizard.models.metadata import Checkpoint, TensorInfo, metadata_from_config
from wizard.models.tree import active_parameter_count, parameter_count
from wizard.planning.bands import kv_band_bytes
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_layout
from wizard.planning.launch import resolve
from wizard.planning.planner import check
from wizard.planning.weights import rank_weights, stage_ranges, weight_doubts
from wizard.schemas.outputs import GIB, MIB, VLLMConfig

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
FP8_BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
FP8_TENSOR = {"quant_method": "fp8", "activation_scheme": "dynamic"}

DEEPSEEK: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 2048,
    "intermediate_size": 4096,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 5,
    "first_k_dense_replace": 1,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 512,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "topk_method": "noaux_tc",
    "num_nextn_predict_layers": 1,
    "vocab_size": 4096,
    "max_position_embeddings": 4096,
    "dtype": "bfloat16",
}


def deepseek(**changes: Any) -> Any:
    return metadata_from_config({**DEEPSEEK, **changes}, model="org/model", source="path")


def test_llama_8b_on_one_gpu_is_its_eight_billion_parameters() -> None:
    stage = rank_weights(launched()).stages[0]
    assert stage.param_bytes == 2 * 8_030_261_248
    assert stage.by_dtype == {"bfloat16": stage.param_bytes}


def test_what_vllm_logs_for_llama_8b() -> None:
    """`Model loading took 14.99 GiB` (0.17 to 0.19 on three cards)."""
    assert rank_weights(launched()).loaded_bytes / GIB == pytest.approx(14.99, abs=0.006)


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_all_but_the_norms_is_cut(tp: int) -> None:
    whole = rank_weights(launched()).stages[0].param_bytes
    norms = 2 * (2 * 32 + 1) * 4096
    assert (
        rank_weights(launched(tensor_parallel_size=tp)).stages[0].param_bytes == (whole - norms) // tp + norms
    )


def test_fewer_key_heads_than_gpus_are_copied() -> None:
    eight = rank_weights(launched(model(num_key_value_heads=2), tensor_parallel_size=8)).stages[0].param_bytes
    sixteenth = (
        rank_weights(launched(model(num_key_value_heads=8), tensor_parallel_size=8)).stages[0].param_bytes
    )
    assert eight == sixteenth


def test_the_vocabulary_is_padded_to_64_rows() -> None:
    odd = rank_weights(launched(model(vocab_size=128257))).stages[0].param_bytes
    even = rank_weights(launched(model(vocab_size=128256))).stages[0].param_bytes
    assert odd - even == 2 * 64 * 4096 * 2


@pytest.mark.parametrize(
    ("layers", "stages", "sizes"), [(32, 4, [8, 8, 8, 8]), (61, 4, [15, 15, 16, 15]), (5, 3, [2, 2, 1])]
)
def test_layers_left_over_go_before_the_last_stage(layers: int, stages: int, sizes: list[int]) -> None:
    ranges = stage_ranges(layers, stages)
    assert [end - start for start, end in ranges] == sizes
    assert all(first[1] == second[0] for first, second in pairwise(ranges))


def test_a_tied_embedding_stands_on_both_ends_of_a_pipeline() -> None:
    tied = model(tie_word_embeddings=True)
    whole = rank_weights(launched(tied)).stages[0].param_bytes
    stages = rank_weights(launched(tied, pipeline_parallel_size=2)).stages
    assert sum(stage.param_bytes for stage in stages) == whole + 2 * 128256 * 4096


def test_experts_are_shared_out_whole_with_expert_parallelism() -> None:
    metadata = deepseek()
    cut = rank_weights(launched(metadata, tensor_parallel_size=4)).stages[0]
    whole = rank_weights(launched(metadata, tensor_parallel_size=4, enable_expert_parallel=True)).stages[0]
    assert whole.param_bytes == cut.param_bytes
    assert whole.buffer_bytes > cut.buffer_bytes


def test_data_parallel_ranks_share_experts_and_nothing_else() -> None:
    metadata = deepseek()
    alone = rank_weights(launched(metadata)).stages[0].param_bytes
    shared = rank_weights(launched(metadata, data_parallel_size=2)).stages[0].param_bytes
    experts = 4 * 16 * 3 * 2048 * 512 * 2
    assert alone - shared == experts // 2


def test_sequence_parallel_experts_keep_the_shared_one_whole() -> None:
    metadata = deepseek()
    apart = rank_weights(launched(metadata, tensor_parallel_size=2, enable_expert_parallel=True))
    together = rank_weights(
        launched(metadata, tensor_parallel_size=2, data_parallel_size=2, enable_expert_parallel=True)
    )
    shared, routed = 4 * 3 * 2048 * 512 * 2, 4 * 16 * 3 * 2048 * 512 * 2
    assert together.stages[0].param_bytes - apart.stages[0].param_bytes == shared // 2 - routed // 4


def test_heads_that_do_not_divide_are_refused_in_vllms_words() -> None:
    refusals = rank_weights(launched(tensor_parallel_size=3)).refusals
    assert (
        refusals[0] == "Total number of attention heads (32) must be divisible by tensor parallel size (3)."
    )


def test_a_cut_through_an_awq_group_is_refused() -> None:
    metadata = model(quantization_config=AWQ, intermediate_size=13824 + 512)
    assert rank_weights(launched(metadata, tensor_parallel_size=8)).refusals == ()
    narrow = model(quantization_config=AWQ, intermediate_size=13824)
    assert (
        "not aligned with the quantized weight shape"
        in rank_weights(launched(narrow, tensor_parallel_size=8)).refusals[0]
    )


def test_a_cut_through_an_fp8_block_is_refused() -> None:
    metadata = model(quantization_config=FP8_BLOCKS, intermediate_size=13824)
    refusals = rank_weights(launched(metadata, tensor_parallel_size=8)).refusals
    assert any("is not divisible by weight quantization block_k = 128" in text for text in refusals)


def test_marlin_drops_the_zero_points_of_gptq_and_machete_keeps_them() -> None:
    metadata = model(quantization_config=GPTQ)
    ada, hopper = (rank_weights(launched(metadata, gpu=gpu)).stages[0] for gpu in ("4090", "h100"))
    elements = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)
    assert ada.param_bytes == hopper.param_bytes
    assert (ada.repacked_bytes, hopper.repacked_bytes) == (-elements // 128 // 2, 0)


def test_machete_widens_the_zero_points_of_awq() -> None:
    metadata = model(quantization_config=AWQ)
    elements = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)

    def repacked(gpu: str, version: str) -> int:
        return rank_weights(launched(metadata, gpu=gpu, version=version)).stages[0].repacked_bytes

    assert repacked("h100", "0.26.0") == elements // 128 * 2 - elements // 128 // 2
    assert repacked("h100", "0.18.1") == repacked("a100", "0.26.0") == 0


def test_block_scales_grow_where_the_gpu_has_no_fp8() -> None:
    metadata = model(quantization_config=FP8_BLOCKS)
    ampere, hopper = (rank_weights(launched(metadata, gpu=gpu)).stages[0] for gpu in ("a100", "h100"))
    assert hopper.repacked_bytes == 0
    elements = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)
    assert ampere.repacked_bytes == elements // 128 * 2 - elements // 128 // 128 * 4


def test_latent_attention_keeps_a_plain_copy_of_a_quantised_up_projection() -> None:
    plain = rank_weights(launched(deepseek())).stages[0]
    quantised = rank_weights(launched(deepseek(quantization_config=FP8_TENSOR))).stages[0]
    assert plain.repacked_bytes == 0
    assert quantised.repacked_bytes == 5 * 256 * 16 * (64 + 64) * 2


def test_online_quantisation_halves_matrices_and_leaves_embeddings() -> None:
    plain = rank_weights(launched()).stages[0].param_bytes
    online = rank_weights(launched(quantization="fp8")).stages[0].by_dtype
    matrices = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)
    assert online["float8_e4m3fn"] == matrices
    assert online["bfloat16"] == plain - 2 * matrices


def test_an_unknown_online_method_is_one_sentence() -> None:
    with pytest.raises(WizardError, match="needs a checkpoint quantised that way"):
        rank_weights(launched(quantization="aqlm"))


def test_multi_token_prediction_loads_a_layer_more() -> None:
    metadata = deepseek()
    without = rank_weights(launched(metadata))
    with_draft = rank_weights(
        launched(metadata, speculative_config={"method": "mtp", "num_speculative_tokens": 1})
    )
    hidden = 2048
    assert without.draft_bytes == 0
    assert with_draft.draft_bytes > without.largest_layer_bytes
    assert with_draft.loaded_bytes - without.loaded_bytes == with_draft.draft_bytes
    assert with_draft.draft_bytes - without.largest_layer_bytes == pytest.approx(
        2 * (2 * hidden * hidden), rel=0.3
    )


def test_ngram_speculation_loads_nothing() -> None:
    chosen = {"method": "ngram", "num_speculative_tokens": 3}
    assert rank_weights(launched(speculative_config=chosen)).draft_bytes == 0


EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "draft_vocab_size": 32000,
    "num_hidden_layers": 1,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("known", [True, False])
def test_an_eagle3_head_of_llama_8b(known: bool) -> None:
    """1,900,308,480 B in vLLM's own class, less the embedding, which is the model's, and 16 B of the cache's scales."""
    asked = {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 3}
    metadata = replace(model(), drafts={"org/head": model(**EAGLE3)}) if known else model()
    launch = launched(metadata, speculative_config=asked)
    assert rank_weights(launch).draft_bytes == 1_900_308_480 - 128_256 * 4096 * 2 + 16
    assert kv_layout(launch).bytes_per_block == 33 * 65_536


def test_a_head_is_not_quantised_with_its_model() -> None:
    asked = {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 3}
    plain = rank_weights(launched(speculative_config=asked)).draft_bytes
    quantised = model(quantization_config=FP8_BLOCKS)
    assert rank_weights(launched(quantised, speculative_config=asked)).draft_bytes == plain


def test_a_head_keeps_a_cache_of_its_own_shape() -> None:
    asked = {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 3}
    narrow = model(**{**EAGLE3, "num_key_value_heads": 4})
    launch = launched(replace(model(), drafts={"org/head": narrow}), speculative_config=asked)
    assert kv_layout(launch).bytes_per_block == 32 * 65_536 + 32_768


SMALL: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
"""Llama 3.2 1B's shape."""


def small() -> Any:
    return model(**SMALL)


@pytest.mark.parametrize("method", ["draft_model", None])
def test_a_whole_model_that_drafts_brings_its_weights_and_its_cache(method: str | None) -> None:
    asked = {"model": "org/small", "num_speculative_tokens": 5, **({"method": method} if method else {})}
    launch = launched(replace(model(), drafts={"org/small": small()}), speculative_config=asked)
    alone = launched(small())
    assert rank_weights(launch).draft_bytes == rank_weights(alone).loaded_bytes
    together = kv_layout(launch).bytes_per_block
    assert together == kv_layout(launched()).bytes_per_block + kv_layout(alone).bytes_per_block


def test_a_draft_that_is_not_known_is_told_and_widens_the_band() -> None:
    asked = {"method": "draft_model", "model": "org/small", "num_speculative_tokens": 5}
    unknown = launched(speculative_config=asked)
    known = launched(replace(model(), drafts={"org/small": small()}), speculative_config=asked)
    assert kv_band_bytes(unknown)[0] < kv_band_bytes(known)[0] - rank_weights(unknown).loaded_bytes // 20
    plan = check(unknown.config, unknown.metadata, [unknown.gpu])
    assert any("not counted" in warning for warning in plan.warnings)


@pytest.mark.parametrize(("method", "copies"), [("eagle3", 1), ("ngram", 0)])
def test_a_head_on_the_last_stage_reads_the_models_embedding(method: str, copies: int) -> None:
    """vLLM 0.33 on an H100: 9,080,938,496 bytes on the second of two stages, 8,030,265,344 without a head."""
    asked = {"method": method, "model": "org/head", "num_speculative_tokens": 3}
    last = rank_weights(launched(speculative_config=asked, pipeline_parallel_size=2)).stages[1]
    assert last.param_bytes == 8_030_265_344 + copies * 128_256 * 4096 * 2


def test_a_draft_that_reads_less_shortens_what_the_model_serves() -> None:
    asked = {"method": "draft_model", "model": "org/small", "num_speculative_tokens": 5}
    short = model(**{**SMALL, "max_position_embeddings": 8192})
    metadata = replace(model(), drafts={"org/small": short})
    launch = launched(metadata, speculative_config=asked, max_model_len=32_768)
    assert launch.max_model_len == 8192
    plan = check(launch.config, metadata, [launch.gpu])
    assert any("lowers max_model_len from 32,768" in warning for warning in plan.warnings)
    assert launched(metadata, speculative_config=asked, version="0.26.0").max_model_len == 131_072
    told = {**asked, "max_model_len": 4096}
    assert launched(metadata, speculative_config=told).max_model_len == 4096


def test_a_draft_of_other_words_is_refused_unless_they_are_mapped() -> None:
    asked = {"method": "draft_model", "model": "org/small", "num_speculative_tokens": 5}
    metadata = replace(model(), drafts={"org/small": model(**{**SMALL, "vocab_size": 32_000})})
    found = refusal(launched(metadata, speculative_config=asked))
    assert found is not None
    assert "Target model vocab_size=128256. Draft model vocab_size=32000." in found.error
    mapped = {**asked, "use_heterogeneous_vocab": True}
    assert refusal(launched(metadata, speculative_config=mapped)) is None


def test_adapter_slots_of_llama_8b() -> None:
    """Rank 16, one adapter: A and B of seven matrices per layer, and the head's."""
    rank = 16
    query, output = rank * (4096 + 4096), rank * (4096 + 4096)
    key_and_value = 2 * rank * (4096 + 1024)
    mlp = 3 * rank * (4096 + 14336)
    layer = query + key_and_value + output + mlp
    head = rank * (4096 + 128256)
    assert rank_weights(launched(enable_lora=True)).lora_bytes == 2 * (32 * layer + head)


def test_adapter_slots_over_ranks() -> None:
    """Per rank of four: the head's are whole; fully sharded ones cut A of columns and B of rows too."""
    rank, ranks = 16, 4
    widths = ((4096, 4096), (4096, 1024), (4096, 1024), (4096, 14336), (4096, 14336))
    columns = sum(rank * (inputs + outputs // ranks) for inputs, outputs in widths)
    rows = sum(rank * (inputs // ranks + 4096) for inputs in (4096, 14336))
    head = rank * (4096 + 128256)
    found = rank_weights(launched(enable_lora=True, tensor_parallel_size=ranks))
    assert found.lora_bytes == 2 * (32 * (columns + rows) + head)
    columns = sum(rank * (inputs + outputs) // ranks for inputs, outputs in widths)
    rows = sum(rank * (inputs + 4096) // ranks for inputs in (4096, 14336))
    sharded = launched(enable_lora=True, tensor_parallel_size=ranks, extra_args=("--fully-sharded-loras",))
    assert rank_weights(sharded).lora_bytes == 2 * (32 * (columns + rows) + head)


def test_the_largest_layer_is_one_with_experts() -> None:
    experts = 16 * 3 * 2048 * 512 * 2
    assert experts < rank_weights(launched(deepseek())).largest_layer_bytes < 1.5 * experts


def test_equal_requests_are_answered_from_memory() -> None:
    metadata = deepseek()
    assert rank_weights(launched(metadata)) is rank_weights(launched(metadata))
    assert rank_weights(launched(metadata, tensor_parallel_size=2)) is not rank_weights(launched(metadata))


def header(shapes: dict[str, tuple[int, ...]], dtype: str = "BF16", width: int = 2) -> Checkpoint:
    tensors = {}
    for name, shape in shapes.items():
        elements = 1
        for size in shape:
            elements *= size
        tensors[name] = TensorInfo(dtype, shape, elements * width)
    return Checkpoint(tensors, sum(info.nbytes for info in tensors.values()))


UNKNOWN: dict[str, Any] = {
    "architectures": ["NovelForCausalLM"],
    "model_type": "novel",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_novel_experts": 2,
    "intermediate_size": 256,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "dtype": "bfloat16",
}


def novel(**changes: Any) -> Any:
    shapes = {"model.embed_tokens.weight": (128, 64), "model.norm.weight": (64,), "lm_head.weight": (128, 64)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "self_attn.q_proj.weight"] = (64, 64)
        shapes[prefix + "self_attn.k_proj.weight"] = (64, 64)
        shapes[prefix + "self_attn.o_proj.weight"] = (64, 64)
        shapes[prefix + "norm.weight"] = (64,)
        for expert in range(2):
            shapes[prefix + f"mlp.experts.{expert}.down_proj.weight"] = (64, 256)
    return metadata_from_config(
        {**UNKNOWN, **changes}, model="org/novel", source="path", checkpoint=header(shapes)
    )


def test_an_unknown_architecture_is_sized_by_its_headers() -> None:
    metadata = novel()
    one, two = (rank_weights(launched(metadata, tensor_parallel_size=tp)) for tp in (1, 2))
    assert one.stages[0].param_bytes == metadata.checkpoint.total_bytes
    norms = 3 * 64 * 2
    assert two.stages[0].param_bytes == (metadata.checkpoint.total_bytes - norms) // 2 + norms
    assert any("not known here" in warning for warning in weight_doubts(launched(metadata)).warnings)


def test_an_unknown_architecture_without_headers_is_an_error_in_one_sentence() -> None:
    metadata = metadata_from_config(UNKNOWN, model="org/novel", source="path")
    with pytest.raises(WizardError, match="'NovelForCausalLM' is not known here"):
        rank_weights(launched(metadata))


def test_an_unknown_dense_decoder_is_read_as_llamas_shape_with_a_warning() -> None:
    plain = {key: value for key, value in UNKNOWN.items() if key != "num_novel_experts"}
    launch = launched(metadata_from_config(plain, model="org/novel", source="path"))
    found = rank_weights(launch)
    assert found.stages[0].param_bytes == 2 * (2 * 128 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 256 + 2 * 64) + 64)
    assert any("Llama's shape" in warning for warning in weight_doubts(launch).warnings)


def test_a_checkpoint_of_another_size_than_its_config_is_told() -> None:
    shapes = {"model.embed_tokens.weight": (128256, 4096)}
    config = dict(model().config)
    metadata = metadata_from_config(config, model="org/model", source="path", checkpoint=header(shapes))
    for tp in (1, 4):
        doubts = weight_doubts(launched(metadata, tensor_parallel_size=tp))
        assert "The checkpoint holds 0.98 GiB" in (doubts.disagreement or "")
        assert doubts.foreign


def test_sizes_of_files_without_their_headers_are_no_disagreement() -> None:
    unread = metadata_from_config(
        dict(model().config), model="org/model", source="hub", checkpoint=Checkpoint({}, 16 << 30)
    )
    assert weight_doubts(launched(unread)).disagreement is None


def test_parameters_in_all_and_per_token() -> None:
    metadata = deepseek()
    experts = 4 * 16 * 3 * 2048 * 512
    assert parameter_count(model()) == 8_030_261_248
    embedding = 4096 * 2048
    assert parameter_count(metadata) - active_parameter_count(metadata) == experts * 12 // 16 + embedding


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 3, 10**30, 1e18, float("nan"), float("inf")]),
    st.text(max_size=6),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)
GOLDEN = [
    json.loads(line)["config"]
    for line in Path(__file__).with_name("weights_golden.jsonl").read_text(encoding="utf-8").splitlines()[::7]
]


@settings(max_examples=150)
@given(data=st.data())
def test_a_broken_config_is_described_or_refused_in_one_sentence(data: st.DataObject) -> None:
    config = json.loads(json.dumps(data.draw(st.sampled_from(GOLDEN))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = config
        nested = [key for key, value in config.items() if isinstance(value, dict)]
        if nested and data.draw(st.booleans()):
            place = config[data.draw(st.sampled_from(sorted(nested)))]
        if not place:
            continue
        key = data.draw(st.sampled_from(sorted(place)))
        if data.draw(st.integers(0, 3)) == 0:
            del place[key]
        else:
            place[key] = data.draw(ODD)
    tp = data.draw(st.sampled_from([1, 2, 3]))
    try:
        metadata = metadata_from_config(config, model="org/model", source="path")
        launch = resolve(VLLMConfig(model="org/model", tensor_parallel_size=tp), metadata, card())
        found = rank_weights(launch)
    except WizardError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
        return
    assert found.loaded_bytes < 2**63
    assert all(stage.buffer_bytes >= 0 for stage in found.stages)


def test_large_tensors_are_rounded_up_as_torch_does() -> None:
    stage = rank_weights(launched(model(num_hidden_layers=1))).stages[0]
    assert 0 <= stage.slack_bytes <= 7 * MIB
