"""Headers of safetensors files: names, types and sizes of the tensors, never their values."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from wizard.errors import ConfigError
from wizard.models.metadata import TensorInfo

LENGTH_BYTES = 8
"""A file begins with the length of its header, little-endian."""

LARGEST_HEADER_BYTES = 100 << 20
"""The safetensors format's own limit on a header."""

ITEM_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "BF16": 16,
    "F16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
"""Bits per element of the format's dtypes (safetensors 0.7, `tensor.rs`)."""

PLAIN_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


ON_DISK = "finish or repeat its download"
ON_HUB = "it is broken on the hub: try another --revision, or tell its authors"
"""What to do about an unusable file."""


def header_length(start: bytes, name: str, advice: str = ON_DISK) -> int:
    """Length of the header that begins after the first 8 bytes of a file. Raises ConfigError."""
    if len(start) < LENGTH_BYTES:
        raise ConfigError(f"{name} is truncated; {advice}.")
    length: int = struct.unpack_from("<Q", start)[0]
    if not 2 <= length <= LARGEST_HEADER_BYTES:
        raise ConfigError(f"{name} is not a safetensors file; {advice}.")
    return length


def parse_header(header: bytes, name: str, advice: str = ON_DISK) -> dict[str, TensorInfo]:
    """Tensors of a safetensors JSON header (without its 8 length bytes).

    Raises ConfigError, with `advice` as the next step, where the header is malformed or its sizes disagree
    with its shapes.
    """
    try:
        entries = json.loads(header)
        return {key: _tensor(entry) for key, entry in entries.items() if key != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{name} has a malformed safetensors header; {advice}.") from error


def _tensor(entry: Mapping[str, Any]) -> TensorInfo:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    dtype = entry["dtype"]
    numbers = (start, end, *shape)
    if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(entry)
    bits = ITEM_BITS.get(dtype)
    if bits is not None and end - start != -(-math.prod(shape) * bits // 8):
        raise ValueError(entry)
    return TensorInfo(dtype=dtype, shape=shape, nbytes=end - start)


def stored_dtype(tensors: Iterable[TensorInfo]) -> str | None:
    """The dtype that vLLM assumes where the config names none: of those stored, the one that holds the others.

    Source: vLLM 0.33 `model_arch_config_convertor.py` `get_torch_dtype`, `utils/torch_utils.py`
    `common_broadcastable_dtype`.
    """
    found = {PLAIN_DTYPES[tensor.dtype] for tensor in tensors if tensor.dtype in PLAIN_DTYPES}
    return next((dtype for dtype in ("float32", "bfloat16", "float16") if dtype in found), None)
