"""What quantisation methods ask of a GPU, and which of them a version knows.

Sources: vLLM 0.33 `model_executor/layers/quantization` (`get_min_capability`, `get_supported_act_dtypes`);
`QuantizationMethods` of every version, in the flag table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

HALF = ("float16", "bfloat16")
ANY = ("float32", "float16", "bfloat16")

MIN_CAPABILITY: Mapping[str, int] = {
    "auto_awq": 75,
    "auto_gptq": 60,
    "compressed-tensors": 70,
    "deepseek_v4_fp8": 75,
    "experts_int8": 80,
    "fbgemm_fp8": 80,
    "fp8": 75,
    "fp_quant": 100,
    "gpt_oss_mxfp4": 80,
    "humming": 75,
    "inc": 60,
    "modelopt": 80,
    "modelopt_fp4": 75,
    "modelopt_mixed": 75,
    "modelopt_mxfp8": 80,
    "moe_wna16": 70,
    "mxfp4": 80,
    "mxfp8": 80,
    "online": 75,
    "quark": 70,
    "torchao": 75,
}
"""Method -> compute capability x 10 below which vLLM refuses it."""

ACTIVATION_DTYPES: Mapping[str, tuple[str, ...]] = {
    "auto_awq": HALF,
    "auto_gptq": HALF,
    "compressed-tensors": ANY,
    "fp8": HALF,
    "fbgemm_fp8": HALF,
    "fp_quant": ("bfloat16",),
    "gpt_oss_mxfp4": ("bfloat16",),
    "humming": HALF,
    "inc": HALF,
    "modelopt": HALF,
    "modelopt_fp4": HALF,
    "modelopt_mixed": HALF,
    "modelopt_mxfp8": ("bfloat16",),
    "moe_wna16": HALF,
    "mxfp4": ("bfloat16",),
    "online": HALF,
    "quark": HALF,
    "torchao": ANY,
}
"""Method -> dtypes of activations it works with."""

# fmt: off
TORCH_DTYPES = frozenset({
    "bfloat16", "bits16", "bits1x8", "bits2x4", "bits4x2", "bits8", "bool", "cdouble", "cfloat", "chalf",
    "complex128", "complex32", "complex64", "double", "float", "float16", "float32", "float4_e2m1fn_x2",
    "float64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "half", "int", "int1", "int16", "int2", "int3", "int32", "int4", "int5", "int6", "int64", "int7",
    "int8", "long", "qint32", "qint8", "quint2x4", "quint4x2", "quint8", "short", "uint1", "uint16",
    "uint2", "uint3", "uint32", "uint4", "uint5", "uint6", "uint64", "uint7", "uint8",
})
# fmt: on
"""What transformers may ask `torch` for by a config's word (torch 2.14)."""

ONLINE_METHODS = frozenset(
    {
        "fp8",
        "fp8_per_block",
        "fp8_per_channel",
        "fp8_per_tensor",
        "experts_int8",
        "humming",
        "int8_per_channel_weight_only",
        "mxfp4",
        "mxfp8",
        "nvfp4_per_token",
        "online",
        "torchao",
    }
)
"""Methods that quantise a 16-bit checkpoint while it is loaded."""

SAME_METHOD: Mapping[str, str] = {
    "awq": "auto_awq",
    "awq_marlin": "auto_awq",
    "gptq": "auto_gptq",
    "gptq_marlin": "auto_gptq",
    "compressed_tensors": "compressed-tensors",
    "auto-round": "inc",
}
"""Older names of a method."""


TURING_MARLIN_SINCE = (0, 14)
"""First version whose Marlin kernels run on 7.5 (vLLM #29901); before, fp8 needed 8.0 (`get_min_capability`)."""


def min_capability(method: str, number: tuple[int, ...]) -> int:
    """Compute capability x 10 below which vLLM of that version refuses a method; 0 where it asks for none."""
    least = MIN_CAPABILITY.get(method_name(method), 0)
    if method == "fp8" and number[:2] < TURING_MARLIN_SINCE:
        return 80
    return least


def online_fp8_method(number: tuple[int, ...]) -> str:
    """The name under which a version rounds 16-bit weights to 8 while loading, one scale per tensor."""
    version = ".".join(map(str, number))
    return "fp8_per_tensor" if loads_method("fp8_per_tensor", version) else "fp8"


def rounds_weights(capability: tuple[int, int] | None, number: tuple[int, ...]) -> bool:
    """Whether vLLM rounds weights to fp8 while loading on such a GPU: below 8.9 Marlin widens them again to multiply.

    An unknown capability is taken for one that can't.
    """
    if capability is None:
        return False
    method = online_fp8_method(number)
    return capability[0] * 10 + capability[1] >= min_capability(
        "fp8" if method == "fp8" else "online", number
    )


def method_name(method: str) -> str:
    """A method under the name that vLLM 0.33 gives it."""
    return SAME_METHOD.get(method.lower(), method.lower())


BEFORE_RENAMED: Mapping[str, str] = {"gpt_oss_mxfp4": "mxfp4", "deepseek_v4_fp8": "fp8"}
"""Methods that 0.20 split off, and what loaded such checkpoints before."""


@lru_cache(maxsize=16)
def methods(version: str) -> tuple[str, ...]:
    """Every quantisation method that `version` registers, in its own order and spelling."""
    from wizard.vllm.flags import flag_table

    return flag_table(version).flags["--quantization"].known


@lru_cache(maxsize=256)
def loads_method(method: str, version: str) -> bool:
    """Whether `version` loads checkpoints that declare `method`, whatever it calls it itself."""
    known = {method_name(name) for name in methods(version)}
    own = method_name(method)
    return own in known or BEFORE_RENAMED.get(own) in known
