"""From the hardware part of a request to GPUs: what-if machines, and detected ones with their overrides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wizard.errors import HardwareError
from wizard.hardware import resolve_hardware, what_if
from wizard.hardware.catalogue import find
from wizard.hardware.detect import Machine, recommend_tensor_parallel
from wizard.hardware.resolve import machines
from wizard.hardware.topology import read
from wizard.schemas.inputs import HardwareInput, Interconnect
from wizard.schemas.outputs import GIB, GPUInfo

CARD = GPUInfo(
    name="NVIDIA GeForce RTX 3090", memory_total_bytes=23 * GIB, memory_used_bytes=GIB, nvlink_gb_s=112.5
)
PAIRED = read((("X", "NV4", "SYS"), ("NV4", "X", "SYS"), ("SYS", "SYS", "X")))
MACHINE = Machine(
    gpus=tuple(replace(CARD, index=number, uuid=f"GPU-{number}aa") for number in range(3)), topology=PAIRED
)


def resolve(**fields: object) -> list[GPUInfo]:
    return resolve_hardware(HardwareInput.model_validate(fields), detector=lambda: MACHINE)


def test_auto_takes_every_detected_gpu() -> None:
    assert [gpu.index for gpu in resolve()] == [0, 1, 2]


def test_auto_on_a_machine_without_gpus_says_why_and_what_next() -> None:
    with pytest.raises(HardwareError, match="--gpu NAME"):
        resolve_hardware(HardwareInput(), detector=lambda: Machine(why_none="No driver; use --gpu NAME."))


def test_ticked_gpus_by_index_and_uuid_in_the_given_order() -> None:
    assert [gpu.index for gpu in resolve(device_ids=("2", "GPU-0aa"))] == [2, 0]


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(HardwareError, match=r'no GPU "7".*0, 1, 2'):
        resolve(device_ids=("7",))


def test_fewer_gpus_than_found_takes_the_first() -> None:
    assert [gpu.index for gpu in resolve(gpus=2)] == [0, 1]


def test_fewer_gpus_than_found_takes_the_free_and_alike() -> None:
    busy = replace(MACHINE.gpus[0], memory_used_bytes=9 * GIB)
    small = replace(
        MACHINE.gpus[0], index=3, name="NVIDIA L4", memory_total_bytes=22 * GIB, memory_used_bytes=0
    )
    machine = Machine(gpus=(busy, *MACHINE.gpus[1:], small))
    found = resolve_hardware(HardwareInput(gpus=2), detector=lambda: machine)
    assert [gpu.index for gpu in found] == [1, 2]


def test_mine_but_more_of_them() -> None:
    assert len(resolve(gpus=6)) == 6


def test_more_of_a_mixed_machine_is_refused() -> None:
    mixed = Machine(gpus=(MACHINE.gpus[0], replace(MACHINE.gpus[1], name="NVIDIA L4")))
    with pytest.raises(HardwareError, match="--gpu NAME"):
        resolve_hardware(HardwareInput(gpus=4), detector=lambda: mixed)


def test_overrides_of_memory_use_and_price() -> None:
    gpu = resolve(vram_gb=20.0, used_gib=2.5, price_per_hour=0.4)[0]
    assert gpu.memory_total_bytes == 20 * GIB
    assert gpu.memory_used_bytes == 2.5 * GIB
    assert gpu.usd_per_hour == 0.4


def test_more_used_than_there_is() -> None:
    with pytest.raises(HardwareError, match="--gpu-used-gib"):
        resolve(used_gib=24.0)


def test_nvlink_counts_only_where_it_joins_all_chosen() -> None:
    assert all(gpu.nvlink_gb_s is None for gpu in resolve())
    assert all(gpu.nvlink_gb_s == 112.5 for gpu in resolve(device_ids=("0", "1")))
    assert all(
        gpu.nvlink_gb_s is None for gpu in resolve(device_ids=("0", "1"), interconnect=Interconnect.PCIE)
    )


def slices(*sizes_gib: int) -> tuple[GPUInfo, ...]:
    return tuple(
        replace(CARD, index=0, uuid=f"MIG-{size}", mig_profile=f"1g.{size}gb", memory_total_bytes=size * GIB)
        for size in sizes_gib
    )


def test_of_mig_instances_the_roomiest_serves() -> None:
    sliced = Machine(gpus=slices(10, 40, 20))
    assert [gpu.mig_profile for gpu in resolve_hardware(HardwareInput(), detector=lambda: sliced)] == [
        "1g.40gb"
    ]
    chosen = HardwareInput(device_ids=("MIG-20",))
    assert [gpu.device_id for gpu in resolve_hardware(chosen, detector=lambda: sliced)] == ["MIG-20"]


def test_whole_gpus_come_before_mig_instances() -> None:
    mixed = Machine(gpus=(*slices(10), replace(CARD, index=1)))
    assert [gpu.device_id for gpu in resolve_hardware(HardwareInput(), detector=lambda: mixed)] == ["1"]


@pytest.mark.parametrize("fields", [{"device_ids": ("MIG-10", "MIG-20")}, {"gpus": 2}])
def test_mig_instances_are_not_joined(fields: dict[str, object]) -> None:
    sliced = Machine(gpus=slices(10, 20))
    with pytest.raises(HardwareError, match="single one"):
        resolve_hardware(HardwareInput.model_validate(fields), detector=lambda: sliced)


def test_machines_to_name_are_cheapest_first_and_found_by_name() -> None:
    named = machines()
    assert len(named) >= 6
    assert named[0].name == "NVIDIA L4"
    assert [find(gpu.name).info() for gpu in named] == list(named)


def test_what_if_is_so_many_of_one_card() -> None:
    gpus = what_if(HardwareInput(gpu="H100", gpus=8))
    assert len(gpus) == 8
    assert {gpu.name for gpu in gpus} == {"H100 SXM5 80GB"}
    assert gpus[0].nvlink_gb_s == 900
    assert len(what_if(HardwareInput(gpu="4090"))) == 1


def test_what_if_bridges_are_there_only_when_asked_for() -> None:
    assert what_if(HardwareInput(gpu="3090", gpus=2))[0].nvlink_gb_s is None
    assert (
        what_if(HardwareInput(gpu="3090", gpus=2, interconnect=Interconnect.NVLINK))[0].nvlink_gb_s == 112.5
    )
    assert what_if(HardwareInput(gpu="H100", gpus=2, interconnect=Interconnect.PCIE))[0].nvlink_gb_s is None


def test_what_if_with_edited_memory() -> None:
    gpu = what_if(HardwareInput(gpu="4090", vram_gb=47.5, used_gib=1.0))[0]
    assert gpu.memory_total_bytes == 47.5 * GIB
    assert gpu.memory_used_bytes == GIB


def test_accelerators_that_are_not_planned_say_so() -> None:
    with pytest.raises(HardwareError, match="not planned yet"):
        what_if(HardwareInput(gpu="Intel Gaudi 3"))


@pytest.mark.parametrize(
    ("count", "size"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (16, 16)]
)
def test_seed_recommend_tensor_parallel(count: int, size: int) -> None:
    """Seed: `recommend_tensor_parallel(gpus)` is the largest power of two that is at most the number of GPUs."""
    assert recommend_tensor_parallel([CARD] * count) == size
