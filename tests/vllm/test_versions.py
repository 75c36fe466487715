"""Which rules a version has: numbers as people and builds write them, and what changed when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from wizard.schemas.outputs import GIB, GPUInfo
from wizard.vllm.defaults import batch_defaults, keeps_states, uses_v2_runner
from wizard.vllm.versions import NEWEST_KNOWN, parse_version, rules


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.33.0", (0, 33, 0)),
        ("0.33", (0, 33, 0)),
        ("v0.9.1", (0, 9, 1)),
        ("0.8.5.post1", (0, 8, 5)),
        ("0.10.0rc1", (0, 10, 0)),
        ("0.11.0+582e4e37.nv25.11", (0, 11, 0)),
        ("0.14.0rc1.dev2+g7d9f6663a.d20260121", (0, 14, 0)),
        ("0.27.2rc1.dev0+g7f7a32cfe", (0, 27, 2)),
    ],
)
def test_reads_a_version_as_written(text: str, number: tuple[int, int, int]) -> None:
    assert parse_version(text) == number


def test_a_build_far_past_a_release_has_the_next_ones_rules() -> None:
    assert parse_version("0.19.2rc1.dev134+gfe9c3d6c5") == (0, 20, 0)
    assert rules("0.19.2rc1.dev134+gfe9c3d6c5").subtracts_graphs_v1
    assert not rules("0.18.1rc1.dev147+g290809456").subtracts_graphs_v1


@pytest.mark.parametrize("text", ["main", "0", "0.19.x", "0.1.1.1", "", "0.33.0; rm -rf /", "9" * 50 + ".1"])
def test_refuses_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like"):
        parse_version(text)


@pytest.mark.parametrize(
    ("rule", "before", "since"),
    [
        ("nccl_before_baseline", "0.10.2", "0.11.0"),
        ("full_graphs", "0.10.2", "0.11.0"),
        ("fine_capture_steps", "0.11.0", "0.11.1"),
        ("moe_workspace_manager", "0.12.0", "0.13.0"),
        ("async_scheduling", "0.13.0", "0.14.0"),
        ("triton_sampler", "0.16.0", "0.17.1"),
        ("subtracts_graphs_v1", "0.19.1", "0.20.0"),
        ("tokens_from_concurrency", "0.20.0", "0.20.1"),
        ("in_flight_windows", "0.25.1", "0.26.0"),
        ("consumed_by_free_memory", "0.26.0", "0.27.0"),
        ("hybrid_prefix_caching", "0.27.1", "0.28.0"),
        ("large_tier", "0.27.1", "0.28.0"),
        ("subtracts_graphs_v2", "0.28.0", "0.29.0"),
        ("null_block_in_check", "0.28.0", "0.29.0"),
    ],
)
def test_a_rule_holds_from_its_version_on(rule: str, before: str, since: str) -> None:
    assert getattr(rules(before), rule) is False
    assert getattr(rules(since), rule) is True


@pytest.mark.parametrize(
    ("version", "v1", "v2"), [("0.16.0", 38, 6), ("0.17.1", 14, 6), ("0.28.0", 14, 2), ("0.33.0", 14, 14)]
)
def test_bytes_per_logit(version: str, v1: int, v2: int) -> None:
    assert (rules(version).sampler_bytes_v1, rules(version).sampler_bytes_v2) == (v1, v2)


def test_default_utilisation() -> None:
    assert rules("0.19.1").default_gpu_memory_utilization == 0.9
    assert rules("0.20.0").default_gpu_memory_utilization == 0.92


def test_newer_than_known_takes_the_newest_rules_and_says_so() -> None:
    newer = rules("0.40.1")
    assert not newer.known
    assert newer.sampler_bytes_v2 == rules(NEWEST_KNOWN).sampler_bytes_v2
    assert rules(NEWEST_KNOWN).known


def card(name: str, gib: float, capability: tuple[int, int]) -> GPUInfo:
    return GPUInfo(name=name, memory_total_bytes=int(gib * GIB), compute_capability=capability)


H100 = card("NVIDIA H100 80GB HBM3", 79.19, (9, 0))
A100 = card("NVIDIA A100-SXM4-80GB", 79.25, (8, 0))
B200 = card("NVIDIA B200", 178.35, (10, 0))
SPARK = card("NVIDIA GB10", 121.69, (12, 1))
RTX_4090 = card("NVIDIA GeForce RTX 4090", 23.53, (8, 9))


@pytest.mark.parametrize(
    ("gpu", "version", "tokens", "seqs"),
    [
        (H100, "0.33.0", 8192, 1024),
        (RTX_4090, "0.33.0", 2048, 256),
        (A100, "0.8.5", 8192, 1024),
        (A100, "0.9.2", 2048, 256),
        (B200, "0.27.1", 8192, 1024),
        (B200, "0.28.0", 16384, 1024),
        (SPARK, "0.11.0", 2048, 256),
        (SPARK, "0.33.0", 2048, 256),
    ],
)
def test_batch_tiers(gpu: GPUInfo, version: str, tokens: int, seqs: int) -> None:
    found = batch_defaults(gpu, rules(version))
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (tokens, seqs)


def test_offline_engines_and_throughput_mode_take_larger_batches() -> None:
    assert batch_defaults(RTX_4090, rules(), offline=True).max_num_batched_tokens == 8192
    doubled = batch_defaults(RTX_4090, rules(), performance_mode="throughput")
    assert (doubled.max_num_batched_tokens, doubled.max_num_seqs) == (4096, 512)


@dataclass(frozen=True)
class Model:
    architecture: str
    is_moe: bool = False
    text: dict[str, Any] = field(default_factory=dict)


QWEN3 = Model("Qwen3ForCausalLM")
LLAMA = Model("LlamaForCausalLM")
QWEN3_MOE = Model("Qwen3MoeForCausalLM", is_moe=True)
LFM2 = Model("Lfm2ForCausalLM", text={"layer_types": ["conv", "full_attention"]})
DEEPSEEK_V4 = Model("DeepseekV4ForCausalLM", is_moe=True)


@pytest.mark.parametrize(
    ("model", "version", "v2"),
    [
        (QWEN3, "0.21.0", False),
        (QWEN3, "0.22.0", True),
        (LLAMA, "0.22.0", False),
        (LLAMA, "0.23.0", True),
        (QWEN3_MOE, "0.28.0", False),
        (QWEN3_MOE, "0.29.0", True),
        (LFM2, "0.26.0", False),
        (LFM2, "0.29.0", True),
        (DEEPSEEK_V4, "0.27.1", False),
        (DEEPSEEK_V4, "0.28.0", True),
    ],
)
def test_which_runner_runs_a_model(model: Model, version: str, v2: bool) -> None:
    assert uses_v2_runner(rules(version), model, quantized=False, pooling=False) is v2


def test_what_keeps_a_model_on_the_first_runner() -> None:
    assert not uses_v2_runner(rules("0.23.0"), QWEN3, quantized=True, pooling=False)
    assert uses_v2_runner(rules("0.24.0"), QWEN3, quantized=True, pooling=False)
    assert not uses_v2_runner(rules("0.28.0"), QWEN3, quantized=False, pooling=True)
    ngram = {"quantized": False, "pooling": False, "speculative_method": "ngram"}
    assert not uses_v2_runner(rules("0.32.0"), QWEN3, **ngram)
    assert uses_v2_runner(rules("0.33.0"), QWEN3, **ngram)


def test_hybrids_are_told_by_their_layers() -> None:
    assert keeps_states({"layer_types": ["linear_attention", "full_attention"]})
    assert keeps_states({"mamba_d_state": 128})
    assert not keeps_states({"layer_types": ["attention", "attention"], "mamba_d_state": 256})
    assert not keeps_states({"layer_types": ["sliding_attention", "full_attention"]})
