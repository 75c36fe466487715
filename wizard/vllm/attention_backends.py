"""Which attention kernels vLLM picks on a GPU, and the block sizes they take.

Source: vLLM 0.33 `platforms/cuda.py` (`_get_backend_priorities`), `v1/attention/backends` and its `fa_utils.py`.
The packages of the wheel (FlashInfer, FlashAttention 2-4) are taken as installed.
"""

from __future__ import annotations

from functools import lru_cache

from wizard.dataclass import dataclass, replace
from wizard.vllm.attention_needs import (
    ALL_DTYPES,
    FP8_KV,
    HALF_DTYPES,
    NVFP4_KV,
    PER_TOKEN_HEAD_KV,
    PLAIN_KV,
    TURBOQUANT_KV,
    AttentionNeed,
    Backend,
    block_refusal,
    shared_refusal,
)
from wizard.vllm.latent_backends import (
    CUTLASS_MLA,
    FLASH_ATTN_MLA,
    FLASH_ATTN_MLA_SPARSE,
    FLASH_ATTN_MLA_SPARSE_FA4,
    FLASHINFER_MLA,
    FLASHINFER_MLA_SPARSE,
    FLASHINFER_MLA_SPARSE_SM120,
    FLASHMLA,
    FLASHMLA_SPARSE,
    TRITON_MLA,
)

FA4_HEAD_256_PAGE = 128
"""Blackwell's FlashAttention-4 kernel for head size 256 reads 128-token pages (fa_utils.py)."""
FA4_FP8_HEAD_512_PAGE = 64
"""Hopper's FlashAttention-4 kernel for fp8 caches of head size 512 reads 64-token pages (flash_attn.py)."""


def flash_version(need: AttentionNeed) -> int:
    """FlashAttention's version for a layer: 3 on Hopper, 4 on Blackwell data-centre GPUs, else 2.

    Source: vLLM 0.33 v1/attention/backends/fa_utils.py `get_flash_attn_version`.
    """
    major = need.capability[0]
    version = need.flash_version or {9: 3, 10: 4}.get(major, 2)
    if (
        version == 3
        and major == 9
        and (need.head_dim > 256 or (need.sinks and need.value_dim not in (0, need.head_dim)))
    ):
        version = 4
    if version == 4 and major in (10, 11) and need.head_dim == 256 and need.value_dim in (0, 256):
        odd_page = need.block_size is not None and need.block_size % FA4_HEAD_256_PAGE != 0
        if need.sinks or need.softcap or need.quantized or odd_page or need.image_prefix or need.dcp > 1:
            version = 2
    elif version == 4 and major >= 10 and need.head_dim > 128:
        version = 4 if (need.head_dim, need.value_dim) == (192, 128) else 2
    return version


def flash_page(need: AttentionNeed) -> int:
    """Block size that FlashAttention insists on for this layer; 0: any multiple of 16."""
    major = need.capability[0]
    if major == 9 and need.kv_dtype in FP8_KV and need.head_dim == 512 and flash_version(need) == 4:
        return FA4_FP8_HEAD_512_PAGE
    if major in (10, 11) and need.head_dim == 256 and need.value_dim in (0, 256) and flash_version(need) == 4:
        return FA4_HEAD_256_PAGE
    return 0


def _flash_attn(need: AttentionNeed) -> str | None:
    major = need.capability[0]
    four = major in (9, 10, 11)
    if need.head_dim % 8 or need.head_dim > (512 if four else 256):
        return "head_size not supported"
    version = flash_version(need)
    reason = shared_refusal(
        need,
        dtypes=HALF_DTYPES,
        kv=PLAIN_KV | FP8_KV,
        sinks=version in (3, 4) or major in (9, 10),
        image_prefix=four,
        per_head_scales=version >= 3,
        encoder=True,
        dcp=True,
    )
    if reason or need.capability < (8, 0):
        return reason or "compute capability not supported"
    if need.quantized:
        hopper = major == 9 and (version == 3 or (version == 4 and need.head_dim == 512))
        if need.image_prefix and major == 9:
            return "SM90 FP8 KV with mm_prefix requires Triton"
        if not hopper and not (version == 4 and major == 10):
            return "FP8 KV cache requires FA3 on SM90, FA4 with head_size=512 on SM90, or FA4 on SM100"
    if need.sinks and need.capability < (9, 0):
        return "sink not supported on compute capability < 9.0"
    if need.image_prefix and version != 4:
        return (
            "mm_prefix (PrefixLM bidirectional attention) requires FlashAttention v4, which does not resolve "
            "for this head_size"
        )
    return block_refusal(need, (flash_page(need) or 16,))


def _flash_infer(need: AttentionNeed) -> str | None:
    major = need.capability[0]
    if need.head_dim not in (64, 128, 256, 512):
        return "head_size not supported"
    reason = shared_refusal(
        need,
        dtypes=HALF_DTYPES,
        kv=PLAIN_KV | FP8_KV | {"fp8_e5m2"} | NVFP4_KV,
        sinks=major in (9, 10, 12),
        dcp=True,
    )
    if reason or not (8, 0) <= need.capability <= (12, 1):
        return reason or "compute capability not supported"
    if need.kv_dtype in NVFP4_KV and major != 10:
        if need.kv_dtype != "nvfp4":
            return "kv_cache_dtype not supported"
        if need.head_dim == 64:
            return "fa2 prefill misreads an NVFP4 KV cache at head_size 64"
        if need.sinks:
            return "the sink prefill wrapper cannot read an NVFP4 KV cache"
    return block_refusal(need, (16, 32, 64))


def _triton(need: AttentionNeed) -> str | None:
    if need.head_dim < 32:
        return "head_size not supported"
    kv = PLAIN_KV | FP8_KV | {"fp8_e5m2"} | PER_TOKEN_HEAD_KV
    return shared_refusal(need, dtypes=ALL_DTYPES, kv=kv, image_prefix=True, encoder=True) or block_refusal(
        need, (16,)
    )


def _flex(need: AttentionNeed) -> str | None:
    return shared_refusal(
        need, dtypes=ALL_DTYPES, kv=PLAIN_KV, sinks=False, image_prefix=True, encoder=True
    ) or block_refusal(need, (16,))


def _turboquant(need: AttentionNeed) -> str | None:
    reason = shared_refusal(need, dtypes=HALF_DTYPES, kv=TURBOQUANT_KV, sinks=False)
    if reason is None and need.window:
        reason = "sliding window not supported"
    return reason or block_refusal(need, (16, 32, 64, 128))


def _triton_flash(need: AttentionNeed) -> str | None:
    """Images on Triton, the rest on FlashAttention: Hopper, head sizes 256 and 512."""
    if need.head_dim not in (256, 512):
        return "head_size not supported"
    if need.capability[0] != 9:
        return "compute capability not supported"
    causal = replace(need, image_prefix=False, encoder=False)
    return _triton(need) or _flash_attn(causal)


def _triton_flash_infer(need: AttentionNeed) -> str | None:
    """Images on Triton, the rest on FlashInfer: Blackwell data-centre GPUs, head sizes 256 and 512."""
    if need.head_dim not in (256, 512):
        return "head_size not supported"
    if need.capability[0] != 10:
        return "compute capability not supported"
    causal = replace(need, image_prefix=False, encoder=False)
    return _triton(need) or _flash_infer(causal) or block_refusal(need, (64,))


FLASH_ATTN = Backend("FLASH_ATTN", _flash_attn)
FLASHINFER = Backend("FLASHINFER", _flash_infer, (16, 32, 64), multiples=False)
TRITON_ATTN = Backend("TRITON_ATTN", _triton)
FLEX_ATTENTION = Backend("FLEX_ATTENTION", _flex)
TURBOQUANT = Backend("TURBOQUANT", _turboquant, (16, 32, 64, 128), multiples=False)
TRITON_FLASH_ATTN = Backend("TRITON_FLASH_ATTN", _triton_flash)
TRITON_FLASHINFER = Backend("TRITON_FLASHINFER", _triton_flash_infer, (64,), multiples=False)
FLASH_ATTN_DIFFKV = Backend("FLASH_ATTN_DIFFKV", _flash_attn)
TRITON_ATTN_DIFFKV = Backend("TRITON_ATTN_DIFFKV", _triton)

BACKENDS = {backend.name: backend for backend in list(globals().values()) if isinstance(backend, Backend)}


def priorities(need: AttentionNeed) -> tuple[Backend, ...]:
    """Backends in the order in which vLLM tries them."""
    major = need.capability[0]
    if need.latent and major == 10:
        dense = (FLASHINFER_MLA, CUTLASS_MLA, FLASH_ATTN_MLA, FLASHMLA, TRITON_MLA)
        if need.quantized:
            return (*dense, FLASHINFER_MLA_SPARSE, FLASHMLA_SPARSE)
        if 0 < need.heads <= 16:
            return (*dense, FLASH_ATTN_MLA_SPARSE_FA4, FLASHINFER_MLA_SPARSE, FLASHMLA_SPARSE)
        return (*dense, FLASHMLA_SPARSE, FLASHINFER_MLA_SPARSE)
    if need.latent and major == 12:
        return (TRITON_MLA, FLASHINFER_MLA_SPARSE_SM120)
    if need.latent:
        return (FLASH_ATTN_MLA, FLASHMLA, FLASHINFER_MLA, TRITON_MLA, FLASH_ATTN_MLA_SPARSE, FLASHMLA_SPARSE)
    if major == 10:
        images = (TRITON_FLASHINFER,) if need.image_prefix else ()
        return (*images, FLASHINFER, FLASH_ATTN, TRITON_ATTN, FLEX_ATTENTION, TURBOQUANT)
    images = (TRITON_FLASH_ATTN,) if major == 9 and need.image_prefix else ()
    return (*images, FLASH_ATTN, FLASHINFER, TRITON_ATTN, FLEX_ATTENTION, TURBOQUANT)


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that vLLM picks, or why there is none."""

    backend: Backend | None
    reasons: tuple[tuple[str, str], ...] = ()
    """Backend name and reason, for those passed over."""


@lru_cache(maxsize=1024)
def choose(need: AttentionNeed, forced: str | None = None) -> Choice:
    """The first backend that can serve `need`; with `forced` that one or none."""
    if forced is not None and forced in BACKENDS:
        backend = BACKENDS[forced]
        reason = backend.refuses(need)
        return Choice(None, ((forced, reason),)) if reason else Choice(backend)
    refused: list[tuple[str, str]] = []
    for backend in priorities(need):
        reason = backend.refuses(need)
        if reason is None:
            return Choice(backend, tuple(refused))
        refused.append((backend.name, reason))
    return Choice(None, tuple(refused))


def smallest_block(backend: Backend, need: AttentionNeed) -> int:
    """The smallest kernel block of a backend for this layer."""
    if backend.name in ("FLASH_ATTN", "FLASH_ATTN_DIFFKV", "TRITON_FLASH_ATTN"):
        return flash_page(need) or 16
    return backend.sizes[0]


def preferred_block(backend: Backend, need: AttentionNeed, default: int = 16) -> int:
    """The block size that a backend takes where nobody asks for one (`get_preferred_block_size`)."""
    smallest = smallest_block(backend, need)
    return default if default % smallest == 0 else max(default, smallest)


def largest_block_within(backend: Backend, need: AttentionNeed, budget: int) -> int:
    """The largest kernel block of at most `budget` tokens, else the smallest one."""
    smallest = smallest_block(backend, need)
    if backend.multiples and not flash_page_forced(backend, need):
        return max(smallest, budget // smallest * smallest)
    fitting = [size for size in backend.sizes if size <= budget]
    return max(fitting) if fitting else smallest


def flash_page_forced(backend: Backend, need: AttentionNeed) -> bool:
    """True where FlashAttention takes one page size only."""
    return backend.name in ("FLASH_ATTN", "FLASH_ATTN_DIFFKV", "TRITON_FLASH_ATTN") and flash_page(need) > 0
