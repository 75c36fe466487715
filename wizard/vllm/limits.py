"""What quantisation methods ask of a GPU, and which names `--quantization` takes.

Source: vLLM 0.33 `model_executor/layers/quantization` (`get_min_capability`, `get_supported_act_dtypes`,
`QuantizationMethods`).
"""

from __future__ import annotations

from collections.abc import Mapping

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
    "modelopt": HALF,
    "modelopt_fp4": HALF,
    "modelopt_mixed": HALF,
    "modelopt_mxfp8": ("bfloat16",),
    "moe_wna16": HALF,
    "mxfp4": ("bfloat16",),
    "online": HALF,
    "torchao": ANY,
}
"""Method -> dtypes of activations it works with."""

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

METHODS = tuple(
    sorted(
        {
            *MIN_CAPABILITY,
            *ONLINE_METHODS,
            "awq",
            "awq_marlin",
            "gptq",
            "gptq_marlin",
        }
    )
)
"""Everything `--quantization` takes."""

METHOD_SINCE: Mapping[str, tuple[int, int]] = {
    "mxfp8": (0, 19),
    "fp8_per_tensor": (0, 20),
    "fp8_per_block": (0, 20),
    "int8_per_channel_weight_only": (0, 20),
    "humming": (0, 20),
    "online": (0, 20),
    "fp8_per_channel": (0, 24),
    "nvfp4_per_token": (0, 26),
}
"""First version that takes a method by this name (`quantization/__init__.py`, `config/quantization.py` of each)."""

SAME_METHOD: Mapping[str, str] = {
    "awq": "auto_awq",
    "awq_marlin": "auto_awq",
    "gptq": "auto_gptq",
    "gptq_marlin": "auto_gptq",
    "compressed_tensors": "compressed-tensors",
}
"""Older names of a method."""

OLDEST_CAPABILITY = (7, 5)
"""The wheels hold no kernels for older GPUs (0.33; 7.0 through 0.10)."""


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
    return "fp8_per_tensor" if number[:2] >= METHOD_SINCE["fp8_per_tensor"] else "fp8"


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
