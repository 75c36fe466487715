"""AutoRound sections (`quant_method: auto-round`, vLLM's `inc`): GPTQ's or AWQ's packing, per layer if need be.

Source: vLLM 0.33 `model_executor/layers/quantization/inc/{inc,config_parser}.py`,
`inc/schemes/{inc_wna16_linear,inc_wna16_scheme,inc_fp8_scheme,inc_mxfp4_scheme,inc_mxfp8_scheme}.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.matching import Patterns
from wizard.models.metadata import section
from wizard.models.quantized import LARGEST_RULE_COUNT, Quantization, Rule, group_size, texts, weight_bits
from wizard.models.storage import PLAIN, Scheme

REGEX_CHARACTERS = frozenset("*+?^$()[]{}|\\")
"""A key of `extra_config` that holds one of these is a regular expression."""

WHOLE_BITS = 16
"""Layers of so many bits, or more, are left alone."""


def auto_round(facts: Facts) -> Quantization:
    """One scheme, the layers that `extra_config` gives another, and the blocks outside which nothing is packed."""
    scheme, refusal = _scheme(facts, facts)
    rules: dict[Scheme, list[str]] = {}
    extra = section(facts.values, "extra_config") or {}
    if len(extra) > LARGEST_RULE_COUNT:
        raise ConfigError(f"quantization_config: extra_config has {len(extra)} entries, out of any range.")
    for name, override in extra.items():
        if not isinstance(override, Mapping):
            raise ConfigError("quantization_config: extra_config must hold objects.")
        own, problem = _scheme(Facts({**facts.values, **override}), facts)
        refusal = refusal or problem
        spelled = f"re:(?:.*)(?:{name})" if REGEX_CHARACTERS & set(name) else name
        rules.setdefault(own, []).append(spelled)
    listed = [Rule(Patterns(exact=tuple(names), suffixes=True), own) for own, names in rules.items()]
    blocks = _blocks(facts)
    if blocks:
        listed.append(Rule(Patterns(prefixes=blocks), scheme))
    return Quantization(
        "inc",
        PLAIN if blocks else scheme,
        head=PLAIN,
        rules=tuple(listed),
        refusal=refusal,
    )


def _blocks(facts: Facts) -> tuple[str, ...]:
    for name in ("block_name_to_quantize", "to_quant_block_names"):
        value = facts.get(name)
        if isinstance(value, str):
            return tuple(filter(None, value.split(",")))
        if value is not None:
            return texts(facts, name)
    return ()


def _scheme(layer: Facts, whole: Facts) -> tuple[Scheme, str]:
    """How a layer of these numbers is kept, and vLLM's refusal where it has no kernel for them."""
    bits = weight_bits(layer, "bits", default=4)
    if bits >= WHOLE_BITS:
        return PLAIN, ""
    kind = whole.text("data_type", "int")
    size = layer.get("group_size")
    if kind in ("fp", "fp8") and isinstance(size, list | tuple) and len(size) == 2:
        rows, columns = (Facts({"group_size": item}).int("group_size", low=1) for item in size)
        return Scheme("fp8_block", 8, block=(rows, columns)), ""
    if "mx_fp" in kind:
        return Scheme("mxfp8" if bits == 8 else "mxfp4", bits, 32), ""
    symmetric = layer.flag("sym", default=True)
    packing = whole.text("packing_format", "auto_round:auto_gptq") + whole.text("backend")
    awq = "gptq" not in packing and "awq" in packing
    scheme = Scheme(
        "awq" if awq else "gptq", bits, group_size(layer, "group_size", 128), zero_points=not symmetric
    )
    if not awq and bits in (4, 8) and not symmetric:
        return replace(scheme, zero_points=True), (
            f"INC quantization with bits={bits}, sym={symmetric} is not supported. Only 4-bit and 8-bit symmetric "
            "quantization is supported with Marlin kernels."
        )
    return scheme, ""
