"""What kernels of each weight format reach of a card's data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from wizard.dataclass import dataclass
from wizard.planning.perf_machine import Machine

Constants: TypeAlias = Mapping[str, float]

FORMATS: Mapping[str, str] = {"nvfp4": "fp4", "mxfp4": "fp4"}
"""Kernels whose efficiency is fitted together."""


def expert_format(kernel: str) -> str:
    """The fitted format of a kernel for routed experts: 8 bits are 8 bits."""
    return "fp8" if kernel == "int8" else FORMATS.get(kernel, kernel)


@dataclass(frozen=True, slots=True)
class KernelRates:
    """Bytes and operations per second by kernel, on one kind of card."""

    machine: Machine
    family: str
    constants: Constants

    @property
    def memory(self) -> float:
        """Bytes per second of large 16-bit matrices."""
        return self.machine.bandwidth * self.constants[f"bandwidth.{self.family}"]

    def bandwidth(self, kernel: str) -> float:
        """Bytes per second at which dense weights are read."""
        form = FORMATS.get(kernel, kernel)
        return self.memory * (1.0 if form == "w16" else self.constants[f"bandwidth.{form}"])

    def flops(self, kernel: str) -> float:
        """Operations per second on dense weights, in large batches."""
        unit, form = self._unit(kernel)
        return self._reached(unit) * (1.0 if form == "w16" else self.constants[f"compute.{form}"])

    def expert_bandwidth(self, kernel: str) -> float:
        """Bytes per second at which routed experts are read."""
        faster = self.constants["blackwell.experts"] if self.machine.family == "blackwell" else 1.0
        return self.memory * faster * self.constants[f"experts.bandwidth.{expert_format(kernel)}"]

    def expert_flops(self, kernel: str) -> float:
        """Operations per second on routed experts."""
        return (
            self._reached(self._unit(kernel)[0]) * self.constants[f"experts.compute.{expert_format(kernel)}"]
        )

    def _reached(self, unit: float) -> float:
        return unit * self.constants[f"compute.{self.family}"]

    def _unit(self, kernel: str) -> tuple[float, str]:
        """FLOP/s of the units that multiply, and whose efficiency counts: weight-only kernels compute in 16 bits."""
        machine = self.machine
        match kernel:
            case "fp8":
                return (machine.flops8, "fp8") if machine.flops8 else (machine.flops16, "int4")
            case "int8":
                return machine.ops8 or 2 * machine.flops16, "int8"
            case "nvfp4":
                return (machine.flops4, "fp4") if machine.flops4 else (machine.flops16, "int4")
            case "mxfp4":
                # data-centre Blackwell multiplies them with 8-bit activations, the others unpack them to 16 bits
                eight_bits = machine.flops8 if machine.family == "blackwell" else None
                return eight_bits or machine.flops16, "fp4"
            case "int4":
                return machine.flops16, "int4"
            case _:
                return machine.flops16, "w16"
