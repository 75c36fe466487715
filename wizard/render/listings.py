"""What `detect`, `gpus` and `models` print: aligned columns, or plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wizard.dataclass import asdict
from wizard.hardware.catalogue import CatalogueGPU
from wizard.hardware.detect import Machine
from wizard.hardware.preflight import Check
from wizard.hardware.resolve import PLANNED_VENDORS
from wizard.models.found import FoundModel
from wizard.schemas.outputs import GPUInfo
from wizard.text import gib, params, plural, printable, short_count


def gpu_to_dict(gpu: GPUInfo) -> dict[str, Any]:
    """Every known fact of a GPU; `compute_capability` as `9.0`, unknown as null."""
    fields = asdict(gpu)
    fields["compute_capability"] = capability_text(gpu.compute_capability)
    return fields


def capability_text(capability: tuple[int, int] | None) -> str | None:
    """(9, 0) -> `9.0`."""
    return None if capability is None else f"{capability[0]}.{capability[1]}"


def machine_to_dict(machine: Machine, checks: Sequence[Check] = ()) -> dict[str, Any]:
    """The JSON document of `detect`; `checks` is the pre-flight list."""
    return {
        "schema_version": 1,
        "gpus": [gpu_to_dict(gpu) for gpu in machine.gpus],
        "vendor": machine.vendor,
        "driver": machine.driver,
        "cuda": machine.cuda,
        "interconnect": machine.topology.interconnect.value,
        "links": [list(row) for row in machine.topology.links],
        "peer_access": machine.peer_access,
        "nvlink_groups": [list(group) for group in machine.topology.groups],
        "why_none": machine.why_none,
        "warnings": list(machine.warnings),
        "checks": [asdict(check) for check in checks],
    }


def render_machine(machine: Machine, checks: Sequence[Check] = ()) -> str:
    """The GPUs of this machine and the pre-flight list as lines, or the sentence that says why there are none."""
    lines = _gpu_lines(machine) if machine.gpus else [printable(machine.why_none or NO_GPU)]
    if checks:
        lines += ["", *_check_lines(checks)]
    return "\n".join(lines) + "\n"


NO_GPU = "No GPU was found on this machine."

STATES = {"ok": "ok", "warn": "mind", "fail": "FIX"}


def _check_lines(checks: Sequence[Check]) -> list[str]:
    rows = [
        (
            STATES[check.state],
            check.title,
            " ".join(filter(None, (printable(check.found), printable(check.advice)))),
        )
        for check in checks
    ]
    return _columns(rows)


def _gpu_lines(machine: Machine) -> list[str]:
    rows = [
        (
            str(gpu.index if gpu.index is not None else number),
            printable(f"{gpu.name} {gpu.mig_profile} {gpu.uuid}" if gpu.mig_profile else gpu.name, 100),
            f"{gib(gpu.memory_total_bytes)} GiB",
            f"{gib(gpu.memory_used_bytes)} used",
            capability_text(gpu.compute_capability) or "?",
            ", ".join(f"{printable(process.name, 20)} {process.pid}" for process in gpu.processes[:3]),
        )
        for number, gpu in enumerate(machine.gpus)
    ]
    topology = machine.topology
    links = f"links: {topology.interconnect.value}"
    joined = [group for group in topology.groups if len(group) > 1]
    if joined and len(joined[0]) < len(machine.gpus):
        links += ", NVLink among " + " and ".join(",".join(map(str, group)) for group in joined)
    if machine.peer_access is not None:
        links += ", peer access over PCIe" if machine.peer_access else ", no peer access"
    lines = [*_columns(rows), f"driver {machine.driver or '?'} · CUDA {machine.cuda or '?'} · {links}"]
    return [*lines, *map(printable, machine.warnings)]


def gpus_to_list(found: Iterable[CatalogueGPU]) -> list[dict[str, Any]]:
    """The JSON document of `gpus`."""
    return [
        gpu_to_dict(entry.info()) | {"source": entry.source, "planned": entry.vendor in PLANNED_VENDORS}
        for entry in found
    ]


def render_gpus(found: Sequence[CatalogueGPU]) -> str:
    """The catalogue's GPUs as aligned lines."""
    rows = [
        (
            entry.name,
            f"{gib(entry.memory_total_bytes)} GiB" + ("~" if entry.estimated_total else ""),
            f"{entry.bandwidth_gb_s:,.0f} GB/s" if entry.bandwidth_gb_s else "",
            capability_text(entry.compute_capability) or "",
            entry.arch + ("" if entry.vendor in PLANNED_VENDORS else "  not planned yet"),
        )
        for entry in found
    ]
    if not rows:
        return "No GPU of that name is in the catalogue; `gpus` without words lists all.\n"
    return "\n".join([*_columns(rows), "~ CUDA total estimated, not logged on a real card"]) + "\n"


def models_to_list(found: Iterable[FoundModel]) -> list[dict[str, Any]]:
    """The JSON document of `models`."""
    return [asdict(model) for model in found]


def render_models(found: Sequence[FoundModel]) -> str:
    """Found models as aligned lines: id, size, storage, where, downloads, licence, what it is made from."""
    if not found:
        return "No model of that name was found; try fewer words, or give a directory.\n"
    rows = [
        (
            printable(model.id, 80),
            params(model.params) if model.params else "",
            printable(model.quantization or DTYPE_WORDS.get(model.dtype or "", ""), 20),
            model.source,
            f"{short_count(model.downloads)} downloads" if model.downloads is not None else "",
            " ".join(filter(None, ("gated" if model.gated else "", printable(model.license or "", 30)))),
            f"from {printable(model.base, 60)}" if model.base else "",
        )
        for model in found
    ]
    return "\n".join([*_columns(rows), plural(len(rows), "model")]) + "\n"


DTYPE_WORDS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
