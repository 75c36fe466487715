"""NVIDIA ModelOpt's sections: one algorithm for the model, or one per layer.

Source: vLLM 0.33 `model_executor/layers/quantization/modelopt.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.matching import Patterns
from wizard.models.metadata import section
from wizard.models.quantized import LARGEST_RULE_COUNT, Quantization, Rule, group_size, texts
from wizard.models.storage import PLAIN, Scheme

MODELOPT_SCHEMES: Mapping[str, Scheme] = {
    "FP8": Scheme("fp8_tensor", 8, static_input=True),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("fp8_channel", 8),
    "FP8_PB_WO": Scheme("fp8_block", 8),
    "FP8_BLOCK_SCALES": Scheme("fp8_block", 8),
    "NVFP4": Scheme("nvfp4", 4, 16, static_input=True),
    "W4A16_NVFP4": Scheme("nvfp4", 4, 16, unused_input=True),
    "MXFP8": Scheme("mxfp8", 8, 32),
}

SUPPORTED = [*MODELOPT_SCHEMES, "MIXED_PRECISION"]

VISION_WORDS = ("vision_tower", "vision_model", "vit_large_projector")
"""ModelOpt methods leave these alone whatever the file says."""


def modelopt(facts: Facts, method: str) -> Quantization:
    algorithm = facts.text("quant_algo").upper()
    groups = section(facts.values, "config_groups")
    if algorithm == "NVFP4" and groups:
        sections = [item for item in groups.values() if isinstance(item, Mapping)]
        if sections and all(item.get("input_activations") is None for item in sections):
            algorithm = "W4A16_NVFP4"
    ignored = Patterns(
        exact=_wildcards_split(texts(facts, "ignore", "exclude_modules")), contains_any=True, globs=True
    )
    vision = Patterns(contains=VISION_WORDS)
    if algorithm == "MIXED_PRECISION":
        return _modelopt_mixed(facts, ignored)
    scheme = MODELOPT_SCHEMES.get(algorithm)
    if scheme is None:
        return Quantization(
            method,
            ignored=ignored,
            refusal=f"ModelOpt currently only supports: {SUPPORTED} quantizations in vLLM.",
        )
    if scheme.kind == "nvfp4":
        scheme = replace(scheme, group=group_size(facts, "group_size", 16))
    return Quantization(
        method,
        scheme,
        head=scheme,
        ignored=ignored.joined(vision),
        cache_scales="scalars",
        latent_scales=True,
    )


def _modelopt_mixed(facts: Facts, ignored: Patterns) -> Quantization:
    """An algorithm per layer, by name."""
    layers = section(facts.values, "quantized_layers") or {}
    if len(layers) > LARGEST_RULE_COUNT:
        raise ConfigError("quantization_config: quantized_layers has more entries than any model has layers.")
    listed: dict[Scheme | None, list[str]] = {}
    alike: dict[tuple[Any, Any], list[str]] = {}  # a file may list twenty thousand experts, of two kinds
    for name, info in layers.items():
        if not isinstance(name, str) or not isinstance(info, Mapping):
            raise ConfigError("quantization_config: quantized_layers must map names to objects.")
        said = info.get("quant_algo"), info.get("group_size")
        usual = isinstance(said[0], str) and isinstance(said[1], int | None)
        names = alike.get(said) if usual else None
        if names is None:
            names = listed.setdefault(_scheme_said(Facts(info)), [])
            if usual:
                alike[said] = names
        names.append(name)
    cached = facts.has("kv_cache_quant_algo") or isinstance(facts.get("kv_cache_scheme"), Mapping)
    rules = tuple(
        Rule(Patterns(exact=tuple(names), children=True), scheme)
        for scheme, names in listed.items()
        if scheme is not None
    )
    return Quantization(
        "modelopt_mixed",
        head=PLAIN,
        ignored=ignored,
        rules=rules,
        listed_only=True,
        cache_scales="scalars" if cached else "",
    )


def _scheme_said(facts: Facts) -> Scheme | None:
    """How one layer is stored; None for an algorithm that isn't ModelOpt's."""
    scheme = MODELOPT_SCHEMES.get(facts.text("quant_algo").upper())
    if scheme is not None and scheme.kind == "nvfp4":
        return replace(scheme, group=group_size(facts, "group_size", 16))
    return scheme


def _wildcards_split(entries: Sequence[str]) -> tuple[str, ...]:
    """`module*` stands for the module and everything below it."""
    result: list[str] = []
    for entry in entries:
        if len(entry) >= 2 and entry.endswith("*") and entry[-2] != ".":
            result += [entry[:-1], entry[:-1] + ".*"]
        else:
            result.append(entry)
    return tuple(result)
