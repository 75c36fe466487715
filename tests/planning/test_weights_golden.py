"""The weights that vLLM 0.33's own classes allocate, byte by byte.

`weights_golden.jsonl` holds one model per line: its config (keys that don't matter left out), and for some layouts
what an instance of vLLM's model class had on one H100, or the `gpu` of the case: bytes by dtype and of buffers, per
pipeline stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.planning.launching import card
from wizard.errors import ConfigError
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.launch import resolve
from wizard.planning.weights import RankWeights, rank_weights
from wizard.schemas.outputs import VLLMConfig

GOLDEN = Path(__file__).with_name("weights_golden.jsonl")
FLAGS = {"--tp": "tensor_parallel_size", "--pp": "pipeline_parallel_size", "--dp": "data_parallel_size"}


def _weights(metadata: ModelMetadata, settings: Mapping[str, Any], gpu: str = "h100") -> RankWeights:
    return rank_weights(resolve(VLLMConfig(model=metadata.model, **settings), metadata, card(gpu)))


@pytest.mark.parametrize(
    "line", GOLDEN.read_text(encoding="utf-8").splitlines(), ids=lambda line: line[10 : line.index('",')]
)
def test_every_byte_of_a_model(line: str) -> None:
    golden = json.loads(line)
    metadata = metadata_from_config(golden["config"], model=golden["model"], source="path")
    for case in golden["cases"]:
        found = _weights(metadata, case["settings"], case.get("gpu", "h100"))
        stages = [[stage.by_dtype, stage.buffer_bytes] for stage in found.stages]
        assert stages == case["stages"], case["settings"]


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
    return {FLAGS[name]: int(value) for name, value in zip(args[::2], args[1::2], strict=True)}


def _records(shared: Path) -> Iterator[tuple[str, ModelMetadata, dict[str, Any], dict[str, Any]]]:
    for line in (shared / "truth" / "vllm_weights.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        metadata = _metadata(shared, record["key"].split("|")[1])
        if metadata is not None:
            yield record["key"], metadata, _settings(record["args"]), record["result"]


def test_weights_per_gpu_against_every_record(shared: Path) -> None:
    """95 % within 0.1 %, the rest within 3 % and printed."""
    errors: dict[str, float] = {}
    for key, metadata, settings, result in _records(shared):
        if result.get("refused"):
            continue
        try:
            found = [stage.param_bytes for stage in _weights(metadata, settings).stages]
        except ConfigError:
            errors[key] = 1.0
            continue
        wanted = [stage["param_bytes"] for stage in result["stages"]]
        errors[key] = max(abs(mine - theirs) / theirs for mine, theirs in zip(found, wanted, strict=True))
    off = {key: error for key, error in errors.items() if error > 0.001}
    print(
        f"{len(errors)} records, {sum(not error for error in errors.values())} exact, off by more than 0.1 %: {off}"
    )
    assert len(off) <= 0.05 * len(errors)
    assert all(error <= 0.03 for error in off.values())


def test_what_vllm_refuses_for_its_weights_is_refused(shared: Path) -> None:
    """The weights' share of the refusals; those that have nothing to do with weights are the gates'."""
    checked = 0
    for key, metadata, settings, result in _records(shared):
        message = result.get("error", "")
        if result.get("refused") and ("quantization" in message or "divisible" in message):
            checked += 1
            assert _weights(metadata, settings).refusals, key
    assert checked
