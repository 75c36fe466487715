"""The built-in catalogue: configs of models that people serve with vLLM, usable without any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wizard.models.metadata import ModelMetadata, metadata_from_config

DATA = Path(__file__).parents[1] / "data" / "models.json"


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of the catalogue."""

    id: str
    config: Mapping[str, Any]
    hf_quant_config: Mapping[str, Any] | None
    base: str | None
    """The model that this one is a quantised form of."""
    source: str


@lru_cache(maxsize=1)
def models() -> Mapping[str, CatalogueModel]:
    """Every model of the catalogue by lower-case id, in the catalogue's order."""
    document = json.loads(DATA.read_text(encoding="utf-8"))
    configs = {entry["id"]: entry for entry in document["models"] if "config" in entry}
    found: dict[str, CatalogueModel] = {}
    for entry in document["models"]:
        stored = entry if "config" in entry else configs[entry["same_as"]]
        found[entry["id"].lower()] = CatalogueModel(
            id=entry["id"],
            config=stored["config"],
            hf_quant_config=stored.get("hf_quant_config"),
            base=entry.get("base"),
            source=entry["source"],
        )
    return found


def search(text: str, limit: int | None = None) -> list[CatalogueModel]:
    """Models whose id holds every word of `text`, in any order and case; all for an empty text."""
    words = text.lower().replace("/", " ").split()
    found = [model for key, model in models().items() if all(word in key for word in words)]
    return found[:limit]


def siblings(model: str) -> list[CatalogueModel]:
    """Quantised forms of the same base model, and the base itself; without the model given."""
    entry = models().get(model.lower())
    base = (entry.base if entry and entry.base else model).lower()
    return [
        other
        for key, other in models().items()
        if key != model.lower() and (key == base or (other.base or "").lower() == base)
    ]


def load(model: str) -> ModelMetadata | None:
    """Facts of a catalogue model, or None where the catalogue doesn't hold it."""
    entry = models().get(model.lower())
    if entry is None:
        return None
    return metadata_from_config(
        entry.config, model=entry.id, source="catalogue", hf_quant_config=entry.hf_quant_config
    )
