"""AMD Quark sections: one scheme for all, for names, and the modules left out.

Source: vLLM 0.33 `model_executor/layers/quantization/quark/{quark,quark_moe,utils}.py` and `quark/schemes/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wizard.errors import ConfigError, UnsizedError
from wizard.models.facts import Facts
from wizard.models.matching import Patterns
from wizard.models.metadata import section
from wizard.models.quantized import Quantization, Rule, group_size, texts
from wizard.models.storage import Scheme

UNSIZED = (
    "The checkpoint is quantised by 'quark' in a form whose sizes its config doesn't tell; use a model directory "
    "or id whose safetensors headers can be read."
)

MX_GROUP = 32
"""Elements that share a scale in the OCP microscaling formats."""


def quark(facts: Facts) -> Quantization:
    """Raises UnsizedError for a scheme that is none of those known here."""
    whole = section(facts.values, "global_quant_config")
    default = _scheme(whole) if whole is not None else None
    rules = []
    for pattern, part in (section(facts.values, "layer_quant_config") or {}).items():
        if not isinstance(part, Mapping):
            raise ConfigError("quantization_config: layer_quant_config must hold objects.")
        if part.get("weight") is None:  # an entry for the cache alone
            continue
        rules.append(Rule(Patterns(exact=(pattern,), globs=True), _scheme(part)))
    if default is None:
        raise UnsizedError(UNSIZED)
    return Quantization(
        "quark",
        default,
        ignored=Patterns(exact=texts(facts, "exclude")),
        rules=tuple(rules),
        cache_scales="scalars",
    )


def _one(part: Mapping[str, Any], name: str) -> Facts | None:
    """A tensor's description; a list of one stands for the one."""
    value = part.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UnsizedError(UNSIZED)
    return Facts(value)


def _scheme(part: Mapping[str, Any]) -> Scheme:
    """Source: `_get_scheme_cls_from_config`."""
    weights = part.get("weight")
    if isinstance(weights, list) and len(weights) == 2:
        first = weights[0]
        if isinstance(first, Mapping) and first.get("dtype") == "fp4":
            return Scheme("nvfp4", 4, 16, static_input=True)
        raise UnsizedError(UNSIZED)
    weight, inputs = _one(part, "weight"), _one(part, "input_tensors")
    if weight is None:
        raise UnsizedError(UNSIZED)
    kind, shape = weight.text("dtype"), weight.text("qscheme")
    static = inputs is not None and not inputs.flag("is_dynamic")
    if (
        shape == "per_group"
        and weight.int("group_size", default=0) == MX_GROUP
        and kind in ("fp4", "fp8_e4m3")
    ):
        return Scheme("mxfp4" if kind == "fp4" else "mxfp8", 4 if kind == "fp4" else 8, MX_GROUP)
    if inputs is not None and kind == "fp8_e4m3":
        if shape == "per_block":
            return Scheme("fp8_block", 8)
        return Scheme("fp8_channel" if shape == "per_channel" else "fp8_tensor", 8, static_input=static)
    if inputs is not None and kind == "int8":
        return Scheme("int8_zeros", 8, -1 if shape == "per_channel" else 0, static_input=static)
    if inputs is None and kind in ("int4", "uint4"):
        return Scheme("awq", 4, group_size(weight, "group_size", -1), zero_points=True)
    raise UnsizedError(UNSIZED)
