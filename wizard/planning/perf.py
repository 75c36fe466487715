"""The speed forecast: what clients would see of a plan, as ranges that measured runs fall into."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from wizard.models.metadata import ModelMetadata
from wizard.planning.launch import Launch, resolve
from wizard.planning.perf_facts import ModelFacts, model_facts
from wizard.planning.roofline import Engine, Layout, machine_of
from wizard.planning.serving import Requests, Served, closed_loop
from wizard.schemas.inputs import Interconnect, WorkloadInput
from wizard.schemas.outputs import Estimate, GPUInfo, PerfEstimate, VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN, parse_version


@lru_cache(maxsize=1)
def perf_data() -> Mapping[str, Any]:
    text = resources.files("wizard.data").joinpath("perf.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    return data


def estimate_performance(
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    config: VLLMConfig,
    workload: WorkloadInput,
    *,
    kv_tokens: int | None = None,
    max_concurrency: float | None = None,
    version: str | None = None,
    interconnect: Interconnect = Interconnect.UNKNOWN,
    nodes: int = 1,
    replicas: int = 1,
) -> PerfEstimate:
    """Expected speed of `workload` on the whole deployment (seed name)."""
    gpu = min(gpus, key=lambda item: item.bandwidth_gb_s or item.memory_total_bytes)
    nvlink = interconnect is Interconnect.NVLINK or (
        interconnect is Interconnect.UNKNOWN and bool(gpu.nvlink_gb_s)
    )
    chosen = version or NEWEST_KNOWN
    launch = resolve(config, metadata, gpu, version=chosen, nvlink=nvlink, gpus_per_node=len(gpus))
    online = launch.quantization if launch.online_quantization else None
    facts = model_facts(metadata, online)
    number = parse_version(chosen)
    shared = launch.dp if facts.experts else 1
    engine = Engine(
        facts,
        machine_of(gpu, nvlink=nvlink),
        Layout(launch.tp, launch.pp, shared, launch.tp * shared, launch.ep),
        perf_data()["constants"],
        kv_bytes=1.0 if "fp8" in launch.kv_cache_dtype else 2.0,
        eager=launch.enforce_eager,
        version=number[:2],
    )
    copies = launch.dp * replicas
    shared_prefix = workload.prefix_share if launch.prefix_caching else 0.0
    served = closed_loop(
        engine,
        Requests(
            prompt=max(1.0, workload.prompt_tokens * (1 - shared_prefix)),
            output=workload.gen_tokens,
            max_seqs=launch.max_num_seqs,
            chunk=launch.max_num_batched_tokens,
            kv_tokens=kv_tokens,
        ),
        max(1.0, workload.concurrency / copies),
    )
    return _ranged(served, facts, launch, workload, copies)


def _ranged(
    served: Served, facts: ModelFacts, launch: Launch, workload: WorkloadInput, copies: int
) -> PerfEstimate:
    bands = perf_data()["bands"]

    def around(name: str, value: float) -> Estimate:
        low, high = bands[name]
        return Estimate(value * low, value, value * high)

    output = served.output_rate * copies
    return PerfEstimate(
        ttft_ms=around("ttft_ms", served.ttft * 1e3),
        tpot_ms=around("tpot_ms", served.tpot * 1e3),
        output_tokens_per_s=around("output_tok_s", output),
        prefill_tokens_per_s=around("output_tok_s", output * workload.prompt_tokens / workload.gen_tokens),
        requests_per_s=around("output_tok_s", output / workload.gen_tokens),
        basis="roofline",
        saturated=served.saturated,
    )
