"""What `--hf-overrides` makes of a model: its config with other values, or another class for it.

Source: vLLM 0.33 `config/model.py` `_apply_dict_overrides`: a nested config is updated, any other value replaced.
Before 0.12 `--rope-scaling` and `--rope-theta` were such overrides under names of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.metadata import ModelMetadata, metadata_from_config

NESTED = "_config"
"""How the keys of nested configs end: `text_config`, `vision_config`."""

ROPE_NAMES = ("rope_parameters", "rope_scaling")
"""Two names of one thing: the one that is overridden stands for both."""

_overridden: WeakKeyDictionary[ModelMetadata, dict[str, ModelMetadata]] = WeakKeyDictionary()


def with_overrides(metadata: ModelMetadata, overrides: Mapping[str, Any] | None) -> ModelMetadata:
    """The model with `overrides` over its config; the same object for the same ones, for what is remembered of it.

    Overrides that leave no usable config change nothing but the class: what vLLM says to them isn't known.
    """
    if not overrides:
        return metadata
    key = json.dumps(overrides, sort_keys=True, default=str)
    known = _overridden.setdefault(metadata, {})
    found = known.get(key)
    if found is None:
        found = _overridden_model(metadata, overrides)
        if found is not metadata:  # a model that remembered itself would never be let go
            known[key] = found
    return found


def _overridden_model(metadata: ModelMetadata, overrides: Mapping[str, Any]) -> ModelMetadata:
    renamed = _renamed(metadata, overrides.get("architectures"))
    changed = {name: value for name, value in overrides.items() if name != "architectures"}
    if not changed:
        return renamed
    try:
        built = metadata_from_config(
            merged(renamed.config, changed),
            model=metadata.model,
            source=metadata.source,
            revision=metadata.revision,
            checkpoint=metadata.checkpoint,
            tokenizer_config=metadata.tokenizer_config,
            encoder_max_length=metadata.encoder_max_length,
        )
    except ConfigError:
        return renamed
    return replace(
        built,
        quantization_config=built.quantization_config or metadata.quantization_config,
        license=metadata.license,
        gated=metadata.gated,
        needs_remote_code=metadata.needs_remote_code,
        params_override=metadata.params_override,
        warnings=metadata.warnings,
        hub_requests=metadata.hub_requests,
        hub_bytes=metadata.hub_bytes,
        load_risks=metadata.load_risks,
        drafts=metadata.drafts,
    )


def merged(config: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the changed values; nested configs key by key."""
    found = dict(config)
    for name, value in changed.items():
        before = found.get(name)
        if name.endswith(NESTED) and isinstance(before, Mapping) and isinstance(value, Mapping):
            found[name] = merged(before, value)
            continue
        if name in ROPE_NAMES:
            for other in ROPE_NAMES:
                found.pop(other, None)
        found[name] = value
    return found


def _renamed(metadata: ModelMetadata, listed: object) -> ModelMetadata:
    name = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(name, str) or not name or name == metadata.architecture:
        return metadata
    return replace(metadata, architecture=name, config={**metadata.config, "architectures": [name]})
