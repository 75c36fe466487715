"""A measured run -> what the forecast is asked: model, GPUs, layout, version and traffic."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.accuracy_perf.models import SHAPES, MeasuredModels
from wizard.errors import HardwareError
from wizard.hardware import catalogue
from wizard.models.metadata import ModelMetadata
from wizard.planning.perf_machine import family_of
from wizard.schemas.outputs import GPUInfo

GPU_NAMES: Mapping[str, str] = {
    "GH200": "GH200 96GB HBM3",
    "GB10": "GB10 (DGX Spark)",
    "Jetson-AGX-Thor": "Jetson AGX Thor T5000",
    "RTX-PRO-6000-Blackwell": "RTX PRO 6000 Blackwell Server",
    "RTX-5000-Ada": "NVIDIA RTX 5000 Ada Generation",
    "RTX-6000-Ada": "NVIDIA RTX 6000 Ada Generation",
    "MI300X": "AMD Instinct MI300X",
    "Radeon-AI-PRO-R9700": "Radeon AI PRO R9700",
}
"""Names of the records that the catalogue would find ambiguous."""

RANDOM_LENGTHS = 0.9
"""InferenceX draws lengths evenly from 0.8 to 1.0 of the nominal ones."""

SHORTEST_OUTPUT = 16
"""Tokens; runs with fewer measure the client."""

UNTOLD_BURST = 1000.0
"""Requests of a run that sends all at once and doesn't tell how many."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Run:
    """One measured run that the forecast can be asked about."""

    raw: Mapping[str, Any]
    metadata: ModelMetadata
    gpu: GPUInfo
    tp: int
    pp: int
    replicas: int
    """Independent engines."""
    shared_dp: int
    """Data-parallel ranks that share routed experts."""
    ep: bool
    nvlink: bool
    kv_dtype: str
    version: tuple[int, int] | None
    kind: str
    """closed | open | burst | static"""
    prompt: float
    output: float
    concurrency: float
    """In flight (closed), in all (burst), in the batch (static); of the whole deployment."""
    rate: float
    """Requests per second (open)."""
    requests: float
    """In all; infinity where not told."""
    spread: bool
    """Output lengths differ widely between requests."""
    equal_lengths: bool
    offline: bool
    max_seqs: int | None
    batched_tokens: int | None
    kv_tokens: int | None
    measured: Mapping[str, float]

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What is left out together: rows of one source, model, GPU and dtype are not independent."""
        raw = self.raw
        return str(raw["source"]), str(raw["model"]), str(raw["gpu"]), str(raw["dtype"])

    @property
    def family(self) -> str:
        return family_of(self.gpu)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that can't be judged, and why."""

    id: str
    reason: str


def read(path: Path, models: MeasuredModels) -> Iterator[Run | Skipped]:
    """Every line of a records file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield run(json.loads(line), models)


def run(raw: Mapping[str, Any], models: MeasuredModels) -> Run | Skipped:
    """One row; never raises for a row of the known form."""
    identifier = str(raw["id"])
    reason = unusable(raw)
    if reason:
        return Skipped(identifier, reason)
    metadata = models.find(str(raw["model"]), str(raw["dtype"]))
    if metadata is None:
        return Skipped(identifier, f"no shapes for {raw['model']} as {raw['dtype']}")
    gpu = find_gpu(str(raw["gpu"]))
    if gpu is None:
        return Skipped(identifier, f"GPU {raw['gpu']} not in the catalogue")
    measured = figures(raw)
    if not measured:
        return Skipped(identifier, "no figure")
    note = str(raw.get("note") or "")
    replicas, shared = data_parallel(raw, metadata, note)
    kind, concurrency, rate, count = traffic(raw)
    prompt, output, spread, random = lengths(raw, note, count)
    cache = re.search(r"KV cache tokens per server log: ([\d,]+)", note)
    batched = re.search(r"--max-num-batched-tokens (\d+)", note)
    return Run(
        raw=raw,
        metadata=metadata,
        gpu=gpu,
        tp=int(raw["tp"]),
        pp=int(raw["pp"] or 1),
        replicas=replicas,
        shared_dp=shared,
        ep=int(raw.get("ep") or 1) > 1,
        nvlink=bool(gpu.nvlink_gb_s),
        kv_dtype=cache_dtype(raw),
        version=version(raw),
        kind=kind,
        prompt=prompt,
        output=output,
        concurrency=concurrency,
        rate=rate,
        requests=count,
        spread=spread,
        equal_lengths=not (spread or random),
        offline=kind == "static" or "offline" in note,
        max_seqs=int(raw["max_num_seqs"]) if raw.get("max_num_seqs") else None,
        batched_tokens=int(batched.group(1)) if batched else None,
        kv_tokens=int(cache.group(1).replace(",", "")) if cache else None,
        measured=measured,
    )


def unusable(raw: Mapping[str, Any]) -> str:
    """Why a row can't be judged; empty where it can."""
    for rule in SHAPES["unusable"]:
        if all(re.fullmatch(pattern, str(raw.get(field))) for field, pattern in rule["where"].items()):
            return str(rule["reason"])
    if float(raw["osl"]) < SHORTEST_OUTPUT:
        return f"fewer than {SHORTEST_OUTPUT} output tokens"
    return ""


def cache_dtype(raw: Mapping[str, Any]) -> str:
    """What the cache stores: as the row says, unless the row's own queue shows otherwise."""
    for rule in SHAPES["cache_dtypes"]:
        if all(re.fullmatch(pattern, str(raw.get(field))) for field, pattern in rule["where"].items()):
            return str(rule["kv_dtype"])
    return str(raw.get("kv_dtype") or "auto")


def data_parallel(raw: Mapping[str, Any], metadata: ModelMetadata, note: str) -> tuple[int, int]:
    """(independent engines, ranks that share experts).

    InferenceX names tensor parallelism twice, for attention and experts: its rows of tp x dp GPUs repeat those of
    tp GPUs figure by figure, so that tp GPUs is what ran.
    """
    ranks = int(raw["dp"] or 1)
    if "config_id=" in note:
        return 1, 1
    return (1, ranks) if ranks > 1 and metadata.is_moe and "replica" not in note else (ranks, 1)


def traffic(raw: Mapping[str, Any]) -> tuple[str, float, float, float]:
    """(kind, requests in flight, requests per second, requests in all)."""
    asked = raw.get("request_rate")
    in_flight = float(raw["concurrency"]) if raw.get("concurrency") else 0.0
    count = float(raw.get("num_prompts") or math.inf)
    if asked is not None and str(asked) != "inf":
        return "open", in_flight, float(asked), count
    if raw.get("latency_s") is not None and raw.get("num_prompts") is None:
        return "static", in_flight, 0.0, count
    if in_flight and str(asked) != "inf" and count > in_flight:
        return "closed", in_flight, 0.0, count
    count = count if math.isfinite(count) else UNTOLD_BURST
    return "burst", min(in_flight or count, count), 0.0, count


def lengths(raw: Mapping[str, Any], note: str, count: float) -> tuple[float, float, bool, bool]:
    """(prompt tokens, output tokens, spread widely, drawn at random in a narrow range)."""
    prompt, output = float(raw["isl"]), float(raw["osl"])
    spread = raw.get("dataset") == "sharegpt"
    if "config_id=" in note and "[0.8,1.0]x nominal" in note:
        return RANDOM_LENGTHS * prompt, RANDOM_LENGTHS * output, spread, True
    if "EOS not ignored" in note and raw.get("total_output_tokens"):
        return prompt, float(raw["total_output_tokens"]) / count, True, False
    actual = re.search(r"actual mean output ~(\d+)", note)
    if actual:
        return prompt, float(actual.group(1)), True, False
    return prompt, output, spread, False


def version(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    """(major, minor) of vLLM, from a version or a date; None where the source tells neither."""
    text = str(raw.get("vllm_version") or "")
    match = re.match(r"v?(\d+)\.(\d+)", text)
    if match:
        return int(match.group(1)), int(match.group(2))
    dated = next((number for date, number in SHAPES["versions_by_date"] if date in text), None)
    return (0, int(dated)) if dated is not None else None


def figures(raw: Mapping[str, Any]) -> dict[str, float]:
    """What was measured, by the names of FIGURES; means before medians."""
    found: dict[str, float] = {}
    for name, keys in (
        ("tpot_ms", ("tpot_mean_ms", "tpot_median_ms")),
        ("ttft_ms", ("ttft_mean_ms", "ttft_median_ms")),
    ):
        value = next((raw[key] for key in keys if raw.get(key)), None)
        if value is not None:
            found[name] = float(value)
    prompt, output = float(raw["isl"]), float(raw["osl"])
    if raw.get("output_tok_s"):
        found["output_tok_s"] = float(raw["output_tok_s"])
    elif raw.get("latency_s") and raw.get("concurrency"):
        found["output_tok_s"] = output * float(raw["concurrency"]) / float(raw["latency_s"])
    elif raw.get("total_tok_s"):
        found["output_tok_s"] = float(raw["total_tok_s"]) * output / (output + prompt)
    return found


def find_gpu(name: str) -> GPUInfo | None:
    """The catalogue's card for a record's name."""
    text = GPU_NAMES.get(name, name.replace("-", " "))
    for attempt in (text, re.sub(r"(\d+)GB$", r"\1 GB", text), text.split(" SXM")[0]):
        try:
            return catalogue.find(attempt).info()
        except HardwareError:
            continue
    return None
