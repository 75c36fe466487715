"""Which devices the runtimes' environment variables leave."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from wizard.hardware.visible import select
from wizard.schemas.outputs import GIB, GPUInfo

CARDS = [
    GPUInfo("AMD Instinct MI300X", 192 * GIB, index=number, uuid=f"GPU-{number}abc", vendor="amd")
    for number in range(4)
]


@pytest.mark.parametrize(
    ("env", "positions"),
    [
        ({}, (0, 1, 2, 3)),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, (2, 3)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, (1,)),
        ({"HIP_VISIBLE_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "1"}, (2,)),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, (2, 3)),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "0"}, (2,)),
        ({"ROCR_VISIBLE_DEVICES": "GPU-3,GPU-1", "HIP_VISIBLE_DEVICES": "1"}, (1,)),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "2"}, ()),
        ({"ROCR_VISIBLE_DEVICES": ""}, ()),
    ],
)
def test_rocm_filters_first_and_hip_counts_within(env: Mapping[str, str], positions: tuple[int, ...]) -> None:
    assert select(CARDS, "amd", env).positions == positions
