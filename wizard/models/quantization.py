"""`quantization_config` -> how each matrix is stored.

Sources: vLLM 0.33 `config/model.py` (`_verify_quantization`), `transformers_utils/model_arch_config_convertor.py`
(which file counts, which method name it means) and `get_quant_method` of each method in
`model_executor/layers/quantization/` (which modules it leaves alone).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.matching import Names, Patterns
from wizard.models.metadata import ModelMetadata, section, short
from wizard.models.storage import PLAIN, Scheme

Role = Literal["linear", "experts", "head", "embedding"]

LARGEST_RULE_COUNT = 200_000
"""Entries of an ignore list or of `quantized_layers`; real ones have up to some 25,000."""


NO_ACTIVATION_ORDER = (0, 30)
"""vLLM dropped group activation ordering with 0.30 (layers/quantization/utils/gptq_utils.py)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Modules that match are stored so."""

    names: Patterns
    scheme: Scheme


@dataclass(frozen=True, slots=True)
class Quantization:
    """A checkpoint's (or an online) quantisation, ready to be asked about modules."""

    method: str
    """vLLM's name of the method: fp8, auto_awq, compressed-tensors, modelopt_fp4 ..."""
    default: Scheme = PLAIN
    """Of matrices that no rule and no ignore list names."""
    experts: Scheme | None = None
    """Of routed experts, where it differs from `default`."""
    head: Scheme | None = None
    """Of the output head; `None`: it stays plain."""
    ignored: Patterns = field(default_factory=Patterns)
    rules: tuple[Rule, ...] = ()
    listed_only: bool = False
    """Modules that no rule names stay plain."""
    cache_scales: Literal["", "scalars", "zero_points"] = ""
    """What attention layers store for a quantised KV cache: four scalars, or three scales with zero points."""
    latent_scales: bool = False
    """MLA layers store them too."""
    refusal: str = ""
    """vLLM's message where it refuses this configuration."""
    refused_since: tuple[int, int] = (0, 0)
    """The version that began to refuse it."""
    online: bool = False

    def scheme(self, names: Names, role: Role) -> Scheme:
        """How a module is stored; plain where it is left alone."""
        if role == "embedding":
            return self._embedding(names)
        if role == "head" and self.head is None:
            return PLAIN
        if self.ignored.cover(names, experts=role == "experts"):
            return PLAIN
        for beside in (False, True) if role == "experts" else (False,):
            for rule in self.rules:
                if rule.names.cover(names, experts=role == "experts", beside=beside):
                    return rule.scheme
        if self.listed_only:
            return PLAIN
        if role == "head":
            return self.head or PLAIN
        return self.experts if role == "experts" and self.experts is not None else self.default

    def renamed(self, renames: tuple[tuple[str, str], ...]) -> Quantization:
        """The same rules for vLLM's names."""
        rules = tuple(replace(rule, names=rule.names.renamed(renames)) for rule in self.rules)
        return replace(self, ignored=self.ignored.renamed(renames), rules=rules)

    def _embedding(self, names: Names) -> Scheme:
        for rule in self.rules:
            if rule.scheme.kind == "packed" and rule.names.cover(names):
                return replace(rule.scheme, kind="packed")
        return PLAIN


def quantization_of(metadata: ModelMetadata, online: str | None = None) -> Quantization | None:
    """The quantisation of a checkpoint, else the online one asked for; `None` for neither.

    Raises ConfigError where the section is malformed.
    """
    values = metadata.quantization_config
    method = method_name(metadata)
    if values is None or not method:
        return online_quantization(online) if online else None
    reader = READERS.get(method)
    if reader is None:
        raise ConfigError(
            f"The checkpoint is quantised by {short(method)}, which vLLM doesn't load; choose another variant."
        )
    return reader(Facts(values), metadata)


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
    return {"gptq": "auto_gptq", "gptq_marlin": "auto_gptq", "awq": "auto_awq", "awq_marlin": "auto_awq"}.get(
        method, method
    )


def _texts(facts: Facts, *names: str) -> tuple[str, ...]:
    """The first of `names` that holds a list, as texts."""
    for name in names:
        values = facts.get(name)
        if values is None:
            continue
        if not isinstance(values, list | tuple) or len(values) > LARGEST_RULE_COUNT:
            raise ConfigError(
                f"quantization_config: {name} must be a list of module names, not {short(values)}."
            )
        if values:
            return tuple(item for item in values if isinstance(item, str))
    return ()


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
    ignored = Patterns(exact=_texts(facts, "ignored_layers", "modules_to_not_convert"))
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
        ignored=Patterns(exact=_texts(facts, "modules_to_not_convert")),
        refusal=(
            "The quantization method fbgemm_fp8 is deprecated and will be removed in future versions of vLLM. "
            "To bypass, set `--allow-deprecated-quantization`."
        ),
    )


def _gptq(facts: Facts, metadata: ModelMetadata) -> Quantization:
    bits = facts.int("bits", default=4, low=1)
    group = _group(facts, "group_size", 128)
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
        if not isinstance(pattern, str):
            continue
        if pattern.startswith("-:"):
            ignored.append("re:" + pattern[2:])
        elif isinstance(override, Mapping):
            inner = Facts(override)
            changed = replace(
                scheme, bits=inner.int("bits", default=bits, low=1), group=_group(inner, "group_size", group)
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


def _group(facts: Facts, name: str, default: int) -> int:
    value = facts.get(name)
    return -1 if value == -1 else facts.int(name, default=default, low=0) or default


def _awq(facts: Facts, metadata: ModelMetadata) -> Quantization:
    bits = facts.int("w_bit", "bits", default=4, low=1)
    scheme = Scheme(
        "awq",
        bits,
        _group(facts, "q_group_size" if facts.has("q_group_size") else "group_size", 128),
        zero_points=facts.flag("zero_point", default=True),
    )
    refusal = "" if bits == 4 else f"Unsupported num_bits = {bits}. Supported: 4."
    return Quantization(
        "auto_awq",
        scheme,
        head=scheme if facts.flag("lm_head") else None,
        ignored=Patterns(contains=_texts(facts, "modules_to_not_convert")),
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
        ignored=Patterns(exact=_texts(facts, "ignored_layers", "modules_to_not_convert")),
        cache_scales="scalars",
    )


MODELOPT_SCHEMES: Mapping[str, Scheme] = {
    "FP8": Scheme("fp8_tensor", 8, static_input=True),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("fp8_channel", 8),
    "FP8_PB_WO": Scheme("fp8_block", 8),
    "FP8_BLOCK_SCALES": Scheme("fp8_block", 8),
    "NVFP4": Scheme("nvfp4", 4, 16, static_input=True),
    "W4A16_NVFP4": Scheme("nvfp4", 4, 16, unused_input=True),
    "MXFP8": Scheme("mxfp8", 8, 32),
}

VISION_WORDS = ("vision_tower", "vision_model", "vit_large_projector")
"""ModelOpt methods leave these alone whatever the file says."""


def _modelopt(facts: Facts, metadata: ModelMetadata) -> Quantization:
    method = method_name(metadata)
    algorithm = facts.text("quant_algo").upper()
    groups = section(facts.values, "config_groups")
    if algorithm == "NVFP4" and groups:
        sections = [item for item in groups.values() if isinstance(item, Mapping)]
        if sections and all(item.get("input_activations") is None for item in sections):
            algorithm = "W4A16_NVFP4"
    ignored = Patterns(
        exact=_wildcards_split(_texts(facts, "ignore", "exclude_modules")), contains_any=True, globs=True
    )
    vision = Patterns(contains=VISION_WORDS)
    if algorithm == "MIXED_PRECISION":
        return _modelopt_mixed(facts, ignored)
    scheme = MODELOPT_SCHEMES.get(algorithm)
    if scheme is None:
        return Quantization(
            method,
            ignored=ignored,
            refusal=f"ModelOpt currently only supports: {[*MODELOPT_SCHEMES, 'MIXED_PRECISION']} quantizations in vLLM.",
        )
    if scheme.kind == "nvfp4":
        scheme = replace(scheme, group=_group(facts, "group_size", 16))
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
    by_algorithm: dict[Scheme, list[str]] = {}
    for name, info in layers.items():
        if not isinstance(name, str) or not isinstance(info, Mapping):
            raise ConfigError("quantization_config: quantized_layers must map names to objects.")
        inner = Facts(info)
        scheme = MODELOPT_SCHEMES.get(inner.text("quant_algo").upper())
        if scheme is not None:
            if scheme.kind == "nvfp4":
                scheme = replace(scheme, group=_group(inner, "group_size", 16))
            by_algorithm.setdefault(scheme, []).append(name)
    cached = facts.has("kv_cache_quant_algo") or isinstance(facts.get("kv_cache_scheme"), Mapping)
    rules = tuple(
        Rule(Patterns(exact=tuple(names), children=True), scheme) for scheme, names in by_algorithm.items()
    )
    return Quantization(
        "modelopt_mixed",
        head=PLAIN,
        ignored=ignored,
        rules=rules,
        listed_only=True,
        cache_scales="scalars" if cached else "",
    )


def _wildcards_split(entries: Sequence[str]) -> tuple[str, ...]:
    """`module*` stands for the module and everything below it."""
    result: list[str] = []
    for entry in entries:
        if len(entry) >= 2 and entry.endswith("*") and entry[-2] != ".":
            result += [entry[:-1], entry[:-1] + ".*"]
        else:
            result.append(entry)
    return tuple(result)


def _compressed_tensors(facts: Facts, metadata: ModelMetadata) -> Quantization:
    form = facts.text("format")
    rules: list[Rule] = []
    default, refusal = PLAIN, ""
    groups = section(facts.values, "config_groups") or {}
    for group in groups.values():
        if not isinstance(group, Mapping):
            raise ConfigError("quantization_config: config_groups must hold objects.")
        inner = Facts(group)
        targets = _texts(inner, "targets")
        if len(targets) == 1 and targets[0].endswith("Attention"):
            continue
        scheme, problem = _ct_scheme(inner, inner.text("format") or form)
        refusal = refusal or problem
        classes = [target for target in targets if "." not in target and not target.startswith("re:")]
        named = tuple(target for target in targets if target not in classes)
        if named:
            rules.append(Rule(Patterns(exact=named), scheme))
        if any(target.lower() in "columnparallellinear" for target in classes):
            default = scheme
    return Quantization(
        "compressed-tensors",
        default,
        head=PLAIN,
        ignored=Patterns(exact=_texts(facts, "ignore")),
        rules=tuple(rules),
        cache_scales="zero_points",
        refusal=refusal,
        refused_since=NO_ACTIVATION_ORDER if "activation ordering" in refusal else (0, 0),
    )


def _ct_scheme(group: Facts, form: str) -> tuple[Scheme, str]:
    """One config group -> (scheme, vLLM's refusal). Source: `_get_scheme_from_parts`."""
    weights = group.part("weights")
    if weights is None:
        return PLAIN, ""
    inputs = group.part("input_activations")
    outputs = group.part("output_activations")
    bits = weights.int("num_bits", default=8, low=1)
    kind = weights.text("type", "int")
    size = _group(weights, "group_size", -1) if weights.has("group_size") else 0
    strategy = weights.text("strategy") or ("group" if size > 0 else "channel" if size == -1 else "tensor")
    if strategy == "channel":
        size = -1
    symmetric = weights.flag("symmetric", default=True)
    static = inputs is not None and not inputs.flag("dynamic")
    if weights.text("actorder") in ("group", "dynamic"):
        order = weights.text("actorder")
        return PLAIN, (
            f"Compressed-tensors group/dynamic activation ordering (actorder={order!r}) is no longer supported. "
            "Use a checkpoint with static/weight activation ordering or without activation ordering."
        )
    if kind == "float" and bits == 4:
        if strategy == "tensor_group":
            return Scheme("nvfp4", 4, size or 16, static_input=inputs is not None), ""
        return Scheme("mxfp4", 4, 32), ""
    if kind == "float":
        if weights.text("scale_dtype").endswith("uint8"):
            return Scheme("mxfp8", 8, 32), ""
        if strategy == "block":
            structure = weights.list("block_structure")
            block = tuple(structure) if structure and len(structure) == 2 else (128, 128)
            rows, columns = (Facts({"block_structure": item}).int("block_structure", low=1) for item in block)
            return Scheme("fp8_block", 8, block=(rows, columns)), ""
        return Scheme("fp8_tensor" if strategy == "tensor" else "fp8_channel", 8, static_input=static), ""
    if inputs is not None and outputs is not None and static:
        return Scheme("int_static", bits, size), ""
    if inputs is not None and bits == 8 and form != "pack-quantized":
        zero = not inputs.flag("symmetric", default=True)
        name = "int8_tensor" if strategy == "tensor" else "int8_channel"
        return Scheme(name, 8, static_input=static, zero_points=zero), ""
    if inputs is not None and bits == 4 and inputs.text("type", "int") == "int" and form != "pack-quantized":
        return Scheme("int4_unpacked", 4, size), ""
    return Scheme("packed", bits, size, zero_points=not symmetric), ""


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
