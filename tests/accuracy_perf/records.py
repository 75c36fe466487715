"""A measured run -> what the forecast is asked: model, GPUs, layout, version and traffic."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.accuracy_perf.models import MeasuredModels
from wizard.errors import HardwareError
from wizard.hardware import catalogue
from wizard.models.metadata import ModelMetadata
from wizard.schemas.outputs import GPUInfo

FIGURES = ("tpot_ms", "ttft_ms", "output_tok_s")

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


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One measured run that the forecast can be asked about."""

    raw: Mapping[str, Any]
    metadata: ModelMetadata
    gpu: GPUInfo
    tp: int
    pp: int
    replicas: int
    shared_dp: int
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
    max_seqs: int | None
    batched_tokens: int | None
    kv_tokens: int | None
    measured: Mapping[str, float]

    @property
    def group(self) -> tuple[str, str, str, str]:
        return tuple(str(self.raw[k]) for k in ("source", "model", "gpu", "dtype"))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Skipped:
    id: str
    reason: str


def read(path: Path, models: MeasuredModels) -> Iterator[Run | Skipped]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield run(json.loads(line), models)


def run(raw: Mapping[str, Any], models: MeasuredModels) -> Run | Skipped:
    reason = unusable(raw)
    if reason:
        return Skipped(str(raw["id"]), reason)
    metadata = models.find(str(raw["model"]), str(raw["dtype"]))
    if metadata is None:
        return Skipped(str(raw["id"]), f"no shapes for {raw['model']} as {raw['dtype']}")
    gpu = find_gpu(str(raw["gpu"]))
    if gpu is None:
        return Skipped(str(raw["id"]), f"GPU {raw['gpu']} not in the catalogue")
    measured = figures(raw)
    if not measured:
        return Skipped(str(raw["id"]), "no figure")
    note = str(raw.get("note") or "")
    tp, dp, gpus = int(raw["tp"]), int(raw["dp"] or 1), int(raw["gpu_count"])
    ep = int(raw.get("ep") or 1) > 1
    replicas, shared = dp, 1
    if raw["source"] == "aic_silicon":
        # InferenceX names TP twice for attention and experts: rows of tp x dp GPUs repeat those of tp GPUs figure by
        # figure, so that tp GPUs is what ran
        replicas = 1
    elif dp > 1 and metadata.is_moe and "replica" not in note:
        replicas, shared = 1, dp
    isl, osl = float(raw["isl"]), float(raw["osl"])
    if "[0.8,1.0]x nominal" in note and re.search(r"_cfg\d|config_id", note):
        isl, osl = 0.9 * isl, 0.9 * osl
    kind, concurrency, rate = "closed", raw.get("concurrency"), 0.0
    asked = raw.get("request_rate")
    n = float(raw.get("num_prompts") or math.inf)
    spread = raw.get("dataset") == "sharegpt"
    if asked is not None and str(asked) != "inf":
        kind, rate = "open", float(asked)
    elif raw.get("latency_s") is not None and raw.get("num_prompts") is None:
        kind = "static"
    elif str(asked) == "inf" or concurrency is None:
        kind = "burst"
        n = n if math.isfinite(n) else 1000.0
    elif concurrency and n <= concurrency:
        kind = "burst"
    if "EOS not ignored" in note:
        spread = True
        osl = float(raw["total_output_tokens"]) / n
    if "actual mean output ~100" in note:
        osl = 100.0
        spread = True
    concurrency = float(concurrency) if concurrency else (n if kind == "burst" else 0.0)
    if kind == "burst":
        concurrency = min(concurrency, n)
    cache = re.search(r"KV cache tokens per server log: ([\d,]+)", note)
    batched = re.search(r"--max-num-batched-tokens (\d+)", note)
    return Run(
        raw=raw, metadata=metadata, gpu=gpu, tp=tp, pp=int(raw["pp"] or 1), replicas=replicas, shared_dp=shared, ep=ep,
        nvlink=bool(gpu.nvlink_gb_s), kv_dtype=str(raw.get("kv_dtype") or "auto"), version=version(raw),
        kind=kind, prompt=isl, output=osl, concurrency=concurrency, rate=rate, requests=n, spread=spread,
        max_seqs=int(raw["max_num_seqs"]) if raw.get("max_num_seqs") else None,
        batched_tokens=int(batched.group(1)) if batched else None,
        kv_tokens=int(cache.group(1).replace(",", "")) if cache else None,
        measured=measured,
    )


def unusable(raw: Mapping[str, Any]) -> str:
    """Why a row can't be judged; empty where it can."""
    if raw["gpu"] == "MI250":
        return "MI250: one die or the card is not stated"
    if float(raw["osl"]) < 16:
        return "fewer than 16 output tokens"
    if int(raw["pp"] or 1) > 1:
        return "pipeline parallel"
    if raw["model"] == "Qwen/Qwen3-235B-A22B-FP8" and raw["source"] == "aic_silicon":
        return "its tp can't hold the model"
    if "prefix-cache hits" in str(raw.get("note")):
        return "prefix-cache hits"
    return ""


def version(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    text = str(raw.get("vllm_version") or "")
    match = re.match(r"v?(\d+)\.(\d+)", text)
    if match:
        return int(match.group(1)), int(match.group(2))
    if text.startswith("2025-05"):
        return (0, 8)
    if "2025-10" in text:
        return (0, 11)
    if "2024" in str(raw.get("note")):
        return (0, 6)
    return None


def figures(raw: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, mean, median in (("tpot_ms", "tpot_mean_ms", "tpot_median_ms"), ("ttft_ms", "ttft_mean_ms", "ttft_median_ms")):
        value = raw.get(mean) if raw.get(mean) is not None else raw.get(median)
        if value:
            found[name] = float(value)
    if raw.get("output_tok_s"):
        found["output_tok_s"] = float(raw["output_tok_s"])
    elif raw.get("latency_s") and raw.get("concurrency"):
        found["output_tok_s"] = float(raw["osl"]) * float(raw["concurrency"]) / float(raw["latency_s"])
    elif raw.get("total_tok_s"):
        found["output_tok_s"] = float(raw["total_tok_s"]) * float(raw["osl"]) / (float(raw["osl"]) + float(raw["isl"]))
    return found


def find_gpu(name: str) -> GPUInfo | None:
    text = GPU_NAMES.get(name, name.replace("-", " "))
    try:
        return catalogue.find(text).info()
    except HardwareError:
        match = re.match(r"(.*?)[- ](\d+)GB$", name)
        if match:
            try:
                return catalogue.find(f"{match.group(1).replace('-', ' ')} {match.group(2)}GB").info()
            except HardwareError:
                return None
    return None
