"""Plans made by hand, so that renderers are tested without the planner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
from wizard.schemas.outputs import (
    GIB,
    Estimate,
    FeasibilityReport,
    GPUInfo,
    KVCacheReport,
    MemoryBreakdown,
    ModelSummary,
    PerfEstimate,
    Plan,
    VLLMConfig,
)


def gpu(index: int | None = None, **changes: Any) -> GPUInfo:
    """An H100."""
    values: dict[str, Any] = {
        "name": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": int(79.19 * GIB),
        "compute_capability": (9, 0),
        "driver_version": "580.95.05",
        "index": index,
    }
    return GPUInfo(**{**values, **changes})


def feasibility(**changes: Any) -> FeasibilityReport:
    """A report of an 8B model on an H100."""
    memory = MemoryBreakdown(
        total_bytes=int(79.19 * GIB),
        requested_bytes=int(72.85 * GIB),
        weights_bytes=int(14.99 * GIB),
        activation_peak_bytes=GIB,
        non_torch_bytes=GIB // 2,
        cuda_graphs_bytes=GIB // 2,
        kv_cache_available_bytes=int(55.8 * GIB),
        kv_cache_available_low_bytes=int(55.2 * GIB),
        kv_cache_available_high_bytes=int(56.4 * GIB),
        unused_bytes=int(6.3 * GIB),
    )
    cache = KVCacheReport(
        block_size=16,
        bytes_per_block=2097152,
        num_gpu_blocks=28569,
        tokens=457104,
        max_concurrency=55.8,
        bytes_per_token=131072.0,
        estimated_max_model_len=131072,
    )
    values: dict[str, Any] = {
        "verdict": "fits",
        "cause": None,
        "error": None,
        "fits": True,
        "oom_risk": "low",
        "per_gpu": memory,
        "kv_cache": cache,
        "max_model_len": 8192,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
    }
    return FeasibilityReport(**{**values, **changes})


def performance() -> PerfEstimate:
    """A forecast with a range."""
    return PerfEstimate(
        ttft_ms=Estimate(40, 60, 90),
        tpot_ms=Estimate(7, 9, 12),
        output_tokens_per_s=Estimate(2000, 2600, 3200),
        prefill_tokens_per_s=Estimate(20000, 30000, 40000),
        requests_per_s=Estimate(8, 10, 12),
        basis="roofline of the H100",
    )


def config(**changes: Any) -> VLLMConfig:
    """What the planner would recommend for an 8B model."""
    values: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "gpu_memory_utilization": 0.92,
        "max_model_len": 8192,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "explanations": {"max_model_len": "prompt and output of the stated workload"},
    }
    return VLLMConfig(**{**values, **changes})


def request(model: str = "meta-llama/Llama-3.1-8B-Instruct", **policy: Any) -> PlanRequest:
    """The request behind the plan."""
    return PlanRequest(
        model=ModelInput(model=model),
        hardware=HardwareInput(gpu="H100 SXM5 80GB"),
        workload=WorkloadInput(prompt_tokens=2048, gen_tokens=256, concurrency=4, prefix_share=0.25),
        policy=PolicyInput(**policy),
    )


def plan(
    *,
    version: str = "0.33.0",
    architecture: str = "LlamaForCausalLM",
    source: str = "hub",
    gpus: tuple[GPUInfo, ...] | None = None,
    replicas: int = 1,
    nodes: int = 1,
    revision: str | None = "0e9e39f249a16976918f6564b8830bc894c89659",
    **changes: Any,
) -> Plan:
    """A plan; `changes` are fields of the config."""
    settings = config(**changes)
    return Plan(
        vllm_version=version,
        model=ModelSummary(
            id=settings.model,
            revision=revision,
            source=source,
            architecture=architecture,
            params=8_030_261_248,
            attention="gqa",
            max_position_embeddings=131072,
        ),
        nodes=nodes,
        gpus=gpus or tuple(gpu() for _ in range(max(1, settings.world_size // settings.nnodes))),
        config=settings,
        feasibility=feasibility(),
        performance=performance(),
        replicas=replicas,
    )


def without_forecast(original: Plan) -> Plan:
    """The same plan without a performance estimate."""
    return replace(original, performance=None)
