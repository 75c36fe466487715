"""What moves the recommended settings: every answer has an effect, and every value its reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.asking import DEEPSEEK, LLAMA_8B, LLAMA_70B, facts, planned, request
from wizard.hardware.resolve import resolve_hardware
from wizard.planning.launch import has_fp8
from wizard.planning.planner import check
from wizard.planning.recommend import generate_recommendations, slo_miss
from wizard.schemas.inputs import HardwareInput, PlanRequest
from wizard.schemas.outputs import GIB, Estimate, PerfEstimate, Plan, VLLMConfig


def quick(asked: PlanRequest) -> Plan:
    return planned(asked, fixes=False)


def on_h100(**parts: Any) -> Plan:
    return quick(request(LLAMA_8B, "H100 SXM5 80GB", **parts))


class TestSeedFunction:
    def test_it_returns_the_plans_config(self) -> None:
        asked = request(LLAMA_8B, "L40S")
        gpus = resolve_hardware(asked.hardware)
        assert generate_recommendations(asked, facts(LLAMA_8B), gpus) == quick(asked).config

    def test_pooled_memory_caps_each_gpu(self) -> None:
        """The seed's `vram_total_bytes` is that of all GPUs: 24 GiB of two cards are 12 each, too little for 15."""
        asked = request(LLAMA_8B, "L40S", 2)
        gpus = resolve_hardware(asked.hardware)
        roomy = generate_recommendations(asked, facts(LLAMA_8B), gpus, 2 * 44 * GIB)
        scarce = generate_recommendations(asked, facts(LLAMA_8B), gpus, 24 * GIB)
        assert (roomy.max_model_len or 0) == 131072 > (scarce.max_model_len or 0)


class TestPolicy:
    def test_headroom_is_left_unused(self) -> None:
        """16 GiB of 79 are a fifth of the card, and come off vLLM's share."""
        plain = on_h100()
        roomy = on_h100(policy={"headroom_gb": 16.0})
        assert (plain.config.gpu_memory_utilization or 0) - (
            roomy.config.gpu_memory_utilization or 0
        ) == pytest.approx(16 / 79.19, abs=0.011)
        unused = roomy.feasibility.per_gpu.unused_bytes - plain.feasibility.per_gpu.unused_bytes
        assert unused >= 16 * GIB - GIB // 100
        assert "16.0 GiB" in roomy.config.explanations["gpu_memory_utilization"]

    def test_headroom_comes_off_a_chosen_share_too(self) -> None:
        plan = on_h100(policy={"headroom_gb": 8.0, "gpu_memory_utilization": 0.8})
        assert plan.config.gpu_memory_utilization == pytest.approx(0.8 - 8 / 79.19, abs=0.011)

    def test_overhead_replaces_the_calibrated_term(self) -> None:
        assert on_h100(policy={"overhead_gb": 3.0}).feasibility.per_gpu.non_torch_bytes == 3 * GIB

    def test_fragmentation_asks_for_more_cache(self) -> None:
        """300 requests of 1,280 tokens fill the card; half as much again doesn't fit in 16 bits any more."""
        workload = {"concurrency": 300, "prompt_tokens": 1024, "gen_tokens": 256}
        plain = on_h100(workload=workload)
        spread = on_h100(workload=workload, policy={"fragmentation_factor": 1.5})
        assert (plain.config.kv_cache_dtype, spread.config.kv_cache_dtype) == (None, "fp8")

    def test_nothing_is_rounded_that_is_not_allowed(self) -> None:
        policy = {"allow_quantized": False, "allow_fp8_kv": False}
        for card in ("RTX 4090", "RTX 5080", "L4"):
            plan = quick(request("Qwen/Qwen3-14B", card, policy=policy))
            assert (plan.config.quantization, plan.config.kv_cache_dtype) == (None, None)

    def test_eager_is_kept(self) -> None:
        assert on_h100(policy={"enforce_eager": True}).config.enforce_eager is True

    def test_pinned_batch_sizes_stand(self) -> None:
        plan = on_h100(policy={"max_num_seqs": 7, "max_num_batched_tokens": 3000})
        assert (plan.config.max_num_seqs, plan.config.max_num_batched_tokens) == (7, 3000)

    def test_fewer_tokens_a_step_than_slots_is_never_recommended(self) -> None:
        plan = on_h100(workload={"concurrency": 900}, policy={"max_num_batched_tokens": 512})
        assert plan.config.max_num_seqs == 512
        assert plan.feasibility.verdict != "wont_start"


class TestWorkload:
    def test_a_shared_prefix_is_kept_once(self) -> None:
        """Nine tenths of the prompt in common: the cache holds several times the requests."""
        workload = {"prompt_tokens": 8000, "gen_tokens": 200, "concurrency": 32}
        alone = on_h100(workload=workload)
        shared = on_h100(workload={**workload, "prefix_share": 0.9})
        ratio = shared.feasibility.concurrency_at_workload / alone.feasibility.concurrency_at_workload
        assert 6 < ratio < 8.2
        assert alone.performance is not None
        assert shared.performance is not None
        assert shared.performance.ttft_ms.mid < alone.performance.ttft_ms.mid

    def test_room_for_prompt_and_output_is_never_rounded_away(self) -> None:
        """Memory for 2,300 tokens of one request would be rounded to 2,048; the workload needs 2,200."""
        plan = quick(
            request(
                "Qwen/Qwen3-8B",
                "RTX 4090",
                hardware={"used_gib": 4.3},
                workload={"prompt_tokens": 2100, "gen_tokens": 100, "concurrency": 1},
            )
        )
        assert plan.feasibility.verdict != "wont_start"
        assert (plan.config.max_model_len or 0) >= 2200

    @pytest.mark.parametrize("concurrency", [1, 3, 100])
    def test_slots_follow_the_users(self, concurrency: int) -> None:
        workload = {"concurrency": concurrency, "batching_mode": "latency"}
        assert on_h100(workload=workload).config.max_num_seqs == concurrency

    def test_slots_end_at_vllms_own_largest_default(self) -> None:
        plan = on_h100(workload={"concurrency": 50_000})
        assert plan.config.max_num_seqs == 1024
        assert "max_num_seqs lets 1,024 of 50,000" in " ".join(plan.feasibility.warnings)

    def test_modes_choose_different_layouts(self) -> None:
        """Short answers want all cards on every token; the most tokens want an engine on each card."""
        fast = quick(
            request(LLAMA_8B, "H100 SXM5 80GB", 8, workload={"concurrency": 64, "batching_mode": "latency"})
        )
        much = quick(
            request(
                LLAMA_8B, "H100 SXM5 80GB", 8, workload={"concurrency": 2000, "batching_mode": "throughput"}
            )
        )
        assert fast.config.tensor_parallel_size > much.config.tensor_parallel_size
        assert much.config.data_parallel_size == 8


class TestLimitsOnTime:
    def speed(self, ttft: float, tpot: float) -> PerfEstimate:
        one = Estimate(1.0, 1.0, 1.0)
        return PerfEstimate(
            Estimate(ttft, ttft, ttft), Estimate(tpot, tpot, tpot), one, one, one, basis="test"
        )

    def test_the_limit_missed_most_counts(self) -> None:
        asked = request(LLAMA_8B, "L40S", policy={"max_ttft_ms": 100.0, "max_tpot_ms": 10.0})
        assert slo_miss(asked, self.speed(50, 5)) == 1.0
        assert slo_miss(asked, self.speed(200, 30)) == 3.0

    def test_the_target_is_from_request_to_last_token(self) -> None:
        workload = {"gen_tokens": 101, "target_latency_ms": 1000.0}
        asked = request(LLAMA_8B, "L40S", workload=workload)
        assert slo_miss(asked, self.speed(100, 5)) == 1.0
        assert slo_miss(asked, self.speed(1000, 10)) == 2.0

    @pytest.mark.parametrize(
        ("part", "name", "said"),
        [
            ("policy", "max_ttft_ms", "Time to first token"),
            ("policy", "max_tpot_ms", "Time per token"),
            ("workload", "target_latency_ms", "Time to the last token"),
        ],
    )
    def test_a_limit_out_of_reach_is_said(self, part: str, name: str, said: str) -> None:
        plan = on_h100(**{part: {name: 1.0}})
        assert any(said in warning and "1 ms" in warning for warning in plan.warnings)
        assert not any(said in warning for warning in on_h100(**{part: {name: 1e7}}).warnings)

    def test_a_limit_on_the_first_token_turns_throughput_to_tensor_parallelism(self) -> None:
        """Long prompts, few users: small engines give the most tokens, and let a prompt wait for two cards' work. Where
        that is too long, more cards share it."""
        workload = {
            "prompt_tokens": 8000,
            "gen_tokens": 50,
            "concurrency": 16,
            "batching_mode": "throughput",
        }
        free = quick(request(LLAMA_70B, "H200 SXM 141GB", 8, workload=workload))
        assert free.performance is not None
        policy = {"max_ttft_ms": free.performance.ttft_ms.mid * 0.8}
        bound = quick(request(LLAMA_70B, "H200 SXM 141GB", 8, workload=workload, policy=policy))
        assert bound.performance is not None
        assert bound.performance.ttft_ms.mid < policy["max_ttft_ms"]
        assert bound.config.tensor_parallel_size > free.config.tensor_parallel_size

    def test_eight_bits_are_taken_where_sixteen_miss_the_limit_and_eight_keep_it(self) -> None:
        """65 of weights in 16 bits are read by four cards in 8 ms a token, and prompts come on top: 12 ms is missed by
        a fifth. Rounded to 8 bits it is kept, and rounding is allowed."""
        policy = {"max_tpot_ms": 12.0}
        asked = request("Qwen/Qwen3-32B", "H100 SXM5 80GB", 4, workload={"concurrency": 32}, policy=policy)
        plan = quick(asked)
        assert plan.performance is not None
        assert plan.performance.tpot_ms.mid <= 12
        assert plan.config.quantization == "fp8_per_tensor"
        assert "12 ms" in plan.config.explanations["quantization"]
        strict = quick(
            asked.with_value("policy.allow_quantized", False).with_value("policy.allow_fp8_kv", False)
        )
        assert strict.config.quantization is None
        assert strict.warnings

    def test_smaller_steps_are_tried_before_precision_is_given_up(self) -> None:
        """Long prompts share their steps with those who decode: fewer tokens a step leave more of it to them."""
        workload = {"prompt_tokens": 8000, "concurrency": 16}
        plan = quick(request(LLAMA_8B, "L40S", workload=workload, policy={"max_tpot_ms": 60.0}))
        free = quick(request(LLAMA_8B, "L40S", workload=workload))
        assert plan.performance is not None
        assert plan.performance.tpot_ms.mid <= 60
        assert (plan.config.max_num_batched_tokens or 0) < (free.config.max_num_batched_tokens or 0)
        assert (plan.config.quantization, plan.config.kv_cache_dtype) == (None, None)
        assert "limit" in plan.config.explanations["max_num_batched_tokens"]

    def test_nothing_is_given_up_for_a_limit_that_stays_out_of_reach(self) -> None:
        plan = on_h100(policy={"max_tpot_ms": 0.5})
        assert (plan.config.quantization, plan.config.kv_cache_dtype) == (None, None)


class TestTypedFlags:
    def test_a_typed_flag_is_planned_with(self) -> None:
        """`--max-num-seqs 500` moves memory, whoever types it where."""
        extra = ("--max-num-seqs", "500", "--block-size", "32")
        plan = on_h100(policy={"extra_args": extra})
        assert plan.config.max_num_seqs == 500
        assert plan.config.block_size == 32
        assert plan.config.extra_args == ()
        assert plan.feasibility.kv_cache.block_size == 32

    def test_flags_that_move_no_memory_pass_through(self) -> None:
        plan = on_h100(
            policy={"extra_args": ("--enable-auto-tool-choice", "--tool-call-parser", "llama3_json")}
        )
        assert plan.config.extra_args == ("--enable-auto-tool-choice", "--tool-call-parser", "llama3_json")

    def test_expert_parallelism_can_be_asked_for(self) -> None:
        plan = quick(
            request(DEEPSEEK, "H200 SXM 141GB", 8, policy={"extra_args": ("--enable-expert-parallel",)})
        )
        assert plan.config.enable_expert_parallel

    def test_a_flag_that_the_version_refuses_is_the_verdict(self) -> None:
        plan = on_h100(policy={"extra_args": ("--no-such-flag",)})
        assert (plan.feasibility.verdict, plan.feasibility.cause) == ("wont_start", "invalid_config")
        assert "--no-such-flag" in (plan.feasibility.error or "")
        assert plan.fixes[0].changes == (("policy.extra_args", ()),)
        assert plan.fixes[0].verdict_after == "fits"


class TestExplanations:
    @pytest.mark.parametrize(
        "asked",
        [
            request(LLAMA_8B, "RTX 4090"),
            request(LLAMA_70B, "H100 SXM5 80GB", 8),
            request(DEEPSEEK, "H100 SXM5 80GB", 8, hardware={"nodes": 2}),
            request(LLAMA_70B, "RTX 4090"),
        ],
        ids=lambda asked: asked.hardware.gpu,
    )
    def test_every_chosen_value_has_a_reason(self, asked: PlanRequest) -> None:
        config = quick(asked).config
        plain = {"model", "revision", "tokenizer", "nnodes", "explanations"}
        chosen = {
            name
            for name, value in config
            if name not in plain
            and value != type(config).model_fields[name].get_default(call_default_factory=True)
        }
        assert chosen <= set(config.explanations)
        assert all(why.endswith(".") and len(why) < 260 for why in config.explanations.values())

    def test_the_runner_up_is_named(self) -> None:
        why = quick(request(LLAMA_70B, "H100 SXM5 80GB", 8)).config.explanations["tensor_parallel_size"]
        assert "2 engines of 4 GPUs" in why

    def test_a_choice_is_called_one(self) -> None:
        hardware = {"tensor_parallel_size": 2}
        why = quick(request(LLAMA_8B, "L40S", 4, hardware=hardware)).config.explanations
        assert why["tensor_parallel_size"] == "You chose 2. Left open, it would be planned."

    def test_values_that_no_flag_is_written_for_have_reasons_too(self) -> None:
        """Graphs, prefix caching, the cache's dtype, stored weights and sliced experts: each is a decision."""
        why = quick(request("Qwen/Qwen3-30B-A3B", "H100 SXM5 80GB", 2)).config.explanations
        for name in (
            "enforce_eager",
            "enable_prefix_caching",
            "kv_cache_dtype",
            "quantization",
            "enable_expert_parallel",
        ):
            assert why[name].endswith(".")

    def test_reasons_say_what_would_change_a_value(self) -> None:
        why = on_h100(workload={"concurrency": 64}).config.explanations
        assert "users" in why["max_num_seqs"]
        assert "lower it" in why["gpu_memory_utilization"]
        short = quick(request(LLAMA_8B, "RTX 4090")).config.explanations["max_model_len"]
        assert "lengthen it" in short

    def test_slots_of_several_engines_are_told_apart_from_the_users(self) -> None:
        plan = quick(request(LLAMA_8B, "H100 SXM5 80GB", 8, workload={"concurrency": 256}))
        assert plan.config.data_parallel_size > 1
        why = plan.config.explanations["max_num_seqs"]
        assert f"each of {plan.config.data_parallel_size} engines" in why
        assert "256" in why
        assert "as you asked" not in why


def test_a_given_parameter_count_scales_the_weights() -> None:
    """`--params-b 16` on an 8.03 B config: the weights take twice the room, and the summary says so."""
    from dataclasses import replace

    from wizard.planning.planner import plan

    asked = request(LLAMA_8B, "H100 SXM5 80GB")
    gpus = resolve_hardware(HardwareInput(gpu="H100 SXM5 80GB"))
    plain = plan(asked, facts(LLAMA_8B), gpus)
    doubled = plan(asked, replace(facts(LLAMA_8B), params_override=16_060_522_496), gpus)
    ratio = doubled.feasibility.per_gpu.weights_bytes / plain.feasibility.per_gpu.weights_bytes
    assert ratio == pytest.approx(2.0, rel=0.001)
    assert doubled.model.params == 16_060_522_496


@pytest.mark.parametrize(
    ("version", "method"), [("0.19.1", "fp8"), ("0.20.0", "fp8_per_tensor"), ("0.33.0", "fp8_per_tensor")]
)
def test_online_rounding_has_the_name_of_its_version(version: str, method: str) -> None:
    asked = request(LLAMA_70B, "H100 SXM5 80GB", policy={"vllm_version": version})
    assert quick(asked).config.quantization == method


def test_a_method_newer_than_the_version_is_refused_and_offered_back() -> None:
    """0.19 knows no `fp8_per_tensor`: nothing may be planned with what the command can't say."""
    asked = request(
        LLAMA_8B,
        "H100 SXM5 80GB",
        model_part={"quantization": "fp8_per_tensor"},
        policy={"vllm_version": "0.19.1"},
    )
    result = planned(asked)
    assert "Unknown quantization method: fp8_per_tensor" in (result.feasibility.error or "")
    assert result.fixes[0].changes == (("model.quantization", None),)


@pytest.mark.parametrize(
    ("card", "able"),
    [
        ("MI210", False),
        ("RX 7900 XTX", False),
        ("MI300X", True),
        ("MI355X", True),
        ("R9700", True),
        ("A100 80GB", False),
    ],
)
def test_eight_bit_floats_by_architecture(card: str, able: bool) -> None:
    (gpu,) = resolve_hardware(HardwareInput(gpu=card))
    assert has_fp8(gpu) is able


def test_a_gpu_without_fp8_is_never_recommended_it() -> None:
    plan = planned(request("meta-llama/Llama-3.3-70B-Instruct", "MI210", 2))
    assert plan.config.quantization is None
    assert not (plan.config.kv_cache_dtype or "").startswith("fp8")
    for fix in plan.fixes:
        changes = dict(fix.changes)
        if "hardware.gpu" not in changes:
            assert "fp8" not in str(changes).lower(), fix


def test_an_fp8_checkpoint_stops_where_nothing_multiplies_it() -> None:
    config = VLLMConfig(model="Qwen/Qwen3-8B-FP8", max_model_len=8192)
    for card, verdict in (("MI210", "wont_start"), ("MI300X", "fits"), ("A100 80GB", "fits")):
        found = check(config, facts(config.model), resolve_hardware(HardwareInput(gpu=card)))
        assert found.feasibility.verdict == verdict, card
