"""What `detect` and `models` print: links and the pre-flight list among it, and nothing a terminal obeys."""

from __future__ import annotations

import json
from dataclasses import replace

from wizard.hardware import catalogue, topology
from wizard.hardware.detect import Machine
from wizard.hardware.preflight import Check
from wizard.models.found import FoundModel
from wizard.render.listings import (
    gpus_to_list,
    machine_to_dict,
    models_to_list,
    render_gpus,
    render_machine,
    render_models,
)
from wizard.schemas.outputs import GIB, GPUInfo, GPUProcess

CARD = GPUInfo("NVIDIA H100", 80 * GIB, (9, 0), index=0, processes=(GPUProcess(7, "py\x1b[2Jthon", GIB),))
LINKS = (
    ("X", "NV4", "SYS", "SYS"),
    ("NV4", "X", "SYS", "SYS"),
    ("SYS", "SYS", "X", "NV4"),
    ("SYS", "SYS", "NV4", "X"),
)
MACHINE = Machine(
    gpus=tuple(replace(CARD, index=number) for number in range(4)),
    vendor="nvidia",
    driver="580.1",
    cuda="13.0",
    topology=topology.read(LINKS),
    warnings=("mind\x1b[31m this",),
)
CHECKS = (
    Check("ram", "RAM", "ok", "9 of 10 GiB of RAM are free."),
    Check("port", "Port 8000", "fail", "Port 8000 is taken.", "Serve with another --port."),
)


def test_json_of_a_machine_has_links_groups_and_checks() -> None:
    document = json.loads(json.dumps(machine_to_dict(MACHINE, CHECKS)))
    assert document["schema_version"] == 1
    assert document["links"][0] == ["X", "NV4", "SYS", "SYS"]
    assert document["nvlink_groups"] == [[0, 1], [2, 3]]
    assert document["gpus"][0]["compute_capability"] == "9.0"
    assert document["checks"][1] == {
        "key": "port",
        "title": "Port 8000",
        "state": "fail",
        "found": "Port 8000 is taken.",
        "advice": "Serve with another --port.",
    }


def test_text_of_a_machine() -> None:
    shown = render_machine(MACHINE, CHECKS)
    assert "NVLink among 0,1 and 2,3" in shown
    assert "FIX  Port 8000  Port 8000 is taken. Serve with another --port." in shown
    assert "\x1b" not in shown


def test_a_machine_without_gpus_still_has_its_list() -> None:
    shown = render_machine(Machine(why_none="No driver; use --gpu NAME."), CHECKS)
    assert shown.startswith("No driver; use --gpu NAME.\n\nok ")


def test_models_in_columns() -> None:
    rows = [
        FoundModel("org/a", "catalogue", params=8_030_000_000, dtype="bfloat16", license="mit"),
        FoundModel("org/a-AWQ\x1b[2J", "hub", gated=True, base="org/a", downloads=1500, quantization="awq"),
    ]
    first, second, count = render_models(rows).splitlines()
    assert first.split() == ["org/a", "8.0B", "bf16", "catalogue", "mit"]
    assert second.split() == ["org/a-AWQ[2J", "awq", "hub", "1.5k", "downloads", "gated", "from", "org/a"]
    assert count == "2 models"
    assert models_to_list(rows)[0]["params"] == 8_030_000_000
    assert "try fewer words" in render_models([])


def test_accelerators_that_are_not_planned_are_marked() -> None:
    found = catalogue.search("gaudi")
    assert found
    assert render_gpus(found).count("not planned yet") == len(found)
    assert not any(entry["planned"] for entry in gpus_to_list(found))
    assert "not planned" not in render_gpus(catalogue.search("H100"))


def test_mig_instances_are_told_apart() -> None:
    instance = GPUInfo("NVIDIA H100", 9 * GIB, index=0, uuid="MIG-aaaa", mig_profile="1g.10gb")
    assert "NVIDIA H100 1g.10gb MIG-aaaa" in render_machine(Machine(gpus=(instance,)))
