"""The speed forecast: what clients would see of a plan, as ranges that measured runs fall into.

Held-out error (median absolute, whole groups of source, model, GPU and dtype left out) stands in
`data/perf.json` beside the constants; `python -m tests.accuracy_perf` measures it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata
from wizard.planning.launch import Launch, resolve
from wizard.planning.perf_data import Neighbours, band, constants, load, neighbours
from wizard.planning.perf_facts import model_facts
from wizard.planning.perf_machine import Machine, machine_of
from wizard.planning.prices import hourly_usd, price_words
from wizard.planning.roofline import Engine, EngineSettings, Sharding
from wizard.planning.serving import Requests, Served, closed_loop
from wizard.schemas.inputs import Interconnect, WorkloadInput
from wizard.schemas.outputs import Estimate, GPUInfo, PerfEstimate, VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN, parse_version

CACHE_BITS = {"float32": 32, "nvfp4": 4.5}
"""Of one element where it is neither 16 nor, by its name, 8 bits."""

ACCEPTANCE = 0.7
"""Chance that a speculative token is accepted: what multi-token heads reach on chat; n-grams vary widely."""


@dataclass(frozen=True, slots=True)
class Rented:
    """The machines that a price is for."""

    gpus: int
    """Of each."""
    nodes: int


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
    cost: bool = False,
) -> PerfEstimate:
    """Expected speed of `workload` on the whole deployment (seed name). Pure.

    `gpus` are those of one node. `kv_tokens` and `max_concurrency` (requests of the workload at their full
    length) are of one engine, as a FeasibilityReport has them; without them the cache is taken as large enough.
    Past capacity the figures are those of capacity, the wait in the queue counts in the time to first token,
    and `saturated` says so. `cost` adds dollars and watts per token, where price and power are known.
    Raises ConfigError for a model that can't be described.
    """
    gpu = min(gpus, key=lambda item: item.bandwidth_gb_s or 0.0)
    nvlink = (
        bool(gpu.nvlink_gb_s) if interconnect is Interconnect.UNKNOWN else interconnect is Interconnect.NVLINK
    )
    chosen = version or NEWEST_KNOWN
    launch = resolve(config, metadata, gpu, version=chosen, nvlink=nvlink, gpus_per_node=len(gpus))
    if launch.pooling:
        workload = workload.model_copy(
            update={"gen_tokens": 1}
        )  # the answer is a vector, made with the prompt
    facts = model_facts(metadata, launch.quantization if launch.online_quantization else None)
    sharding = Sharding(
        tp=launch.tp,
        dp=launch.dp if facts.experts else 1,
        expert_parallel=launch.ep,
        context_parallel=launch.dcp,
        stages=launch.pp,
    )
    machine = machine_of(
        gpu,
        nvlink=nvlink,
        across_nodes=nodes > 1 and sharding.expert_ranks > len(gpus),
        stages_across_nodes=nodes > 1 and launch.pp * launch.tp > len(gpus),
    )
    settings = EngineSettings(
        cache_bytes=_cache_bytes(launch), eager=launch.enforce_eager, version=parse_version(chosen)[:2]
    )
    engine = Engine(facts, machine, sharding, settings, constants())
    engines = launch.dp * replicas * launch.pp
    served = closed_loop(
        engine,
        _requests(launch, workload, kv_tokens, max_concurrency),
        max(1.0, workload.concurrency / engines),
    )
    known = neighbours(gpu.catalogue_name or gpu.name, metadata.text_type)
    return _ranged(
        served,
        launch,
        workload,
        machine,
        known,
        min(engines, workload.concurrency),
        replicas,
        load(served.running, workload.concurrency / engines),
        Rented(len(gpus), nodes) if cost else None,
    )


def _requests(
    launch: Launch, workload: WorkloadInput, kv_tokens: int | None, max_concurrency: float | None
) -> Requests:
    """One stage's share: a pipeline works on as many batches at once as it has stages."""
    shared = workload.prompt_tokens * workload.prefix_share if launch.prefix_caching else 0.0
    prompt = max(1.0, workload.prompt_tokens - shared)
    full = prompt + workload.gen_tokens
    mean = prompt + workload.gen_tokens / 2
    held = math.inf
    if max_concurrency is not None:
        held = max(1.0, max_concurrency) * full / mean
    elif kv_tokens is not None:
        held = (kv_tokens - shared) / mean
    proposed = launch.num_speculative_tokens
    return Requests(
        prompt=prompt,
        output=float(workload.gen_tokens),
        max_seqs=launch.max_num_seqs / launch.pp,
        chunk=float(
            launch.max_num_batched_tokens
            if launch.chunked_prefill
            else max(full, launch.max_num_batched_tokens)
        ),
        cached=shared,
        held=held / launch.pp,
        accepted=sum(ACCEPTANCE**token for token in range(proposed + 1)),
        proposed=float(proposed),
        stages=launch.pp,
    )


def _cache_bytes(launch: Launch) -> float:
    name = launch.kv_cache_dtype
    return CACHE_BITS.get(name, 8 if "8" in name else 16) / 8


def _ranged(
    served: Served,
    launch: Launch,
    workload: WorkloadInput,
    machine: Machine,
    known: Neighbours,
    engines: int,
    replicas: int,
    heavy: float,
    rented: Rented | None,
) -> PerfEstimate:
    widening = known.widening if machine.known else known.widening * 2
    gpu = launch.gpu.catalogue_name or launch.gpu.name

    def around(figure: str, middle: float) -> Estimate:
        low, high = band(
            figure,
            machine.family,
            heavy=heavy,
            widening=widening,
            gpu=gpu,
            model_family=launch.metadata.text_type,
        )
        return Estimate(middle * low, middle, middle * high)

    output = served.output_rate * engines
    prompts = output / workload.gen_tokens
    rate = around("output_tok_s", output)
    gpus = launch.config.world_size * replicas
    price = watts = None
    notes = _assumptions(served, launch, workload, machine)
    if rented is not None:
        each = min(rented.gpus, gpus)
        machines = min(rented.nodes, -(-gpus // each))
        price, watts = hourly_usd(launch.gpu, each, machines), launch.gpu.tdp_w
        notes = (*notes, f"Cost: {price_words(launch.gpu, each, machines)}, all GPUs at full power.")
    return PerfEstimate(
        ttft_ms=around("ttft_ms", served.ttft_s * 1e3),
        tpot_ms=around("tpot_ms", served.tpot_s * 1e3),
        output_tokens_per_s=rate,
        prefill_tokens_per_s=around("output_tok_s", prompts * workload.prompt_tokens),
        requests_per_s=around("output_tok_s", prompts),
        basis=known.basis,
        assumptions=notes,
        saturated=served.saturated,
        usd_per_million_output_tokens=_per_million(price, rate) if price is not None else None,
        output_tokens_per_s_per_watt=_per_watt(rate, watts * gpus) if watts else None,
    )


def _per_million(usd_per_hour: float, rate: Estimate) -> Estimate:
    cost = usd_per_hour / 3600 * 1e6
    return Estimate(cost / rate.high, cost / rate.mid, cost / rate.low)


def _per_watt(rate: Estimate, watts: float) -> Estimate:
    return Estimate(rate.low / watts, rate.mid / watts, rate.high / watts)


def _assumptions(
    served: Served, launch: Launch, workload: WorkloadInput, machine: Machine
) -> tuple[str, ...]:
    """What the figures rest on, beyond the physics."""
    notes = ["Every client sends its next request when the last one is answered, as benchmarks do."]
    if served.saturated:
        waiting = workload.concurrency - served.running * launch.dp * launch.pp
        notes.append(
            f"Saturated: about {max(1, round(waiting)):,} of {workload.concurrency:,} requests wait in the queue; "
            "the rest is served at capacity."
        )
    if launch.pooling:
        notes.append("Each answer is one vector: it counts as one output token.")
    if launch.num_speculative_tokens:
        notes.append(f"{ACCEPTANCE:.0%} of speculative tokens are accepted.")
    if workload.prefix_share and launch.prefix_caching:
        notes.append(f"{workload.prefix_share:.0%} of every prompt is found in the prefix cache.")
    if not machine.known:
        notes.append("The GPU's bandwidth is not known; a mid-range card stands in for it.")
    if "network" in {machine.link_kind, machine.stage_link_kind}:
        notes.append("400 Gb/s between nodes for each GPU.")
    return tuple(notes)
