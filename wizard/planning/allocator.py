"""What torch's caching allocator takes beyond the bytes of a tensor, which vLLM's `Model loading took` contains.

A large tensor gets a segment of whole 2 MiB of its own, and a remainder of at most 1 MiB isn't split off:
it counts as allocated. Qwen2.5-7B has 28 layers whose four matrices leave 2 MiB in all: 14.19 GiB of
parameters are logged as 14.25 (7 launches of 0.7-0.22 on five cards), Qwen3-14B in FP8 and AWQ likewise.

Source: PyTorch 2.x `c10/cuda/CUDACachingAllocator.cpp` (`kMinLargeAlloc`, `kRoundLarge`, `should_split`).
"""

from __future__ import annotations

from wizard.schemas.outputs import MIB

OWN_SEGMENT_BYTES = 10 * MIB
"""From this size on a tensor has a segment of its own."""
SEGMENT_MULTIPLE_BYTES = 2 * MIB
LARGEST_UNSPLIT_BYTES = MIB


def unsplit_bytes(size: int) -> int:
    """Bytes that stay unused behind one tensor of `size` bytes."""
    if size < OWN_SEGMENT_BYTES:
        return 0
    left = -size % SEGMENT_MULTIPLE_BYTES
    return left if left <= LARGEST_UNSPLIT_BYTES else 0
