"""How far the logged KV cache memory may lie from the predicted: bounds that hold for 9 launches of 10."""

from __future__ import annotations

from wizard.planning.launch import Launch
from wizard.schemas.outputs import GIB


def kv_band_bytes(launch: Launch) -> tuple[int, int]:
    """Low and high offsets, in bytes, on the available KV cache memory."""
    width = int(0.3 * GIB)
    return -width, width
