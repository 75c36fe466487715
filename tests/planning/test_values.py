"""Each value rule keeps the behaviour that the seed API document states; the quotation heads the test."""

from __future__ import annotations

import pytest

from wizard.planning.recommend import (
    _recommend_gpu_memory_utilization,
    _recommend_kv_cache_dtype,
    _recommend_max_batched_tokens,
    _recommend_max_model_len,
    _recommend_max_num_seqs,
    _recommend_quantization,
    _recommend_tensor_parallel,
)
from wizard.schemas.inputs import BatchingMode
from wizard.schemas.outputs import GIB, GPUInfo
from wizard.vllm.versions import rules

H100 = GPUInfo("H100 SXM5 80GB", int(79.19 * GIB), (9, 0), klass="datacenter")
RTX_4090 = GPUInfo("GeForce RTX 4090", int(23.53 * GIB), (8, 9), klass="consumer")


class TestTensorParallel:
    def test_user_size_stands(self) -> None:
        """ "If user specifies tensor_parallel_size, use it." """
        assert _recommend_tensor_parallel(8, 10 * GIB, 80 * GIB, requested_tp=3)[0] == 3

    def test_single_gpu(self) -> None:
        """ "If single GPU, use 1." """
        assert _recommend_tensor_parallel(1, 500 * GIB, 24 * GIB)[0] == 1

    @pytest.mark.parametrize(("gpus", "size"), [(2, 2), (3, 2), (4, 4), (6, 4), (7, 4), (8, 8)])
    def test_largest_power_of_two(self, gpus: int, size: int) -> None:
        """ "Otherwise, select the largest power of 2 less than or equal to the number of GPUs." """
        assert _recommend_tensor_parallel(gpus, 10 * GIB, 80 * GIB)[0] == size

    def test_raised_when_weights_crowd_the_gpu(self) -> None:
        """ "If weights per GPU exceed 70% of VRAM per GPU, increase TP to fit weights." """
        assert _recommend_tensor_parallel(3, 120 * GIB, 80 * GIB)[0] == 3

    def test_sizes_that_do_not_divide_the_heads_are_passed_over(self) -> None:
        """Better than the seed: 64 heads over 3 GPUs is refused by vLLM, so 3 is never recommended."""
        size, why = _recommend_tensor_parallel(3, 140 * GIB, 80 * GIB, divides=lambda tp: 64 % tp == 0)
        assert size == 2
        assert "heads" in why


class TestUtilization:
    def test_lower_on_consumer_cards(self) -> None:
        """ "Lower utilization for consumer GPUs (e.g., RTX/GeForce/Titan) to improve stability." """
        assert _recommend_gpu_memory_utilization(RTX_4090, 0.92)[0] < 0.92

    def test_standard_on_datacenter_cards(self) -> None:
        """ "Standard utilization for datacenter GPUs." """
        assert _recommend_gpu_memory_utilization(H100, 0.92)[0] == 0.92

    def test_a_wish_is_never_raised(self) -> None:
        """The ancestor raised a requested 0.6 to 0.88 on any card named RTX."""
        assert _recommend_gpu_memory_utilization(RTX_4090, 0.92, requested=0.6)[0] == 0.6

    def test_room_for_other_processes(self) -> None:
        """vLLM refuses to start when less than its share is free."""
        busy = GPUInfo("H100", 80 * GIB, (9, 0), memory_used_bytes=40 * GIB, klass="datacenter")
        value, why = _recommend_gpu_memory_utilization(busy, 0.92, context_bytes=GIB)
        assert value * busy.memory_total_bytes <= 39 * GIB
        assert "40.0 GiB" in why


class TestKVCacheDtype:
    def test_user_dtype_stands(self) -> None:
        """ "If user specifies KV cache dtype, use it." """
        assert _recommend_kv_cache_dtype("bfloat16", 0.9, (9, 0))[0] == "bfloat16"

    @pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0), (12, 0)])
    def test_fp8_under_pressure(self, capability: tuple[int, int]) -> None:
        """ "If KV cache pressure > 40%, suggest FP8 KV cache for supported GPUs (Hopper/Ada+)." """
        assert _recommend_kv_cache_dtype("auto", 0.41, capability)[0] == "fp8"
        assert _recommend_kv_cache_dtype("auto", 0.40, capability)[0] is None

    def test_gpus_without_fp8_keep_theirs(self) -> None:
        """An A100 (8.0) has no fp8."""
        assert _recommend_kv_cache_dtype("auto", 0.9, (8, 0))[0] is None

    def test_not_against_the_policy(self) -> None:
        value, why = _recommend_kv_cache_dtype("auto", 0.9, (9, 0), allowed=False)
        assert value is None
        assert "as you asked" in why


class TestQuantization:
    def test_user_method_stands(self) -> None:
        """ "If user specifies quantization, use it." """
        assert _recommend_quantization("fp8", True)[0] == "fp8"

    def test_something_that_works_when_it_does_not_fit(self) -> None:
        """ "If model does not fit without quantization, recommend AWQ 4-bit quantization."

        vLLM refuses `awq` on a checkpoint that isn't AWQ: what it can do while loading is fp8.
        """
        value, why = _recommend_quantization(None, False, capability=(9, 0), rules=rules("0.33.0"))
        assert value == "fp8_per_tensor"
        assert "while loading" in why

    def test_older_versions_call_it_fp8(self) -> None:
        value, _ = _recommend_quantization(None, False, capability=(9, 0), rules=rules("0.19.1"))
        assert value == "fp8"

    def test_no_quantization_otherwise(self) -> None:
        """ "Otherwise, no quantization." """
        assert _recommend_quantization(None, True, capability=(9, 0))[0] is None

    def test_a_quantised_checkpoint_is_named(self) -> None:
        _, why = _recommend_quantization(None, False, capability=(8, 0), siblings=["Qwen/Qwen3-14B-AWQ"])
        assert "Qwen/Qwen3-14B-AWQ" in why


class TestMaxModelLen:
    def test_user_length_is_clamped_to_the_model(self) -> None:
        """ "If user specifies max_model_len, clamp to model maximum and available context." """
        assert _recommend_max_model_len(200_000, 131_072, 1_000_000)[0] == 131_072

    def test_user_length_is_clamped_to_the_cache(self) -> None:
        """ "If user specifies max_model_len, clamp to model maximum and available context." """
        assert _recommend_max_model_len(100_000, 131_072, 50_000)[0] <= 50_000

    @pytest.mark.parametrize(("model_max", "available"), [(8192, 100_000), (131_072, 40_960)])
    def test_the_smaller_of_both(self, model_max: int, available: int) -> None:
        """ "Otherwise, use the smaller of model maximum and available context." """
        assert _recommend_max_model_len(None, model_max, available)[0] == min(model_max, available)

    @pytest.mark.parametrize("available", [-44_838, 0])
    def test_never_negative(self, available: int) -> None:
        """The ancestor printed `max_model_len: -44838` for a 70B on one 4090."""
        assert _recommend_max_model_len(None, 131_072, available)[0] > 0


class TestMaxNumSeqs:
    def test_throughput_adds_a_buffer(self) -> None:
        """ "Throughput mode: base concurrency + buffer." """
        assert _recommend_max_num_seqs(32, BatchingMode.THROUGHPUT)[0] == 36

    def test_latency_matches(self) -> None:
        """ "Latency mode: match target concurrency." """
        assert _recommend_max_num_seqs(32, BatchingMode.LATENCY)[0] == 32

    def test_balanced_adds_a_small_buffer(self) -> None:
        """ "Balanced mode: small buffer above target concurrency." """
        assert _recommend_max_num_seqs(32, BatchingMode.BALANCED)[0] == 34


class TestMaxBatchedTokens:
    def test_grows_with_the_workload_and_mode(self) -> None:
        """ "Base on (prompt + gen) × concurrency × mode multiplier." """
        values = [
            _recommend_max_batched_tokens(400, 100, 8, mode, 80 * GIB)[0]
            for mode in (BatchingMode.LATENCY, BatchingMode.BALANCED, BatchingMode.THROUGHPUT)
        ]
        assert values == sorted(values)
        assert all(value >= 500 * 8 for value in values)

    def test_capped_by_memory(self) -> None:
        """ "Cap by VRAM-based heuristic thresholds." """
        caps = [
            _recommend_max_batched_tokens(100_000, 1000, 64, BatchingMode.BALANCED, gib * GIB)[0]
            for gib in (24, 48, 80, 180)
        ]
        assert caps == [2048, 4096, 8192, 16384]

    def test_minimum(self) -> None:
        """ "Minimum cap enforced." """
        assert _recommend_max_batched_tokens(1, 1, 1, BatchingMode.LATENCY, 8 * GIB)[0] == 2048

    def test_never_below_max_num_seqs(self) -> None:
        """vLLM refuses max_num_batched_tokens < max_num_seqs."""
        value, _ = _recommend_max_batched_tokens(1, 1, 5000, BatchingMode.LATENCY, 8 * GIB, max_num_seqs=5000)
        assert value >= 5000
