"""This machine beside its GPUs: driver, the GPU under the cursor, and what could spoil a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wizard.schemas.outputs import GPUInfo
from wizard.text import gib, plural, printable
from wizard.tui.lines import BLANK, Line, fit, line, wrap
from wizard.tui.outlook import View
from wizard.tui.widgets.painted import Painted

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.hardware.preflight import Check

MOST_ROWS = 6


class MachineFacts(Painted):
    """Driver and versions of this machine and its GPU under the cursor, or why it has none to offer."""

    DEFAULT_CSS = f"MachineFacts {{ height: auto; max-height: {MOST_ROWS}; margin-bottom: 1; }}"

    def __init__(self) -> None:
        super().__init__(id="machine-facts")
        self.view: View | None = None
        self.gpu: GPUInfo | None = None

    def show(self, view: View, gpu: GPUInfo | None) -> None:
        """Shows another view, with `gpu` under the cursor."""
        self.view, self.gpu = view, gpu
        height = len(self.draw(self.size.width)) if self.size else 0
        if self.is_mounted and height != self.size.height:
            self.refresh(layout=True)
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        machine = self.view.machine if self.view else None
        if machine is None:
            return [line((" looking for GPUs …", "quiet"))]
        if not machine.gpus:
            sentence = machine.why_none or "No GPU was found on this machine."
            role = "tight" if machine.trouble else "quiet"
            return [line(" ", (row, role)) for row in wrap(printable(sentence), width - 1, 4)]
        versions = f"driver {machine.driver or 'unknown'} · CUDA {machine.cuda or 'unknown'}"
        rows = [line(" ", (fit(printable(versions, 100), width - 1), "quiet"))]
        if self.gpu is not None:
            facts = [*gpu_facts(machine, self.gpu), *holders(self.gpu)]
            rows += [line(" ", (row, "quiet")) for row in wrap(" · ".join(facts), width - 1, 2)]
        rows += [
            line(" ", (row, "tight")) for row in wrap(printable(" ".join(machine.warnings)), width - 1, 2)
        ]
        return rows[:MOST_ROWS]


def gpu_facts(machine: Machine, gpu: GPUInfo) -> list[str]:
    """What else the driver tells of one GPU; what it doesn't is left out."""
    position = machine.gpus.index(gpu) if gpu in machine.gpus else None
    facts = [f"GPU {gpu.index}"]
    if gpu.power_limit_w:
        facts.append(f"{gpu.power_limit_w:,.0f} W")
    if gpu.ecc is not None:
        facts.append("ECC on" if gpu.ecc else "ECC off")
    if gpu.pcie_gen:
        facts.append(f"PCIe {gpu.pcie_gen}" + (f" ×{gpu.pcie_width}" if gpu.pcie_width else ""))
    if gpu.numa_node is not None:
        facts.append(f"NUMA {gpu.numa_node}")
    links = machine.topology.links
    if position is not None and position < len(links):
        for kind in dict.fromkeys(link for link in links[position] if link != "X"):
            others = [str(machine.gpus[at].index) for at, link in enumerate(links[position]) if link == kind]
            facts.append(f"{kind} to {','.join(others)}")
    return facts


def holders(gpu: GPUInfo) -> list[str]:
    """The processes that hold memory of a GPU, by name and number."""
    return [
        f"{printable(process.name, 20)} {process.pid}"
        + (f" holds {gib(process.used_bytes)} GiB" if process.used_bytes else "")
        for process in gpu.processes[:3]
    ]


class Preflight(Painted):
    """What could spoil a start here, worst first, each with what to do."""

    DEFAULT_CSS = "Preflight { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="preflight")
        self.checks: Sequence[Check] = ()

    def show(self, checks: Sequence[Check]) -> None:
        """Shows another list."""
        self.checks = checks
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        if not self.checks:
            return [BLANK]
        height = max(self.size.height, 1)
        wrong = sorted((each for each in self.checks if each.state != "ok"), key=lambda each: each.state)
        rows = [BLANK] if height > 2 else []
        for number, check in enumerate(wrong):
            words = " ".join(filter(None, (printable(check.found, 200), printable(check.advice, 200))))
            sign, role = ("✗", "bad") if check.state == "fail" else ("!", "tight")
            told = [
                line((f" {sign} " if not at else "   ", role), row)
                for at, row in enumerate(wrap(words, width - 3, 3))
            ]
            if len(rows) + len(told) > height - (number + 1 < len(wrong)):
                left = plural(len(wrong) - number, "more note")
                return [
                    *rows[: height - 1],
                    line((fit(f"   {left}: vllm-wizard-tui detect", width), "quiet")),
                ]
            rows += told
        fine = ", ".join(each.title for each in self.checks if each.state == "ok")
        if fine and len(rows) < height:
            rows.append(line((" ✓ ", "good"), (fit(printable(fine, 200), width - 3), "quiet")))
        return rows
