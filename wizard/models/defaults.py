"""What transformers fills in for keys that a config.json leaves out, and which key stands for which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from wizard.data import read_text
from wizard.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class ClassDefaults:
    """A config class as far as its defaults matter."""

    values: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Name in config.json -> name the class reads it as."""
    decoder: str = ""
    """Model type of the decoder inside, where another."""


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, Any]]:
    table: Mapping[str, Mapping[str, Any]] = json.loads(read_text("config_defaults.json"))["types"]
    return table


@lru_cache(maxsize=512)
def _class_defaults(model_type: str) -> ClassDefaults | None:
    row = _table().get(model_type)
    if row is None:
        return None
    return ClassDefaults(row["defaults"], row.get("aliases", {}), row.get("decoder", ""))


def with_class_defaults(part: Mapping[str, Any], model_type: str) -> Mapping[str, Any]:
    """`part` with its aliases under their usual names and the class defaults of `model_type` for absent keys.

    A key that is present counts, even when it is null: transformers keeps the null.
    """
    known = _class_defaults(model_type)
    if known is None:
        return part
    aliased = {
        usual: part[name] for name, usual in known.aliases.items() if name in part and usual not in part
    }
    return {**known.values, **aliased, **part}


def decoder_type(model_type: str) -> str:
    """The model type of the decoder of a `model_type` whose config is flat (Qwen2-VL), else the same."""
    known = _class_defaults(model_type)
    return (known.decoder if known else "") or model_type
