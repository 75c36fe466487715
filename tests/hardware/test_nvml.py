"""Detection over a scriptable NVML: what each machine looks like to the rest of the wizard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hardware.conftest import Detect
from wizard.schemas.outputs import GIB, MIB

HEAD = "driver 570.86.15\ncuda 12080\n"


def gpu(index: int, name: str, total_mib: int, /, **facts: object) -> str:
    """Scenario lines of one GPU; keywords overwrite the usual answers."""
    usual: dict[str, object] = {
        "name": name,
        "uuid": f"GPU-{index:08x}-0000-0000-0000-000000000000",
        "total_mib": total_mib,
        "used_mib": 4,
        "bus": f"00000000:{0x18 + index:02X}:00.0",
        "pcie_gen": 5,
        "pcie_width": 16,
        **facts,
    }
    return "".join(f"gpu {index} {key} {value}\n" for key, value in usual.items())


def h100(index: int = 0, /, **facts: object) -> str:
    usual: dict[str, object] = {
        "reserved_mib": 469,
        "capability": "9.0",
        "power_mw": 700000,
        "ecc": 1,
        "nvlinks": 18,
    }
    return gpu(index, "NVIDIA H100 80GB HBM3", 81559, **{**usual, **facts})


def rtx3090(index: int, /, **facts: object) -> str:
    return gpu(index, "NVIDIA GeForce RTX 3090", 24576, reserved_mib=471, capability="8.6", **facts)


def test_one_h100(detect_with: Detect) -> None:
    machine = detect_with(HEAD + "gpus 1\n" + h100())
    (card,) = machine["gpus"]
    assert machine["why_none"] is None
    assert (machine["driver"], machine["cuda"]) == ("570.86.15", "12.8")
    assert card["name"] == "NVIDIA H100 80GB HBM3"
    assert card["catalogue_name"] == "H100 SXM5 80GB"
    assert card["memory_total_bytes"] / GIB == pytest.approx(79.19, abs=0.01)
    assert card["nvml_total_bytes"] == 81559 * MIB
    assert card["memory_used_bytes"] == 4 * MIB
    assert not card["estimated_total"]
    assert card["compute_capability"] == [9, 0]
    assert (card["bandwidth_gb_s"], card["tflops_bf16"], card["nvlink_gb_s"]) == (3350, 989, 900)
    assert (card["power_limit_w"], card["ecc"], card["pcie_gen"], card["nvlink_count"]) == (700, True, 5, 18)
    assert machine["topology"]["interconnect"] == "unknown"


def test_eight_h100_on_nvlink(detect_with: Detect) -> None:
    machine = detect_with(HEAD + "gpus 8\np2p all 0\nancestor all 50\n" + "".join(map(h100, range(8))))
    assert len(machine["gpus"]) == 8
    assert machine["topology"]["interconnect"] == "nvlink"
    assert machine["topology"]["groups"] == [list(range(8))]
    assert machine["topology"]["links"][0][:2] == ["X", "NV18"]
    assert machine["peer_access"] is True
    assert machine["warnings"] == []


def test_four_3090s_on_pcie_with_a_process(detect_with: Detect) -> None:
    cards = "".join(rtx3090(index) for index in (0, 1, 3))
    busy = rtx3090(2, used_mib=6148, process="4711 6144")
    machine = detect_with(
        HEAD
        + "gpus 4\np2p all 5\nancestor all 30\nprocess 4711 /opt/venv/bin/python3 serve.py\n"
        + cards
        + busy
    )
    assert machine["topology"]["interconnect"] == "pcie"
    assert machine["topology"]["groups"] == [[0], [1], [2], [3]]
    assert machine["topology"]["links"][0] == ["X", "PHB", "PHB", "PHB"]
    assert machine["peer_access"] is False
    assert [card["memory_used_bytes"] // MIB for card in machine["gpus"]] == [4, 4, 6148, 4]
    assert machine["gpus"][2]["processes"] == [{"pid": 4711, "name": "python3", "used_bytes": 6144 * MIB}]
    assert machine["gpus"][0]["nvlink_gb_s"] is None
    assert machine["gpus"][0]["memory_total_bytes"] / GIB == pytest.approx(23.54, abs=0.01)


def test_bridged_pairs_are_groups_but_no_nvlink_machine(detect_with: Detect) -> None:
    pairs = "".join(f"p2p {one} {two} 0\n" for one, two in ((0, 1), (1, 0), (2, 3), (3, 2)))
    machine = detect_with(
        HEAD
        + "gpus 4\n"
        + pairs
        + "p2p all 5\nancestor all 40\n"
        + "".join(rtx3090(i, nvlinks=4) for i in range(4))
    )
    assert machine["topology"]["groups"] == [[0, 1], [2, 3]]
    assert machine["topology"]["interconnect"] == "pcie"
    assert machine["topology"]["links"][0] == ["X", "NV4", "NODE", "NODE"]


MIG_SCENARIO = (
    HEAD
    + "gpus 2\n"
    + h100(0, mig=1)
    + "mig 0 0 uuid MIG-aaaa0000-0000\nmig 0 0 name NVIDIA H100 80GB HBM3 MIG 3g.40gb\n"
    + "mig 0 0 total_mib 40448\nmig 0 0 used_mib 50\nmig 0 0 gpu_slices 3\n"
    + "mig 0 2 uuid MIG-bbbb0000-0000\nmig 0 2 name NVIDIA H100 80GB HBM3 MIG 1g.10gb\n"
    + "mig 0 2 total_mib 9984\nmig 0 2 used_mib 13\nmig 0 2 gpu_slices 1\n"
    + h100(1)
)


def test_mig_instances_are_devices(detect_with: Detect) -> None:
    machine = detect_with(MIG_SCENARIO)
    big, small, whole = machine["gpus"]
    assert [card["mig_profile"] for card in machine["gpus"]] == ["3g.40gb", "1g.10gb", None]
    assert big["uuid"] == "MIG-aaaa0000-0000"
    assert small["memory_total_bytes"] == 9984 * MIB
    assert big["bandwidth_gb_s"] == 3350 * 4 / 8
    assert small["tflops_bf16"] == pytest.approx(989 / 7, abs=0.1)
    assert big["nvlink_gb_s"] is None
    assert whole["nvml_total_bytes"] == 81559 * MIB
    assert any("serve alone" in warning for warning in machine["warnings"])


def test_mig_uuid_in_cuda_visible_devices(detect_with: Detect) -> None:
    machine = detect_with(MIG_SCENARIO, env={"CUDA_VISIBLE_DEVICES": "MIG-bbbb"})
    assert [card["mig_profile"] for card in machine["gpus"]] == ["1g.10gb"]


def test_mig_on_without_an_instance_says_so(detect_with: Detect) -> None:
    machine = detect_with(HEAD + "gpus 1\n" + h100(0, mig=1))
    assert machine["gpus"] == []
    assert "nvidia-smi mig" in machine["why_none"]


def test_gb10_shares_the_system_memory(detect_with: Detect, root: Path) -> None:
    (root / "proc/meminfo").write_text(
        "MemTotal:  127600832 kB\nMemFree: 90000000 kB\nMemAvailable: 110000000 kB\n"
    )
    (root / "proc/version").write_text("Linux version 6.11.0-1016-nvidia\n")
    machine = detect_with(
        HEAD
        + "gpus 1\n"
        + "gpu 0 name NVIDIA GB10\ngpu 0 uuid GPU-0a\ngpu 0 capability 12.1\ngpu 0 bus 0000000F:01:00.0\n"
    )
    (card,) = machine["gpus"]
    assert card["unified_memory"] is True
    assert card["memory_total_bytes"] == 127600832 * 1024
    assert card["memory_used_bytes"] == (127600832 - 110000000) * 1024
    assert card["nvml_total_bytes"] is None
    assert card["catalogue_name"] == "GB10 (DGX Spark)"


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetEccMode", "ecc"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_w"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetMaxPcieLinkGeneration", "pcie_gen"),
    ],
)
def test_one_query_not_supported_leaves_that_field_unknown(
    detect_with: Detect, function: str, field: str
) -> None:
    (card,) = detect_with(HEAD + "gpus 1\n" + h100(**{f"fails {function}": 3}))["gpus"]
    assert card[field] is None
    assert card["memory_total_bytes"] == (81559 - 469) * MIB


def test_an_old_driver_without_the_second_memory_query(detect_with: Detect) -> None:
    (card,) = detect_with(HEAD + "gpus 1\n" + h100(**{"fails nvmlDeviceGetMemoryInfo_v2": 13}))["gpus"]
    assert card["memory_total_bytes"] / GIB == pytest.approx(79.19, abs=0.01)
    assert card["memory_used_bytes"] < 10 * MIB


HOST = "MemTotal: 2113400000 kB\nMemAvailable: 2000000000 kB\n"


def silent(code: int) -> dict[str, object]:
    """Facts of a card that declines both memory queries."""
    return {f"fails nvmlDeviceGetMemoryInfo{version}": code for version in ("", "_v2")}


@pytest.mark.parametrize("code", [3, 999])
def test_a_discrete_card_without_memory_figures_never_gets_the_machines(
    detect_with: Detect, root: Path, code: int
) -> None:
    (root / "proc/meminfo").write_text(HOST)
    machine = detect_with(HEAD + "gpus 1\n" + h100(0, **silent(code)))
    (card,) = machine["gpus"]
    assert card["unified_memory"] is False
    assert card["memory_total_bytes"] / GIB == pytest.approx(79.19, abs=0.01)
    assert card["estimated_total"] is True
    assert any("does not tell its memory" in warning for warning in machine["warnings"])


def test_a_card_that_is_lost_at_the_memory_query_is_left_out(detect_with: Detect, root: Path) -> None:
    (root / "proc/meminfo").write_text(HOST)
    machine = detect_with(HEAD + "gpus 2\n" + h100(0) + h100(1, **silent(15)))
    assert [card["index"] for card in machine["gpus"]] == [0]
    assert any("GPU 1" in warning and "lost" in warning for warning in machine["warnings"])


def test_an_unheard_of_card_without_memory_figures_is_left_out(detect_with: Detect, root: Path) -> None:
    (root / "proc/meminfo").write_text(HOST)
    machine = detect_with(HEAD + "gpus 2\n" + h100(0) + gpu(1, "NVIDIA Tomorrow 1", 65536, **silent(3)))
    assert [card["index"] for card in machine["gpus"]] == [0]
    assert any("left out" in warning for warning in machine["warnings"])


def test_an_unlisted_jetson_shares_the_system_memory(detect_with: Detect, root: Path) -> None:
    (root / "proc/meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n")
    machine = detect_with(HEAD + "gpus 1\n" + gpu(0, "NVIDIA Orin NX", 0, **silent(3)))
    assert machine["gpus"][0]["unified_memory"] is True
    assert machine["gpus"][0]["memory_total_bytes"] == 16000000 * 1024


def test_an_unheard_of_card_is_planned_by_rule(detect_with: Detect) -> None:
    (card,) = detect_with(
        HEAD + "gpus 1\n" + gpu(0, "NVIDIA Tomorrow 1", 65536, **{"fails nvmlDeviceGetMemoryInfo_v2": 13})
    )["gpus"]
    assert card["catalogue_name"] is None
    assert card["estimated_total"] is True
    assert 62 * GIB < card["memory_total_bytes"] < 64 * GIB


def test_nvml_is_believed_against_the_catalogue(detect_with: Detect) -> None:
    machine = detect_with(HEAD + "gpus 1\n" + h100(total_mib=40000))
    assert machine["gpus"][0]["nvml_total_bytes"] == 40000 * MIB
    assert any("NVML is believed" in warning for warning in machine["warnings"])


def test_under_wsl_cuda_and_nvml_agree(detect_with: Detect, root: Path) -> None:
    (root / "proc/version").write_text("Linux version 6.6.87.2-microsoft-standard-WSL2\n")
    (root / "proc/meminfo").write_text("MemTotal: 32000000 kB\n")
    (card,) = detect_with(HEAD + "gpus 1\n" + gpu(0, "NVIDIA GeForce RTX 4090", 24564, reserved_mib=346))[
        "gpus"
    ]
    assert card["memory_total_bytes"] == 24564 * MIB


def test_a_lost_gpu_is_left_out_and_named(detect_with: Detect) -> None:
    machine = detect_with(
        HEAD + "gpus 2\n" + h100(0) + h100(1, **{"fails nvmlDeviceGetHandleByIndex_v2": 15})
    )
    assert len(machine["gpus"]) == 1
    assert any("GPU 1 does not answer" in warning for warning in machine["warnings"])


def test_names_from_the_driver_are_cleaned(detect_with: Detect) -> None:
    (card,) = detect_with(HEAD + "gpus 1\n" + gpu(0, "Evil\x1b[2J card", 24576))["gpus"]
    assert card["name"] == "Evil[2J card"


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("init 18\n", "version mismatch"),
        ("init 9\n", "not loaded"),
        ("init 4\n", "permissions"),
        ("init 999\n", "nvidia-smi"),
        (HEAD + "gpus 0\n", "finds no GPU"),
    ],
)
def test_no_usable_driver_is_one_sentence_with_a_next_step(
    detect_with: Detect, scenario: str, words: str
) -> None:
    machine = detect_with(scenario)
    assert machine["gpus"] == []
    assert words in machine["why_none"]
    assert "--gpu NAME" in machine["why_none"]
    assert machine["trouble"] is True


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetName", "nvmlDeviceGetP2PStatus"])
def test_a_library_that_hangs_does_not_stall(detect_with: Detect, function: str) -> None:
    machine = detect_with(HEAD + f"hang {function}\ngpus 2\n" + h100(0) + h100(1), timeout_s=0.3)
    assert machine["gpus"] == []
    assert "hangs" in machine["why_none"]


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("1,0", [1, 0]),
        ("2", [2]),
        ("GPU-00000001", [1]),
        ("0,9,1", [0]),
        ("", []),
        ("-1", []),
        ("nonsense", []),
    ],
)
def test_cuda_visible_devices(detect_with: Detect, value: str, indices: list[int]) -> None:
    machine = detect_with(
        HEAD + "gpus 3\n" + "".join(rtx3090(index) for index in range(3)), env={"CUDA_VISIBLE_DEVICES": value}
    )
    assert [card["index"] for card in machine["gpus"]] == indices
    assert (machine["why_none"] is None) == bool(indices)


def test_different_cards_are_named(detect_with: Detect) -> None:
    machine = detect_with(HEAD + "gpus 2\np2p all 5\nancestor all 50\n" + h100(0) + rtx3090(1))
    assert any("GPUs differ" in warning and "RTX 3090" in warning for warning in machine["warnings"])


def test_a_hidden_or_lost_gpu_still_counts_as_the_machines(detect_with: Detect) -> None:
    lost = h100(1, **{"fails nvmlDeviceGetHandleByIndex_v2": 15})
    machine = detect_with(HEAD + "gpus 3\n" + h100(0) + lost + h100(2), env={"CUDA_VISIBLE_DEVICES": "2"})
    assert [(card["index"], card["machine_devices"]) for card in machine["gpus"]] == [(2, 3)]
