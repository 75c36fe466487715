"""`quantization_config` -> how each matrix is stored.

Sources: vLLM 0.33 `config/model.py` (`_verify_quantization`), `transformers_utils/model_arch_config_convertor.py`
(which file counts, which method name it means) and `get_quant_method` of each method in
`model_executor/layers/quantization/` (which modules it leaves alone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.dataclass import replace
from wizard.errors import ConfigError, UnsizedError
from wizard.models.auto_round import auto_round
from wizard.models.compressed_tensors import compressed_tensors
from wizard.models.facts import Facts
from wizard.models.matching import Patterns
from wizard.models.metadata import ModelMetadata, section, short
from wizard.models.quantized import NO_ACTIVATION_ORDER, Quantization, Rule, group_size, texts, weight_bits
from wizard.models.quark import quark
from wizard.models.storage import PLAIN, Scheme


def quantization_of(metadata: ModelMetadata, online: str | None = None) -> Quantization | None:
    """The quantisation of a checkpoint, else the online one asked for; `None` for neither.

    Raises ConfigError where the section is malformed.
    """
    values = metadata.quantization_config
    method = method_name(metadata)
    if values is None or not method:
        return online_quantization(online) if online else None
    try:
        return _read(method, metadata)
    except UnsizedError:
        if metadata.checkpoint is None or not metadata.checkpoint.exact:
            raise
    return Quantization(method)  # its tensors are sized one by one, as their headers list them


def told_by_config(metadata: ModelMetadata) -> bool:
    """False where the checkpoint is quantised in a form whose sizes its config doesn't tell."""
    method = method_name(metadata)
    try:
        if method:
            _read(method, metadata)
    except UnsizedError:
        return False
    return True


def _read(method: str, metadata: ModelMetadata) -> Quantization:
    reader = READERS.get(method)
    if reader is None:
        raise UnsizedError(
            f"The checkpoint is quantised by {short(method)}, whose sizes its config doesn't tell; use a model "
            "directory or id whose safetensors headers can be read, or another variant."
        )
    return reader(Facts(metadata.quantization_config or {}), metadata)


def method_name(metadata: ModelMetadata) -> str:
    """vLLM's name for the checkpoint's method; empty where vLLM sees no quantisation."""
    values = metadata.quantization_config
    if not values:
        return ""
    facts = Facts(values)
    method = facts.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    if method.startswith("modelopt"):
        algorithm = facts.text("quant_algo").upper()
        if algorithm == "MIXED_PRECISION":
            return "modelopt_mixed"
        if "FP4" in algorithm:
            return "modelopt_fp4"
        return "modelopt_mxfp8" if algorithm == "MXFP8" else "modelopt"
    if method == "fp8" and metadata.model_type == "deepseek_v4":
        return "deepseek_v4_fp8"
    if (
        method == "compressed-tensors"
        and metadata.model_type == "kimi_k3"
        and facts.text("format") == "mxfp4-pack-quantized"
    ):
        return "mxfp4"
    if method == "mxfp4":
        return "gpt_oss_mxfp4" if metadata.model_type == "gpt_oss" else "mxfp4"
    return _SAME.get(method, method)


_SAME: Mapping[str, str] = {
    "gptq": "auto_gptq",
    "gptq_marlin": "auto_gptq",
    "awq": "auto_awq",
    "awq_marlin": "auto_awq",
    "auto-round": "inc",
}
"""What vLLM 0.33 calls the method that a checkpoint declares (`override_quantization_method`)."""


def _block(facts: Facts) -> tuple[int, int] | None:
    values = facts.list("weight_block_size")
    if not values:
        return None
    if len(values) != 2:
        raise ConfigError("quantization_config: weight_block_size must hold two numbers.")
    rows, columns = (Facts({"weight_block_size": item}).int("weight_block_size", low=1) for item in values)
    return rows, columns


def _fp8(facts: Facts, metadata: ModelMetadata) -> Quantization:
    block = _block(facts)
    static = facts.text("activation_scheme", "dynamic") == "static"
    scheme = Scheme("fp8_block", 8, block=block) if block else Scheme("fp8_tensor", 8, static_input=static)
    ignored = Patterns(exact=texts(facts, "ignored_layers", "modules_to_not_convert"))
    return Quantization("fp8", scheme, ignored=ignored, cache_scales="scalars")


def _deepseek_v4(facts: Facts, metadata: ModelMetadata) -> Quantization:
    """fp8 blocks around experts that are 4-bit unless the file says otherwise (deepseek_v4/quant_config.py)."""
    found = _fp8(facts, metadata)
    if Facts(metadata.text).text("expert_dtype", "fp4") != "fp4":
        return replace(found, method="deepseek_v4_fp8")
    nvfp4 = facts.text("moe_quant_algo").upper() == "NVFP4"
    return replace(
        found,
        method="deepseek_v4_fp8",
        default=replace(found.default, scale_dtype="float8_e8m0fnu"),
        experts=Scheme("nvfp4", 4, 16, static_input=True) if nvfp4 else Scheme("mxfp4", 4, 32),
    )


def _fbgemm_fp8(facts: Facts, metadata: ModelMetadata) -> Quantization:
    return Quantization(
        "fbgemm_fp8",
        Scheme("fbgemm_fp8", 8),
        ignored=Patterns(exact=texts(facts, "modules_to_not_convert")),
        refusal=(
            "The quantization method fbgemm_fp8 is deprecated and will be removed in future versions of vLLM. "
            "To bypass, set `--allow-deprecated-quantization`."
        ),
    )


def _gptq(facts: Facts, metadata: ModelMetadata) -> Quantization:
    bits = weight_bits(facts, "bits", default=4)
    group = group_size(facts, "group_size", 128)
    refusal = ""
    if facts.flag("desc_act") and group != -1:
        refusal = (
            "GPTQ group activation ordering (desc_act=True) is no longer supported. Use a checkpoint with static "
            "activation ordering or desc_act=False."
        )
    elif bits not in (4, 8) or not facts.flag("sym", default=True):
        refusal = f"Unsupported quantization config: bits={bits}, sym={facts.flag('sym', default=True)}"
    scheme = Scheme("gptq", bits, group, zero_points=not facts.flag("sym", default=True))
    rules: list[Rule] = []
    ignored: list[str] = []
    dynamic = section(facts.values, "dynamic") or {}
    for pattern, override in dynamic.items():
        if pattern.startswith("-:"):
            ignored.append("re:" + pattern[2:])
        elif isinstance(override, Mapping):
            inner = Facts(override)
            changed = replace(
                scheme,
                bits=weight_bits(inner, "bits", default=bits),
                group=group_size(inner, "group_size", group),
            )
            rules.append(Rule(Patterns(exact=("re:" + pattern.removeprefix("+:"),)), changed))
    return Quantization(
        "auto_gptq",
        scheme,
        head=scheme if facts.flag("lm_head") else None,
        ignored=Patterns(exact=tuple(ignored)),
        rules=tuple(rules),
        refusal=refusal,
        refused_since=NO_ACTIVATION_ORDER if "activation ordering" in refusal else (0, 0),
    )


def _awq(facts: Facts, metadata: ModelMetadata) -> Quantization:
    bits = weight_bits(facts, "w_bit", "bits", default=4)
    scheme = Scheme(
        "awq",
        bits,
        group_size(facts, "q_group_size" if facts.has("q_group_size") else "group_size", 128),
        zero_points=facts.flag("zero_point", default=True),
    )
    refusal = "" if bits == 4 else f"Unsupported num_bits = {bits}. Supported: 4."
    return Quantization(
        "auto_awq",
        scheme,
        head=scheme if facts.flag("lm_head") else None,
        ignored=Patterns(contains=texts(facts, "modules_to_not_convert")),
        refusal=refusal,
    )


def _mxfp4(facts: Facts, metadata: ModelMetadata) -> Quantization:
    """Only routed experts are stored in 4 bits."""
    return Quantization(method_name(metadata), PLAIN, experts=Scheme("mxfp4", 4, 32))


def _mxfp8(facts: Facts, metadata: ModelMetadata) -> Quantization:
    scheme = Scheme("mxfp8", 8, 32)
    return Quantization(
        "mxfp8",
        scheme,
        ignored=Patterns(exact=texts(facts, "ignored_layers", "modules_to_not_convert")),
        cache_scales="scalars",
    )


def _modelopt(facts: Facts, metadata: ModelMetadata) -> Quantization:
    from wizard.models.modelopt import modelopt

    return modelopt(facts, method_name(metadata))


def _compressed_tensors(facts: Facts, metadata: ModelMetadata) -> Quantization:
    return compressed_tensors(facts, "compressed-tensors")


def _auto_round(facts: Facts, metadata: ModelMetadata) -> Quantization:
    return auto_round(facts)


def _quark(facts: Facts, metadata: ModelMetadata) -> Quantization:
    return quark(facts)


READERS: Mapping[str, Callable[[Facts, ModelMetadata], Quantization]] = {
    "fp8": _fp8,
    "deepseek_v4_fp8": _deepseek_v4,
    "fbgemm_fp8": _fbgemm_fp8,
    "auto_gptq": _gptq,
    "auto_awq": _awq,
    "mxfp4": _mxfp4,
    "gpt_oss_mxfp4": _mxfp4,
    "mxfp8": _mxfp8,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "modelopt_mxfp8": _modelopt,
    "modelopt_mixed": _modelopt,
    "compressed-tensors": _compressed_tensors,
    "inc": _auto_round,
    "quark": _quark,
}

ONLINE_SCHEMES: Mapping[str, tuple[Scheme, Scheme]] = {
    "fp8": (Scheme("fp8_tensor", 8), Scheme("fp8_tensor", 8)),
    "fp8_per_tensor": (Scheme("fp8_tensor", 8), Scheme("fp8_tensor", 8)),
    "fp8_per_block": (Scheme("fp8_block", 8), Scheme("fp8_block", 8)),
    "fp8_per_channel": (Scheme("fp8_channel", 8), Scheme("fp8_channel", 8)),
    "mxfp8": (Scheme("mxfp8", 8, 32), Scheme("mxfp8", 8, 32)),
    "mxfp4": (Scheme("mxfp4", 4, 32), Scheme("mxfp4", 4, 32)),
    "int8_per_channel_weight_only": (PLAIN, Scheme("int8_channel", 8)),
    "experts_int8": (PLAIN, Scheme("int8_channel", 8)),
    "nvfp4_per_token": (PLAIN, Scheme("nvfp4", 4, 16)),
}
"""`--quantization` on a plain checkpoint -> how matrices and experts are kept (config/quantization.py)."""


def online_quantization(method: str) -> Quantization:
    """Quantising while loading. Raises ConfigError for a method vLLM doesn't have."""
    schemes = ONLINE_SCHEMES.get(method)
    if schemes is None:
        raise ConfigError(
            f"--quantization {short(method)} needs a checkpoint quantised that way; for a plain one vLLM offers "
            f"{', '.join(ONLINE_SCHEMES)}."
        )
    return Quantization(method, schemes[0], experts=schemes[1], online=True)
