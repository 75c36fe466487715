"""Which attention kernels vLLM picks on a GPU, and the block sizes they take.

Source: vLLM 0.33 `platforms/cuda.py` (`_get_backend_priorities`), `v1/attention/backend.py`
(`validate_configuration`) and the classes in `v1/attention/backends`. The packages of the wheel (FlashInfer,
FlashAttention 2-4) are taken as installed; tokenspeed_mla is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

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

FA4_HEAD_256_PAGE = 128
"""Blackwell's FlashAttention-4 kernel for head size 256 reads 128-token pages (fa_utils.py)."""
FA4_FP8_HEAD_512_PAGE = 64
"""Hopper's FlashAttention-4 kernel for fp8 caches of head size 512 reads 64-token pages (flash_attn.py)."""


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


def _common(
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


def _block_refused(need: AttentionNeed, sizes: tuple[int, ...]) -> str | None:
    if need.block_size is None or any(need.block_size % size == 0 for size in sizes):
        return None
    return "block_size not supported"


def _flash_attn(need: AttentionNeed) -> str | None:
    major = need.capability[0]
    four = major in (9, 10, 11)
    if need.head_dim % 8 or need.head_dim > (512 if four else 256):
        return "head_size not supported"
    version = flash_version(need)
    reason = _common(
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
    return _block_refused(need, (flash_page(need) or 16,))


def _flash_infer(need: AttentionNeed) -> str | None:
    major = need.capability[0]
    if need.head_dim not in (64, 128, 256, 512):
        return "head_size not supported"
    reason = _common(
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
    return _block_refused(need, (16, 32, 64))


def _triton(need: AttentionNeed) -> str | None:
    if need.head_dim < 32:
        return "head_size not supported"
    kv = PLAIN_KV | FP8_KV | {"fp8_e5m2"} | PER_TOKEN_HEAD_KV
    return _common(need, dtypes=ALL_DTYPES, kv=kv, image_prefix=True, encoder=True) or _block_refused(
        need, (16,)
    )


def _flex(need: AttentionNeed) -> str | None:
    return _common(
        need, dtypes=ALL_DTYPES, kv=PLAIN_KV, sinks=False, image_prefix=True, encoder=True
    ) or _block_refused(need, (16,))


def _turboquant(need: AttentionNeed) -> str | None:
    reason = _common(need, dtypes=HALF_DTYPES, kv=TURBOQUANT_KV, sinks=False)
    if reason is None and need.window:
        reason = "sliding window not supported"
    return reason or _block_refused(need, (16, 32, 64, 128))


def _triton_flash(need: AttentionNeed) -> str | None:
    """Images on Triton, the rest on FlashAttention: Hopper, head sizes 256 and 512."""
    if need.head_dim not in (256, 512):
        return "head_size not supported"
    if need.capability[0] != 9:
        return "compute capability not supported"
    causal = AttentionNeed(
        capability=need.capability,
        dtype=need.dtype,
        kv_dtype=need.kv_dtype,
        head_dim=need.head_dim,
        value_dim=need.value_dim,
        sinks=need.sinks,
        block_size=need.block_size,
        flash_version=need.flash_version,
    )
    return _triton(need) or _flash_attn(causal)


def _triton_flash_infer(need: AttentionNeed) -> str | None:
    """Images on Triton, the rest on FlashInfer: Blackwell data-centre GPUs, head sizes 256 and 512."""
    if need.head_dim not in (256, 512):
        return "head_size not supported"
    if need.capability[0] != 10:
        return "compute capability not supported"
    causal = AttentionNeed(
        capability=need.capability, dtype=need.dtype, kv_dtype=need.kv_dtype, head_dim=need.head_dim
    )
    return _triton(need) or _flash_infer(causal) or _block_refused(need, (64,))


def _latent(
    need: AttentionNeed,
    *,
    majors: tuple[int, ...] = (),
    kv: frozenset[str] = PLAIN_KV,
    sizes: tuple[int, ...] = (16,),
    dtypes: frozenset[str] = HALF_DTYPES,
    sparse: bool = False,
    dcp: bool = True,
) -> str | None:
    reason = _common(need, dtypes=dtypes, kv=kv, latent=True, sparse=sparse, sinks=False, dcp=dcp)
    if reason is None and majors and need.capability[0] not in majors:
        reason = "compute capability not supported"
    return reason or _block_refused(need, sizes)


def _flash_attn_mla(need: AttentionNeed) -> str | None:
    return _latent(need, majors=(9,))


def _flash_mla(need: AttentionNeed) -> str | None:
    return _latent(need, majors=(9, 10), kv=PLAIN_KV | FP8_KV, sizes=(64,))


def _flash_infer_mla(need: AttentionNeed) -> str | None:
    reason = _latent(need, majors=(10,), kv=PLAIN_KV | FP8_KV, sizes=(32, 64))
    if reason is None and need.nope_dim not in (64, 128, 192):
        return f"FlashInfer MLA kernel requires qk_nope_head_dim in [64, 128, 192], but got {need.nope_dim}"
    return reason


def _cutlass_mla(need: AttentionNeed) -> str | None:
    return _latent(need, majors=(10,), kv=PLAIN_KV | FP8_KV, sizes=(128,))


def _triton_mla(need: AttentionNeed) -> str | None:
    return _latent(need, kv=PLAIN_KV | FP8_KV)


def _flash_attn_mla_sparse(need: AttentionNeed) -> str | None:
    return _latent(need, majors=(9,), sizes=(64,), sparse=True, dcp=False)


def _fa4_mla_sparse(need: AttentionNeed) -> str | None:
    if need.head_dim != 576:
        return "head_size not supported"
    kv = frozenset({"auto", "bfloat16"})
    reason = _latent(need, majors=(10,), kv=kv, sizes=(64,), dtypes=frozenset({"bfloat16"}), sparse=True)
    if reason is None and (need.index_topk == 0 or need.index_topk % 128):
        return f"FA4 sparse MLA requires index_topk % 128 == 0, got {need.index_topk}"
    if reason is None and need.heads * need.dcp not in (8, 16, 32, 64, 128):
        return f"FA4 sparse MLA requires 8 to 128 gathered query heads, got num_heads={need.heads}"
    return reason or _flash_infer_mla_sparse(need)


def _flash_infer_mla_sparse(need: AttentionNeed) -> str | None:
    if need.head_dim not in (512, 576):
        return "head_size not supported"
    reason = _latent(need, majors=(10,), kv=PLAIN_KV | FP8_KV, sizes=(32,), sparse=True)
    if reason is None and need.rope_dim and need.nope_dim not in (128, 192):
        return (
            f"FlashInfer MLA Sparse kernel requires qk_nope_head_dim in [128, 192], but got {need.nope_dim}"
        )
    return reason


def _flash_infer_mla_sparse_sm120(need: AttentionNeed) -> str | None:
    kv = FP8_KV | {"auto", "fp8_ds_mla"}
    return _latent(
        need, majors=(12,), kv=kv, sizes=(64,), dtypes=frozenset({"bfloat16"}), sparse=True, dcp=False
    )


def _flash_mla_sparse(need: AttentionNeed) -> str | None:
    if need.head_dim not in (512, 576):
        return "head_size not supported"
    kv = frozenset({"auto", "bfloat16", "fp8", "fp8_ds_mla", "nvfp4_ds_mla"})
    reason = _latent(need, majors=(9, 10), kv=kv, sizes=(64,), dtypes=frozenset({"bfloat16"}), sparse=True)
    if reason is None and need.kv_dtype == "nvfp4_ds_mla" and need.capability[0] != 10:
        return "FLASHMLA_SPARSE only supports the nvfp4_ds_mla kv-cache dtype on SM100 (Blackwell)"
    return reason


FLASH_ATTN = Backend("FLASH_ATTN", _flash_attn)
FLASHINFER = Backend("FLASHINFER", _flash_infer, (16, 32, 64), multiples=False)
TRITON_ATTN = Backend("TRITON_ATTN", _triton)
FLEX_ATTENTION = Backend("FLEX_ATTENTION", _flex)
TURBOQUANT = Backend("TURBOQUANT", _turboquant, (16, 32, 64, 128), multiples=False)
TRITON_FLASH_ATTN = Backend("TRITON_FLASH_ATTN", _triton_flash)
TRITON_FLASHINFER = Backend("TRITON_FLASHINFER", _triton_flash_infer, (64,), multiples=False)
FLASH_ATTN_DIFFKV = Backend("FLASH_ATTN_DIFFKV", _flash_attn)
TRITON_ATTN_DIFFKV = Backend("TRITON_ATTN_DIFFKV", _triton)
FLASH_ATTN_MLA = Backend("FLASH_ATTN_MLA", _flash_attn_mla)
FLASHMLA = Backend("FLASHMLA", _flash_mla, (64,), multiples=False)
FLASHINFER_MLA = Backend("FLASHINFER_MLA", _flash_infer_mla, (32, 64), multiples=False)
CUTLASS_MLA = Backend("CUTLASS_MLA", _cutlass_mla, (128,), multiples=False)
TRITON_MLA = Backend("TRITON_MLA", _triton_mla)
FLASH_ATTN_MLA_SPARSE = Backend("FLASH_ATTN_MLA_SPARSE", _flash_attn_mla_sparse, (64,))
FLASH_ATTN_MLA_SPARSE_FA4 = Backend("FLASH_ATTN_MLA_SPARSE_FA4", _fa4_mla_sparse, (64,))
FLASHINFER_MLA_SPARSE = Backend("FLASHINFER_MLA_SPARSE", _flash_infer_mla_sparse, (32,))
FLASHINFER_MLA_SPARSE_SM120 = Backend("FLASHINFER_MLA_SPARSE_SM120", _flash_infer_mla_sparse_sm120, (64,))
FLASHMLA_SPARSE = Backend("FLASHMLA_SPARSE", _flash_mla_sparse, (64,), multiples=False)

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
