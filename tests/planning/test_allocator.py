"""What the allocator keeps behind large tensors, against the weights that logs print."""

from __future__ import annotations

import pytest

from wizard.models.modules import Experts, Linear
from wizard.planning.allocator import unsplit_bytes
from wizard.schemas.outputs import MIB

MATRIX = Linear("up", 1, (1,))


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
    assert unsplit_bytes(MATRIX, {"bfloat16": size}) == left


def test_qwen25_7b_is_logged_57_mb_above_its_parameters() -> None:
    """Model loading took 14.2488 GiB; parameters and rotary table are 14.193."""
    gate_up, down, qkv, out = (37888 * 3584, 18944 * 3584, 4608 * 3584, 3584 * 3584)
    layer = sum(unsplit_bytes(MATRIX, {"bfloat16": 2 * elements}) for elements in (gate_up, down, qkv, out))
    assert 28 * layer == 56 * MIB


def test_experts_are_two_tensors() -> None:
    experts = Experts("experts", 8, 1, 1)
    assert unsplit_bytes(experts, {"bfloat16": 3 * 13 * MIB}) == MIB
