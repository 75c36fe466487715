"""What one evaluation costs, broken down by term, and what a cold `plan --json` costs beside bare pydantic."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from tempfile import TemporaryDirectory

from tests.journeys.conftest import REPOSITORY
from wizard.errors import WizardError
from wizard.hardware.resolve import machines, what_if
from wizard.models import catalogue
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.activations import activation_peak_bytes, persistent_bytes
from wizard.planning.bands import kv_band_bytes
from wizard.planning.cuda_graphs import cuda_graphs_bytes
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_report
from wizard.planning.launch import resolve
from wizard.planning.memory import evaluate
from wizard.planning.non_torch import non_torch_bytes, outside_budget_bytes
from wizard.planning.planner import Surroundings, plan
from wizard.planning.weights import rank_weights
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, WorkloadInput
from wizard.schemas.outputs import GPUInfo, VLLMConfig

CASES = (
    ("meta-llama/Llama-3.1-8B-Instruct", "H100 SXM5 80GB", 1),
    ("deepseek-ai/DeepSeek-V3", "H200 SXM 141GB", 8),
    ("openai/gpt-oss-120b", "H100 SXM5 80GB", 1),
    ("Qwen/Qwen3.5-35B-A3B", "L40S", 2),
)
"""A dense model, a 61-layer MoE with latent attention, a windowed hybrid, a recurrent hybrid."""

ROUNDS = 400


def milliseconds(work: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """The median time of one call, ms; each call gets its number, so that nothing is asked twice."""
    times = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2] * 1e3


def loaded(name: str) -> ModelMetadata:
    metadata = catalogue.load(name)
    if metadata is None:
        raise SystemExit(f"{name} is not in the catalogue")
    return metadata


def evaluation_rows() -> Iterator[str]:
    """One line per model: a whole evaluation, its parts, and a whole plan."""
    columns = ("evaluate", "resolve", "gates", "weights", "activ.", "other", "KV x3", "plan")
    yield f"{'ms, median':<36}" + "".join(f"{column:>9}" for column in columns) + f"{'per s':>8}"
    for name, card, count in CASES:
        metadata, gpus = loaded(name), what_if(HardwareInput(gpu=card, gpus=count))
        config = VLLMConfig(model=name, tensor_parallel_size=count, max_model_len=8192)
        whole = milliseconds(lambda number, c=config, m=metadata, g=gpus: _evaluated(c, m, g, number))
        launch = resolve(config, metadata, gpus[0], gpus_per_node=count)
        parts = [
            milliseconds(
                lambda _, c=config, m=metadata, g=gpus, n=count: resolve(c, m, g[0], gpus_per_node=n)
            ),
            milliseconds(lambda _, at=launch: refusal(at)),
            milliseconds(lambda _, at=launch: rank_weights(at)),
            milliseconds(lambda _, at=launch: (activation_peak_bytes(at), persistent_bytes(at))),
            milliseconds(
                lambda _, at=launch: (
                    non_torch_bytes(at),
                    cuda_graphs_bytes(at),
                    outside_budget_bytes(at),
                    kv_band_bytes(at),
                )
            ),
            milliseconds(lambda number, at=launch: [kv_report(at, (number + 10) << 30) for _ in range(3)]),
        ]
        request = PlanRequest(model=ModelInput(model=name), hardware=HardwareInput(gpu=card, gpus=count))
        planned = milliseconds(
            lambda number, r=request, m=metadata, g=gpus: plan(
                r.with_value("workload.concurrency", number + 1), m, g
            ),
            rounds=60,
        )
        figures = "".join(f"{value:9.3f}" for value in (whole, *parts, planned))
        yield f"{name.split('/')[-1]:<36}{figures}{1000 / whole:8.0f}"


def _evaluated(config: VLLMConfig, metadata: ModelMetadata, gpus: list[GPUInfo], number: int) -> object:
    changed = config.model_copy(update={"max_model_len": 4096 + number})
    return evaluate(changed, metadata, gpus, workload=WorkloadInput())


VARIANTS = 6


def search_rows() -> Iterator[str]:
    """The full search: 8 GPUs, a 61-layer MoE, six quantised forms, every machine of the catalogue."""
    name, card, count = CASES[1]
    metadata, gpus = loaded(name), what_if(HardwareInput(gpu=card, gpus=count))
    siblings = {f"{name}-{number}": replace(metadata, model=f"{name}-{number}") for number in range(VARIANTS)}
    around = Surroundings(siblings, machines())
    request = PlanRequest(
        model=ModelInput(model=name),
        hardware=HardwareInput(gpu=card, gpus=count),
        workload=WorkloadInput(concurrency=64),
    )
    start = time.perf_counter()
    plan(request, metadata, gpus, surroundings=around)
    first = (time.perf_counter() - start) * 1e3
    again = milliseconds(
        lambda number: plan(
            request.with_value("workload.concurrency", number + 65), metadata, gpus, surroundings=around
        ),
        rounds=9,
    )
    yield f"{'fixes and alternatives, in a worker':<36}{first:9.0f} ms the first time, {again:.0f} ms then"


CONFIGS = REPOSITORY.parent / "shared" / "configs"


def first_plan_rows(slowest: int = 3) -> Iterator[str]:
    """The slowest first plans of the shared configs, from config.json on; left out where those are not at hand."""
    found = []
    hardware = HardwareInput(gpu="H100 SXM5 80GB")
    gpus = what_if(hardware)
    for path in sorted(CONFIGS.glob("*/*/config.json")):
        model, quantised = "/".join(path.parts[-3:-1]), path.with_name("hf_quant_config.json")
        config = json.loads(path.read_text(encoding="utf-8"))
        section = json.loads(quantised.read_text(encoding="utf-8")) if quantised.is_file() else None
        request = PlanRequest(model=ModelInput(model=model), hardware=hardware)
        start = time.perf_counter()
        with contextlib.suppress(WizardError):
            metadata = metadata_from_config(config, model=model, source="path", hf_quant_config=section)
            plan(request, metadata, gpus)
        found.append(((time.perf_counter() - start) * 1e3, model))
    for took_ms, model in sorted(found, reverse=True)[:slowest]:
        yield f"{'first plan, ' + model:<60}{took_ms:9.0f} ms (must be: at most 50)"


COLD = {
    "python -c pass": ["-c", "pass"],
    "import pydantic, json": ["-c", "import pydantic, json"],
    "--help": ["-m", "wizard", "--help"],
    "plan --json": [
        *("-m", "wizard", "plan", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "L40S"),
        *("--offline", "--json"),
    ],
}


def cold_start_rows(rounds: int = 9) -> Iterator[str]:
    """Best of several cold starts, interleaved, and their ratio to bare pydantic."""
    best = dict.fromkeys(COLD, float("inf"))
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # an installed package is compiled once, not every time
        for _ in range(rounds):
            for name, arguments in COLD.items():
                start = time.perf_counter()
                subprocess.run(
                    [sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, env=environment
                )
                best[name] = min(best[name], time.perf_counter() - start)
    yield f"{'cold start, best of ' + str(rounds):<36}{'ms':>9}{'x pydantic':>12}"
    for name, seconds in best.items():
        yield f"{name:<36}{seconds * 1e3:9.0f}{seconds / best['import pydantic, json']:12.2f}"


def report() -> Iterator[str]:
    """All tables."""
    yield from evaluation_rows()
    yield ""
    yield from search_rows()
    yield ""
    yield from first_plan_rows()
    yield ""
    yield from cold_start_rows()
