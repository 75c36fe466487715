"""What is exported means what was planned: the written command, checked, gives the plan's own figures."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.render.commands_of import commands_of
from wizard.models.metadata import load_model_metadata
from wizard.planning.planner import check, run_plan
from wizard.render.bundle import render
from wizard.render.profile import load_profile
from wizard.render.writer import write_bundle
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
from wizard.vllm.serve_args import parse_serve_command

CASES = [
    ("meta-llama/Llama-3.1-8B-Instruct", "RTX 4090", 1, "0.33.0"),
    ("meta-llama/Llama-3.3-70B-Instruct", "H100 SXM5 80GB", 4, "0.33.0"),
    ("Qwen/Qwen3-30B-A3B", "A100 SXM4 80GB", 2, "0.19.1"),
    ("openai/gpt-oss-20b", "H100 SXM5 80GB", 1, "0.23.0"),
    ("Qwen/Qwen3-8B", "L4", 1, "0.12.0"),
]


@pytest.mark.parametrize(("model", "gpu", "gpus", "version"), CASES)
def test_the_exported_command_checks_to_the_planned_figures(
    model: str, gpu: str, gpus: int, version: str, tmp_path: Path
) -> None:
    asked = PlanRequest(
        model=ModelInput(model=model, max_model_len=8192),
        hardware=HardwareInput(gpu=gpu, gpus=gpus),
        workload=WorkloadInput(concurrency=4),
        policy=PolicyInput(vllm_version=version),
    )
    plan = run_plan(asked, offline=True)
    files = render(plan, asked, ["all"])
    write_bundle(tmp_path / "bundle", files)
    for name in ("serve.sh", "docker-compose.yaml", "kubernetes.yaml", "vllm.service"):
        (words,) = commands_of(name, files[name])
        command = parse_serve_command(words, version=version)
        metadata = load_model_metadata(model, offline=True)
        found = check(command.config, metadata, plan.gpus, version=version, hardware=asked.hardware)
        assert found.feasibility.per_gpu == plan.feasibility.per_gpu, (name, shlex.join(words))
        assert found.feasibility.kv_cache == plan.feasibility.kv_cache, name
    assert load_profile(tmp_path / "bundle" / "profile.yaml") == asked
