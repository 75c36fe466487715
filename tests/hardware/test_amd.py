"""AMD detection on what real tools printed, through executables that print it again."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from wizard.hardware import amd
from wizard.hardware.accelerators import AMD
from wizard.hardware.amd_json import entries, rocm_smi, static
from wizard.hardware.readings import NoDevicesError, Reading
from wizard.schemas.outputs import GIB, MIB

RECORDED = Path(__file__).with_name("recorded")


def install(folder: Path, tool: str, answers: Mapping[str, Path | str]) -> None:
    """An executable that prints a file by its first argument, or does what a line of shell says."""
    cases = "".join(
        f"{first}) {answer if isinstance(answer, str) else f'cat {answer}'};;\n"
        for first, answer in answers.items()
    )
    path = folder / tool
    path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\ncase "$1" in\n{cases}esac\n', encoding="utf-8")
    path.chmod(0o755)


def read(tools: Path, timeout_s: float = 20.0) -> Reading:
    return amd.read((AMD,), timeout_s, root=tools / "nowhere", environment={"PATH": str(tools)})


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def written(folder: Path, name: str, document: Any) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_an_mi210_as_amd_smi_of_rocm_7_tells_it(tmp_path: Path) -> None:
    install(tmp_path, "amd-smi", {"static": RECORDED / "mi210_static.json"})
    (gpu,) = read(tmp_path).gpus
    assert (gpu.vendor, gpu.name, gpu.catalogue_name) == ("amd", "AMD Instinct MI210", "AMD Instinct MI210")
    assert gpu.memory_total_bytes == 65520 * MIB
    assert not gpu.estimated_total
    assert gpu.compute_capability == (9, 0)
    assert (gpu.power_limit_w, gpu.pcie_gen, gpu.pcie_width, gpu.numa_node) == (300, 4, 16, 1)
    assert gpu.driver_version == "6.14.0"
    assert gpu.bandwidth_gb_s == 1638


@pytest.mark.parametrize(
    "warning", ["WARNING: add the user to the groups render, video.\\n", "[WARN] low-power state\\n\\n"]
)
def test_warnings_before_the_document_are_skipped(tmp_path: Path, warning: str) -> None:
    install(tmp_path, "amd-smi", {"static": f"printf '{warning}'; cat {RECORDED / 'mi210_static.json'}"})
    (gpu,) = read(tmp_path).gpus
    assert gpu.name == "AMD Instinct MI210"
    document = json.dumps({"card0": {"VRAM Total Memory (B)": "68702699520", "GFX Version": "gfx90a"}})
    assert rocm_smi(warning.encode().decode("unicode_escape") + document)[0].vram_bytes == 68702699520


def test_a_card_outside_the_catalogue_as_amd_smi_of_rocm_6_tells_it(tmp_path: Path) -> None:
    install(
        tmp_path,
        "amd-smi",
        {name: RECORDED / f"rx6600_{name}.json" for name in ("static", "metric", "topology")},
    )
    (gpu,) = read(tmp_path).gpus
    assert gpu.catalogue_name is None
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes) == (8176 * MIB, 202 * MIB)
    assert gpu.bandwidth_gb_s is None


def test_processes_of_amd_smi(tmp_path: Path) -> None:
    two = {"gpu_data": [{**recorded("mi210_static.json")["gpu_data"][0], "gpu": number} for number in (0, 1)]}
    install(
        tmp_path,
        "amd-smi",
        {"static": written(tmp_path, "static", two), "process": RECORDED / "r9700_process.json"},
    )
    gpus = read(tmp_path).gpus
    assert [(process.pid, process.name) for process in gpus[1].processes] == [
        (213952, "python3.12"),
        (213953, "python3.12"),
    ]
    assert gpus[0].processes[0].used_bytes == 21008920000


def eight_mi300x(folder: Path, far: int | None = None) -> None:
    """Eight MI300X in the shape of ROCm 7; `far` is linked to the others over two hops."""
    row = recorded("mi210_static.json")["gpu_data"][0]
    cards = [
        {
            **row,
            "gpu": number,
            "asic": {"market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942"},
            "vram": {"size": {"value": 196592, "unit": "MB"}},
        }
        for number in range(8)
    ]
    links = [
        {
            "gpu": one,
            "links": [
                {
                    "gpu": two,
                    "link_type": "SELF" if one == two else "XGMI",
                    "num_hops": 2 if far in (one, two) else int(one != two),
                }
                for two in range(8)
            ],
        }
        for one in range(8)
    ]
    install(
        folder,
        "amd-smi",
        {
            "static": written(folder, "static", {"gpu_data": cards}),
            "topology": written(folder, "topology", links),
        },
    )


def test_eight_mi300x_on_infinity_fabric(tmp_path: Path) -> None:
    eight_mi300x(tmp_path)
    reading = read(tmp_path)
    assert reading.links[0] == ("X", *["XGMI"] * 7)
    assert reading.gpus[0].nvlink_count == 7
    assert reading.gpus[0].nvlink_gb_s == 896
    assert reading.gpus[0].compute_capability == (9, 4)
    assert reading.gpus[0].memory_total_bytes / GIB == pytest.approx(191.98, abs=0.01)


def test_two_hops_of_xgmi_are_no_direct_link(tmp_path: Path) -> None:
    """vLLM counts XGMI only over one hop."""
    eight_mi300x(tmp_path, far=7)
    assert read(tmp_path).links[0] == ("X", *["XGMI"] * 6, "PCIE")


def test_rocm_smi_where_there_is_no_amd_smi_and_the_processor_s_graphics_stay_out(tmp_path: Path) -> None:
    install(tmp_path, "rocm-smi", {"*": RECORDED / "r9700_rocm_smi.json"})
    reading = read(tmp_path)
    (gpu,) = reading.gpus
    assert gpu.catalogue_name == "Radeon AI PRO R9700"
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes) == (34208743424, 889229312)
    assert gpu.compute_capability == (12, 0)
    assert any(
        "Ryzen 9 9950X3D" in warning and "HIP_VISIBLE_DEVICES" in warning for warning in reading.warnings
    )


def test_rocm_smi_without_a_product_name(tmp_path: Path) -> None:
    install(tmp_path, "rocm-smi", {"*": RECORDED / "mi350_rocm_smi.json"})
    (gpu,) = read(tmp_path).gpus
    assert gpu.memory_total_bytes == 308902100992
    assert gpu.compute_capability == (9, 5)
    assert gpu.driver_version == "6.14.14"


def test_an_apu_takes_its_memory_from_the_system(tmp_path: Path) -> None:
    row = recorded("rx6600_static.json")[0]
    halo = {
        **row,
        "asic": {"market_name": "AMD Radeon 8060S Graphics", "target_graphics_version": "gfx1151"},
        "vram": {"size": {"value": 512, "unit": "MB"}},
    }
    memory = {"total_vram": {"value": 512, "unit": "MB"}, "total_gtt": {"value": 98304, "unit": "MB"}}
    install(
        tmp_path,
        "amd-smi",
        {
            "static": written(tmp_path, "static", [halo]),
            "metric": written(tmp_path, "metric", [{"gpu": 0, "mem_usage": memory}]),
        },
    )
    (gpu,) = read(tmp_path).gpus
    assert gpu.memory_total_bytes == 98304 * MIB
    assert gpu.unified_memory
    assert gpu.estimated_total


def test_a_tool_that_hangs_costs_only_its_own_answer(tmp_path: Path) -> None:
    install(tmp_path, "amd-smi", {"static": RECORDED / "mi210_static.json", "topology": "exec sleep 60"})
    assert len(read(tmp_path, timeout_s=1.0).gpus) == 1


def test_no_tool_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoDevicesError, match="install ROCm"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[" * 100_000,
        "null",
        '{"gpu_data": 3}',
        '[{"gpu": "zero"}, 7, {"gpu": true}]',
        '{"card0": 1, "cardX": {}}',
    ],
)
def test_nonsense_is_no_card(text: str) -> None:
    assert entries(text) == []
    assert rocm_smi(text) == {}


def test_fields_of_the_wrong_type_are_unknown() -> None:
    (card,) = static(
        json.dumps(
            [
                {
                    "gpu": 0,
                    "asic": [1],
                    "vram": {"size": {"value": "many", "unit": "MB"}},
                    "limit": {"max_power": {"value": True}},
                    "bus": "Gen 5",
                    "numa": {"node": -1},
                    "driver": {"version": ["x"]},
                }
            ]
        )
    ).values()
    told = (
        card.name,
        card.gfx,
        card.vram_bytes,
        card.power_limit_w,
        card.pcie_gen,
        card.numa_node,
        card.driver,
    )
    assert told == (None,) * 7


def amdsmi(handles: tuple[str, ...], broken: tuple[str, ...] = ()) -> ModuleType:
    """A stand-in for ROCm's Python library with the names and shapes of ROCm 7."""

    class AmdSmiException(Exception):
        pass

    def answer(name: str, value: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if name in broken:
                raise AmdSmiException(name)
            return value(*arguments) if callable(value) else value

        return call

    module = ModuleType("amdsmi")
    module.__spec__ = ModuleSpec("amdsmi", None)
    memory = SimpleNamespace(VRAM="vram", GTT="gtt")
    answers: dict[str, Any] = {
        "amdsmi_init": None,
        "amdsmi_shut_down": None,
        "amdsmi_get_processor_handles": list(handles),
        "amdsmi_get_gpu_asic_info": {
            "market_name": "AMD Instinct MI300X",
            "target_graphics_version": "gfx942",
        },
        "amdsmi_get_gpu_driver_info": {"driver_name": "amdgpu", "driver_version": "6.12.12"},
        "amdsmi_get_gpu_device_uuid": lambda handle: f"uuid-{handle}",
        "amdsmi_get_gpu_memory_total": lambda _handle, kind: 196592 * MIB if kind == "vram" else 0,
        "amdsmi_get_gpu_memory_usage": 283 * MIB,
        "amdsmi_topo_get_numa_node_number": 1,
        "amdsmi_topo_get_link_type": {"hops": 1, "type": 2},
        "amdsmi_get_gpu_process_list": [
            {"name": "/usr/bin/python3", "pid": 7, "memory_usage": {"vram_mem": 5 * GIB}}
        ],
    }
    vars(module).update({name: answer(name, value) for name, value in answers.items()})
    vars(module).update(AmdSmiException=AmdSmiException, AmdSmiMemoryType=memory)
    return module


def test_the_library_is_asked_first_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", amdsmi(("a", "b")))
    reading = read(tmp_path)
    assert [gpu.uuid for gpu in reading.gpus] == ["uuid-a", "uuid-b"]
    assert reading.links == (("X", "XGMI"), ("XGMI", "X"))
    assert reading.gpus[0].memory_total_bytes == 196592 * MIB
    assert reading.gpus[0].memory_used_bytes == 283 * MIB
    assert reading.gpus[0].processes[0].name == "python3"


def test_a_query_that_the_library_refuses_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("amdsmi_topo_get_numa_node_number", "amdsmi_get_gpu_process_list", "amdsmi_shut_down")
    monkeypatch.setitem(sys.modules, "amdsmi", amdsmi(("a",), broken))
    (gpu,) = read(tmp_path).gpus
    assert (gpu.numa_node, gpu.processes) == (None, ())


def test_a_library_that_does_not_start_leaves_it_to_the_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", amdsmi(("a",), ("amdsmi_init",)))
    install(tmp_path, "amd-smi", {"static": RECORDED / "mi210_static.json"})
    assert [gpu.name for gpu in read(tmp_path).gpus] == ["AMD Instinct MI210"]
