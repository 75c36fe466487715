"""Plans and starts vLLM: `run_plan(PlanRequest(...))` answers what the wizard shows.

Names are looked up lazily (PEP 562), so that `import wizard` costs nothing until one is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wizard.hardware.detect import detect_gpus, get_gpu_by_name, recommend_tensor_parallel
    from wizard.models.metadata import ModelMetadata, load_model_metadata
    from wizard.planning.memory import (
        compute_feasibility,
        compute_kv_cache_memory,
        compute_overhead,
        compute_weights_memory,
        evaluate,
    )
    from wizard.planning.perf import estimate_performance
    from wizard.planning.planner import check, plan
    from wizard.planning.recommend import generate_recommendations
    from wizard.render.commands import render_docker_command, render_docker_compose, render_serve_command
    from wizard.render.profile import load_profile, save_profile
    from wizard.run import run_plan
    from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
    from wizard.schemas.outputs import FeasibilityReport, GPUInfo, PerfEstimate, Plan, VLLMConfig

__version__ = "0.1.0"

_HOMES = {
    "FeasibilityReport": "schemas.outputs",
    "GPUInfo": "schemas.outputs",
    "HardwareInput": "schemas.inputs",
    "ModelInput": "schemas.inputs",
    "ModelMetadata": "models.metadata",
    "PerfEstimate": "schemas.outputs",
    "Plan": "schemas.outputs",
    "PlanRequest": "schemas.inputs",
    "PolicyInput": "schemas.inputs",
    "VLLMConfig": "schemas.outputs",
    "WorkloadInput": "schemas.inputs",
    "check": "planning.planner",
    "compute_feasibility": "planning.memory",
    "compute_kv_cache_memory": "planning.memory",
    "compute_overhead": "planning.memory",
    "compute_weights_memory": "planning.memory",
    "detect_gpus": "hardware.detect",
    "estimate_performance": "planning.perf",
    "evaluate": "planning.memory",
    "generate_recommendations": "planning.recommend",
    "get_gpu_by_name": "hardware.detect",
    "load_model_metadata": "models.metadata",
    "load_profile": "render.profile",
    "plan": "planning.planner",
    "recommend_tensor_parallel": "hardware.detect",
    "render_docker_command": "render.commands",
    "render_docker_compose": "render.commands",
    "render_serve_command": "render.commands",
    "run_plan": "run",
    "save_profile": "render.profile",
}

__all__ = [
    "FeasibilityReport",
    "GPUInfo",
    "HardwareInput",
    "ModelInput",
    "ModelMetadata",
    "PerfEstimate",
    "Plan",
    "PlanRequest",
    "PolicyInput",
    "VLLMConfig",
    "WorkloadInput",
    "check",
    "compute_feasibility",
    "compute_kv_cache_memory",
    "compute_overhead",
    "compute_weights_memory",
    "detect_gpus",
    "estimate_performance",
    "evaluate",
    "generate_recommendations",
    "get_gpu_by_name",
    "load_model_metadata",
    "load_profile",
    "plan",
    "recommend_tensor_parallel",
    "render_docker_command",
    "render_docker_compose",
    "render_serve_command",
    "run_plan",
    "save_profile",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"wizard.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
