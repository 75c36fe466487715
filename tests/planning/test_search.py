"""Alternatives as the Policy screen gets them: of another kind, better at something, one key away."""

from __future__ import annotations

from typing import Any

import pytest

from wizard.hardware.catalogue import get_gpu_by_name
from wizard.hardware.resolve import machines
from wizard.models import catalogue
from wizard.models.metadata import ModelMetadata
from wizard.planning.planner import Surroundings, plan
from wizard.schemas.inputs import (
    BatchingMode,
    HardwareInput,
    ModelInput,
    PlanRequest,
    PolicyInput,
    WorkloadInput,
)
from wizard.schemas.outputs import Alternative, Plan


def model(name: str) -> ModelMetadata:
    found = catalogue.load(name)
    assert found is not None
    return found


def planned(
    name: str,
    gpu: str,
    count: int,
    *,
    siblings: tuple[str, ...] = (),
    elsewhere: bool = False,
    workload: dict[str, Any] | None = None,
    answers: dict[str, Any] | None = None,
    **policy: Any,
) -> tuple[PlanRequest, Plan, Surroundings]:
    request = PlanRequest(
        model=ModelInput(model=name),
        hardware=HardwareInput(gpu=gpu, gpus=count, **(answers or {})),
        workload=WorkloadInput(**(workload or {})),
        policy=PolicyInput(**policy),
    )
    around = Surroundings({sibling: model(sibling) for sibling in siblings}, machines() if elsewhere else ())
    return request, plan(request, model(name), [get_gpu_by_name(gpu)] * count, surroundings=around), around


def titled(found: Plan, text: str) -> Alternative:
    (each,) = [each for each in found.alternatives if text in each.title]
    return each


BIG = "meta-llama/Llama-3.3-70B-Instruct"
ROUNDED = "RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic"


@pytest.mark.parametrize(
    ("name", "gpu", "count", "users"),
    [
        (BIG, "H100 SXM5 80GB", 4, 64),
        (BIG, "A100 SXM4 80GB", 8, 32),
        ("Qwen/Qwen3-235B-A22B", "H200 SXM 141GB", 8, 64),
        ("deepseek-ai/DeepSeek-V3", "H200 SXM 141GB", 8, 64),
        ("meta-llama/Llama-3.1-8B-Instruct", "RTX 4090", 1, 8),
        ("openai/gpt-oss-120b", "H100 SXM5 80GB", 1, 16),
    ],
)
def test_alternatives_start_differ_and_are_one_change_away(
    name: str, gpu: str, count: int, users: int
) -> None:
    siblings = (ROUNDED,) if name == BIG else ()
    request, found, around = planned(
        name, gpu, count, siblings=siblings, elsewhere=True, workload={"concurrency": users}
    )
    assert 5 <= len(found.alternatives) <= 8
    assert len({each.title for each in found.alternatives}) == len(found.alternatives)
    for each in found.alternatives:
        assert each.feasibility.verdict != "wont_start"
        assert each.performance is not None
        assert each.why.endswith(".")
        changed = request
        for path, value in each.request_changes:
            changed = changed.with_value(path, value)
        cards = [card for card in machines() if card.name == changed.hardware.gpu] or [get_gpu_by_name(gpu)]
        metadata = around.siblings.get(changed.model.model, model(name))
        again = plan(changed, metadata, cards[:1] * (changed.hardware.gpus or 1))
        assert again.config == each.config
        assert again.feasibility.verdict == each.feasibility.verdict


def test_what_fits_comes_first_and_then_what_the_goal_asks_for() -> None:
    _, found, _ = planned(
        BIG,
        "H100 SXM5 80GB",
        4,
        siblings=(ROUNDED,),
        workload={"concurrency": 64},
    )
    verdicts = [each.feasibility.verdict for each in found.alternatives]
    assert verdicts == sorted(verdicts)  # "fits" before "tight"
    _, found, _ = planned(
        BIG, "H100 SXM5 80GB", 4, workload={"concurrency": 64, "batching_mode": BatchingMode.THROUGHPUT}
    )
    rates = [
        each.performance.output_tokens_per_s.mid
        for each in found.alternatives
        if each.feasibility.verdict == "fits" and each.performance is not None
    ]
    assert rates == sorted(rates, reverse=True)


def test_fewer_gpus_free_the_others() -> None:
    _, found, _ = planned(BIG, "H100 SXM5 80GB", 8, workload={"concurrency": 8})
    half = titled(found, "4 of 8 GPUs")
    assert half.config.world_size == 4
    assert "4 GPUs instead of 8" in half.why


def test_a_longer_context_is_offered_where_the_plan_cut_it() -> None:
    _, found, _ = planned("meta-llama/Llama-3.1-8B-Instruct", "RTX 4090", 1)
    longer = titled(found, "context")
    assert longer.feasibility.max_model_len > found.feasibility.max_model_len


def test_rounding_is_offered_only_where_it_is_allowed_and_possible() -> None:
    def kinds(found: Plan) -> set[str]:
        return {path for each in found.alternatives for path, _ in each.request_changes}

    _, free, _ = planned(BIG, "H100 SXM5 80GB", 8, siblings=(ROUNDED,), workload={"concurrency": 64})
    assert "model.kv_cache_dtype" in kinds(free)
    # the 8-bit checkpoint and rounding while loading have one forecast: one of the two is shown
    assert len({"model.quantization", "model.model"} & kinds(free)) == 1
    _, strict, _ = planned(
        BIG,
        "H100 SXM5 80GB",
        8,
        siblings=(ROUNDED,),
        workload={"concurrency": 64},
        allow_quantized=False,
        allow_fp8_kv=False,
    )
    assert not {"model.quantization", "model.kv_cache_dtype", "model.model"} & kinds(strict)
    _, old, _ = planned(BIG, "A100 SXM4 80GB", 8, workload={"concurrency": 64})
    assert "model.kv_cache_dtype" not in kinds(old)


def test_a_model_with_a_draft_head_is_offered_speculation() -> None:
    _, found, _ = planned("deepseek-ai/DeepSeek-V3", "H200 SXM 141GB", 8, workload={"concurrency": 16})
    drafted = titled(found, "speculative decoding")
    assert drafted.config.speculative_config == {"method": "mtp", "num_speculative_tokens": 1}
    assert found.performance is not None
    assert drafted.performance is not None
    assert drafted.performance.tpot_ms.mid < found.performance.tpot_ms.mid


def test_latents_are_cached_once_where_ranks_share_them() -> None:
    _, found, _ = planned(
        "deepseek-ai/DeepSeek-V3",
        "H200 SXM 141GB",
        8,
        workload={"concurrency": 64},
        answers={"tensor_parallel_size": 8},
    )
    shared = titled(found, "cache shared by 8 GPUs")
    assert shared.config.decode_context_parallel_size == 8
    assert shared.feasibility.concurrency_at_workload > 5 * found.feasibility.concurrency_at_workload


def test_where_nothing_starts_the_alternatives_do() -> None:
    _, found, _ = planned("Qwen/Qwen3.5-27B", "RTX 4090", 1, elsewhere=True)
    assert found.feasibility.verdict == "wont_start"
    assert found.alternatives
    assert all(each.feasibility.verdict != "wont_start" for each in found.alternatives)
    assert any("hardware.gpu" in dict(each.request_changes) for each in found.alternatives)


def test_cheaper_machines_are_cheaper() -> None:
    _, found, _ = planned(BIG, "A100 SXM4 80GB", 8, elsewhere=True)
    for each in found.alternatives:
        values = dict(each.request_changes)
        if "hardware.gpu" in values:
            assert " an hour" in each.why


def test_without_surroundings_nothing_is_searched() -> None:
    request = PlanRequest(model=ModelInput(model=BIG), hardware=HardwareInput(gpu="H100 SXM5 80GB", gpus=4))
    assert plan(request, model(BIG), [get_gpu_by_name("H100 SXM5 80GB")] * 4).alternatives == ()


def speed_of(each: Alternative) -> tuple[float, ...]:
    assert each.performance is not None
    return (
        each.performance.output_tokens_per_s.mid,
        each.performance.tpot_ms.mid,
        each.performance.ttft_ms.mid,
    )


@pytest.mark.parametrize(
    ("name", "gpu", "count", "users"),
    [
        (BIG, "A100 PCIe 80GB", 4, 64),
        ("Qwen/Qwen3-32B", "H100 SXM5 80GB", 4, 32),
        ("Qwen/Qwen3-235B-A22B-FP8", "H200 SXM 141GB", 8, 16),
        ("meta-llama/Llama-3.1-8B-Instruct", "RTX 4090", 1, 400),
        ("Qwen/Qwen2.5-72B-Instruct", "Tesla T4", 2, 8),
    ],
)
def test_titles_keep_their_word_and_no_plan_is_shown_twice(
    name: str, gpu: str, count: int, users: int
) -> None:
    siblings = ("Qwen/Qwen3-32B-FP8",) if name == "Qwen/Qwen3-32B" else ()
    _, found, _ = planned(
        name, gpu, count, siblings=siblings, elsewhere=True, workload={"concurrency": users}
    )
    assert 5 <= len(found.alternatives) <= 8
    starts = found.feasibility.verdict != "wont_start"
    for at, each in enumerate(found.alternatives):
        changes = dict(each.request_changes)
        if starts and found.performance is not None and each.performance is not None:
            if each.title == "most tokens per second":
                best = found.performance.output_tokens_per_s.mid
                assert each.performance.output_tokens_per_s.mid > best
            if each.title.startswith("context"):
                assert each.feasibility.max_model_len > found.feasibility.max_model_len
        if "workload.concurrency" in changes:
            assert f"{changes['workload.concurrency']:,} users" in each.title
        for other in found.alternatives[:at]:
            one_machine = dict(other.request_changes).get("hardware.gpu") == changes.get("hardware.gpu")
            same = all(
                a == pytest.approx(b, rel=0.005) for a, b in zip(speed_of(each), speed_of(other), strict=True)
            )
            kept = other.feasibility.kv_cache.tokens == pytest.approx(
                each.feasibility.kv_cache.tokens, rel=0.01
            )
            one_length = other.feasibility.max_model_len == each.feasibility.max_model_len
            assert not (one_machine and same and kept and one_length), (each.title, other.title)


def test_a_spread_is_called_what_planning_came_to() -> None:
    """Four cards by PCIe: two engines of two are chosen; one engine over all is no `more, smaller engines`."""
    _, found, _ = planned(BIG, "A100 PCIe 80GB", 4, workload={"concurrency": 64})
    for each in found.alternatives:
        if "hardware.tensor_parallel_size" not in dict(each.request_changes):
            continue
        engines = each.config.data_parallel_size * each.replicas
        assert ("More, smaller engines" in each.why) is (engines > found.config.data_parallel_size)


def test_fewer_bits_are_said_to_cost_quality_whoever_rounded_them() -> None:
    sibling = "nvidia/DeepSeek-V3.1-NVFP4"
    _, found, _ = planned("deepseek-ai/DeepSeek-V3.1", "H200 SXM 141GB", 8, siblings=(sibling,))
    each = titled(found, sibling)
    assert "costs a little quality" in each.why


def test_machines_cost_what_somebody_sells() -> None:
    """A100s are sold by the eight: one of them costs as much as all, more than the H100 that is sold alone."""
    _, found, _ = planned("openai/gpt-oss-120b", "H100 SXM5 80GB", 1, elsewhere=True)
    cheaper = [each for each in found.alternatives if "cheaper" in each.why]
    assert all("A100" not in each.title for each in cheaper)
    for each in cheaper:
        assert "instead of $6.88 an hour" in each.why
        assert "2026-" in each.why


def test_a_search_that_nobody_waits_for_ends_at_once() -> None:
    class GivenUpError(Exception):
        pass

    calls = []

    def between() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise GivenUpError

    request = PlanRequest(model=ModelInput(model=BIG), hardware=HardwareInput(gpu="H100 SXM5 80GB", gpus=8))
    around = Surroundings(machines=machines(), between=between)
    with pytest.raises(GivenUpError):
        plan(request, model(BIG), [get_gpu_by_name("H100 SXM5 80GB")] * 8, surroundings=around)
    assert len(calls) == 3
