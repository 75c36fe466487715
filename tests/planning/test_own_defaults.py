"""Settings that vLLM would choose itself are known as such: left out, everything comes out the same."""

from __future__ import annotations

import pytest

from wizard.hardware.resolve import resolve_hardware
from wizard.models.load import load
from wizard.planning.launch import resolve
from wizard.planning.own_defaults import SETTINGS
from wizard.planning.planner import plan
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput

MODELS = ["Qwen/Qwen3-8B", "BAAI/bge-m3", "microsoft/Phi-3-mini-128k-instruct", "openai/gpt-oss-20b"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("card", ["H100 SXM5 80GB", "L40S", "A100 SXM4 80GB", "B200 180GB"])
@pytest.mark.parametrize("version", ["0.11.2", "0.19.1", "0.33.0"])
def test_without_them_vllm_comes_to_the_same(model: str, card: str, version: str) -> None:
    metadata = load(model, offline=True)
    gpus = resolve_hardware(HardwareInput(gpu=card))
    found = plan(PlanRequest(model=ModelInput(model=model)), metadata, gpus, version=version)
    bare = found.config.model_copy(update=dict.fromkeys(found.left_to_vllm))
    given, left = (resolve(each, metadata, gpus[0], version=version) for each in (found.config, bare))
    for name in SETTINGS:
        assert getattr(given, name) == getattr(left, name)


def test_the_usual_three_of_a_large_card() -> None:
    request = PlanRequest(model=ModelInput(model="Qwen/Qwen3-8B"), hardware=HardwareInput(gpu="H100"))
    metadata = load("Qwen/Qwen3-8B", offline=True)
    gpus = resolve_hardware(request.hardware)
    assert set(plan(request, metadata, gpus).left_to_vllm) == {
        "gpu_memory_utilization",
        "max_model_len",
        "max_num_batched_tokens",
    }
    asked = request.model_copy(update={"policy": PolicyInput(gpu_memory_utilization=0.92)})
    assert "gpu_memory_utilization" not in plan(asked, metadata, gpus).left_to_vllm


def test_an_encoders_full_length_is_left_to_vllm() -> None:
    """sentence_bert_config.json may bound it below what config.json says; a flag above that would be refused."""
    request = PlanRequest(model=ModelInput(model="BAAI/bge-m3"), hardware=HardwareInput(gpu="L40S"))
    found = plan(request, load("BAAI/bge-m3", offline=True), resolve_hardware(request.hardware))
    assert "max_model_len" in found.left_to_vllm
