"""The JSON of plans: the names that scripts rely on, and strictly valid whatever is in it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

from tests.render.plans import config, feasibility, gpu, performance, plan, request, without_forecast
from wizard.render.escaping import to_json
from wizard.render.plan_json import plan_to_dict
from wizard.schemas.outputs import Alternative, Estimate, Fix, VLLMConfig

CONTRACT: dict[str, set[str]] = {
    "": {
        "schema_version", "vllm_version", "model", "hardware", "config", "feasibility", "performance", "alternatives",
        "fixes", "artifacts",
    },
    "model": {"id", "revision", "source", "architecture", "params", "attention", "max_position_embeddings"},
    "hardware": {"nodes", "gpus"},
    "hardware.gpus.0": {"name", "memory_total_bytes", "memory_used_bytes", "compute_capability"},
    "feasibility": {"verdict", "cause", "error", "fits", "oom_risk", "warnings", "per_gpu", "kv_cache"},
    "feasibility.per_gpu": {
        "total_bytes", "requested_bytes", "weights_bytes", "activation_peak_bytes", "non_torch_bytes",
        "cuda_graphs_bytes", "kv_cache_available_bytes", "kv_cache_available_low_bytes",
        "kv_cache_available_high_bytes", "unused_bytes",
    },
    "feasibility.kv_cache": {
        "block_size", "bytes_per_block", "num_gpu_blocks", "tokens", "max_concurrency", "bytes_per_token",
        "estimated_max_model_len",
    },
    "performance": {
        "ttft_ms", "tpot_ms", "output_tokens_per_s", "prefill_tokens_per_s", "requests_per_s", "basis", "assumptions",
    },
    "performance.ttft_ms": {"low", "mid", "high"},
    "alternatives.0": {"config", "feasibility", "performance", "why"},
    "fixes.0": {"change", "effect", "verdict_after"},
    "config": set(VLLMConfig.model_fields),
}  # fmt: skip


def full() -> dict[str, Any]:
    original = replace(
        plan(),
        alternatives=(Alternative("other", config(), feasibility(), performance(), "because"),),
        fixes=(Fix("shorter", (("model.max_model_len", 4096),), "fits", "fits"),),
        artifacts={"serve.sh": "x"},
    )
    return plan_to_dict(original, request())


def test_every_name_of_the_contract_is_there() -> None:
    document = full()
    for path, names in CONTRACT.items():
        part: Any = document
        for step in path.split(".") if path else []:
            part = part[int(step)] if step.isdigit() else part[step]
        assert names <= set(part), path
    assert document["schema_version"] == 1
    assert document["fixes"][0]["change"] == {"max_model_len": 4096}
    assert document["hardware"]["gpus"][0]["compute_capability"] == "9.0"
    assert document["request"]["workload"]["concurrency"] == 4


def test_bytes_are_integers_and_gib_are_binary() -> None:
    report = full()["feasibility"]
    assert all(isinstance(value, int) for key, value in report["per_gpu"].items() if key.endswith("_bytes"))
    assert math.isclose(report["weights_gib"] * 2**30, report["per_gpu"]["weights_bytes"])
    assert report["weights_gb"] == round(report["weights_gib"], 3)


def test_infinities_and_strange_text_are_still_strict_json() -> None:
    forecast = replace(performance(), ttft_ms=Estimate(1.0, math.inf, math.nan))
    original = replace(
        plan(model="\x00\x1b[31m\u2028\U0001f680", gpus=(gpu(name='"\n\\'),)), performance=forecast
    )
    text = to_json(plan_to_dict(original, request()))
    assert text.isascii()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(text, parse_constant=refuse)
    assert document["performance"]["ttft_ms"] == {"low": 1.0, "mid": None, "high": None}
    assert document["config"]["model"] == "\x00\x1b[31m\u2028\U0001f680"
    assert "performance" in plan_to_dict(without_forecast(plan()))
    assert plan_to_dict(without_forecast(plan()))["performance"] is None


def test_the_module_is_cheap_to_import() -> None:
    script = (
        "import sys; import wizard.render.plan_json; "
        "print([name for name in ('yaml', 'textual', 'rich', 'huggingface_hub', 'pynvml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
