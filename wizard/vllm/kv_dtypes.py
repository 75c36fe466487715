"""What `--kv-cache-dtype` stores: bytes per element and per head, and what a checkpoint implies.

Source: vLLM 0.33 `config/cache.py` (`CacheDType`), `utils/torch_utils.py`, the `customize_spec` of the backends,
`model_executor/layers/quantization/turboquant/config.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ELEMENT_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Formats with one whole element per value; every other format is stored as bytes."""

PER_TOKEN_HEAD_SCALE_BYTES = 4
"""One float32 scale for K and one for V, beside each head's values."""

NVFP4_GROUP = 16
"""Values that share one byte of scale."""

TURBOQUANT_BITS: Mapping[str, tuple[int, int, int]] = {
    "turboquant_k8v4": (8, 4, 0),
    "turboquant_4bit_nc": (4, 4, 2),
    "turboquant_k3v4_nc": (3, 4, 2),
    "turboquant_3bit_nc": (3, 3, 2),
}
"""Bits of a key and a value, and the bytes of a key's norm; every value has 4 bytes of scale and zero."""
TURBOQUANT_VALUE_BYTES = 4

PACKED_LATENT_BYTES: Mapping[str, int] = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
"""Latent, rotary part and scales of one token in one opaque row (flashmla_sparse.py)."""

INDEX_SCALE_GROUP = 128
"""Values of a sparse-attention index key that share one float32 scale; the key itself is fp8."""

ROCM_ONLY = frozenset({"octave_k3v4", "octave_k3v3", "octave_k3v3_compact", "ultraquant_4bit"})

FP8_NAMES = frozenset({"fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"})


def element_bytes(kv_dtype: str, model_dtype: str) -> int:
    """Bytes of one stored element; `auto` stores the model's dtype."""
    return ELEMENT_BYTES.get(model_dtype if kv_dtype == "auto" else kv_dtype, 1)


def head_bytes(kv_dtype: str, model_dtype: str, key_dim: int, value_dim: int) -> int:
    """Bytes that one KV head of one layer stores per token."""
    if kv_dtype in TURBOQUANT_BITS:
        key_bits, value_bits, norm = TURBOQUANT_BITS[kv_dtype]
        size = math.ceil(key_dim * key_bits / 8) + norm
        size += math.ceil(value_dim * value_bits / 8) + TURBOQUANT_VALUE_BYTES
        return size + size % 2
    if kv_dtype.startswith("nvfp4"):
        return sum(dim // 2 + dim // NVFP4_GROUP for dim in (key_dim, value_dim))
    if kv_dtype == "int4_per_token_head":
        return key_dim // 2 + value_dim // 2 + 2 * PER_TOKEN_HEAD_SCALE_BYTES
    size = (key_dim + value_dim) * element_bytes(kv_dtype, model_dtype)
    return size + 2 * PER_TOKEN_HEAD_SCALE_BYTES if kv_dtype.endswith("_per_token_head") else size


def latent_bytes(kv_dtype: str, model_dtype: str, width: int) -> int:
    """Bytes that latent attention stores per token and layer."""
    packed = PACKED_LATENT_BYTES.get(kv_dtype)
    return packed if packed is not None else width * element_bytes(kv_dtype, model_dtype)


def index_bytes(width: int) -> int:
    """Bytes that the index of sparse latent attention stores per token and layer."""
    return width + width // INDEX_SCALE_GROUP * 4


def quantized(kv_dtype: str) -> bool:
    return kv_dtype not in ("auto", *ELEMENT_BYTES)


def checkpoint_kv_dtype(quantization: Mapping[str, Any] | None, *, latent: bool) -> str:
    """What `auto` becomes for a checkpoint: ModelOpt's and llm-compressor's own scheme, else `auto`.

    Source: `get_kv_cache_quant_algo_string`; llm-compressor's is honoured by `Attention`, not by MLA.
    """
    if not quantization:
        return "auto"
    method = str(quantization.get("quant_method") or "").lower()
    if method.startswith("modelopt"):
        return _modelopt(quantization)
    scheme = quantization.get("kv_cache_scheme")
    if "compressed" in method and scheme and not latent:
        return "fp8"
    return "auto"


def _modelopt(quantization: Mapping[str, Any]) -> str:
    nested = quantization.get("quantization")
    inner = nested if isinstance(nested, Mapping) else quantization
    algorithm = (
        inner.get("kv_cache_scheme")
        or quantization.get("kv_cache_scheme")
        or inner.get("kv_cache_quant_algo")
        or quantization.get("kv_cache_quant_algo")
    )
    if isinstance(algorithm, Mapping):
        bits, kind = algorithm.get("num_bits"), algorithm.get("type")
        if bits == 8 and kind == "float" and algorithm.get("dynamic") is False:
            return "fp8_e4m3"
        return "nvfp4" if bits == 4 and kind == "float" else "auto"
    names = {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}
    return names.get(algorithm.lower(), "auto") if isinstance(algorithm, str) else "auto"
