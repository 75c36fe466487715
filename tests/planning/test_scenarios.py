"""What an engineer who has run vLLM for years would do, for the machines people have; the reasoning beside each.

Sizes in the comments are GiB of one GPU. They are checked as ranges: the terms have tests of their own.
"""

from __future__ import annotations

import pytest

from tests.planning.asking import (
    DEEPSEEK,
    LLAMA_8B,
    LLAMA_70B,
    after,
    in_16_bits,
    planned,
    request,
)
from wizard.schemas.outputs import GIB, Plan


def layout(plan: Plan) -> tuple[int, int, int, int]:
    """Tensor, pipeline and data parallel sizes, and separate servers."""
    config = plan.config
    return (
        config.tensor_parallel_size,
        config.pipeline_parallel_size,
        config.data_parallel_size,
        plan.replicas,
    )


class TestEightBillionOnOneConsumerCard:
    """8.03 B parameters in 16 bits are 15.0 of a 4090's 23.5; the cache takes 128 KiB a token."""

    def test_8k(self) -> None:
        """0.88 of the card (a desktop may draw on it) leaves 4-5 for the cache: 37 thousand tokens, enough for the
        eight requests of 1,280 that are asked for, and for four of 8,192. Nothing is given up for more."""
        plan = planned(request(LLAMA_8B, "RTX 4090", model_part={"max_model_len": 8192}))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.max_model_len == 8192
        assert plan.config.gpu_memory_utilization == 0.88
        assert (plan.config.quantization, plan.config.kv_cache_dtype, plan.config.enforce_eager) == (
            None,
        ) * 3
        assert 3.5 < plan.feasibility.kv_cache.max_concurrency < 5.5
        assert plan.fixes == ()

    def test_128k(self) -> None:
        """One request of 131,072 takes 16 in 16 bits and 8 in 8: neither fits beside 15.0 of weights. Rounded to 8
        bits the weights are 8.5, which leaves 11: enough for one request in an 8-bit cache. Both roundings are
        allowed unless the user says otherwise, so that the length that was asked for is kept."""
        plan = planned(request(LLAMA_8B, "RTX 4090", model_part={"max_model_len": 131072}))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.max_model_len == 131072
        assert (plan.config.quantization, plan.config.kv_cache_dtype) == ("fp8_per_tensor", "fp8")
        assert "8 bits" in plan.config.explanations["quantization"]

    def test_128k_with_nothing_allowed(self) -> None:
        """Without rounding the cache holds 31 thousand tokens: the server starts, but not with what was asked, which is
        `tight` and says so. The cheapest way out is to accept the shorter context; the other, a second card."""
        policy = {"allow_quantized": False, "allow_fp8_kv": False}
        asked = request(LLAMA_8B, "RTX 4090", model_part={"max_model_len": 131072}, policy=policy)
        plan = planned(asked)
        assert plan.feasibility.verdict == "tight"
        assert 28_000 < (plan.config.max_model_len or 0) < 36_000
        assert "131,072" in plan.feasibility.warnings[0]
        assert plan.config.enforce_eager is None
        first = plan.fixes[0]
        assert first.changes == (("model.max_model_len", plan.config.max_model_len),)
        assert after(asked, first).feasibility.verdict == "fits"

    def test_unsaid_it_is_as_long_as_fits(self) -> None:
        """Nobody asked for 131,072: the longest that one request can have in 16 bits is taken, and named."""
        plan = planned(request(LLAMA_8B, "RTX 4090"))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.quantization is None
        assert (plan.config.max_model_len or 0) % 1024 == 0
        assert 28_000 < (plan.config.max_model_len or 0) < 36_000
        assert "131,072" in plan.config.explanations["max_model_len"]


class TestSeventyBillion:
    """70.6 B parameters in 16 bits are 131.5: two cards of 80 hold them barely, one never."""

    def test_two_linked(self) -> None:
        """65.7 a card leave 4-5 for the cache: some 30 thousand tokens, so that eight chats fit, and the context comes
        down to about 22 thousand. In 16 bits: nothing is rounded that needn't be."""
        plan = planned(request(LLAMA_70B, "H100 SXM5 80GB", 2))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (2, 1, 1, 1)
        assert plan.config.quantization is None
        assert 15_000 < (plan.config.max_model_len or 0) < 30_000

    def test_four_and_eight_linked(self) -> None:
        """NVLink makes the sums of tensor parallelism cheap, and eight users want short answers: all cards share every
        layer, and the whole context fits."""
        for count in (4, 8):
            plan = planned(request(LLAMA_70B, "H100 SXM5 80GB", count))
            assert plan.feasibility.verdict == "fits"
            assert layout(plan) == (count, 1, 1, 1)
            assert plan.config.max_model_len == 131072

    def test_two_over_pcie(self) -> None:
        """Two cards are needed whatever the link. Rounding to 8 bits, one copy a card, would be no better in what it
        answers; tensor parallelism over two cards costs a little time per token."""
        plan = planned(request(LLAMA_70B, "H100 PCIe 80GB", 2, hardware={"interconnect": "pcie"}))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (2, 1, 1, 1)
        assert plan.config.quantization is None

    def test_eight_over_pcie(self) -> None:
        """160 sums a token over eight cards by PCIe cost more than eight cards gain: two engines of four do better, in
        the forecast as in practice. The rule of thumb (8) is named, because people know it."""
        plan = planned(request(LLAMA_70B, "A100 PCIe 80GB", 8, hardware={"interconnect": "pcie"}))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.tensor_parallel_size == 4
        assert plan.config.max_model_len == 131072
        assert "rule of thumb would be 8" in plan.config.explanations["tensor_parallel_size"]

    def test_throughput_for_many(self) -> None:
        """Two hundred at once on eight linked cards: the cache must hold 256 thousand tokens; an engine of two cards
        holds 30 thousand, one of four 500 thousand. What is planned holds them all."""
        workload = {"concurrency": 200, "batching_mode": "throughput"}
        plan = planned(request(LLAMA_70B, "H100 SXM5 80GB", 8, workload=workload))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.tensor_parallel_size >= 4
        assert plan.config.quantization is None


class TestLargeMixtures:
    def test_235b_on_four(self) -> None:
        """220 in fp8: 55 a card of 141, 71 for the cache. All four share every layer, as its makers advise for
        four cards; separate servers of two cards would fit too, but leave a router to run for a small gain."""
        plan = planned(request("Qwen/Qwen3-235B-A22B-FP8", "H200 SXM 141GB", 4))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (4, 1, 1, 1)
        assert plan.config.max_model_len == 40960

    def test_235b_on_eight(self) -> None:
        """A slice of 192 columns per expert is not a multiple of the 128 of its fp8 blocks: vLLM pads it (0.33)."""
        plan = planned(request("Qwen/Qwen3-235B-A22B-FP8", "H200 SXM 141GB", 8))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.max_model_len == 40960

    def test_671b_latent_on_eight(self) -> None:
        """642 in fp8: 80 a card of 141. The latent cache is small (70 KiB a token) but not shared out by tensor
        parallelism: each card holds all of it. For eight users that is plenty: one engine, nothing to coordinate."""
        plan = planned(request(DEEPSEEK, "H200 SXM 141GB", 8))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (8, 1, 1, 1)
        assert plan.config.max_model_len == 163840

    def test_671b_latent_for_two_thousand(self) -> None:
        """Two thousand at once need 2.5 million tokens of cache; with tensor parallelism every card would hold the same
        700 thousand. Data-parallel attention with shared experts gives each engine a cache of its own."""
        workload = {"concurrency": 2000, "batching_mode": "throughput"}
        plan = planned(request(DEEPSEEK, "H200 SXM 141GB", 8, workload=workload))
        assert plan.config.enable_expert_parallel
        assert plan.config.data_parallel_size >= 4
        assert plan.feasibility.verdict == "fits"

    def test_671b_on_two_machines(self) -> None:
        """80 a card of 80 is too much: two machines. A stage a machine, as vLLM's documentation advises: stages pass on
        one vector a token, which a network carries; the sums of tensor parallelism stay on NVLink."""
        plan = planned(request(DEEPSEEK, "H100 SXM5 80GB", 8, hardware={"nodes": 2}))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (8, 2, 1, 1)
        assert plan.config.nnodes == 2

    def test_671b_on_one_machine_that_is_too_small(self) -> None:
        """Nothing on this machine helps: a second one does, and so does the cheapest other machine, by name."""
        asked = request(DEEPSEEK, "H100 SXM5 80GB", 8)
        plan = planned(asked)
        assert plan.feasibility.cause == "out_of_memory"
        changed = [dict(fix.changes) for fix in plan.fixes]
        assert {"hardware.nodes": 2} in changed
        assert any("hardware.gpu" in change for change in changed)

    def test_120b_in_four_bits_on_one(self) -> None:
        """MXFP4 experts are 61 of 79: one card is what it was made for. Half of its layers look at 128 tokens only, so
        that 9 for the cache still hold the whole context."""
        plan = planned(request("openai/gpt-oss-120b", "H100 SXM5 80GB"))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (1, 1, 1, 1)
        assert plan.config.max_model_len == 131072


class TestSmallAndOddMachines:
    def test_27b_hybrid_on_16_gib(self) -> None:
        """51 in 16 bits, 27 in 8: no setting makes a card of 15.5 hold it, and the catalogue knows no 4-bit form of it.
        More of the same card, or the cheapest machine that takes it."""
        asked = request("Qwen/Qwen3.5-27B", "RTX 5080")
        plan = planned(asked)
        assert plan.feasibility.verdict == "wont_start"
        fitting = [fix for fix in plan.fixes if fix.verdict_after == "fits"]
        assert [name for fix in fitting for name, _ in fix.changes if name == "hardware.gpu"] == [
            "hardware.gpu"
        ]
        assert fitting[0].changes == (("hardware.gpus", 4),)
        for fix in fitting:
            assert after(asked, fix).feasibility.verdict == "fits"

    def test_14b_on_16_gib_names_a_quantised_form(self) -> None:
        """27.5 in 16 bits on 15.5: its 4-bit form (9.3) is first, before any money is spent."""
        plan = planned(request("Qwen/Qwen3-14B", "RTX 5080"))
        if plan.feasibility.verdict == "fits":
            assert plan.config.quantization is not None
        else:
            assert plan.fixes[0].changes[0] == ("model.model", "Qwen/Qwen3-14B-AWQ")

    def test_three_identical_cards(self) -> None:
        """64 heads don't divide by three. Two cards share every layer and one stays free: three pipeline stages would
        hold more context, but each token would pass three cards one after the other."""
        plan = planned(request(LLAMA_70B, "H100 SXM5 80GB", 3))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (2, 1, 1, 1)
        assert "1 of 3 GPUs stays free" in plan.config.explanations["tensor_parallel_size"]

    def test_three_cards_for_the_whole_context(self) -> None:
        """One request of 131,072 takes 40: two cards have 9 left. Three stages have 60 between them."""
        plan = planned(request(LLAMA_70B, "H100 SXM5 80GB", 3, model_part={"max_model_len": 131072}))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (1, 3, 1, 1)
        assert plan.config.quantization is None

    def test_a_t4(self) -> None:
        """No bfloat16 (7.5 is before 8.0): float16. 4 B parameters are 7.5 of 14.6 and fit as they are."""
        plan = planned(request("Qwen/Qwen3-4B", "T4"))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.explanations["dtype"].startswith("float16")
        assert (plan.config.quantization, plan.config.kv_cache_dtype) == (None, None)

    def test_an_8b_on_a_t4(self) -> None:
        """15.3 on 14.6. No fp8 arithmetic, but Marlin's kernels keep weights in 8 bits and widen them to multiply: vLLM
        rounds them while loading (8.5), and the cache stays in 16 bits."""
        plan = planned(request("Qwen/Qwen3-8B", "T4"))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.quantization == "fp8_per_tensor"
        assert plan.config.kv_cache_dtype is None

    def test_an_8b_on_a_t4_that_may_not_be_rounded(self) -> None:
        """Nothing of this card is left to try: the 8-bit checkpoint or rounding would be against the answers, so that
        each fix takes that answer back too, in the same step."""
        asked = request("Qwen/Qwen3-8B", "T4", policy={"allow_quantized": False})
        plan = planned(asked)
        assert plan.feasibility.verdict == "wont_start"
        changed = [dict(fix.changes) for fix in plan.fixes]
        assert {"model.quantization": "fp8", "policy.allow_quantized": True} in changed
        assert all(after(asked, fix).feasibility.verdict == "fits" for fix in plan.fixes)

    def test_before_its_kernels_a_t4_is_not_offered_rounding(self) -> None:
        """Through 0.13 fp8 needs 8.0: an Ampere card rounds there, a Turing one doesn't."""
        policy = {"vllm_version": "0.12.0"}
        assert planned(request("Qwen/Qwen3-8B", "T4", policy=policy)).config.quantization is None
        plan = planned(request("Qwen/Qwen2.5-72B-Instruct", "NVIDIA RTX A6000", 2, policy=policy))
        assert plan.feasibility.verdict == "fits"
        assert plan.config.quantization == "fp8"

    def test_a_card_half_taken(self) -> None:
        """vLLM's share is of the whole card, and it refuses to start where less is free: the share comes down to what
        others leave, less what vLLM itself takes outside of it. The reason names the others."""
        plan = planned(request("Qwen/Qwen3-8B", "L40S", hardware={"used_gib": 22}))
        assert plan.feasibility.verdict == "fits"
        share = plan.config.gpu_memory_utilization or 1.0
        assert 0.40 < share < 0.50
        assert "22.0 GiB" in plan.config.explanations["gpu_memory_utilization"]
        assert plan.config.enforce_eager is None

    def test_seven_cards_and_28_heads(self) -> None:
        """28 heads divide by seven, but the four KV heads don't: fours, twos or ones."""
        plan = planned(request("Qwen/Qwen2.5-7B-Instruct", "L40S", 7))
        assert plan.feasibility.verdict == "fits"
        assert 28 % plan.config.tensor_parallel_size == 0
        assert plan.config.tensor_parallel_size in {1, 2, 4}


class TestManyAndOne:
    def test_four_hundred_users_of_an_8b_on_a_consumer_card(self) -> None:
        """15.0 of weights leave a cache for 48 of the 400, even in 8 bits; rounded to 8.5 they leave one for 131. Most
        wait either way, but nearly three times as many are served, which is worth rounding where that is allowed."""
        plan = planned(request(LLAMA_8B, "RTX 4090", workload={"concurrency": 400}))
        assert plan.feasibility.verdict == "tight"
        assert (plan.config.quantization, plan.config.kv_cache_dtype) == ("fp8_per_tensor", "fp8")
        assert plan.feasibility.concurrency_at_workload > 100
        users = dict(plan.fixes[0].changes)["workload.concurrency"]
        assert users > 100

    def test_a_thousand_users_of_a_3b(self) -> None:
        """A thousand requests of 1,280 tokens at 112 KiB a token are 137: twice the card in 16 bits, most of it in 8.
        What is short is short for a queue, not for a start: tight, said with the number, and the fixes are fewer at
        once, or another card."""
        asked = request("meta-llama/Llama-3.2-3B-Instruct", "H100 SXM5 80GB", workload={"concurrency": 1000})
        plan = planned(asked)
        assert plan.feasibility.verdict == "tight"
        assert plan.config.kv_cache_dtype == "fp8"
        assert "1,000" in plan.feasibility.warnings[0]
        paths = [[path for path, _ in fix.changes] for fix in plan.fixes]
        assert paths[0] == ["workload.concurrency"]
        assert ["hardware.gpus"] in paths

    def test_a_thousand_users_on_eight_cards(self) -> None:
        """A small model needs no sharing of layers: eight engines behind one address, each with its own eighth."""
        workload = {"concurrency": 1000, "batching_mode": "throughput"}
        plan = planned(request("meta-llama/Llama-3.2-3B-Instruct", "H100 SXM5 80GB", 8, workload=workload))
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (1, 1, 8, 1)
        assert plan.config.max_num_seqs == 129
        assert plan.config.kv_cache_dtype is None

    def test_one_user_of_a_405b_in_8_bits(self) -> None:
        """388 in fp8 are 48.5 a card of 80. One user wants every card at work on each token. Its format is deprecated:
        vLLM takes it with a flag, which is added, and said."""
        workload = {"concurrency": 1, "batching_mode": "latency"}
        plan = planned(
            request("meta-llama/Llama-3.1-405B-Instruct-FP8", "H100 SXM5 80GB", 8, workload=workload)
        )
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (8, 1, 1, 1)
        assert plan.config.max_num_seqs == 1
        assert "--allow-deprecated-quantization" in plan.config.extra_args

    def test_one_user_of_a_405b_in_16_bits(self) -> None:
        """756 in 16 bits: 94.5 a card of 141. Fits eight of those as it is."""
        metadata = in_16_bits("meta-llama/Llama-3.1-405B-Instruct-FP8")
        workload = {"concurrency": 1, "batching_mode": "latency"}
        plan = planned(request(metadata.model, "H200 SXM 141GB", 8, workload=workload), metadata)
        assert plan.feasibility.verdict == "fits"
        assert layout(plan) == (8, 1, 1, 1)
        assert 90 < plan.feasibility.per_gpu.weights_bytes / GIB < 98
        assert plan.config.quantization is None

    @pytest.mark.parametrize("mode", ["throughput", "latency", "balanced"])
    def test_prompts_beyond_the_model_are_said_in_words(self, mode: str) -> None:
        """200,000 tokens never fit a model of 131,072, whatever the machine: vLLM refuses each request. Nothing is
        rounded for a length that can't be served, and no machine is named."""
        workload = {"prompt_tokens": 200_000, "concurrency": 1, "batching_mode": mode}
        plan = planned(request(LLAMA_8B, "RTX 4090", workload=workload))
        assert plan.feasibility.verdict == "tight"
        assert "200,000" in plan.feasibility.warnings[0]
        assert "131,072" in plan.feasibility.warnings[0]
        assert plan.config.quantization is None
        paths = {path for fix in plan.fixes for path, _ in fix.changes}
        assert "workload.prompt_tokens" in paths
        assert not any(path.startswith("hardware.") for path in paths)
