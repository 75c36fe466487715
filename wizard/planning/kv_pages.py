"""One layer's cache as vLLM pages it: bytes of a page, tokens of a block, blocks that a request holds.

Source: vLLM 0.33 `v1/kv_cache_interface.py` (the `KVCacheSpec` classes).
"""

from __future__ import annotations

from typing import Literal

from wizard.dataclass import dataclass, replace

Family = Literal["full", "latent", "sliding", "sliding_latent", "chunked", "state", "cross"]

WHOLE_SEQUENCE = frozenset({"full", "latent"})
"""Families that keep every token, and therefore share one block table whatever their page sizes."""


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    return ceil_div(value, multiple) * multiple


@dataclass(frozen=True, slots=True)
class Horizon:
    """What bounds the tokens that a request may hold."""

    length: int
    """max_model_len, or the length tried."""
    in_flight: int
    """Tokens scheduled but not settled."""
    encoder_tokens: int
    dcp: int = 1
    window_slack: int = 0
    """Extra tokens kept below a window for multi-module drafts."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one layer on one rank. Equal pages share a group."""

    family: Family
    block_size: int
    """Tokens of a block."""
    raw_bytes: int
    """Without padding."""
    entry: tuple[int | str, ...]
    """What else must be alike for layers to merge: heads, widths, format."""
    padded_bytes: int = 0
    window: int = 0
    states: int = 0
    """State pages that a request holds; 0: one per block of tokens."""
    alignment: int = 1
    """Bytes that the stride between blocks must be a multiple of."""
    sharded: bool = True
    """Split by decode context parallelism."""

    @property
    def bytes(self) -> int:
        return self.padded_bytes or self.raw_bytes

    @property
    def stride_bytes(self) -> int:
        """Bytes between two blocks where layers lie apart."""
        return round_up(self.bytes, self.alignment)

    def padded_to(self, size: int) -> Page:
        return replace(self, padded_bytes=size)

    def scaled(self, ratio: int) -> Page:
        """The same layer with `ratio` times the tokens in a block."""
        return replace(self, block_size=self.block_size * ratio, raw_bytes=self.raw_bytes * ratio)

    def blocks(self, horizon: Horizon) -> int:
        """Blocks that one request of `horizon.length` tokens holds at most."""
        match self.family:
            case "full" | "latent":
                length = ceil_div(horizon.length, horizon.dcp) if self.sharded else horizon.length
                return ceil_div(length, self.block_size)
            case "sliding" | "sliding_latent":
                held = self.window - 1 + horizon.window_slack + horizon.in_flight
                return ceil_div(min(held, horizon.length), self.block_size) + 1
            case "chunked":
                return ceil_div(min(self.window + horizon.in_flight, horizon.length), self.block_size)
            case "cross":
                return ceil_div(horizon.encoder_tokens, self.block_size)
            case _:
                return self.states or ceil_div(horizon.length, self.block_size)

    def uniform_with(self, other: Page) -> bool:
        """True where both may share one group although their pages differ in size."""
        if self.block_size != other.block_size or self.sharded != other.sharded:
            return False
        if self.family in WHOLE_SEQUENCE:
            return other.family in WHOLE_SEQUENCE
        if self.family == "state":
            return other.family == "state" and self.bytes == other.bytes and self.states == other.states
        return self.family == other.family and self.window == other.window
