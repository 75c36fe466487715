"""Pages of DeepSeek-V4: a window of raw entries, compressed entries, their index, the compressors' states.

Source: vLLM 0.33 `models/deepseek_v4/attention.py`, `compressor.py`, `v1/attention/backends/mla/sparse_swa.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from wizard.models.cache_layers import CacheLayer
from wizard.planning.kv_pages import Page, round_up
from wizard.vllm.kv_dtypes import index_bytes

COMPRESSED_BLOCK = 256
"""Tokens in a block of DeepSeek-V4's compressed caches."""
COMPRESSED_WINDOW_BLOCK = 64
COMPRESSED_ENTRY_BYTES = 584
"""448 bytes without rotation, 128 with, 8 of scales (models/deepseek_v4/attention.py)."""
COMPRESSED_ALIGNMENT = 576
"""Bytes that DeepSeek-V4's fp8 pages are rounded up to."""
COMPRESSOR_BLOCKS = {4: 4, 128: 8}
"""Compression ratio -> tokens in a block of the compressor's own state (compressor.py)."""


def compressed_pages(layer: CacheLayer) -> Iterator[Page]:
    """DeepSeek-V4: a window of raw entries, compressed entries, their index, and the compressors' states."""

    def aligned(family: str, block: int, raw: int, *entry: int | str, window: int = 0) -> Page:
        return Page(
            "sliding_latent" if family == "sliding" else "latent",
            block,
            raw,
            entry,
            padded_bytes=round_up(raw, COMPRESSED_ALIGNMENT),
            window=window,
        )

    yield aligned(
        "sliding",
        COMPRESSED_WINDOW_BLOCK,
        COMPRESSED_WINDOW_BLOCK * COMPRESSED_ENTRY_BYTES,
        "window",
        window=layer.window,
    )
    if layer.ratio < 2:
        return
    block = COMPRESSOR_BLOCKS.get(layer.ratio, 8)
    overlap = 2 if layer.ratio == 4 else 1
    widths = [layer.key_dim] + ([layer.index_dim] if layer.index_dim else [])
    yield aligned(
        "full",
        COMPRESSED_BLOCK,
        COMPRESSED_BLOCK // layer.ratio * COMPRESSED_ENTRY_BYTES,
        "entries",
        layer.ratio,
    )
    if layer.index_dim:
        size = index_bytes(layer.index_dim)
        yield aligned("full", COMPRESSED_BLOCK, COMPRESSED_BLOCK // layer.ratio * size, "index", layer.ratio)
    for width in widths:
        yield aligned(
            "sliding",
            block,
            block * 2 * overlap * width * 4,
            "compressor",
            width,
            window=overlap * layer.ratio,
        )
