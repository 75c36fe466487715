"""Kernels of latent attention (MLA), dense and sparse.

Source: vLLM 0.33 `v1/attention/backends/mla`. tokenspeed_mla is no part of the wheel and left out.
"""

from __future__ import annotations

from wizard.vllm.attention_needs import (
    FP8_KV,
    HALF_DTYPES,
    PLAIN_KV,
    AttentionNeed,
    Backend,
    block_refusal,
    shared_refusal,
)


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
    reason = shared_refusal(need, dtypes=dtypes, kv=kv, latent=True, sparse=sparse, sinks=False, dcp=dcp)
    if reason is None and majors and need.capability[0] not in majors:
        reason = "compute capability not supported"
    return reason or block_refusal(need, sizes)


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
