"""The verdict of one command, and the seed's functions on bare numbers, with golden figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.planning.asking import DEEPSEEK, LLAMA_8B, LLAMA_70B, facts
from tests.planning.launching import card
from wizard.planning.memory import (
    compute_feasibility,
    compute_kv_cache_memory,
    compute_overhead,
    compute_weights_memory,
    evaluate,
)
from wizard.schemas.inputs import PolicyInput, WorkloadInput
from wizard.schemas.outputs import GIB, FeasibilityReport, VLLMConfig


def report(
    model: str = LLAMA_8B,
    gpu: str = "h100",
    *,
    gpus: int = 1,
    used_gib: float = 0.0,
    workload: WorkloadInput | None = None,
    policy: PolicyInput | None = None,
    **settings: Any,
) -> FeasibilityReport:
    one = replace(card(gpu), memory_used_bytes=int(used_gib * GIB))
    config = VLLMConfig(model=model, **settings)
    return evaluate(config, facts(model), [one] * gpus, workload=workload, policy=policy)


class TestWeights:
    @pytest.mark.parametrize(
        ("model", "size", "gib"),
        [(LLAMA_8B, 1, 14.99), (LLAMA_8B, 2, 7.51), (LLAMA_70B, 4, 32.89), ("Qwen/Qwen3-8B-FP8", 1, 8.80)],
    )
    def test_of_a_model(self, model: str, size: int, gib: float) -> None:
        """As vLLM logs them ("Model loading took 14.99 GiB"), per GPU."""
        weights = compute_weights_memory(facts(model), tensor_parallel_size=size)
        assert weights / GIB == pytest.approx(gib, abs=0.03)

    @pytest.mark.parametrize(
        ("billions", "dtype", "method", "size", "expected"),
        [
            (8.0, "bf16", None, 1, 16_000_000_000),
            (8.0, "fp32", None, 1, 32_000_000_000),
            (8.0, "float32", None, 2, 16_000_000_000),
            (70.6, "auto", None, 4, 35_300_000_000),
            (8.0, "auto", "fp8", 1, 8_000_000_000),
            (8.0, "auto", "awq", 1, 4_250_000_000),
        ],
    )
    def test_of_a_bare_parameter_count(
        self, billions: float, dtype: str, method: str | None, size: int, expected: int
    ) -> None:
        """The seed's own signature: billions of parameters times bytes each."""
        assert compute_weights_memory(billions, dtype, method, tensor_parallel_size=size) == expected

    def test_online_rounding_leaves_embeddings_as_they_are(self) -> None:
        """8.03 B parameters, of which 1.05 B are embedding and head: 6.98 + 2 x 1.05 GB."""
        weights = compute_weights_memory(facts(LLAMA_8B), quantization="fp8")
        assert weights / 1e9 == pytest.approx(9.08, abs=0.06)


class TestCache:
    @pytest.mark.parametrize(
        ("model", "context", "users", "dtype", "gib"),
        [
            (LLAMA_8B, 8192, 1, "auto", 1.0),
            (LLAMA_8B, 8192, 16, "auto", 16.0),
            (LLAMA_8B, 8192, 16, "fp8", 8.0),
            (LLAMA_70B, 32768, 1, "auto", 10.0),
            (DEEPSEEK, 163840, 1, "auto", 10.72),
        ],
    )
    def test_in_whole_blocks(self, model: str, context: int, users: int, dtype: str, gib: float) -> None:
        """128 KiB a token for 8 KV heads of 128 in 32 layers; 61 latents of 576 for DeepSeek-V3."""
        found = compute_kv_cache_memory(facts(model), context, users, dtype)
        assert found / GIB == pytest.approx(gib, rel=0.005)

    def test_tensor_parallelism_shares_heads_but_not_latents(self) -> None:
        assert compute_kv_cache_memory(facts(LLAMA_8B), 8192, 1, tensor_parallel_size=4) / GIB == 0.25
        latent = [compute_kv_cache_memory(facts(DEEPSEEK), 8192, 1, tensor_parallel_size=n) for n in (1, 8)]
        assert latent[0] == latent[1]

    def test_a_context_beyond_the_model_is_the_models(self) -> None:
        assert compute_kv_cache_memory(facts(LLAMA_8B), 1 << 20, 1) / GIB == 16.0

    def test_a_fragmentation_factor_multiplies(self) -> None:
        plain = compute_kv_cache_memory(facts(LLAMA_8B), 4096, 4)
        assert compute_kv_cache_memory(facts(LLAMA_8B), 4096, 4, fragmentation_factor=1.5) == plain * 1.5


class TestOverhead:
    def test_a_fixed_one_is_taken(self) -> None:
        assert compute_overhead(80 * GIB, fixed_overhead_gb=2.5) == int(2.5 * GIB)

    def test_it_needs_something_to_go_by(self) -> None:
        with pytest.raises(ValueError, match="metadata"):
            compute_overhead(80 * GIB)

    def test_it_follows_the_batch(self) -> None:
        """8,192 tokens and 256 rows of an 8B on an H100: 1-3 GiB, activation peak, graphs and modules."""
        small = compute_overhead(
            80 * GIB, metadata=facts(LLAMA_8B), max_num_batched_tokens=2048, max_num_seqs=8
        )
        usual = compute_overhead(80 * GIB, metadata=facts(LLAMA_8B))
        assert 0.5 < small / GIB < 1.5 < usual / GIB < 5


class TestFeasibility:
    """`compute_feasibility`: the seed's verdict on numbers that somebody else made."""

    def test_it_fits_with_what_is_left(self) -> None:
        found = compute_feasibility(
            15 * GIB,
            16 * GIB,
            2 * GIB,
            80 * GIB,
            gpu_memory_utilization=0.9,
            context_len=8192,
            concurrency=16,
        )
        assert (found.verdict, found.fits, found.oom_risk) == ("fits", True, "low")
        assert found.vram_target_alloc_gb == pytest.approx(72.0)
        assert found.headroom_gb == pytest.approx(72 - 15 - 16 - 2)
        assert found.max_concurrency_at_context == 55

    def test_headroom_can_make_it_tight(self) -> None:
        found = compute_feasibility(
            15 * GIB, 50 * GIB, 2 * GIB, 80 * GIB, gpu_memory_utilization=0.9, headroom_gb=6, concurrency=50
        )
        assert (found.verdict, found.oom_risk) == ("tight", "medium")
        assert found.headroom_gb == pytest.approx(-1.0)

    def test_one_request_too_large(self) -> None:
        found = compute_feasibility(
            15 * GIB, 16 * GIB, 2 * GIB, 24 * GIB, gpu_memory_utilization=0.9, context_len=131072
        )
        assert (found.verdict, found.cause) == ("wont_start", "kv_cache_too_small")
        assert "16.0 GiB KV cache is needed" in (found.error or "")
        assert 0 < found.max_context_at_concurrency < 131072

    def test_no_room_at_all(self) -> None:
        found = compute_feasibility(15 * GIB, GIB, 8 * GIB, 24 * GIB, gpu_memory_utilization=0.9)
        assert found.cause == "no_kv_memory"

    def test_heavier_than_the_card(self) -> None:
        found = compute_feasibility(140 * GIB, GIB, 2 * GIB, 80 * GIB)
        assert (found.cause, found.oom_risk) == ("out_of_memory", "high")


class TestVerdict:
    def test_a_longer_workload_than_the_context_is_tight_and_said(self) -> None:
        workload = WorkloadInput(prompt_tokens=4000, gen_tokens=200, concurrency=1)
        found = report(max_model_len=4096, workload=workload)
        assert found.verdict == "tight"
        assert "4,000 prompt and 200 output tokens exceed max_model_len, 4,096" in found.warnings[0]
        assert report(max_model_len=4200, workload=workload).verdict == "fits"

    def test_fewer_slots_than_users_is_tight_and_said(self) -> None:
        found = report(max_model_len=4096, max_num_seqs=4, workload=WorkloadInput(concurrency=9))
        assert found.verdict == "tight"
        assert "4 of 9" in found.warnings[0]

    def test_engines_share_the_users(self) -> None:
        workload = WorkloadInput(concurrency=1000)
        one = report(workload=workload)
        four = report(gpus=4, data_parallel_size=4, workload=workload)
        assert (one.verdict, four.verdict) == ("tight", "fits")

    def test_memory_of_others_stops_it_in_vllms_words(self) -> None:
        found = report(used_gib=20.0)
        assert found.cause == "free_memory"
        assert "is less than desired GPU memory utilization (0.92, 72.85 GiB)" in (found.error or "")

    def test_the_fullest_of_mixed_cards_decides(self) -> None:
        config = VLLMConfig(model=LLAMA_8B, tensor_parallel_size=2)
        full = replace(card(), memory_used_bytes=20 * GIB)
        found = evaluate(config, facts(LLAMA_8B), [card(), full])
        assert found.cause == "free_memory"
        assert found.per_gpu.other_processes_bytes == 20 * GIB

    def test_a_share_that_leaves_nothing_for_graphs_is_tight(self) -> None:
        found = report(gpu_memory_utilization=0.99, max_model_len=8192)
        assert found.verdict == "tight"
        assert "on top of its budget" in found.warnings[0]

    def test_a_cache_of_fixed_size(self) -> None:
        """--kv-cache-memory-bytes makes its own budget, whatever the utilisation."""
        found = report(kv_cache_memory_bytes=8 * GIB, max_model_len=8192)
        part = found.per_gpu
        assert part.kv_cache_available_bytes == 8 * GIB
        assert part.requested_bytes < 30 * GIB
        assert found.kv_cache.max_concurrency == pytest.approx(8.0, rel=0.01)

    def test_a_fixed_cache_larger_than_the_card(self) -> None:
        found = report(kv_cache_memory_bytes=70 * GIB, max_model_len=8192)
        assert found.cause == "out_of_memory"

    def test_blocks_win_over_bytes(self) -> None:
        """4,096 blocks of 16 tokens at 128 KiB a token are 8 GiB."""
        found = report(num_gpu_blocks_override=4096, kv_cache_memory_bytes=GIB, max_model_len=8192)
        assert found.per_gpu.kv_cache_available_bytes == 8 * GIB
        assert found.kv_cache.num_gpu_blocks == 4096

    def test_more_blocks_than_fit_run_out_of_memory(self) -> None:
        assert report(num_gpu_blocks_override=40_000, max_model_len=8192).cause == "out_of_memory"

    def test_offloaded_weights_are_not_on_the_gpu(self) -> None:
        plain, moved = report(), report(cpu_offload_gb=4.0)
        assert plain.per_gpu.weights_bytes - moved.per_gpu.weights_bytes == 4 * GIB

    def test_embedding_and_head_stay_on_the_gpu(self) -> None:
        ends = 2 * 128256 * 4096 * 2
        assert ends < report(cpu_offload_gb=40.0).per_gpu.weights_bytes < ends + 0.1 * GIB
