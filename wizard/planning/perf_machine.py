"""A GPU and its links in the terms of the roofline: bytes, operations and tokens on the wire per second."""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.schemas.outputs import GPUInfo

FALLBACK_BANDWIDTH_GB_S = 500.0
FALLBACK_TFLOPS = 60.0
"""For a card that the catalogue doesn't know: a mid-range one of recent years, with a wide range around it."""

PCIE_GB_S = {3: 16.0, 4: 32.0, 5: 64.0, 6: 128.0}
"""x16, one direction, by generation (PCI-SIG)."""

NETWORK_GB_S = 50.0
"""Between nodes, per GPU and direction: one 400 Gb/s port, the usual of 8-GPU servers since 2023."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One GPU of a deployment and its slowest link to the others."""

    family: str
    """Key of the constants: hopper | blackwell | ampere | gddr | amd_hbm | amd_gddr | unified."""
    bandwidth: float
    """Bytes per second, as the data sheet says."""
    flops16: float
    flops8: float | None
    """None where the tensor cores have no fp8."""
    flops4: float | None
    ops8: float | None
    """int8."""
    link: float
    """Bytes per second and direction."""
    link_kind: str
    """nvlink | xgmi | pcie | network"""
    stage_link: float
    """The same between pipeline stages: the network where they stand on several machines."""
    stage_link_kind: str
    rdna4: bool
    known: bool
    """False where bandwidth or FLOP/s stand in for unknown ones."""


def family_of(gpu: GPUInfo) -> str:
    """Cards whose kernels reach alike shares of their data sheet."""
    arch = gpu.arch or ""
    capability = gpu.compute_capability or (8, 6)
    if gpu.vendor == "amd":
        if gpu.unified_memory:
            return "unified"
        return "amd_hbm" if arch.startswith("CDNA") else "amd_gddr"
    if capability[0] == 9:
        return "hopper"
    if gpu.unified_memory or gpu.klass == "edge":
        return "unified"
    if capability[0] == 10:
        return "blackwell"
    return "ampere" if capability in {(8, 0), (7, 0)} else "gddr"


def machine_of(
    gpu: GPUInfo, *, nvlink: bool, across_nodes: bool = False, stages_across_nodes: bool = False
) -> Machine:
    """`gpu` as the roofline sees it, with the links that its collectives and its pipeline stages use."""
    known = gpu.bandwidth_gb_s is not None and gpu.tflops_bf16 is not None
    pcie = PCIE_GB_S.get(gpu.pcie_gen or 4, PCIE_GB_S[4])
    network = NETWORK_GB_S, "network"
    if nvlink and gpu.nvlink_gb_s:
        inside = gpu.nvlink_gb_s / 2, "xgmi" if gpu.vendor == "amd" else "nvlink"
    else:
        inside = pcie, "pcie"
    link, kind = network if across_nodes else inside
    stage_link, stage_kind = network if stages_across_nodes else inside
    return Machine(
        family=family_of(gpu),
        bandwidth=(gpu.bandwidth_gb_s or FALLBACK_BANDWIDTH_GB_S) * 1e9,
        flops16=(gpu.tflops_bf16 or FALLBACK_TFLOPS) * 1e12,
        flops8=gpu.tflops_fp8 * 1e12 if gpu.tflops_fp8 else None,
        flops4=gpu.tflops_fp4 * 1e12 if gpu.tflops_fp4 else None,
        ops8=gpu.tops_int8 * 1e12 if gpu.tops_int8 else None,
        link=link * 1e9,
        link_kind=kind,
        stage_link=stage_link * 1e9,
        stage_link_kind=stage_kind,
        rdna4=gpu.arch == "RDNA4",
        known=known,
    )
