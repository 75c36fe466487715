"""The forecast for a measured run: the planner's own engine and serving model, fed with the run's traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from tests.accuracy_perf.records import Run
from tests.accuracy_perf.traffic import LONGEST_OUTPUT, burst, open_loop, static
from wizard.planning.kernel_rates import Constants
from wizard.planning.perf_data import FIGURES
from wizard.planning.perf_facts import ModelFacts, model_facts
from wizard.planning.perf_machine import Machine, machine_of
from wizard.planning.roofline import Engine, EngineSettings, Sharding
from wizard.planning.serving import Requests, Served, closed_loop
from wizard.schemas.outputs import GIB, GPUInfo

UTILISATION = 0.9
OTHER_BYTES = 3 * GIB
"""Activations, graphs, NCCL: where the cache's size is not logged, the rest of 90 % is taken for it."""
LEAST_CACHE = 0.05
"""... and at least this share of the card, for runs that evidently started."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What doesn't depend on the constants."""

    facts: ModelFacts
    machine: Machine
    sharding: Sharding
    settings: EngineSettings
    requests: Requests
    engines: int
    last: float


_settings: WeakKeyDictionary[Run, Setting] = WeakKeyDictionary()


def setting_of(run: Run) -> Setting:
    setting = _settings.get(run)
    if setting is None:
        setting = _settings[run] = _setting(run)
    return setting


def forecast(run: Run, constants: Constants) -> tuple[Mapping[str, float], Served]:
    """The figures of FIGURES for a run, and what they come from."""
    setting = setting_of(run)
    engine = Engine(setting.facts, setting.machine, setting.sharding, setting.settings, constants)
    requests, engines = setting.requests, setting.engines
    clients = run.concurrency / engines
    match run.kind:
        case "closed":
            served = closed_loop(engine, requests, max(1.0, clients))
            engines = min(engines, max(1, round(run.concurrency)))
        case "open":
            served = open_loop(engine, requests, run.rate / engines, run.requests / engines, setting.last)
        case "burst":
            served = burst(engine, requests, max(1.0, clients), setting.last)
        case _:
            served = static(engine, requests, max(1.0, clients))
    values = (served.tpot_s * 1e3, served.ttft_s * 1e3, served.output_rate * engines)
    return dict(zip(FIGURES, values, strict=True)), served


def _setting(run: Run) -> Setting:
    facts = model_facts(run.metadata)
    sharding = Sharding(tp=run.tp, dp=run.shared_dp, expert_parallel=run.ep, stages=run.pp)
    cache_bytes = 1.0 if "fp8" in run.kv_dtype else 2.0
    held = cache_tokens(run, facts, sharding, cache_bytes) / (run.prompt + run.output / 2)
    tokens, seqs = batch_limits(run.gpu, offline=run.offline)
    requests = Requests(
        prompt=run.prompt,
        output=run.output,
        max_seqs=(run.max_seqs or seqs) / run.pp,
        chunk=run.batched_tokens or tokens,
        held=held / run.pp,
        per_client=max(1.0, run.requests / run.concurrency)
        if run.kind == "closed" and math.isfinite(run.requests)
        else 10.0,
        equal_lengths=run.kind == "closed" and run.equal_lengths,
        stages=run.pp,
    )
    return Setting(
        facts=facts,
        machine=machine_of(run.gpu, nvlink=run.nvlink),
        sharding=sharding,
        settings=EngineSettings(cache_bytes=cache_bytes, version=run.version),
        requests=requests,
        engines=run.replicas * run.shared_dp * run.pp,
        last=run.output * (LONGEST_OUTPUT if run.spread else 1.0),
    )


def cache_tokens(run: Run, facts: ModelFacts, sharding: Sharding, cache_bytes: float) -> float:
    """Tokens that the cache of one engine holds: as logged, else what weights leave."""
    if run.kv_tokens:
        return run.kv_tokens
    tp = run.tp * run.pp
    weights = sum(
        (part.nbytes - part.whole_bytes) / tp + part.whole_bytes / run.pp for part in facts.matrices
    )
    weights += 2 * facts.head_bytes / tp
    weights += (
        sum(part.nbytes * part.count * part.layers for part in facts.experts) / sharding.expert_ranks / run.pp
    )
    per_token = sum(
        kind.layers
        * kind.elements
        * (1.0 if kind.latent else max(kind.kv_heads / run.tp, 1.0) / kind.kv_heads)
        for kind in facts.caches
        if not kind.window
    )
    total = run.gpu.memory_total_bytes
    free = max(total * UTILISATION - weights - OTHER_BYTES, total * LEAST_CACHE)
    return free / max(1.0, per_token * cache_bytes / run.pp)


def batch_limits(gpu: GPUInfo, *, offline: bool) -> tuple[int, int]:
    """vLLM's defaults for max_num_batched_tokens and max_num_seqs through 0.27 (vllm/defaults.py)."""
    if gpu.memory_total_bytes > 70 * GIB and "A100" not in gpu.name:
        return (16384 if offline else 8192), 1024
    return (8192 if offline else 2048), 256
