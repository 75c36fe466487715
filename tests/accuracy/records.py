"""A launch record -> the configuration, model, GPU and vLLM version that the planner is asked about.

Sources write arguments in several ways: `tp` or `tensor_parallel_size`, the server's `non_default`
dictionary, the engine's resolved `engine_config` of strings, notes such as "default 0.92". What the
user chose wins over what the log resolved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tests.accuracy.machines import Machine, machine
from tests.accuracy.models import Found, Models
from tests.accuracy.versions import LaunchVersion, launch_version
from wizard.schemas.outputs import GIB, MIB, VLLMConfig
from wizard.vllm.defaults import batch_defaults
from wizard.vllm.versions import rules

SYNONYMS = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "max_seq_len": "max_model_len",
}
NOT_OURS = frozenset({"model", "model_tag", "explanations", "extra_args"})
FIELDS = frozenset(VLLMConfig.model_fields) - NOT_OURS
RESOLVED_ONLY = frozenset({"enable_chunked_prefill", "enforce_eager"})
"""Of `engine_config`, False here is vLLM's own default and must not be taken for a choice."""

LARGEST_CONTEXT_GIB = 2.5
"""Context and NCCL of one engine never took more before the baseline (H100, TP 4: 2.07 GiB)."""

FORKS = re.compile(r"\bfork\b|backport|cpu-offload", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """One launch that the planner can be asked about."""

    raw: Mapping[str, Any]
    config: VLLMConfig
    model: Found
    machine: Machine
    version: LaunchVersion

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def outcome(self) -> str:
        return str(self.raw["outcome"])

    @property
    def gpus(self) -> int:
        return int(self.raw.get("n_gpus") or 1)

    def measured(self, name: str) -> float | None:
        """A logged figure in its own unit; `None` where the launch didn't log it."""
        value = (self.raw.get("measured") or {}).get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def source(self) -> str:
        """Where the launch comes from, to leave one source out when a constant is checked."""
        text = str(self.raw.get("source") or "")
        repository = re.search(r"github\.com/[\w.-]+/[\w.-]+", text)
        return repository.group(0) if repository else text[:40]

    @property
    def incomplete(self) -> str:
        """Which deciding fact the source doesn't tell; empty where all are known."""
        share = (self.raw.get("args") or {}).get("gpu_memory_utilization")
        if isinstance(share, str) and "default" not in share and _number(share) is None:
            return "utilisation not stated"
        if self.version.basis == "month":
            return "vLLM version not stated"
        return ""

    @property
    def startable(self) -> bool:
        """Whether a start can be judged: without the context that was asked for, it can't."""
        asked = self.config.max_model_len is not None
        return not self.incomplete and (asked or "max_model_len" not in (self.raw.get("missing") or ()))

    @property
    def kind(self) -> str:
        """Which group its error counts in: `discrete`, `unified` memory, or `rocm`."""
        gpu = self.machine.gpu
        if gpu.vendor != "nvidia":
            return "rocm"
        return "unified" if gpu.unified_memory else "discrete"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A launch that can't be judged, and why."""

    id: str
    reason: str


def read(path: Path, models: Models) -> Iterator[Record | Skipped]:
    """Every line of a launches file as a record, or as skipped."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            raw = json.loads(line)
            raw.setdefault("id", f"line-{number}")
            yield record(raw, models)


def record(raw: Mapping[str, Any], models: Models) -> Record | Skipped:
    """One record; never raises for a record of the known form."""
    identifier = str(raw["id"])
    if raw.get("gpu") is None:
        return Skipped(identifier, "no GPU named")
    args = raw.get("args") or {}
    version = launch_version(raw.get("vllm_version"), raw.get("date"))
    if args.get("enable_sleep_mode") and not rules(version.number).consumed_by_free_memory:
        return Skipped(identifier, "sleep mode, whose allocator vLLM's accounting missed before 0.27")
    if FORKS.search(f"{raw.get('vllm_version') or ''} {raw.get('model') or ''}"):
        return Skipped(identifier, "a fork of vLLM with rules of its own")
    found = models.find(str(raw.get("model") or ""))
    if found is None:
        return Skipped(identifier, "model not identified")
    card = machine(str(raw["gpu"]), raw.get("gpu_total_gib"))
    if card is None:
        return Skipped(identifier, "GPU not identified")
    try:
        quantised = found.metadata.quantization_config is not None
        config = VLLMConfig(model=found.name, **_settings(args, card, version, quantised=quantised))
    except ValidationError as error:
        return Skipped(identifier, f"arguments not understood: {error.errors()[0]['loc']}")
    return Record(raw, config, found, _with_tenants(card, raw), version)


def _settings(
    args: Mapping[str, Any], card: Machine, version: LaunchVersion, *, quantised: bool
) -> dict[str, Any]:
    """The flags that a launch chose.

    A method logged for a quantised checkpoint is the one that vLLM resolved, under a name of its own
    (`gptq_marlin`), unless the command line had it.
    """
    chosen: dict[str, Any] = {}
    for layer in (args.get("engine_config") or {}, args, args.get("non_default") or {}):
        for name, value in layer.items():
            field = SYNONYMS.get(name, name)
            parsed = _value(field, value) if field in FIELDS else None
            if parsed is not None and not (
                layer is args.get("engine_config") and field in RESOLVED_ONLY and not parsed
            ):
                chosen[field] = parsed
    if quantised and "quantization" not in (args.get("non_default") or {}):
        chosen.pop("quantization", None)
    capture = args.get("cudagraph_max_capture")
    if isinstance(capture, int) and "max_num_seqs" not in chosen:
        chosen.update(_implied_by_capture(capture, card, version))
    if "llm" in str(args.get("usage", "")).lower() and "max_num_batched_tokens" not in chosen:
        defaults = batch_defaults(card.gpu, rules(version.number), offline=True)
        chosen["max_num_batched_tokens"] = defaults.max_num_batched_tokens
    return chosen


def _implied_by_capture(capture: int, card: Machine, version: LaunchVersion) -> dict[str, Any]:
    """A logged largest capture size below the default tells max_num_seqs: it is twice that."""
    version_rules = rules(version.number)
    if capture >= 512 or not version_rules.captures_follow_seqs:
        return {}
    return {"max_num_seqs": max(1, capture // 2)}


_NUMERIC = {
    name
    for name, info in VLLMConfig.model_fields.items()
    if any(kind in str(info.annotation) for kind in ("int", "float")) and "dict" not in str(info.annotation)
}


def _value(field: str, value: Any) -> Any:
    """A value as the schema takes it; `None` where it says nothing."""
    if isinstance(value, str):
        value = value.strip()
        if value in {"None", "", "auto"}:
            return None
        if value in {"True", "False"}:
            return value == "True"
        if field == "speculative_config":
            return _speculative(value)
        if field in _NUMERIC:
            return _number(value)
        return value.removeprefix("torch.")
    if field == "speculative_config" and isinstance(value, Mapping):
        return dict(value)
    return value


def _number(text: str) -> float | int | None:
    """A plain number; a note such as `study baseline 128` or `default 0.92` is no choice of the launch."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"\d*\.\d+", text) else None


def _speculative(text: str) -> dict[str, Any] | None:
    """`SpeculativeConfig(method='mtp', model='x', num_spec_tokens=3)` or `eagle3 MTP=3`."""
    method = re.search(r"method='?(\w+)", text) or re.search(r"^(\w+)", text)
    tokens = re.search(r"num_spec\w*_tokens=(\d+)|=(\d+)", text)
    model = re.search(r"model='([^']+)'", text)
    if method is None or tokens is None:
        return None
    config: dict[str, Any] = {
        "method": method.group(1),
        "num_speculative_tokens": int(tokens.group(1) or tokens.group(2)),
    }
    return config | ({"model": model.group(1)} if model else {})


def _with_tenants(card: Machine, raw: Mapping[str, Any]) -> Machine:
    """The memory that others held: as the source says, else as free memory at start implies.

    What is missing from the free memory beyond a context's worth belongs to somebody else.
    """
    other = (raw.get("args") or {}).get("other_process_mib")
    if isinstance(other, int | float):
        return replace(card, gpu=replace(card.gpu, memory_used_bytes=int(other * MIB)))
    free = (raw.get("measured") or {}).get("free_at_start_gib")
    if not isinstance(free, int | float):
        return card
    missing = card.gpu.memory_total_bytes - int(free * GIB)
    if missing < LARGEST_CONTEXT_GIB * GIB:
        return card
    return replace(card, gpu=replace(card.gpu, memory_used_bytes=missing))
