"""Accelerators on the PCI bus (or the chip), so that a machine without a usable GPU is told why."""

from __future__ import annotations

import platform
from pathlib import Path

from wizard.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A kind of device, recognised by its PCI vendor, class and (where others share them) device prefix."""

    name: str
    pci_vendor: str
    pci_classes: tuple[str, ...]
    """Prefixes of the class code: 03 display, 12 processing accelerator."""
    device_prefixes: tuple[str, ...] = ("0x",)
    planned: bool = False


NVIDIA = Accelerator("NVIDIA GPU", "0x10de", ("0x03",), planned=True)
AMD = Accelerator("AMD GPU", "0x1002", ("0x03", "0x12"), planned=True)

KNOWN = (
    NVIDIA,
    AMD,
    Accelerator("Intel Gaudi", "0x1da3", ("0x12",)),
    Accelerator("Intel Data Center GPU Max", "0x8086", ("0x03",), ("0x0bd",)),
    Accelerator("Intel Arc GPU", "0x8086", ("0x03",), ("0x56", "0xe2")),
    Accelerator("Google TPU", "0x1ae0", ("0x12", "0x08", "0xff", "0x00")),
    Accelerator("AWS Neuron device", "0x1d0f", ("0x08", "0x12"), ("0x7064", "0x7164", "0x7264", "0x7364")),
    Accelerator("Huawei Ascend NPU", "0x19e5", ("0x12",)),
)
"""PCI ids from pci.ids (2026.10): Gaudi is Habana Labs', Arc is DG2 (56xx) and Battlemage (e2xx)."""


def on_pci(root: Path) -> tuple[Accelerator, ...]:
    """The known accelerators in this machine, each kind once; empty where /sys can't be read."""
    found: dict[Accelerator, None] = {}
    try:
        devices = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return ()
    for device in devices:
        try:
            vendor, kind, model = (
                (device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class", "device")
            )
        except (OSError, UnicodeDecodeError):
            continue
        for accelerator in KNOWN:
            if (
                vendor == accelerator.pci_vendor
                and kind.startswith(accelerator.pci_classes)
                and model.startswith(accelerator.device_prefixes)
            ):
                found[accelerator] = None
    return tuple(found)


def explain(present: tuple[Accelerator, ...], reason: str) -> str:
    """One sentence for a machine where no GPU can be used; `reason` is the driver library's own."""
    others = [accelerator.name for accelerator in present if not accelerator.planned]
    if others and not any(accelerator.planned for accelerator in present):
        return (
            f"{others[0]} found: not planned yet, only NVIDIA and AMD GPUs are; choose one with --gpu NAME."
        )
    if platform.system() == "Darwin":
        return (
            "Apple GPUs are not planned yet; choose the GPU of the machine that will serve with --gpu NAME."
        )
    return reason
