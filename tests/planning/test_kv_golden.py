"""Every KV plan that vLLM 0.33's own classes printed: groups, bytes, blocks, tokens, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.planning.launching import card
from wizard.dataclass import replace
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_layout, kv_report
from wizard.planning.launch import Launch, resolve
from wizard.schemas.outputs import GIB, VLLMConfig

FIELDS = {
    "--tp": "tensor_parallel_size",
    "--max-model-len": "max_model_len",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--available-gib": "available_gib",
}

EXPLAINED = {
    "h100|nvidia/Kimi-K2.6-NVFP4|kv-tp1-8k": "vLLM's FLASHMLA takes fp8_e4m3; the record fell through to Triton",
    "h100|nvidia/Kimi-K2.5-NVFP4|kv-tp1-8k": "vLLM's FLASHMLA takes fp8_e4m3; the record fell through to Triton",
}


@lru_cache(maxsize=1)
def _folders(shared: Path) -> dict[str, Path]:
    return {"/".join(path.parts[-3:-1]).lower(): path for path in shared.glob("configs/*/*/config.json")}


@lru_cache(maxsize=512)
def _metadata(shared: Path, name: str) -> ModelMetadata | None:
    path = _folders(shared).get(name.lower())
    if path is None:
        return None
    quantised = path.with_name("hf_quant_config.json")
    return metadata_from_config(
        json.loads(path.read_text(encoding="utf-8")),
        model=name,
        source="path",
        hf_quant_config=json.loads(quantised.read_text(encoding="utf-8")) if quantised.is_file() else None,
    )


def _settings(args: Sequence[str]) -> dict[str, Any]:
    values = dict(zip(args[::2], args[1::2], strict=True))
    return {
        FIELDS[name]: value if value.isalnum() and not value.isdigit() else float(value)
        for name, value in values.items()
    }


def _records(shared: Path) -> Iterator[tuple[str, Launch, int, dict[str, Any]]]:
    for line in (shared / "truth" / "vllm_kv.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        gpu, name, _ = record["key"].split("|")
        metadata = _metadata(shared, name)
        if metadata is None:
            continue
        settings = _settings(record["args"])
        available = int(settings.pop("available_gib") * GIB)
        whole = {key: value if isinstance(value, str) else int(value) for key, value in settings.items()}
        launch = resolve(VLLMConfig(model=name, **whole), metadata, card(gpu), version="0.33.0")
        yield record["key"], launch, available, record["result"]


def _differences(launch: Launch, available: int, result: dict[str, Any]) -> list[str]:
    report, layout = kv_report(launch, available), kv_layout(launch)
    worst = max(stage["pool_bytes_per_block"] for stage in result["stages"])
    needed = max(stage["bytes_for_one_request_at_max_len"] for stage in result["stages"])
    expected = {
        "bytes per block": (worst, report.bytes_per_block),
        "blocks": (result["num_gpu_blocks"], report.num_gpu_blocks),
        "tokens": (result["gpu_kv_cache_size_tokens"] or 0, report.tokens),
        "concurrency": (result["max_concurrency"] or 0.0, report.max_concurrency),
        "needed": (needed, report.needed_bytes),
        "longest": (result["estimated_max_model_len"], report.estimated_max_model_len),
        "block size": (result["cache_block_size"], layout.block_size),
        "groups": (
            [(group["layers"], group["block_size"]) for group in result["groups"]],
            [(len(group.layers), group.first.block_size) for group in layout.groups],
        ),
    }
    return [f"{name}: {theirs} != {ours}" for name, (theirs, ours) in expected.items() if theirs != ours]


def test_groups_blocks_tokens_and_concurrency_equal_vllms_own(shared: Path) -> None:
    unequal: dict[str, list[str]] = {}
    count = 0
    for key, launch, available, result in _records(shared):
        if result.get("refused"):
            continue
        count += 1
        found = refusal(launch)
        differences = [found.error] if found else _differences(launch, available, result)
        if differences:
            unequal[key] = differences
    assert count > 300
    assert set(unequal) <= set(EXPLAINED), unequal
    assert len(unequal) <= 0.03 * count


def test_what_vllm_refuses_is_refused_with_its_reason(shared: Path) -> None:
    count = 0
    for key, launch, _, result in _records(shared):
        if not result.get("refused"):
            continue
        count += 1
        found = refusal(launch)
        assert found is not None, key
        assert found.error[:100] in result["error"], key
        assert found.change, key
    assert count > 30


GOLDEN = Path(__file__).with_name("kv_golden.jsonl")


@pytest.mark.parametrize(
    "line", GOLDEN.read_text(encoding="utf-8").splitlines(), ids=lambda line: line[10 : line.index('",')]
)
def test_the_cache_of_a_model(line: str) -> None:
    """One model per line: its config, and what vLLM 0.33's classes laid out on one H100 for some settings.

    `drafts` are the configs of models that draft for it. A worker whose stage attends to nothing keeps the block
    size that the others raise: such a case has none.
    """
    golden = json.loads(line)
    drafts = {
        name: metadata_from_config(config, model=name, source="path")
        for name, config in golden.get("drafts", {}).items()
    }
    metadata = metadata_from_config(golden["config"], model=golden["model"], source="path")
    metadata = replace(metadata, drafts=drafts)
    for case in golden["cases"]:
        launch = resolve(
            VLLMConfig(model=golden["model"], **case["settings"]), metadata, card(), version="0.33.0"
        )
        layout, report = kv_layout(launch), kv_report(launch, int(case["available_gib"] * GIB))
        assert [[len(group.layers), group.first.block_size] for group in layout.groups] == case["groups"]
        if case["groups"]:
            found = (report.bytes_per_block, report.needed_bytes, report.num_gpu_blocks, report.tokens)
            wanted = tuple(case[name] for name in ("bytes_per_block", "needed", "blocks", "tokens"))
            assert found == wanted, case["settings"]
            assert layout.block_size == case.get("block_size", layout.block_size)
