"""The forecast as a caller sees it: what must rise, fall, stay and add up, and what it says about itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wizard.hardware.catalogue import get_gpu_by_name
from wizard.models import catalogue
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.perf import estimate_performance
from wizard.planning.perf_data import FIGURES, perf_file
from wizard.planning.perf_facts import model_facts
from wizard.schemas.inputs import Interconnect, WorkloadInput
from wizard.schemas.outputs import Estimate, GPUInfo, PerfEstimate, VLLMConfig

DENSE, EXPERTS, LATENT = (
    "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen3-235B-A22B-FP8",
    "deepseek-ai/DeepSeek-V3",
)
SMALL, HYBRID, SLIDING = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3.5-35B-A3B", "openai/gpt-oss-120b"


def model(name: str) -> ModelMetadata:
    found = catalogue.load(name)
    assert found is not None
    return found


def forecast(
    name: str,
    gpu: str | GPUInfo = "H100 SXM5 80GB",
    count: int = 1,
    *,
    users: int = 8,
    prompt: int = 1024,
    output: int = 256,
    workload: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    **settings: Any,
) -> PerfEstimate:
    card = get_gpu_by_name(gpu) if isinstance(gpu, str) else gpu
    config = VLLMConfig(model=name, **{"tensor_parallel_size": count, **settings})
    load = WorkloadInput(concurrency=users, prompt_tokens=prompt, gen_tokens=output, **(workload or {}))
    return estimate_performance(model(name), [card] * count, config, load, **(asked or {}))


def all_ranges(speed: PerfEstimate) -> list[Estimate]:
    return [
        speed.ttft_ms,
        speed.tpot_ms,
        speed.output_tokens_per_s,
        speed.prefill_tokens_per_s,
        speed.requests_per_s,
    ]


@pytest.mark.parametrize("name", [SMALL, EXPERTS, LATENT, HYBRID, SLIDING])
def test_every_figure_is_a_range(name: str) -> None:
    for figure in all_ranges(forecast(name, "H200 SXM 141GB", 8)):
        assert 0 < figure.low < figure.mid < figure.high


def test_one_user_gets_what_the_memory_bandwidth_allows() -> None:
    """An 8B in 16 bits reads 16 GB per token: 4.8 ms at an H100's 3.35 TB/s, a little more in practice."""
    speed = forecast(SMALL, users=1)
    assert 4.8 < speed.tpot_ms.mid < 8.0
    assert speed.output_tokens_per_s.mid == pytest.approx(
        256 / (speed.ttft_ms.mid + 255 * speed.tpot_ms.mid) * 1e3, rel=1e-6
    )


def test_measured_single_stream_figures_lie_inside() -> None:
    """Public runs: Qwen3-8B on an H100 takes 7.3 ms per token, gpt-oss-120b on two H200 4.8 ms."""
    for speed, measured in (
        (forecast("Qwen/Qwen3-8B", users=1, prompt=233, output=221), 7.3),
        (forecast(SLIDING, "H200 SXM 141GB", 2, users=4, prompt=922, output=922), 4.8),
    ):
        assert speed.tpot_ms.low <= measured <= speed.tpot_ms.high


@pytest.mark.parametrize("name", [DENSE, EXPERTS, SLIDING])
def test_more_users_mean_more_tokens_and_longer_waits(name: str) -> None:
    speeds = [forecast(name, "H200 SXM 141GB", 8, users=users) for users in (1, 8, 32, 128)]
    for fewer, more in pairwise(speeds):
        assert more.output_tokens_per_s.mid > fewer.output_tokens_per_s.mid
        assert more.tpot_ms.mid > fewer.tpot_ms.mid
        assert more.ttft_ms.mid > fewer.ttft_ms.mid


def test_a_prompt_takes_as_long_as_it_is() -> None:
    short, long = forecast(DENSE, count=4, prompt=1024), forecast(DENSE, count=4, prompt=8192)
    assert 4 * short.ttft_ms.mid < long.ttft_ms.mid < 12 * short.ttft_ms.mid


def test_past_capacity_the_rate_stands_still_and_the_queue_is_told() -> None:
    at = forecast(SMALL, "RTX 4090", users=30, asked={"max_concurrency": 30.0})
    past = forecast(SMALL, "RTX 4090", users=300, asked={"max_concurrency": 30.0})
    assert not at.saturated
    assert past.saturated
    assert any("of 300 requests wait" in note for note in past.assumptions)
    assert past.output_tokens_per_s.mid < 1.3 * at.output_tokens_per_s.mid
    assert past.ttft_ms.mid > 5 * at.ttft_ms.mid
    assert past.tpot_ms.mid < 1.3 * at.tpot_ms.mid


def test_max_num_seqs_is_a_capacity_too() -> None:
    speed = forecast(SMALL, users=64, max_num_seqs=16)
    assert speed.saturated
    assert speed.output_tokens_per_s.mid < forecast(SMALL, users=64).output_tokens_per_s.mid


def test_cache_tokens_bound_the_batch() -> None:
    roomy = forecast(SMALL, users=64, asked={"kv_tokens": 1_000_000})
    tight = forecast(SMALL, users=64, asked={"kv_tokens": 20_000})
    assert not roomy.saturated
    assert tight.saturated


def test_links_matter_only_between_gpus() -> None:
    for count, faster in ((1, False), (4, True)):
        linked = forecast(DENSE, count=count, asked={"interconnect": Interconnect.NVLINK})
        plain = forecast(DENSE, count=count, asked={"interconnect": Interconnect.PCIE})
        assert (plain.tpot_ms.mid > linked.tpot_ms.mid) is faster


def test_tensor_parallelism_across_nodes_pays_for_the_network() -> None:
    near = forecast(DENSE, count=8)
    card = get_gpu_by_name("H100 SXM5 80GB")
    config = VLLMConfig(model=DENSE, tensor_parallel_size=16)
    far = estimate_performance(model(DENSE), [card] * 8, config, WorkloadInput(gen_tokens=256), nodes=2)
    assert far.tpot_ms.mid > near.tpot_ms.mid
    assert any("between nodes" in note for note in far.assumptions)


def test_replicas_serve_shares_of_the_users() -> None:
    one = forecast(SMALL, users=32)
    four = forecast(SMALL, users=128, asked={"replicas": 4})
    assert four.output_tokens_per_s.mid == pytest.approx(4 * one.output_tokens_per_s.mid)
    assert four.tpot_ms.mid == pytest.approx(one.tpot_ms.mid)
    lonely = forecast(SMALL, users=1, asked={"replicas": 4})
    assert lonely.output_tokens_per_s.mid == pytest.approx(forecast(SMALL, users=1).output_tokens_per_s.mid)


def test_rounded_weights_are_faster_where_the_gpu_has_fp8() -> None:
    assert (
        forecast(SMALL, users=1, quantization="fp8").tpot_ms.mid < forecast(SMALL, users=1).tpot_ms.mid * 0.75
    )


def test_weight_only_fp8_saves_bandwidth_and_no_compute_on_ampere() -> None:
    plain, rounded = (
        forecast(SMALL, "A100 SXM4 80GB", prompt=8192, users=1, quantization=method)
        for method in (None, "fp8")
    )
    assert rounded.tpot_ms.mid < plain.tpot_ms.mid
    assert rounded.ttft_ms.mid > plain.ttft_ms.mid


def test_an_8_bit_cache_is_read_faster() -> None:
    long = {"prompt": 32768, "users": 32, "count": 4}
    assert forecast(DENSE, **long, kv_cache_dtype="fp8").tpot_ms.mid < forecast(DENSE, **long).tpot_ms.mid


def test_eager_mode_costs_a_small_model_most() -> None:
    ratio = {
        name: forecast(name, count=4, enforce_eager=True).tpot_ms.mid / forecast(name, count=4).tpot_ms.mid
        for name in (SMALL, DENSE)
    }
    assert ratio[SMALL] > ratio[DENSE] > 1.05


def test_windows_spare_reading_the_cache() -> None:
    """gpt-oss attends to 128 tokens in every other layer: a long context costs half of what it would."""
    facts = model_facts(model(SLIDING))
    assert sorted((kind.window, kind.layers) for kind in facts.caches) == [(0, 18), (128, 18)]
    whole = metadata_from_config(
        {**model(SLIDING).config, "layer_types": ["full_attention"] * 36}, model=SLIDING, source="catalogue"
    )
    load = WorkloadInput(concurrency=32, prompt_tokens=65536, gen_tokens=8192)
    config = VLLMConfig(model=SLIDING, tensor_parallel_size=2)
    cards = [get_gpu_by_name("H100 SXM5 80GB")] * 2
    windowed, full = (estimate_performance(each, cards, config, load) for each in (model(SLIDING), whole))
    assert windowed.tpot_ms.mid < 0.75 * full.tpot_ms.mid


def test_experts_share_an_engine_but_not_its_dense_part() -> None:
    facts = model_facts(model(EXPERTS))
    (experts,) = facts.experts
    assert (experts.layers, experts.count, experts.active, experts.kernel) == (94, 128, 8, "fp8")
    wide = forecast(
        EXPERTS,
        "H200 SXM 141GB",
        8,
        users=256,
        tensor_parallel_size=1,
        data_parallel_size=8,
        enable_expert_parallel=True,
    )
    narrow = forecast(EXPERTS, "H200 SXM 141GB", 8, users=256, tensor_parallel_size=8)
    assert wide.output_tokens_per_s.mid != narrow.output_tokens_per_s.mid


def test_shared_prefixes_shorten_the_wait() -> None:
    cold = forecast(DENSE, count=4, prompt=8192)
    warm = forecast(DENSE, count=4, prompt=8192, workload={"prefix_share": 0.9})
    assert warm.ttft_ms.mid < cold.ttft_ms.mid / 2
    off = forecast(DENSE, count=4, prompt=8192, workload={"prefix_share": 0.9}, enable_prefix_caching=False)
    assert off.ttft_ms.mid == pytest.approx(cold.ttft_ms.mid)


def test_speculation_states_what_it_assumes() -> None:
    asked = {"method": "mtp", "num_speculative_tokens": 1}
    plain = forecast(LATENT, "H200 SXM 141GB", 8, users=1)
    drafted = forecast(LATENT, "H200 SXM 141GB", 8, users=1, speculative_config=asked)
    assert plain.tpot_ms.mid / 1.7 <= drafted.tpot_ms.mid < plain.tpot_ms.mid
    assert any("speculative tokens are accepted" in note for note in drafted.assumptions)


def test_pipeline_stages_raise_the_rate_of_many_more_than_of_one() -> None:
    gain = {
        users: forecast(
            DENSE, count=8, users=users, tensor_parallel_size=4, pipeline_parallel_size=2
        ).output_tokens_per_s.mid
        / forecast(DENSE, count=4, users=users).output_tokens_per_s.mid
        for users in (1, 128)
    }
    assert gain[1] == pytest.approx(1.0, rel=0.05)
    assert gain[128] > 1.15


def test_stages_wait_for_each_other_where_engines_of_their_own_would_not() -> None:
    """Each prompt holds up every batch on its way; two engines of four cards each only see their own."""
    stages = forecast(DENSE, count=8, users=64, tensor_parallel_size=4, pipeline_parallel_size=2)
    engines = forecast(DENSE, count=8, users=64, tensor_parallel_size=4, data_parallel_size=2)
    assert stages.tpot_ms.mid > 1.05 * engines.tpot_ms.mid
    assert stages.output_tokens_per_s.mid < engines.output_tokens_per_s.mid


@pytest.mark.parametrize("name", [SMALL, EXPERTS])
def test_one_user_more_never_makes_a_range_jump(name: str) -> None:
    steps = (*range(60, 70), *range(124, 134), *range(252, 262))
    found = {
        users: forecast(name, "H200 SXM 141GB", 4, users=users, max_num_seqs=1024).tpot_ms for users in steps
    }
    for one, two in pairwise(steps):
        if two == one + 1:
            assert found[two].low == pytest.approx(found[one].low, rel=0.05)
            assert found[two].high == pytest.approx(found[one].high, rel=0.05)


def test_the_basis_names_its_neighbours() -> None:
    assert "runs of llama models on H100 SXM5 80GB" in forecast(SMALL).basis
    assert "on other GPUs" in forecast(SMALL, "L4").basis
    assert "of other models on H200 SXM 141GB" in forecast(LATENT, "H200 SXM 141GB", 8).basis
    assert forecast(LATENT, "L4", 8).basis.startswith("no measured neighbours")


def test_what_was_not_measured_gets_a_wider_range() -> None:
    known, half, unknown = forecast(SMALL), forecast(LATENT, count=8), forecast(LATENT, "H20 96GB", 8)
    widths = [speed.tpot_ms.high / speed.tpot_ms.low for speed in (known, half, unknown)]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]


def test_an_unknown_card_is_said_to_be_one() -> None:
    card = GPUInfo("Mystery 9000", 24 << 30, (8, 9))
    speed = forecast(SMALL, card, users=1)
    assert any("bandwidth is not known" in note for note in speed.assumptions)
    known = forecast(SMALL, "RTX 4090", users=1)
    assert speed.tpot_ms.high / speed.tpot_ms.low > known.tpot_ms.high / known.tpot_ms.low


def test_cost_and_energy_follow_from_price_and_power() -> None:
    card = replace(
        get_gpu_by_name("H100 SXM5 80GB"), usd_per_hour=3.6, offers=(), priced_on=None, tdp_w=700.0
    )
    speed = forecast(DENSE, card, 4, asked={"cost": True})
    cost, energy = speed.usd_per_million_output_tokens, speed.output_tokens_per_s_per_watt
    assert cost is not None
    assert energy is not None
    assert cost.mid == pytest.approx(4 * 3.6 / 3600 / speed.output_tokens_per_s.mid * 1e6)
    assert cost.low < cost.mid < cost.high
    assert energy.mid == pytest.approx(speed.output_tokens_per_s.mid / 2800)
    free = replace(card, usd_per_hour=None, tdp_w=None)
    assert forecast(DENSE, free, 4, asked={"cost": True}).usd_per_million_output_tokens is None


def test_a_model_that_embeds_makes_no_tokens() -> None:
    """Whatever output was asked for: each answer is one vector, which comes with the prompt."""
    short, long = (forecast("BAAI/bge-m3", "L4", output=tokens, prompt=512) for tokens in (1, 4096))
    assert short.requests_per_s == long.requests_per_s
    assert short.output_tokens_per_s == short.requests_per_s


def test_nobody_is_told_a_cost_that_he_did_not_ask_for() -> None:
    speed = forecast(DENSE, count=4)
    assert (speed.usd_per_million_output_tokens, speed.output_tokens_per_s_per_watt) == (None, None)


def test_a_cost_by_list_price_has_its_day_and_the_instance_as_sold() -> None:
    """Four A100 are sold as part of eight only; four H100 would be as part of eight too."""
    speed = forecast(SMALL, "A100 SXM4 80GB", 4, asked={"cost": True})
    assert any(
        "$27.45 an hour (list price of 2026-" in note and "by the 8" in note for note in speed.assumptions
    )


def test_the_slowest_of_mixed_gpus_sets_the_pace() -> None:
    slow, fast = get_gpu_by_name("A100 SXM4 40GB"), get_gpu_by_name("H100 SXM5 80GB")
    config = VLLMConfig(model=SMALL, tensor_parallel_size=2)
    load = WorkloadInput()
    mixed = estimate_performance(model(SMALL), [fast, slow], config, load)
    assert mixed == estimate_performance(model(SMALL), [slow, slow], config, load)


def test_every_constant_is_explained() -> None:
    data = perf_file()
    for name, entry in data["constants"].items():
        assert entry["value"] > 0, name
        assert entry["spread"] is None or 0 < entry["spread"] <= 1, name
    assert set(data["bands"]) == set(FIGURES)
    for kinds in data["bands"].values():
        for low, high in kinds.values():
            assert low < 1 < high


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([SMALL, EXPERTS, LATENT, HYBRID, SLIDING]),
    gpu=st.sampled_from(
        ["T4", "RTX 4090", "H100 SXM5 80GB", "B200 SXM 180GB", "AMD Instinct MI300X", "GB10"]
    ),
    count=st.sampled_from([1, 2, 8]),
    users=st.integers(1, 1 << 20),
    prompt=st.integers(1, 1 << 20),
    output=st.integers(1, 1 << 17),
    held=st.floats(0.0, 1e6),
)
def test_any_workload_gets_finite_figures(
    name: str, gpu: str, count: int, users: int, prompt: int, output: int, held: float
) -> None:
    speed = forecast(
        name, gpu, count, users=users, prompt=prompt, output=output, asked={"max_concurrency": held}
    )
    for figure in all_ranges(speed):
        assert 0 <= figure.low <= figure.mid <= figure.high < float("inf")
    assert speed.output_tokens_per_s.mid > 0
