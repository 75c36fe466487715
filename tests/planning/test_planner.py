"""A plan as a whole: total, consistent, and what it says about itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.asking import DEEPSEEK, LLAMA_8B, LLAMA_70B, facts, planned, request, surroundings
from wizard.errors import ConfigError
from wizard.hardware import catalogue as cards
from wizard.hardware.resolve import PLANNED_VENDORS, resolve_hardware
from wizard.models import catalogue
from wizard.planning.changes import changed_request
from wizard.planning.planner import check, plan
from wizard.planning.summary import attention_kind
from wizard.schemas.inputs import HardwareInput
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.serve_args import parse_serve_command

EVERY_MODEL = sorted(model.id for model in catalogue.models().values())
MACHINES = (("RTX 4090", 1), ("T4", 3), ("MI300X", 8))


@pytest.mark.parametrize("start", range(0, len(EVERY_MODEL), 40))
def test_every_catalogue_model_plans_or_is_refused_in_a_sentence(start: int) -> None:
    for name in EVERY_MODEL[start : start + 40]:
        gpu, count = MACHINES[hash_of(name) % len(MACHINES)]
        asked = request(name, gpu, count)
        try:
            result = plan(asked, facts(name), resolve_hardware(asked.hardware))
        except ConfigError as error:
            assert len(str(error)) < 400
            continue
        assert (result.feasibility.error is None) == (result.feasibility.verdict != "wont_start")


def hash_of(name: str) -> int:
    """The same machine for a model in every run."""
    return sum(name.encode())


def test_every_card_of_the_catalogue_can_be_planned_for() -> None:
    for row in cards.gpus():
        if row.vendor in PLANNED_VENDORS:
            asked = request(LLAMA_8B, row.name)
            assert planned(asked, fixes=False).feasibility.per_gpu.total_bytes > 0


def test_the_quick_plan_is_the_slow_one_without_fixes() -> None:
    asked = request(LLAMA_8B, "RTX 4090", workload={"concurrency": 200})
    slow, quick = planned(asked), planned(asked, fixes=False)
    assert (slow.config, slow.feasibility, slow.performance) == (
        quick.config,
        quick.feasibility,
        quick.performance,
    )
    assert slow.fixes
    assert quick.fixes == quick.alternatives == ()


@pytest.mark.parametrize(
    "asked",
    [
        request(LLAMA_8B, "RTX 4090"),
        request(LLAMA_70B, "H100 SXM5 80GB", 8),
        request(DEEPSEEK, "H200 SXM 141GB", 8),
    ],
    ids=lambda asked: asked.model.model,
)
def test_each_alternative_is_the_plan_that_its_changes_lead_to(asked: object) -> None:
    result = planned(asked)  # type: ignore[arg-type]
    assert 3 <= len(result.alternatives) <= 8
    for each in result.alternatives:
        changed = changed_request(asked, each.request_changes)  # type: ignore[arg-type]
        assert changed is not None
        found = planned(changed, fixes=False)
        assert (found.config, found.feasibility) == (each.config, each.feasibility), each.title
        assert each.feasibility.verdict != "wont_start"
    assert len({each.title for each in result.alternatives}) == len(result.alternatives)


def test_servers_of_their_own_share_the_users() -> None:
    """A mixture that fits one card, told to use one: eight servers, an eighth of the users each."""
    workload = {"concurrency": 64, "batching_mode": "throughput"}
    asked = request(
        "Qwen/Qwen3-30B-A3B", "H200 SXM 141GB", 8, workload=workload, hardware={"tensor_parallel_size": 1}
    )
    extra = {"extra_args": ("--no-enable-expert-parallel",)}
    result = planned(asked.model_copy(update={"policy": asked.policy.model_copy(update=extra)}), fixes=False)
    assert result.replicas == 8
    assert result.config.max_num_seqs == 12
    assert result.performance is not None
    one = planned(
        request("Qwen/Qwen3-30B-A3B", "H200 SXM 141GB", workload={**workload, "concurrency": 8}), fixes=False
    )
    assert one.performance is not None
    assert result.performance.output_tokens_per_s.mid == pytest.approx(
        8 * one.performance.output_tokens_per_s.mid, rel=0.05
    )


def test_different_cards_are_named() -> None:
    gpus = [*resolve_hardware(HardwareInput(gpu="L40S")), *resolve_hardware(HardwareInput(gpu="RTX 4090"))]
    result = plan(request(LLAMA_8B, "L40S", 2), facts(LLAMA_8B), gpus)
    assert any("GeForce RTX 4090" in warning for warning in result.warnings)
    assert result.feasibility.per_gpu.total_bytes == gpus[1].memory_total_bytes


def test_those_of_different_cards_that_will_serve_are_named() -> None:
    small, big = resolve_hardware(HardwareInput(gpu="RTX 3090")) + resolve_hardware(HardwareInput(gpu="H100"))
    alone = dict.fromkeys(("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"), 1)
    asked = request(LLAMA_8B, "L40S", 2, hardware=alone)
    told = plan(asked, facts(LLAMA_8B), [small, big]).warnings
    assert any("1 x H100 SXM5 80GB will serve" in warning for warning in told)


def test_a_gpu_that_tells_no_memory_is_said_in_the_plan() -> None:
    asked = request(LLAMA_8B, "H100 SXM5 80GB")
    (card,) = resolve_hardware(asked.hardware)
    silent = replace(card, index=0, nvml_total_bytes=None)
    assert any(
        "does not tell its memory" in warning for warning in plan(asked, facts(LLAMA_8B), [silent]).warnings
    )
    told = plan(asked, facts(LLAMA_8B), [replace(card, index=0)]).warnings
    assert not any("does not tell its memory" in warning for warning in told)


def test_a_gated_model_says_who_needs_a_token() -> None:
    asked = request(LLAMA_8B, "H100 SXM5 80GB")
    assert any("HF_TOKEN" in warning for warning in planned(asked, fixes=False).warnings)
    open_model = replace(facts(LLAMA_8B), gated=False)
    assert planned(asked, open_model, fixes=False).warnings == ()


def test_a_version_from_the_future_takes_the_newest_rules_and_says_so() -> None:
    new = planned(request(LLAMA_8B, "L40S", policy={"vllm_version": "0.99.0"}), fixes=False)
    known = planned(request(LLAMA_8B, "L40S"), fixes=False)
    assert new.feasibility == known.feasibility
    assert any("0.99.0 is newer" in warning for warning in new.warnings)


def test_an_older_version_has_its_own_defaults() -> None:
    old = planned(request(LLAMA_8B, "L40S", policy={"vllm_version": "0.19.1"}), fixes=False)
    assert old.config.gpu_memory_utilization == 0.9
    assert "default, 0.9." in old.config.explanations["gpu_memory_utilization"]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (LLAMA_8B, "gqa"),
        ("meta-llama/Llama-2-7b-hf", "mha"),
        (DEEPSEEK, "mla"),
        ("openai/gpt-oss-20b", "sliding_hybrid"),
        ("Qwen/Qwen3.5-27B", "linear_hybrid"),
    ],
)
def test_attention_in_one_word(model: str, kind: str) -> None:
    assert attention_kind(facts(model)) == kind


def test_check_recommends_nothing() -> None:
    config = VLLMConfig(model=LLAMA_8B, max_num_seqs=7)
    gpus = resolve_hardware(HardwareInput(gpu="H100 SXM5 80GB"))
    result = check(config, facts(LLAMA_8B), gpus, surroundings=surroundings(LLAMA_8B))
    assert result.config == config
    assert result.feasibility.max_num_seqs == 7
    assert result.alternatives == ()


def test_a_command_for_one_of_several_nodes_starts_as_planned() -> None:
    """Engines of other nodes need no GPU here: `--data-parallel-size-local` says how many are."""
    words = ["vllm", "serve", LLAMA_8B, "--data-parallel-size", "16", "--data-parallel-size-local", "8"]
    config = parse_serve_command(words).config
    gpus = resolve_hardware(HardwareInput(gpu="H100 SXM5 80GB", gpus=8))
    hardware = HardwareInput(gpu="H100 SXM5 80GB", gpus=8, nodes=2)
    assert check(config, facts(LLAMA_8B), gpus, hardware=hardware).feasibility.verdict == "fits"
    alone = parse_serve_command(words[:5]).config
    assert check(alone, facts(LLAMA_8B), gpus).feasibility.cause == "invalid_config"
