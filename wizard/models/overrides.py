"""What `--hf-overrides` makes of a model: another class, or another context length, for the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.context import LENGTH_KEYS, derived_length
from wizard.models.facts import Facts
from wizard.models.metadata import TEXT_CONFIG_KEYS, ModelMetadata
from wizard.models.rotary import rotary_table

ROPE_KEYS = ("rope_parameters", "rope_scaling")
"""Two names of one description: vLLM reads the older as the newer (`transformers_utils/config.py`)."""

_overridden: WeakKeyDictionary[ModelMetadata, dict[str, ModelMetadata]] = WeakKeyDictionary()


def with_overrides(metadata: ModelMetadata, overrides: Mapping[str, Any] | None) -> ModelMetadata:
    """The model with the class, RoPE and length keys of `overrides`; the same object for the same ones.

    The object is kept for what is remembered of it. Other keys of the overrides are not looked at, nor are
    values that make no length: vLLM's own refusal of those is not foreseen.
    """
    if not overrides:
        return metadata
    name, lengths = _class_name(metadata, overrides), _lengths(metadata, overrides)
    if name is None and not lengths:
        return metadata
    known = _overridden.setdefault(metadata, {})
    key = json.dumps([name, lengths], sort_keys=True, default=str)
    if key not in known:
        changed = _with_lengths(metadata, lengths) if lengths else metadata
        if name is not None:
            changed = replace(changed, architecture=name, config={**metadata.config, "architectures": [name]})
        known[key] = changed
    return known[key]


def _class_name(metadata: ModelMetadata, overrides: Mapping[str, Any]) -> str | None:
    listed = overrides.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else None
    return name if isinstance(name, str) and name and name != metadata.architecture else None


def _lengths(metadata: ModelMetadata, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The RoPE and length keys that reach the decoder.

    vLLM writes each key where it is named (`config/model.py` `_apply_dict_overrides`, 0.13-0.33): beside a
    nested decoder section a key at the top changes nothing of it; within the section, dicts are merged.
    """
    nested = next((name for name in TEXT_CONFIG_KEYS if isinstance(metadata.config.get(name), Mapping)), None)
    given = overrides.get(nested) if nested else overrides
    if nested == "thinker_config" or not isinstance(given, Mapping):
        return {}
    found: dict[str, Any] = {name: given[name] for name in LENGTH_KEYS if given.get(name) is not None}
    for name in ROPE_KEYS:
        rope, own = given.get(name), metadata.text.get(name)
        if isinstance(rope, Mapping) and rope:
            found[name] = {**own, **rope} if nested and isinstance(own, Mapping) else dict(rope)
    return found


def _with_lengths(metadata: ModelMetadata, lengths: Mapping[str, Any]) -> ModelMetadata:
    replaced = set(ROPE_KEYS) if set(ROPE_KEYS) & set(lengths) else set()
    text = {**{key: value for key, value in metadata.text.items() if key not in replaced}, **lengths}
    changed = replace(metadata, text=text)
    try:
        rotary_table(Facts(text), max(1, metadata.head_dim))
        longest = derived_length(
            text,
            tokenizer_config=metadata.tokenizer_config,
            encoder_max_length=metadata.encoder_max_length,
        ).length
        changed.context((0, 29, 0))  # before YaRN changed, its factor and original length counted
    except ConfigError:
        return metadata
    return replace(changed, max_position_embeddings=longest)
