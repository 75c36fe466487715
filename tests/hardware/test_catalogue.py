"""The GPU catalogue as its users see it: names find cards, facts are plausible and sourced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.data import read_text
from wizard.errors import HardwareError
from wizard.hardware.catalogue import find, get_gpu_by_name, gpus, match_reported, search
from wizard.schemas.outputs import GIB, MIB


@pytest.mark.parametrize(
    "name", ["4090", "RTX 4090", "rtx4090", "NVIDIA GeForce RTX 4090", "  geforce rtx 4090 "]
)
def test_every_way_to_write_4090_finds_the_card(name: str) -> None:
    assert get_gpu_by_name(name).name == "GeForce RTX 4090"


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("h100", "H100 SXM5 80GB"),
        ("H100 sxm", "H100 SXM5 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("A100 80GB", "A100 SXM4 80GB"),
        ("a100-pcie 40 GB", "A100 PCIe 40GB"),
        ("4070 Ti SUPER", "GeForce RTX 4070 Ti SUPER"),
        ("4090D", "GeForce RTX 4090 D"),
        ("4090 laptop", "GeForce RTX 4090 Laptop GPU"),
        ("NVIDIA GH200 480GB", "GH200 96GB HBM3"),
        ("DGX Spark", "GB10 (DGX Spark)"),
        ("MI300X", "AMD Instinct MI300X"),
        ("RTX A6000", "NVIDIA RTX A6000"),
        ("3080", "GeForce RTX 3080"),
        ("3080 12gb", "GeForce RTX 3080 12GB"),
        ("H20", "H20 96GB"),
    ],
)
def test_names_people_type(name: str, card: str) -> None:
    assert find(name).name == card


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("A100", ("A100 SXM4 40GB", "A100 SXM4 80GB")),
        ("V100", ("16 GB", "32 GB")),
        ("NVIDIA GeForce RTX 4060 Ti", ("16 GB", "8 GB")),
        ("RTX 6000", ("24 GB", "48 GB", "96 GB")),
    ],
)
def test_a_name_of_several_memory_sizes_asks_which(name: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(HardwareError) as caught:
        get_gpu_by_name(name)
    sentence = str(caught.value)
    assert all(choice in sentence for choice in choices)
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["RTX 4095", "", "   ", "quantum \x1b[31m\n card", "x" * 5000])
def test_an_unknown_name_is_one_clean_sentence(name: str) -> None:
    with pytest.raises(HardwareError) as caught:
        get_gpu_by_name(name)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 300
    assert "vllm-wizard-tui gpus" in sentence


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(HardwareError, match="GeForce RTX 4090"):
        get_gpu_by_name("RTX 4095")


def test_each_card_is_found_by_its_own_name() -> None:
    names = [gpu.name for gpu in gpus()]
    assert len(names) == len(set(names))
    assert len(names) >= 60
    assert [find(name).name for name in names] == names


def test_facts_are_plausible_and_sourced() -> None:
    for gpu in gpus():
        assert gpu.source, gpu.name
        assert (
            0.6 * gpu.memory_gb * GIB < gpu.memory_total_bytes <= gpu.memory_gb * GIB or gpu.vendor == "amd"
        ), gpu
        if gpu.nvml_total_bytes is not None:
            assert 200 * MIB < gpu.nvml_total_bytes - gpu.memory_total_bytes < 1100 * MIB, gpu.name
        if gpu.vendor == "nvidia":
            assert gpu.compute_capability is not None, gpu.name
            assert (7, 0) <= gpu.compute_capability <= (12, 1), gpu.name
            # vLLM's tensor-core formats by architecture
            assert (gpu.tflops_fp8 is not None) == (gpu.compute_capability >= (8, 9)), gpu.name
            assert (gpu.tflops_fp4 is not None) == (gpu.compute_capability >= (10, 0)), gpu.name
        if gpu.bandwidth_gb_s is not None:
            assert 60 < gpu.bandwidth_gb_s <= 8000, gpu.name


def test_cuda_totals_are_those_that_vllm_logged() -> None:
    logged = {
        "H100": 79.19,
        "H200": 139.72,
        "B200": 178.35,
        "4090": 23.53,
        "L4": 22.04,
        "GB10": 121.69,
        "3060": 11.63,
    }
    for name, gib in logged.items():
        gpu = get_gpu_by_name(name)
        assert gpu.memory_total_bytes / GIB == pytest.approx(gib, abs=0.01), name
        assert not gpu.estimated_total, name


def test_a_total_by_rule_says_so() -> None:
    assert get_gpu_by_name("RTX 3080 Ti").estimated_total


def test_mi250_is_planned_per_die() -> None:
    """vLLM sees two 64 GB devices on the card."""
    assert get_gpu_by_name("MI250X").memory_total_bytes < 64 * GIB


def test_search_narrows_while_one_types() -> None:
    assert len(search("")) == len(gpus())
    names = [gpu.name for gpu in search("rtx 40")]
    assert "GeForce RTX 4090" in names
    assert all("RTX" in name for name in names)
    assert [gpu.name for gpu in search("mi30")] == [gpu.name for gpu in search("MI30")]
    assert search("no such card") == []


def test_reported_names_match_by_memory_where_sizes_share_a_name() -> None:
    assert match_reported("NVIDIA GeForce RTX 4060 Ti", 8188 * MIB).name == "GeForce RTX 4060 Ti 8GB"  # type: ignore[union-attr]
    assert match_reported("NVIDIA GeForce RTX 4060 Ti", 16380 * MIB).name == "GeForce RTX 4060 Ti"  # type: ignore[union-attr]
    assert match_reported("NVIDIA Unheard-Of 1", 8188 * MIB) is None
    assert match_reported("NVIDIA GB300", 284208 * MIB).name == "GB300 (per GPU)"  # type: ignore[union-attr]


def test_prices_name_cards_of_the_catalogue() -> None:
    offers = json.loads(read_text("prices.json"))["offers"]
    known = {gpu.name for gpu in gpus()}
    assert {offer["gpu"] for offer in offers} <= known
    assert all(offer["captured"] and offer["source"] for offer in offers)
    assert get_gpu_by_name("H100").usd_per_hour == min(
        offer["usd_per_gpu_hour"] for offer in offers if offer["gpu"] == "H100 SXM5 80GB"
    )


def test_every_card_of_the_gathered_facts_is_known(shared: Path) -> None:
    rows = json.loads((shared / "hardware" / "gpus.json").read_text(encoding="utf-8"))["gpus"]
    assert [row["name"] for row in rows if not find(row["name"])] == []


def test_the_catalogue_imports_no_driver_library_and_no_network() -> None:
    code = (
        "import sys; from wizard.hardware.catalogue import get_gpu_by_name; get_gpu_by_name('4090');"
        "print([m for m in ('pynvml', 'textual', 'huggingface_hub', 'yaml', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("reported", ["MI300X-O", "AMD Instinct MI300X OAM", "AMD_Instinct_MI300X"])
def test_an_mi300x_by_any_of_its_names(reported: str) -> None:
    row = match_reported(reported)
    assert row is not None
    assert row.name == "AMD Instinct MI300X"
