"""Fixes: the cheapest first, none twice, each worth its line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.planning.asking import (
    DEEPSEEK,
    LLAMA_8B,
    LLAMA_70B,
    after,
    checked,
    checked_after,
    facts,
    planned,
    request,
    surroundings,
)
from wizard.hardware.catalogue import get_gpu_by_name
from wizard.hardware.resolve import resolve_hardware
from wizard.planning.changes import changed_gpus, changed_request, machine_changes
from wizard.planning.planner import plan
from wizard.schemas.inputs import HardwareInput, Interconnect, PlanRequest, WorkloadInput
from wizard.schemas.outputs import Fix, GPUInfo, GPUProcess, VLLMConfig


def command(model: str, gpu: str, gpus: int = 1, **flags: Any) -> tuple[VLLMConfig, list[GPUInfo]]:
    return VLLMConfig(model=model, **flags), resolve_hardware(HardwareInput(gpu=gpu, gpus=gpus))


def titles(fixes: tuple[Fix, ...]) -> list[str]:
    return [fix.title for fix in fixes]


class TestOfAPlan:
    def test_none_where_it_fits(self) -> None:
        assert planned(request(LLAMA_8B, "L40S")).fixes == ()

    def test_a_share_that_is_too_large_is_left_to_the_planner(self) -> None:
        """Nothing else costs as little, so nothing else is offered."""
        asked = request(LLAMA_8B, "RTX 4090", policy={"gpu_memory_utilization": 0.99})
        (fix,) = planned(asked).fixes
        assert fix.title == "memory utilisation 0.88"
        assert fix.changes == (("policy.gpu_memory_utilization", None),)
        assert after(asked, fix).config.gpu_memory_utilization == 0.88

    def test_a_share_that_others_have_taken(self) -> None:
        asked = request(LLAMA_8B, "L40S", hardware={"used_gib": 10}, policy={"gpu_memory_utilization": 0.9})
        plan = planned(asked)
        assert plan.feasibility.cause == "free_memory"
        assert plan.fixes[0].changes == (("hardware.used_gib", 0.0),)
        assert plan.fixes[1].changes == (("policy.gpu_memory_utilization", None),)

    def test_who_holds_the_memory_is_named_first(self) -> None:
        """A card that is taken by a program one can end: the plan need not change, and its name is plain text."""
        holder = GPUProcess(4711, "python3\x1b[31m", 20 << 30)
        card = replace(get_gpu_by_name("RTX 4090"), memory_used_bytes=20 << 30, processes=(holder,), index=0)
        around = surroundings("Qwen/Qwen3-8B")
        found = plan(request("Qwen/Qwen3-8B", "auto"), facts("Qwen/Qwen3-8B"), [card], surroundings=around)
        assert found.feasibility.verdict == "wont_start"
        first, *others = found.fixes
        assert first.title.startswith("free the 20.0 GiB that python3")
        assert "(PID 4711) holds" in first.title
        assert first.title.isprintable()
        assert first.changes == (("hardware.used_gib", 0.0),)
        assert first.verdict_after == "fits"
        assert others

    def test_a_model_that_is_too_short_for_the_requests_still_needs_a_machine(self) -> None:
        """3,072 tokens on a model of 2,048 are refused one by one, on any machine; this one doesn't even start. Both
        are said, and the machines that start it are named."""
        asked = request("tiiuae/falcon-180B-chat", "RTX 4090", 8, workload={"gen_tokens": 2048})
        found = planned(asked)
        assert found.feasibility.verdict == "wont_start"
        assert any("3,072" in warning and "2,048" in warning for warning in found.warnings)
        assert found.fixes
        assert {fix.verdict_after for fix in found.fixes} == {"tight"}

    @pytest.mark.parametrize(
        ("parts", "change"),
        [
            ({"hardware": {"tensor_parallel_size": 3}}, ("hardware.tensor_parallel_size", None)),
            ({"policy": {"headroom_gb": 40.0}}, ("policy.headroom_gb", 0.0)),
            ({"policy": {"overhead_gb": 35.0}}, ("policy.overhead_gb", None)),
            ({"model_part": {"quantization": "awq"}}, ("model.quantization", None)),
            ({"model_part": {"params_b": 40.0}}, ("model.params_b", None)),
            (
                {"model_part": {"dtype": "float32"}, "policy": {"allow_quantized": False}},
                ("model.dtype", "auto"),
            ),
            ({"policy": {"max_num_seqs": 4}}, ("policy.max_num_seqs", None)),
            (
                {"workload": {"prompt_tokens": 20_000}, "model_part": {"max_model_len": 4096}},
                ("model.max_model_len", 20_256),
            ),
        ],
    )
    def test_what_the_user_pinned_is_offered_back(
        self, parts: dict[str, Any], change: tuple[str, Any]
    ) -> None:
        from dataclasses import replace

        from tests.planning.asking import facts

        asked = request(
            LLAMA_8B, "L40S" if "dtype" not in parts.get("model_part", {}) else "RTX 4090", 1, **parts
        )
        metadata = facts(LLAMA_8B)
        if asked.model.params_b:
            metadata = replace(metadata, params_override=round(asked.model.params_b * 1e9))
        plan = planned(asked, metadata)
        assert plan.feasibility.verdict != "fits"
        assert (change,) in [fix.changes for fix in plan.fixes]

    def test_a_typed_flag_is_offered_for_removal_alone(self) -> None:
        extra = (
            "--enable-auto-tool-choice",
            "--tool-call-parser",
            "hermes",
            "--kv-cache-memory-bytes",
            "90G",
        )
        asked = request(LLAMA_8B, "H100 SXM5 80GB", policy={"extra_args": extra})
        plan = planned(asked)
        assert plan.feasibility.verdict == "wont_start"
        assert plan.fixes[0].title == "without --kv-cache-memory-bytes"
        assert plan.fixes[0].changes == (("policy.extra_args", extra[:3]),)

    def test_remote_code_is_the_users_to_allow(self) -> None:
        """Never recommended, only offered: it runs code with the server's rights."""
        from tests.planning.launching import model
        from wizard.planning.planner import Surroundings, plan

        metadata = model(model_type="own_llama", auto_map={"AutoConfig": "configuration.Own"})
        asked = request(metadata.model, "L40S")
        result = plan(asked, metadata, resolve_hardware(asked.hardware), surroundings=Surroundings())
        assert result.feasibility.verdict == "wont_start"
        assert result.config.trust_remote_code is None
        assert result.fixes[0].changes == (("model.trust_remote_code", True),)

    def test_an_unsupported_dtype(self) -> None:
        asked = request("Qwen/Qwen3-4B", "T4", model_part={"dtype": "bfloat16"})
        plan = planned(asked)
        assert "Bfloat16 is only supported" in (plan.feasibility.error or "")
        assert plan.fixes[0].changes == (("model.dtype", "half"),)
        assert after(asked, plan.fixes[0]).feasibility.verdict == "fits"

    def test_a_forbidden_rounding_is_offered_as_one(self) -> None:
        """The policy forbids 8-bit weights; a fix may ask, and allows them when it is taken."""
        asked = request(LLAMA_70B, "H100 SXM5 80GB", policy={"allow_quantized": False, "allow_fp8_kv": False})
        plan = planned(asked)
        assert plan.feasibility.verdict == "wont_start"
        rounding = [fix for fix in plan.fixes if ("policy.allow_quantized", True) in fix.changes]
        assert rounding
        assert all(after(asked, fix).feasibility.verdict == fix.verdict_after for fix in rounding)

    def test_settings_before_users_before_precision_before_money(self) -> None:
        policy = {"allow_quantized": False}
        asked = request(LLAMA_70B, "H100 SXM5 80GB", 2, workload={"concurrency": 200}, policy=policy)
        paths = [fix.changes[0][0] for fix in planned(asked).fixes]
        assert paths[0] == "workload.concurrency"
        assert paths.index("model.quantization") < paths.index("model.model")

    def test_the_cheapest_machine_is_named_and_only_one(self) -> None:
        """Four L4 cost less by the hour than anything else that takes a 70B."""
        asked = request(LLAMA_70B, "RTX 4090")
        machines = [fix for fix in planned(asked).fixes if fix.changes[0][0] == "hardware.gpu"]
        (fix,) = machines
        assert fix.title == "4 x NVIDIA L4"
        assert "8-bit weights" in fix.effect

    def test_another_machine_forgets_the_old_one(self) -> None:
        hardware = HardwareInput(
            gpu="L4",
            gpus=1,
            nodes=2,
            used_gib=3.0,
            vram_gb=20.0,
            interconnect=Interconnect.PCIE,
            device_ids=("0",),
            tensor_parallel_size=2,
        )
        changes = dict(machine_changes(hardware, "H100 SXM5 80GB", 4))
        assert changes == {
            "hardware.gpu": "H100 SXM5 80GB",
            "hardware.gpus": 4,
            "hardware.nodes": 1,
            "hardware.used_gib": None,
            "hardware.vram_gb": None,
            "hardware.interconnect": Interconnect.UNKNOWN,
            "hardware.device_ids": None,
            "hardware.tensor_parallel_size": None,
        }

    def test_more_of_a_used_card_is_planned_as_it_will_be_resolved(self) -> None:
        asked = request(LLAMA_70B, "L40S", 1, hardware={"used_gib": 2.0})
        fix = next(fix for fix in planned(asked).fixes if fix.changes[0][0] == "hardware.gpus")
        changed = changed_request(asked, fix.changes)
        assert changed is not None
        assert list(changed_gpus(resolve_hardware(asked.hardware), fix.changes)) == resolve_hardware(
            changed.hardware
        )

    @pytest.mark.parametrize(
        "asked",
        [
            request(DEEPSEEK, "H100 SXM5 80GB", 8),
            request(LLAMA_70B, "RTX 4090"),
            request(LLAMA_70B, "H100 SXM5 80GB", 2, workload={"concurrency": 900}),
            request("Qwen/Qwen3.5-27B", "RTX 5080"),
        ],
        ids=lambda asked: asked.hardware.gpu,
    )
    def test_no_two_lines_for_one_idea(self, asked: PlanRequest) -> None:
        fixes = planned(asked).fixes
        assert 2 <= len(fixes) <= 6
        kinds = [tuple(sorted(path for path, _ in fix.changes)) for fix in fixes]
        assert len(set(kinds)) == len(kinds)


class TestOfACommand:
    def test_none_where_it_fits(self) -> None:
        config, gpus = command(LLAMA_8B, "H100 SXM5 80GB")
        assert checked(config, gpus).fixes == ()

    def test_a_context_that_is_too_long(self) -> None:
        """131,072 by default, 31 thousand in the cache: the longest that surely fits, as a flag."""
        config, gpus = command(LLAMA_8B, "RTX 4090")
        plan = checked(config, gpus)
        assert plan.feasibility.cause == "kv_cache_too_small"
        context = next(fix for fix in plan.fixes if fix.changes[0][0] == "model.max_model_len")
        assert context.title.startswith("--max-model-len ")
        assert checked_after(config, gpus, context).feasibility.verdict == "fits"

    def test_cards_that_stand_idle_cost_nothing(self) -> None:
        config, gpus = command(LLAMA_70B, "H100 SXM5 80GB", 4)
        assert checked(config, gpus).fixes[0].changes == (("hardware.tensor_parallel_size", 4),)

    def test_a_size_that_does_not_divide(self) -> None:
        config, gpus = command(LLAMA_70B, "H100 SXM5 80GB", 3, tensor_parallel_size=3)
        plan = checked(config, gpus)
        assert plan.feasibility.cause == "invalid_config"
        assert all(fix.verdict_after != "wont_start" for fix in plan.fixes)
        assert "--tensor-parallel-size 2" in " ".join(titles(plan.fixes))

    def test_memory_of_others(self) -> None:
        gpus = resolve_hardware(HardwareInput(gpu="L40S", used_gib=12.0))
        plan = checked(VLLMConfig(model=LLAMA_8B, max_model_len=8192), gpus)
        assert plan.feasibility.cause == "free_memory"
        assert plan.fixes[0].changes == (("hardware.used_gib", 0.0),)
        assert plan.fixes[1].title.startswith("--gpu-memory-utilization 0.")
        assert plan.fixes[1].verdict_after == "fits"

    def test_pairs_where_one_flag_is_not_enough(self) -> None:
        """A 32B on two 4090: neither a shorter context nor an 8-bit cache alone saves it, 8-bit weights do."""
        config, gpus = command("Qwen/Qwen3-32B", "RTX 4090", 2, tensor_parallel_size=2)
        plan = checked(config, gpus)
        assert plan.feasibility.verdict == "wont_start"
        fitting = [fix for fix in plan.fixes if fix.verdict_after == "fits"]
        assert len(fitting) >= 2
        for fix in fitting:
            assert checked_after(config, gpus, fix).feasibility.verdict == "fits"

    def test_a_deprecated_format(self) -> None:
        config, gpus = command(
            "meta-llama/Llama-3.1-405B-Instruct-FP8", "H100 SXM5 80GB", 8, tensor_parallel_size=8
        )
        plan = checked(config, gpus)
        assert plan.fixes[0].title == "--allow-deprecated-quantization"
        assert plan.fixes[0].verdict_after == "fits"

    def test_a_queue_is_a_reason_too(self) -> None:
        config, gpus = command(LLAMA_8B, "RTX 4090", max_model_len=8192)
        workload = WorkloadInput(concurrency=40)
        plan = checked(config, gpus, workload=workload)
        assert plan.feasibility.verdict == "tight"
        assert plan.fixes
        assert all(fix.verdict_after == "fits" for fix in plan.fixes)

    def test_a_machine_gets_a_size_that_uses_it(self) -> None:
        config, gpus = command(LLAMA_70B, "RTX 4090")
        machine = next(fix for fix in checked(config, gpus).fixes if fix.changes[0][0] == "hardware.gpu")
        changes = dict(machine.changes)
        assert changes["hardware.tensor_parallel_size"] == changes["hardware.gpus"]
