"""What `--hf-overrides` makes of a model: another class for the same config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from wizard.dataclass import replace
from wizard.models.metadata import ModelMetadata

_renamed: WeakKeyDictionary[ModelMetadata, dict[str, ModelMetadata]] = WeakKeyDictionary()


def with_overrides(metadata: ModelMetadata, overrides: Mapping[str, Any] | None) -> ModelMetadata:
    """The model as the class that `overrides` names; the same object for the same name, for what is remembered of it.

    Other keys of the overrides are not looked at.
    """
    listed = (overrides or {}).get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(name, str) or not name or name == metadata.architecture:
        return metadata
    known = _renamed.setdefault(metadata, {})
    if name not in known:
        config = {**metadata.config, "architectures": [name]}
        known[name] = replace(metadata, architecture=name, config=config)
    return known[name]
