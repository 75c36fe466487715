"""A plan as the JSON document that scripts rely on. Additions are free; renames are not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from wizard.dataclass import asdict
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import (
    GIB,
    Estimate,
    FeasibilityReport,
    Fix,
    GPUInfo,
    PerfEstimate,
    Plan,
    VLLMConfig,
)

SCHEMA_VERSION = 1

KNOWN_WITHOUT_COUNTING = frozenset({"total_bytes", "requested_bytes", "other_processes_bytes"})
"""Memory figures that don't depend on what the model takes."""

COUNTED = (
    "concurrency_at_workload",
    "headroom_bytes",
    "headroom_gb",
    "max_concurrency_at_context",
    "max_context_at_concurrency",
    "weights_gib",
    "weights_gb",
    "kv_cache_available_gib",
    "kv_cache_gb",
    "overhead_gb",
)
"""Figures that do."""

ESTIMATES = ("ttft_ms", "tpot_ms", "output_tokens_per_s", "prefill_tokens_per_s", "requests_per_s")

AT_CAPACITY = ("tpot_ms", "output_tokens_per_s", "prefill_tokens_per_s", "requests_per_s")
"""What a saturated machine serves; the time to first token has no figure, for the queue grows."""


def plan_to_dict(plan: Plan, request: PlanRequest | None = None) -> dict[str, Any]:
    """The whole plan as plain data: strict JSON, no NaN, no infinity, bytes as integers.

    `artifacts` holds the text of every file by name. It is empty in a bundle's own plan.json, beside which the
    files lie; for a plan that won't start, of which nothing is written; and for `check`, which is given a command.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "vllm_version": plan.vllm_version,
        "model": asdict(plan.model),
        "hardware": {"nodes": plan.nodes, "gpus": [_gpu(gpu) for gpu in plan.gpus]},
        "config": _config(plan.config),
        "feasibility": _feasibility(plan.feasibility, plan.warnings),
        "performance": _performance(plan.performance),
        "alternatives": [
            {
                "title": each.title,
                "config": _config(each.config),
                "feasibility": _feasibility(each.feasibility),
                "performance": _performance(each.performance),
                "why": each.why,
                "request_changes": _changes(each.request_changes),
                "replicas": each.replicas,
            }
            for each in plan.alternatives
        ],
        "fixes": [_fix(fix) for fix in plan.fixes],
        "replicas": plan.replicas,
        "resolved": None if plan.resolved is None else asdict(plan.resolved),
        "left_to_vllm": list(plan.left_to_vllm),
        "artifacts": dict(plan.artifacts),
    }
    if request is not None:
        document["request"] = request.model_dump(mode="json")
    strict: dict[str, Any] = _strict(document)
    return strict


def _gpu(gpu: GPUInfo) -> dict[str, Any]:
    capability = gpu.compute_capability
    return {
        "name": gpu.name,
        "catalogue_name": gpu.catalogue_name,
        "vendor": gpu.vendor,
        "memory_total_bytes": gpu.memory_total_bytes,
        "memory_used_bytes": gpu.memory_used_bytes,
        "compute_capability": None if capability is None else ".".join(str(part) for part in capability),
        "driver_version": gpu.driver_version,
        "cuda_version": gpu.cuda_version,
        "index": gpu.index,
        "uuid": gpu.uuid,
        "mig_profile": gpu.mig_profile,
        "nvlink_count": gpu.nvlink_count,
        "estimated_total": gpu.estimated_total,
    }


def _config(config: VLLMConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _feasibility(report: FeasibilityReport, more_warnings: Iterable[str] = ()) -> dict[str, Any]:
    seed = {
        name: round(getattr(report, name), 3)
        for name in (
            "vram_total_gb",
            "vram_target_alloc_gb",
            "weights_gb",
            "kv_cache_gb",
            "overhead_gb",
            "headroom_gb",
        )
    }
    return {
        "verdict": report.verdict,
        "cause": report.cause,
        "error": report.error,
        "fits": report.fits,
        "oom_risk": report.oom_risk,
        "warnings": [*report.warnings, *more_warnings],
        "per_gpu": _counted(report, asdict(report.per_gpu), KNOWN_WITHOUT_COUNTING),
        "kv_cache": _counted(report, asdict(report.kv_cache), frozenset()),
        "max_model_len": report.max_model_len,
        "max_num_seqs": report.max_num_seqs,
        "max_num_batched_tokens": report.max_num_batched_tokens,
        "concurrency_at_workload": report.concurrency_at_workload,
        "headroom_bytes": report.headroom_bytes,
        "max_concurrency_at_context": report.max_concurrency_at_context,
        "max_context_at_concurrency": report.max_context_at_concurrency,
        "weights_gib": report.per_gpu.weights_bytes / GIB,
        "kv_cache_available_gib": report.per_gpu.kv_cache_available_bytes / GIB,
        **seed,
        **({} if report.counted else dict.fromkeys(COUNTED)),
    }


def _counted(report: FeasibilityReport, values: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """What vLLM stops before is unknown, not zero: null."""
    if report.counted:
        return values
    return {name: value if name in known else None for name, value in values.items()}


def _performance(forecast: PerfEstimate | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    cost = forecast.usd_per_million_output_tokens
    efficiency = forecast.output_tokens_per_s_per_watt
    figures = {name: _estimate(getattr(forecast, name)) for name in ESTIMATES}
    at_capacity = {name: figures[name] for name in AT_CAPACITY} if forecast.saturated else None
    return {
        **(dict.fromkeys(figures) if forecast.saturated else figures),
        "at_capacity": at_capacity,
        "basis": forecast.basis,
        "assumptions": list(forecast.assumptions),
        "saturated": forecast.saturated,
        "usd_per_million_output_tokens": None if cost is None else _estimate(cost),
        "output_tokens_per_s_per_watt": None if efficiency is None else _estimate(efficiency),
    }


def _estimate(value: Estimate) -> dict[str, float]:
    return {"low": value.low, "mid": value.mid, "high": value.high}


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "title": fix.title,
        "change": _changes(fix.changes),
        "effect": fix.effect,
        "verdict_after": fix.verdict_after,
    }


def _changes(changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """By field alone, as the contract says: no two parts of a request share one that a fix changes."""
    return {path.rpartition(".")[2]: value for path, value in changes}


def _strict(value: Any) -> Any:
    """Only what JSON can say: infinities and NaN become null, tuples lists, keys text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_strict(item) for item in value]
    return str(value)
