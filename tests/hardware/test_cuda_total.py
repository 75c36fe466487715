"""The rule for CUDA's total against cards on which both totals were read."""

from __future__ import annotations

import pytest

from wizard.hardware.cuda_total import from_nominal, from_nvml_total, from_reserved
from wizard.schemas.outputs import GIB, MIB

READ = {
    "GTX 1660 SUPER": (6144, 5.61),
    "RTX 3060": (12288, 11.63),
    "T4G": (15360, 14.56),
    "A10": (23028, 22.06),
    "L4": (23034, 22.04),
    "RTX 3090": (24576, 23.54),
    "RTX 4090": (24564, 23.527),
    "RTX 5090": (32607, 31.342),
    "H100": (81559, 79.19),
    "H20": (97871, 95.005),
    "RTX PRO 6000": (97887, 95.01),
    "H200": (143771, 139.72),
    "B200": (183359, 178.35),
}
"""NVML's total in MiB and what CUDA reported in GiB, Linux, drivers 545 and later."""


@pytest.mark.parametrize("card", READ)
def test_the_rule_is_within_its_stated_residual(card: str) -> None:
    nvml_mib, cuda_gib = READ[card]
    assert from_nvml_total(nvml_mib * MIB) / GIB == pytest.approx(cuda_gib, abs=0.11)


def test_what_the_driver_says_it_reserves_gives_the_total_nearly_exactly() -> None:
    assert from_reserved(12288 * MIB, 380 * MIB) / GIB == pytest.approx(11.63, abs=0.005)
    assert from_reserved(24564 * MIB, 346 * MIB) / GIB == pytest.approx(23.647, abs=0.005)


def test_wsl_hands_out_what_nvml_reports() -> None:
    """vLLM logged 23.99 GiB on a 4090 under WSL2."""
    assert from_reserved(24564 * MIB, 346 * MIB, wsl=True) / GIB == pytest.approx(23.99, abs=0.005)
    assert from_nvml_total(24564 * MIB, wsl=True) == 24564 * MIB


@pytest.mark.parametrize("nvml_mib", [1, 256, 1024, 4096])
def test_even_the_smallest_board_keeps_some_memory(nvml_mib: int) -> None:
    assert 0 < from_nvml_total(nvml_mib * MIB) < nvml_mib * MIB


@pytest.mark.parametrize(
    ("gb", "vendor", "arch", "unified", "gib"),
    [
        (64, "amd", "CDNA2", False, 63.98),
        (32, "amd", "RDNA4", False, 31.86),
        (128, "nvidia", "Blackwell", True, 121.69),
    ],
)
def test_from_the_size_on_the_box(gb: float, vendor: str, arch: str, unified: bool, gib: float) -> None:
    assert from_nominal(gb, vendor=vendor, arch=arch, unified=unified) / GIB == pytest.approx(gib, rel=0.025)
