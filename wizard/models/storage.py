"""What a quantisation scheme keeps of a matrix or of a layer's experts, in bytes by dtype.

Source: `create_weights` of each method in vLLM 0.33 `model_executor/layers/quantization/` and
`layers/fused_moe/`: the tensors allocated on the GPU before a kernel repacks them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil, gcd

from wizard.dataclass import dataclass, replace

DTYPE_BYTES: Mapping[str, int] = {
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e8m0fnu": 1,
    "uint8": 1,
    "int8": 1,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}

SCALE = "float32"
FP8 = "float8_e4m3fn"

SMALLEST_FP8_BLOCK = 32
"""Expert shards that don't divide into blocks are cut finer, down to this (fused_moe/oracle/fp8.py)."""


SMALLEST_WNA16_GROUP = 32
"""Below it vLLM asserts (quantization/moe_wna16.py)."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one matrix is stored."""

    kind: str = "none"
    bits: int = 16
    group: int = 0
    """Inputs that share a scale; -1: all of them."""
    block: tuple[int, int] = (128, 128)
    static_input: bool = False
    """An activation scale is stored with the weights."""
    unused_input: bool = False
    """... in the model's dtype, read and dropped (ModelOpt's weight-only NVFP4)."""
    zero_points: bool = False
    scale_dtype: str = SCALE


PLAIN = Scheme()


@dataclass(frozen=True, slots=True)
class Shard:
    """A matrix as one rank holds it."""

    inputs: int
    outputs: tuple[int, ...]
    whole_inputs: int
    """Inputs of the whole matrix: per-channel groups of a row split are not cut."""
    dtype: str


@dataclass(frozen=True, slots=True)
class ExpertShard:
    """A layer's experts as one rank holds them."""

    count: int
    hidden: int
    intermediate: int
    gated: bool
    bias: bool
    dtype: str
    tp: int

    @property
    def shards(self) -> int:
        return 2 if self.gated else 1


Bytes = Counter[str]
"""Bytes by dtype."""


def _sized(**elements: int) -> Bytes:
    """Elements by dtype -> bytes by dtype."""
    return Counter({dtype: count * DTYPE_BYTES[dtype] for dtype, count in elements.items() if count})


def _add(total: Bytes, dtype: str, elements: int) -> None:
    if elements:
        total[dtype] += elements * DTYPE_BYTES[dtype]


def _plain(scheme: Scheme, shard: Shard) -> Bytes:
    return _sized(**{shard.dtype: sum(shard.outputs) * shard.inputs})


def _fp8_tensor(scheme: Scheme, shard: Shard) -> Bytes:
    scales = len(shard.outputs) * (2 if scheme.static_input else 1)
    return _sized(float8_e4m3fn=sum(shard.outputs) * shard.inputs, float32=scales)


def _fp8_channel(scheme: Scheme, shard: Shard) -> Bytes:
    rows = sum(shard.outputs)
    extra = len(shard.outputs) if scheme.static_input else 0
    return _sized(float8_e4m3fn=rows * shard.inputs, float32=rows + extra)


def _fbgemm(scheme: Scheme, shard: Shard) -> Bytes:
    rows = sum(shard.outputs)
    return _sized(float8_e4m3fn=rows * shard.inputs, float32=rows + 1)


def _fp8_block(scheme: Scheme, shard: Shard) -> Bytes:
    rows = sum(shard.outputs)
    scales = ceil(rows / scheme.block[0]) * ceil(shard.inputs / scheme.block[1])
    return Counter({FP8: rows * shard.inputs, scheme.scale_dtype: scales * DTYPE_BYTES[scheme.scale_dtype]})


def _int8_channel(scheme: Scheme, shard: Shard) -> Bytes:
    rows = sum(shard.outputs)
    total = _sized(int8=rows * shard.inputs, float32=rows + (1 if scheme.static_input else 0))
    if scheme.static_input and scheme.zero_points:
        total["int8"] += 1
    return total


def _int8_tensor(scheme: Scheme, shard: Shard) -> Bytes:
    rows = sum(shard.outputs)
    return _sized(int8=rows * shard.inputs, float32=len(shard.outputs) + (1 if scheme.static_input else 0))


def _int8_zeros(scheme: Scheme, shard: Shard) -> Bytes:
    """Quark: a scale and a zero point per row (group -1) or per matrix, and of static inputs one more."""
    rows = sum(shard.outputs)
    scales = (rows if scheme.group == -1 else len(shard.outputs)) + (1 if scheme.static_input else 0)
    return _sized(int8=rows * shard.inputs + scales, float32=scales)


def _nvfp4(scheme: Scheme, shard: Shard) -> Bytes:
    elements = sum(shard.outputs) * shard.inputs
    scales = len(shard.outputs) * (2 if scheme.static_input else 1)
    total = _sized(uint8=elements // 2, float8_e4m3fn=elements // (scheme.group or 16), float32=scales)
    _add(total, shard.dtype, len(shard.outputs) if scheme.unused_input else 0)
    return total


def _mxfp4(scheme: Scheme, shard: Shard) -> Bytes:
    elements = sum(shard.outputs) * shard.inputs
    return _sized(uint8=elements // 2 + elements // 32)


def _mxfp8(scheme: Scheme, shard: Shard) -> Bytes:
    elements = sum(shard.outputs) * shard.inputs
    return _sized(float8_e4m3fn=elements, uint8=elements // 32)


def groups_of(scheme: Scheme, shard: Shard) -> int:
    """Scale rows of a packed matrix; a row split keeps all per-channel scales."""
    if scheme.group > 0:
        return shard.inputs // scheme.group
    return max(1, shard.whole_inputs // shard.whole_inputs)


def _packed_gptq(scheme: Scheme, shard: Shard) -> Bytes:
    factor = 32 // scheme.bits
    rows, groups = sum(shard.outputs), groups_of(scheme, shard)
    total = _sized(int32=shard.inputs // factor * rows + groups * (rows // factor))
    _add(total, shard.dtype, groups * rows)
    return total


def _packed_awq(scheme: Scheme, shard: Shard) -> Bytes:
    factor = 32 // scheme.bits
    rows, groups = sum(shard.outputs), groups_of(scheme, shard)
    total = _sized(int32=(shard.inputs + groups) * (rows // factor))
    _add(total, shard.dtype, groups * rows)
    return total


def _packed_ct(scheme: Scheme, shard: Shard) -> Bytes:
    rows, groups = sum(shard.outputs), groups_of(scheme, shard)
    words = rows * ceil(shard.inputs * scheme.bits / 32)
    if scheme.zero_points:
        words += ceil(rows * scheme.bits / 32) * groups
    total = _sized(int32=words, int64=2)
    _add(total, shard.dtype, groups * rows)
    return total


def _int_static(scheme: Scheme, shard: Shard) -> Bytes:
    """compressed-tensors WNa8o8: packed weights, static input and output scales."""
    rows, groups = sum(shard.outputs), groups_of(scheme, shard)
    if scheme.bits == 8:
        total = _sized(int8=rows * shard.inputs, float32=2)
    else:
        total = _sized(int32=rows * (shard.inputs // (32 // scheme.bits)), int64=2, float32=2)
    _add(total, shard.dtype, groups * rows)
    return total


def _int4_unpacked(scheme: Scheme, shard: Shard) -> Bytes:
    rows, groups = sum(shard.outputs), groups_of(scheme, shard)
    total = _sized(int8=rows * shard.inputs)
    _add(total, shard.dtype, groups * rows)
    return total


LINEAR_STORAGE: Mapping[str, Callable[[Scheme, Shard], Bytes]] = {
    "none": _plain,
    "fp8_tensor": _fp8_tensor,
    "fp8_channel": _fp8_channel,
    "fbgemm_fp8": _fbgemm,
    "fp8_block": _fp8_block,
    "int8_channel": _int8_channel,
    "int8_tensor": _int8_tensor,
    "int8_zeros": _int8_zeros,
    "nvfp4": _nvfp4,
    "mxfp4": _mxfp4,
    "mxfp8": _mxfp8,
    "gptq": _packed_gptq,
    "awq": _packed_awq,
    "packed": _packed_ct,
    "int_static": _int_static,
    "int4_unpacked": _int4_unpacked,
}


def linear_bytes(scheme: Scheme, shard: Shard) -> Bytes:
    """Bytes by dtype of one stored matrix."""
    return LINEAR_STORAGE[scheme.kind](scheme, shard)


def element_bits(scheme: Scheme, dtype: str) -> int:
    """Bits of one stored element, scales apart."""
    if scheme.kind == "none":
        return 8 * DTYPE_BYTES[dtype]
    return 8 if scheme.kind == "int4_unpacked" else scheme.bits


def linear_tensors(scheme: Scheme, shard: Shard) -> tuple[int, ...]:
    """Bytes of the tensors large enough to matter to an allocator: the weight itself."""
    return (sum(shard.outputs) * shard.inputs * element_bits(scheme, shard.dtype) // 8,)


def expert_tensors(scheme: Scheme, shard: ExpertShard) -> tuple[int, ...]:
    """Likewise for a layer's experts: gate and up together, down."""
    one = shard.count * shard.hidden * shard.intermediate * element_bits(scheme, shard.dtype) // 8
    return shard.shards * one, one


def _expert_elements(shard: ExpertShard) -> int:
    return shard.count * (shard.shards + 1) * shard.hidden * shard.intermediate


def _expert_bias(total: Bytes, shard: ExpertShard, *, always: bool = False, dtype: str = "") -> Bytes:
    if shard.bias or always:
        _add(total, dtype or shard.dtype, shard.count * (shard.shards * shard.intermediate + shard.hidden))
    return total


def _experts_plain(scheme: Scheme, shard: ExpertShard) -> Bytes:
    return _expert_bias(_sized(**{shard.dtype: _expert_elements(shard)}), shard)


def _experts_fp8_tensor(scheme: Scheme, shard: ExpertShard) -> Bytes:
    scales = shard.count * (shard.shards + 1) + (2 * shard.count if scheme.static_input else 0)
    return _expert_bias(_sized(float8_e4m3fn=_expert_elements(shard), float32=scales), shard)


def _experts_channel(scheme: Scheme, shard: ExpertShard) -> Bytes:
    dtype = "int8" if scheme.kind.startswith("int8") else FP8
    scales = shard.count * (shard.shards * shard.intermediate + shard.hidden)
    if scheme.static_input:
        scales += 2 * shard.count
    return _expert_bias(_sized(**{dtype: _expert_elements(shard), "float32": scales}), shard)


def expert_block(scheme: Scheme, shard: ExpertShard) -> tuple[int, int]:
    """The block of expert scales: refined where the shard doesn't divide (fused_moe/oracle/fp8.py)."""
    rows, columns = scheme.block
    if shard.intermediate % rows == 0 and (shard.tp == 1 or shard.intermediate % columns == 0):
        return scheme.block
    finer = gcd(rows, columns, shard.intermediate, shard.hidden)
    return (finer, finer) if finer >= SMALLEST_FP8_BLOCK else scheme.block


def _experts_fp8_block(scheme: Scheme, shard: ExpertShard) -> Bytes:
    rows, columns = expert_block(scheme, shard)
    up = shard.shards * ceil(shard.intermediate / rows) * ceil(shard.hidden / columns)
    down = ceil(shard.hidden / rows) * ceil(shard.intermediate / columns)
    total = _sized(float8_e4m3fn=_expert_elements(shard))
    _add(total, scheme.scale_dtype, shard.count * (up + down))
    return _expert_bias(total, shard)


def _experts_nvfp4(scheme: Scheme, shard: ExpertShard) -> Bytes:
    scales = (shard.shards + 1) * (shard.count + shard.count)
    return _sized(
        uint8=_expert_elements(shard) // 2,
        float8_e4m3fn=shard.count * _expert_scales(scheme, shard),
        float32=scales,
    )


def _experts_mxfp4(scheme: Scheme, shard: ExpertShard) -> Bytes:
    elements = _expert_elements(shard)
    return _expert_bias(_sized(uint8=elements // 2 + elements // 32), shard, dtype="bfloat16")


def _experts_mxfp8(scheme: Scheme, shard: ExpertShard) -> Bytes:
    elements = _expert_elements(shard)
    return _sized(float8_e4m3fn=elements, uint8=elements // 32)


def _expert_scales(scheme: Scheme, shard: ExpertShard) -> int:
    """Group scales of both matrices, per expert."""
    group = scheme.group
    up = shard.shards * shard.intermediate * (shard.hidden // group if group > 0 else 1)
    return up + shard.hidden * (shard.intermediate // group if group > 0 else 1)


def _experts_gptq(scheme: Scheme, shard: ExpertShard) -> Bytes:
    """GPTQ and AWQ: packed weights, scales and zero points; GPTQ keeps biases even where there are none."""
    factor = 32 // scheme.bits
    scales = _expert_scales(scheme, shard)
    total = _sized(int32=_expert_elements(shard) // factor + shard.count * (scales // factor))
    _add(total, shard.dtype, shard.count * scales)
    return _expert_bias(total, shard, always=scheme.kind == "gptq")


def _experts_unpacked(scheme: Scheme, shard: ExpertShard) -> Bytes:
    """GPTQ and AWQ where Marlin can't take the shard: groups are halved until they divide it."""
    group = scheme.group
    while group > SMALLEST_WNA16_GROUP and (shard.intermediate % group or shard.hidden % group):
        group //= 2
    scales = shard.count * _expert_scales(replace(scheme, group=group), shard)
    zeros = scales * scheme.bits // 8 if scheme.zero_points else 0
    total = _sized(uint8=_expert_elements(shard) * scheme.bits // 8 + zeros)
    _add(total, shard.dtype, scales)
    return total


def _experts_packed(scheme: Scheme, shard: ExpertShard) -> Bytes:
    factor = 32 // scheme.bits
    scales = _expert_scales(scheme, shard)
    words = _expert_elements(shard) // factor + (
        shard.count * (scales // factor) if scheme.zero_points else 0
    )
    total = _sized(int32=words)
    _add(total, shard.dtype, shard.count * scales + 4 * shard.count)
    return _expert_bias(total, shard)


EXPERT_STORAGE: Mapping[str, Callable[[Scheme, ExpertShard], Bytes]] = {
    "none": _experts_plain,
    "fp8_tensor": _experts_fp8_tensor,
    "fp8_channel": _experts_channel,
    "int8_channel": _experts_channel,
    "fp8_block": _experts_fp8_block,
    "nvfp4": _experts_nvfp4,
    "mxfp4": _experts_mxfp4,
    "mxfp8": _experts_mxfp8,
    "gptq": _experts_gptq,
    "awq": _experts_gptq,
    "unpacked": _experts_unpacked,
    "packed": _experts_packed,
}


def expert_bytes(scheme: Scheme, shard: ExpertShard) -> Bytes:
    """Bytes by dtype of a layer's stored experts; a scheme without an expert form stores them plainly."""
    return EXPERT_STORAGE.get(scheme.kind, _experts_plain)(scheme, shard)
