"""compressed-tensors sections: groups of targets with the numbers of their weights and activations.

Source: vLLM 0.33 `model_executor/layers/quantization/compressed_tensors/compressed_tensors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.matching import Patterns
from wizard.models.metadata import section
from wizard.models.quantized import NO_ACTIVATION_ORDER, Quantization, Rule, group_size, texts, weight_bits
from wizard.models.storage import PLAIN, Scheme

NO_SPARSITY = (
    "Sparsity support has been removed from compressed-tensors. "
    "Please use a model without sparsity configuration."
)
NO_SPARSITY_SINCE = (0, 33)
"""The version whose `compressed_tensors.py` (`sparsity_scheme_map`) is known to refuse 2:4 checkpoints."""


def compressed_tensors(facts: Facts, method: str) -> Quantization:
    form = facts.text("format")
    rules: list[Rule] = []
    default, refusal = PLAIN, ""
    groups = section(facts.values, "config_groups") or {}
    for group in groups.values():
        if not isinstance(group, Mapping):
            raise ConfigError("quantization_config: config_groups must hold objects.")
        inner = Facts(group)
        targets = texts(inner, "targets")
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
    sparse = section(facts.values, "sparsity_config")
    since = NO_ACTIVATION_ORDER if "activation ordering" in refusal else (0, 0)
    if not refusal and sparse is not None and sparse.get("targets"):
        refusal, since = NO_SPARSITY, NO_SPARSITY_SINCE
    return Quantization(
        method,
        default,
        head=PLAIN,
        ignored=Patterns(exact=texts(facts, "ignore")),
        rules=tuple(rules),
        cache_scales="zero_points",
        refusal=refusal,
        refused_since=since,
    )


def _ct_scheme(group: Facts, form: str) -> tuple[Scheme, str]:
    """One config group -> (scheme, vLLM's refusal). Source: `_get_scheme_from_parts`."""
    weights = group.part("weights")
    if weights is None:
        return PLAIN, ""
    inputs = group.part("input_activations")
    outputs = group.part("output_activations")
    bits = weight_bits(weights, "num_bits", default=8)
    kind = weights.text("type", "int")
    size = group_size(weights, "group_size", -1) if weights.has("group_size") else 0
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
