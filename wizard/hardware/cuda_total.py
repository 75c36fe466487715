"""What CUDA calls the total memory of a GPU: less than NVML's, and what vLLM multiplies by the utilisation.

vLLM takes `cudaMemGetInfo`'s total (`utils/mem_utils.py`, vLLM 0.33); NVML and nvidia-smi report the
board's memory. The difference is what the driver keeps for itself, NVML's `reserved`.
"""

from __future__ import annotations

from wizard.schemas.outputs import MIB

DRIVER_RESERVED_BASE_BYTES = 410 * MIB
"""Least squares over 26 cards whose NVML and CUDA totals are both known (6 to 179 GiB, drivers 545 and later,
Linux; vLLM logs, torch device properties, Unsloth banners): reserved = 410 MiB + 0.198 % of NVML's total.
Residuals: 55 MiB rms; widest H100 SXM -103, L40S +111, A100 80GB +196 MiB. H100 NVL (+375) is left out, and
measured in the catalogue."""

DRIVER_RESERVED_SHARE = 0.00198
"""Share of NVML's total, see DRIVER_RESERVED_BASE_BYTES."""

UNIFIED_SHARE = 0.93
"""MemTotal over nominal memory where the GPU uses the system's: 0.951 on GB10, 0.935 on a Jetson Orin 32 GB."""

ROCM_RESERVED_BYTES = 16 * MIB
"""HIP's total is 16 MiB below the nominal size on MI210, MI250X, MI300X and RX 7900 XTX (torch properties)."""

RDNA4_SHARE = 0.995
"""HIP's total over nominal: 0.9951 on RX 9070 XT, 0.9956 on R9700 (torch properties, vLLM logs)."""


def from_nvml_total(nvml_total_bytes: int, *, wsl: bool = False) -> int:
    """CUDA's total in bytes from NVML's, by rule. Under WSL the two agree within 2 MiB (5 cards)."""
    if wsl:
        return nvml_total_bytes
    reserved = DRIVER_RESERVED_BASE_BYTES + int(DRIVER_RESERVED_SHARE * nvml_total_bytes)
    return max(nvml_total_bytes - reserved, nvml_total_bytes // 2)


def from_reserved(nvml_total_bytes: int, reserved_bytes: int, *, wsl: bool = False) -> int:
    """CUDA's total in bytes where NVML tells what the driver reserves (`nvmlDeviceGetMemoryInfo_v2`).

    Within 4 MiB on the cards where both were printed: RTX 3060 (12288 - 380 MiB; vLLM logged 11.63 GiB) and
    RTX 4090 (24564 - 346 MiB; torch 23.647 GiB).
    """
    return nvml_total_bytes if wsl else nvml_total_bytes - reserved_bytes


def from_nominal(memory_gb: float, *, vendor: str, arch: str, unified: bool) -> int:
    """CUDA's or HIP's total in bytes from the size on the box, for cards without an NVML total."""
    nominal = int(memory_gb * 1024 * MIB)
    if unified:
        return int(nominal * UNIFIED_SHARE)
    if vendor == "amd":
        return int(nominal * RDNA4_SHARE) if arch == "RDNA4" else nominal - ROCM_RESERVED_BYTES
    return from_nvml_total(nominal)
