"""One engine step as a roofline: bytes against bandwidth, operations against FLOP/s, and what both leave out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wizard.planning.perf_facts import ModelFacts
from wizard.schemas.outputs import GPUInfo

Constants = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Machine:
    family: str
    bandwidth: float
    flops16: float
    flops8: float | None
    flops4: float | None
    link: float
    link_kind: str
    rdna4: bool = False


FALLBACK_BANDWIDTH_GB_S = 700.0
FALLBACK_TFLOPS = 100.0


def family_of(gpu: GPUInfo) -> str:
    arch = gpu.arch or ""
    major = (gpu.compute_capability or (0, 0))[0]
    if gpu.vendor == "amd":
        if gpu.unified_memory:
            return "unified"
        return "amd_hbm" if arch.startswith("CDNA") else "amd_gddr"
    if gpu.unified_memory and not arch.startswith("Hopper"):
        return "unified"
    if gpu.klass == "edge":
        return "unified"
    if arch.startswith("Hopper") or major == 9:
        return "hopper"
    if gpu.compute_capability in {(10, 0), (10, 3)}:
        return "blackwell"
    if gpu.compute_capability in {(8, 0), (7, 0)}:
        return "ampere"
    return "gddr"


def machine_of(gpu: GPUInfo, *, nvlink: bool) -> Machine:
    bandwidth = (gpu.bandwidth_gb_s or FALLBACK_BANDWIDTH_GB_S) * 1e9
    f16 = (gpu.tflops_bf16 or FALLBACK_TFLOPS) * 1e12
    pcie = {3: 16e9, 4: 32e9, 5: 64e9, 6: 128e9}.get(gpu.pcie_gen or 4, 32e9)
    if nvlink and gpu.nvlink_gb_s:
        link, kind = gpu.nvlink_gb_s / 2 * 1e9, ("xgmi" if gpu.vendor == "amd" else "nvlink")
    else:
        link, kind = pcie, "pcie"
    return Machine(
        family_of(gpu), bandwidth, f16,
        gpu.tflops_fp8 * 1e12 if gpu.tflops_fp8 else None,
        gpu.tflops_fp4 * 1e12 if gpu.tflops_fp4 else None,
        link, kind, rdna4=gpu.arch == "RDNA4",
    )


@dataclass(frozen=True, slots=True)
class Layout:
    tp: int = 1
    pp: int = 1
    dp: int = 1
    expert_ranks: int = 1
    """Ranks that share the routed experts: tp x dp."""
    ep: bool = False


class Engine:
    """Step time as a function of its tokens: all that doesn't change between steps is computed once."""

    __slots__ = ("_experts", "_full", "_head", "_hop", "_link", "_matrices", "_prefill", "_windows", "constants", "facts", "layout", "machine", "overhead", "sequence_s", "state_s", "_per_token_wire", "_dpwire", "_mla", "extra")

    def __init__(self, facts: ModelFacts, machine: Machine, layout: Layout, constants: Constants, *, kv_bytes: float = 2.0, eager: bool = False, version: tuple[int, int] | None = None) -> None:
        c = constants
        fam = machine.family
        bw = machine.bandwidth * c[f"bandwidth.{fam}"]
        tp = layout.tp
        self.facts, self.machine, self.layout, self.constants = facts, machine, layout, c
        self.extra = {}

        def rates(kernel: str) -> tuple[float, float]:
            """effective bandwidth multiplier, effective FLOP/s"""
            e = c[f"compute.{fam}"]
            if kernel == "w16":
                return 1.0, machine.flops16 * e
            if kernel in ("fp8", "int8"):
                f = machine.flops8 if kernel == "fp8" else (machine.flops8 or machine.flops16 * 2)
                if f is None:
                    return c["bandwidth.fp8"], machine.flops16 * e * c["compute.int4"]
                return c[f"bandwidth.{kernel}"], f * e * c[f"compute.{kernel}"]
            if kernel == "int4":
                return c["bandwidth.int4"], machine.flops16 * e * c["compute.int4"]
            if kernel == "nvfp4":
                f = machine.flops4 or machine.flops16
            else:
                f = (machine.flops8 or machine.flops16) if fam == "blackwell" else machine.flops16
            return c["bandwidth.fp4"], f * e * c["compute.fp4"]

        self._matrices = []
        for m in facts.matrices:
            q, f = rates(m.kernel)
            nbytes = (m.nbytes - m.whole_bytes) / tp + m.whole_bytes
            params = (m.parameters - m.whole_parameters) / tp + m.whole_parameters
            self._matrices.append((nbytes / (bw * q), 2 * params / f))
        q, f = rates("w16")
        self._head = (facts.head_bytes / tp / bw, 2 * facts.head_parameters / tp / f)
        self._experts = []
        for x in facts.experts:
            q, f = rates(x.kernel)
            w = layout.expert_ranks
            self._experts.append((
                x.count, x.active,
                x.layers * x.nbytes / (w * bw * q * c["experts.bandwidth"]),
                2 * x.active * x.parameters * x.layers / (w * f * c["experts.compute"]),
            ))
        abw = bw / c[f"bandwidth.{fam}"] * c["attention.bandwidth"]
        af = machine.flops16 * c["attention.compute"]
        self._full = 0.0
        self._windows = []
        self._prefill = []
        self._mla = 0.0
        for k in facts.caches:
            share = 1.0 if k.latent else max(k.kv_heads / tp, 1.0) / k.kv_heads
            per_token = k.layers * k.elements * kv_bytes * share / abw
            flops = 2 * k.layers * k.query_elements / tp / af
            if k.window:
                self._windows.append((k.window, per_token))
            else:
                self._full += per_token
            self._prefill.append((k.window, flops))
        self.state_s = 2 * facts.state_elements * 2 / tp / abw
        layers = facts.layers
        hop = c[f"hop_{machine.link_kind}_s"]
        link = machine.link * c["link.efficiency"]
        self._hop = 2 * layers * hop * math.log2(tp) if tp > 1 else 0.0
        self._per_token_wire = 2 * layers * 2 * (tp - 1) / tp * facts.hidden * 2 / link if tp > 1 else 0.0
        if layout.dp > 1 and facts.experts:
            self._hop += 2 * facts.expert_layers * hop * math.log2(layout.dp)
            self._per_token_wire += 2 * facts.expert_layers * (layout.dp - 1) * facts.hidden * 2 / link / tp
        old = version is not None and (0, 8) <= version < (0, 12)
        mult = c["old_overhead"] if old else 1.0
        lay = c["blackwell_layers"] if fam == "blackwell" else 1.0
        o = c["step_s"] + lay * (layers * c["layer_s"] + facts.expert_layers * c["expert_layer_s"])
        o *= mult
        if eager:
            o += layers * c["eager_layer_s"]
        if version is not None and version < (0, 8):
            o += c["old_step_s"]
        elif version is not None and version < (0, 9):
            o += c["v085_step_s"]
        if machine.rdna4:
            o += c["rdna4_step_s"] + facts.expert_layers * c["rdna4_expert_layer_s"]
        self.overhead = o
        self.sequence_s = c["sequence_s"] * mult

    def step(self, decoding: float, context: float, prefill: float = 0.0, attended: float = 0.0) -> float:
        """Seconds of one step: `decoding` sequences of mean `context`, and `prefill` tokens that attend to `attended`."""
        t = decoding + prefill
        s = self.overhead + self._hop + t * self._per_token_wire + decoding * self.sequence_s
        for mem, comp in self._matrices:
            s += roof(mem, t * comp)
        s += roof(self._head[0], max(decoding, 1.0) * self._head[1])
        if self._experts:
            g = t * self.layout.dp
            skew = self.constants["experts.skew"]
            for count, active, mem, comp in self._experts:
                distinct = count * (1 - (1 - active / count) ** (skew * g)) if count > active else count
                distinct = max(distinct, min(active, count))
                s += roof(distinct * mem, g * comp)
        kv = self._full * context
        for window, per in self._windows:
            kv += per * min(context, window)
        s += decoding * (kv + self.state_s)
        if prefill:
            for window, flops in self._prefill:
                s += prefill * flops * (min(attended, window) if window else attended)
        return s


def roof(memory: float, compute: float) -> float:
    m2, c2 = memory * memory, compute * compute
    return (m2 * m2 + c2 * c2) ** 0.25
