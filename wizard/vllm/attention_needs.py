"""What a layer asks of its attention kernels, and how a family of kernels says no.

Source: vLLM 0.33 `v1/attention/backend.py` (`validate_configuration`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from wizard.dataclass import dataclass

Capability: TypeAlias = tuple[int, int]

PLAIN_KV = frozenset({"auto", "float16", "bfloat16"})
FP8_KV = frozenset({"fp8", "fp8_e4m3"})
PER_TOKEN_HEAD_KV = frozenset({"int4_per_token_head", "int8_per_token_head", "fp8_per_token_head"})
TURBOQUANT_KV = frozenset(
    {"turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc"}
)
NVFP4_KV = frozenset({"nvfp4", "nvfp4_4over6"})
HALF_DTYPES = frozenset({"float16", "bfloat16"})
ALL_DTYPES = HALF_DTYPES | {"float32"}


@dataclass(frozen=True, slots=True)
class AttentionNeed:
    """What one kind of layer asks of its kernels."""

    capability: Capability
    dtype: str
    kv_dtype: str
    """As given to vLLM, after the checkpoint's own scheme: auto, fp8, nvfp4 ..."""
    head_dim: int
    value_dim: int = 0
    heads: int = 0
    """Query heads on one rank."""
    kv_heads: int = 0
    """KV heads on one rank."""
    latent: bool = False
    sparse: bool = False
    sinks: bool = False
    image_prefix: bool = False
    per_head_scales: bool = False
    softcap: bool = False
    encoder: bool = False
    window: bool = False
    dcp: int = 1
    block_size: int | None = None
    """As the user asked; `None`: the backend's choice."""
    nope_dim: int = 0
    rope_dim: int = 0
    latent_rank: int = 0
    index_topk: int = 0
    flash_version: int | None = None
    """Forced by the model class (Gemma 4)."""

    @property
    def quantized(self) -> bool:
        return self.kv_dtype not in PLAIN_KV


@dataclass(frozen=True, slots=True)
class Backend:
    """A family of attention kernels."""

    name: str
    refuses: Callable[[AttentionNeed], str | None]
    """Why it can't serve a need, in vLLM's words; `None`: it can."""
    sizes: tuple[int, ...] = (16,)
    """Supported block sizes, smallest first."""
    multiples: bool = True
    """Any multiple of `sizes[0]` will do, in one kernel block."""


def shared_refusal(
    need: AttentionNeed,
    *,
    dtypes: frozenset[str],
    kv: frozenset[str],
    latent: bool = False,
    sparse: bool = False,
    sinks: bool = True,
    image_prefix: bool = False,
    per_head_scales: bool = False,
    encoder: bool = False,
    dcp: bool = False,
) -> str | None:
    """The checks that every backend shares, in vLLM's order."""
    if need.dtype not in dtypes:
        return "dtype not supported"
    if need.kv_dtype not in kv:
        return "kv_cache_dtype not supported"
    if need.image_prefix and not image_prefix:
        return "partial multimodal token full attention not supported"
    if need.latent != latent:
        return "MLA not supported" if need.latent else "non-MLA not supported"
    if need.sinks and not sinks:
        return "attention sinks not supported"
    if need.sparse != sparse:
        return "sparse not supported" if need.sparse else "non-sparse not supported"
    if need.per_head_scales and not per_head_scales:
        return "per-head quant scales not supported"
    if need.encoder and not encoder:
        return "attention type encoder_only not supported"
    if need.dcp > 1 and not dcp:
        return "DCP not supported"
    return None


def block_refusal(need: AttentionNeed, sizes: tuple[int, ...]) -> str | None:
    if need.block_size is None or any(need.block_size % size == 0 for size in sizes):
        return None
    return "block_size not supported"
