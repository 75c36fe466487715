"""Parsed flags -> `VLLMConfig`: those that move memory become fields, the others stay as typed.

The two directions belong together: `FIELD_FLAGS` says which flag carries which field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.flags import FlagTable

NOT_FLAGS = frozenset({"model", "extra_args", "explanations", "cudagraph_mode"})
"""Fields that no flag of their own carries."""

FIELD_FLAGS: Mapping[str, str] = {
    field: "--" + field.replace("_", "-") for field in VLLMConfig.model_fields if field not in NOT_FLAGS
}
"""Field -> flag, as the newest version spells it."""

SPECULATIVE_SHORTCUTS = {
    "--spec-method": "method",
    "--spec-model": "model",
    "--spec-tokens": "num_speculative_tokens",
}
"""Shortcuts of 0.2x for keys of --speculative-config."""


def to_config(model: str, values: Mapping[str, Any], table: FlagTable) -> VLLMConfig:
    """The config of parsed values. Raises pydantic's ValidationError for values out of range."""
    rest = dict(values)
    fields: dict[str, Any] = {"model": model}
    _compilation(rest, fields, table)
    _attention(rest, fields)
    _speculative(rest, fields)
    for field, flag in FIELD_FLAGS.items():
        if flag not in rest:
            continue
        value = rest[flag]
        if field in {"hf_overrides", "limit_mm_per_prompt", "speculative_config"} and not isinstance(
            value, dict
        ):
            continue
        if value is not None and not (field == "attention_backend" and value == "AUTO"):
            fields[field] = value
        del rest[flag]
    local, copies = rest.get("--data-parallel-size-local"), fields.get("data_parallel_size", 1)
    if isinstance(local, int) and 0 < local < copies and "nnodes" not in fields:
        fields["nnodes"] = -(-copies // local)  # the other engines run on other nodes
    if rest.pop("--enable-multimodal-encoder-data-parallel", False):
        fields["mm_encoder_tp_mode"] = "data"
    sizes = rest.get("--cuda-graph-sizes") or rest.get("--cudagraph-capture-sizes")
    if sizes and "max_cudagraph_capture_size" not in fields:
        fields["max_cudagraph_capture_size"] = max(int(size) for size in sizes)
    from wizard.vllm.serve_args import arguments  # the inverse of parsing lives with the parser

    return VLLMConfig(**fields, extra_args=tuple(arguments(rest, table)))


def _compilation(rest: dict[str, Any], fields: dict[str, Any], table: FlagTable) -> None:
    """Takes the two keys of --compilation-config that move memory; the rest of it stays a flag."""
    config = rest.get("--compilation-config")
    if not isinstance(config, dict):
        return
    left = dict(config)
    mode = left.pop("cudagraph_mode", None)
    if mode is not None:
        fields["cudagraph_mode"] = str(mode).upper()
    largest = left.pop("max_cudagraph_capture_size", None)
    if isinstance(largest, int):
        fields["max_cudagraph_capture_size"] = largest
    level = left.get("level")
    if level == 0 and "--optimization-level" not in table:
        fields["optimization_level"] = 0
    if left:
        rest["--compilation-config"] = left
    else:
        del rest["--compilation-config"]


def _attention(rest: dict[str, Any], fields: dict[str, Any]) -> None:
    config = rest.get("--attention-config")
    if isinstance(config, dict) and "backend" in config:
        left = {key: value for key, value in config.items() if key != "backend"}
        fields["attention_backend"] = str(config["backend"]).upper()
        rest.pop("--attention-config")
        if left:
            rest["--attention-config"] = left


def _speculative(rest: dict[str, Any], fields: dict[str, Any]) -> None:
    config = rest.pop("--speculative-config", None)
    merged = dict(config) if isinstance(config, dict) else {}
    for flag, key in SPECULATIVE_SHORTCUTS.items():
        if flag in rest:
            merged[key] = rest.pop(flag)
    if merged:
        fields["speculative_config"] = json.loads(json.dumps(merged))
