"""Requests by their few telling values, and the plans they get from catalogue facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from wizard.hardware.resolve import machines, resolve_hardware
from wizard.models import catalogue
from wizard.models.load import load_siblings
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.changes import applied_to_config, changed_gpus, changed_request
from wizard.planning.planner import Surroundings, check, plan
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
from wizard.schemas.outputs import Fix, GPUInfo, Plan, VLLMConfig

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"


@lru_cache(maxsize=64)
def facts(model: str) -> ModelMetadata:
    """A catalogue model."""
    found = catalogue.load(model)
    assert found is not None, model
    return found


@lru_cache(maxsize=8)
def in_16_bits(model: str) -> ModelMetadata:
    """A quantised catalogue model as it was before it was quantised."""
    config = {key: value for key, value in facts(model).config.items() if key != "quantization_config"}
    return metadata_from_config(config, model=f"{model}-16-bit", source="path")


def request(
    model: str,
    gpu: str,
    gpus: int = 1,
    *,
    model_part: Mapping[str, Any] | None = None,
    hardware: Mapping[str, Any] | None = None,
    workload: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
) -> PlanRequest:
    """A request with everything unsaid at its default."""
    return PlanRequest(
        model=ModelInput(model=model, **(model_part or {})),
        hardware=HardwareInput(gpu=gpu, gpus=gpus, **(hardware or {})),
        workload=WorkloadInput(**(workload or {})),
        policy=PolicyInput(**(policy or {})),
    )


@lru_cache(maxsize=64)
def surroundings(model: str) -> Surroundings:
    """Quantised forms from the catalogue, and the machines that may be named."""
    return Surroundings(siblings=load_siblings(facts(model)), machines=machines())


def planned(asked: PlanRequest, metadata: ModelMetadata | None = None, *, fixes: bool = True) -> Plan:
    """The plan of a request for a catalogue model."""
    around = surroundings(asked.model.model) if metadata is None else Surroundings(machines=machines())
    return plan(
        asked,
        metadata or facts(asked.model.model),
        resolve_hardware(asked.hardware),
        surroundings=around if fixes else None,
    )


def after(asked: PlanRequest, fix: Fix) -> Plan:
    """The plan of the request with a fix applied, its model and machine looked up anew."""
    changed = changed_request(asked, fix.changes)
    assert changed is not None, fix
    return planned(changed, fixes=False)


def checked(
    config: VLLMConfig,
    gpus: Sequence[GPUInfo],
    *,
    workload: WorkloadInput | None = None,
    hardware: HardwareInput | None = None,
) -> Plan:
    """What a command would do, with fixes from the catalogue."""
    return check(
        config,
        facts(config.model),
        gpus,
        workload=workload,
        hardware=hardware,
        surroundings=surroundings(config.model),
    )


def checked_after(
    config: VLLMConfig, gpus: Sequence[GPUInfo], fix: Fix, workload: WorkloadInput | None = None
) -> Plan:
    """The command with a fix applied to its flags and its machine."""
    changed = applied_to_config(config, fix.changes)
    cards = changed_gpus(gpus, fix.changes, machines())
    return check(changed, facts(changed.model), cards, workload=workload)
