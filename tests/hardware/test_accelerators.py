"""What is on the PCI bus decides what a machine without a usable GPU is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from wizard.hardware.accelerators import explain, on_pci


def plug(root: Path, address: str, vendor: str, kind: str, device: str) -> None:
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("class", kind), ("device", device)):
        (folder / name).write_text(value + "\n")


@pytest.mark.parametrize(
    ("vendor", "kind", "device", "name"),
    [
        ("0x10de", "0x030200", "0x2330", "NVIDIA GPU"),
        ("0x1002", "0x120000", "0x74a1", "AMD GPU"),
        ("0x1da3", "0x120000", "0x1060", "Intel Gaudi"),
        ("0x8086", "0x030000", "0xe211", "Intel Arc GPU"),
        ("0x8086", "0x038000", "0x0bd5", "Intel Data Center GPU Max"),
        ("0x1ae0", "0x120000", "0x0063", "Google TPU"),
    ],
)
def test_accelerators_are_recognised(tmp_path: Path, vendor: str, kind: str, device: str, name: str) -> None:
    plug(tmp_path, "0000:01:00.0", vendor, kind, device)
    assert [accelerator.name for accelerator in on_pci(tmp_path)] == [name]


def test_a_laptop_s_own_graphics_and_a_network_card_are_none(tmp_path: Path) -> None:
    plug(tmp_path, "0000:00:02.0", "0x8086", "0x030000", "0x46a6")
    plug(tmp_path, "0000:03:00.0", "0x10de", "0x040300", "0x22ba")
    assert on_pci(tmp_path) == ()
    assert on_pci(tmp_path / "nothing") == ()


def test_others_are_named_as_not_planned_yet(tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", "0x1da3", "0x120000", "0x1060")
    sentence = explain(on_pci(tmp_path), "No NVIDIA driver.")
    assert "Intel Gaudi" in sentence
    assert "not planned yet" in sentence
    assert "--gpu NAME" in sentence


def test_beside_an_nvidia_card_its_driver_is_the_reason(tmp_path: Path) -> None:
    plug(tmp_path, "0000:01:00.0", "0x8086", "0x030000", "0xe211")
    plug(tmp_path, "0000:02:00.0", "0x10de", "0x030000", "0x2684")
    assert explain(on_pci(tmp_path), "No NVIDIA driver.") == "No NVIDIA driver."
