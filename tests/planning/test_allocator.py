"""What the allocator keeps behind large tensors, against the weights that logs print."""

from __future__ import annotations

import pytest

from wizard.planning.allocator import unsplit_bytes
from wizard.schemas.outputs import MIB


@pytest.mark.parametrize(
    ("size", "left"),
    [
        (4 * MIB, 0),
        (12 * MIB, 0),
        (13 * MIB, MIB),
        (13 * MIB - 1, 0),
        (13 * MIB + MIB // 2, MIB // 2),
    ],
)
def test_a_remainder_of_at_most_one_mib_stays_with_the_tensor(size: int, left: int) -> None:
    assert unsplit_bytes(size) == left


def test_qwen25_7b_is_logged_57_mb_above_its_parameters() -> None:
    """Model loading took 14.2488 GiB; parameters and rotary table are 14.193."""
    gate_up, down, qkv, out = (37888 * 3584, 18944 * 3584, 4608 * 3584, 3584 * 3584)
    layer = sum(unsplit_bytes(2 * elements) for elements in (gate_up, down, qkv, out))
    assert 28 * layer == 56 * MIB
