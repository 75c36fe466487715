"""The built-in catalogue: configs of models that people serve with vLLM, usable without any network.

One model a line, so that finding one costs no parse of the other two hundred.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from wizard.data import read_text
from wizard.dataclass import dataclass, field, replace
from wizard.models.found import FoundModel
from wizard.models.metadata import ModelMetadata, metadata_from_config

_HEAD = re.compile(
    r'\{"id":"(?P<id>[^"]+)"(?:,"base":"(?P<base>[^"]+)")?(?:,"params":(?P<params>\d+))?'
    r'(?:,"dtype":"(?P<dtype>\w+)")?(?:,"quantization":"(?P<quantization>[^"]+)")?(?:,"license":"(?P<license>[^"]+)")?'
)
"""What a search shows of a model, at the beginning of its line."""


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of the catalogue; its config is parsed when it is asked for."""

    id: str
    base: str | None
    """The model that this one is a quantised form of."""
    params: int | None
    dtype: str | None
    quantization: str | None
    license: str | None
    line: str = field(repr=False)

    @property
    def entry(self) -> Mapping[str, Any]:
        """`config`, `hf_quant_config` where there is one, and `source`."""
        entry: dict[str, Any] = json.loads(self.line)
        if "same_as" in entry:
            same = find(entry["same_as"])
            assert same is not None, f"{self.id} is the same as a model that is not there"
            entry = {**same.entry, "source": entry["source"]}
        return entry

    @property
    def config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.entry["config"]
        return config

    @property
    def source(self) -> str:
        return str(self.entry["source"])

    @property
    def gated(self) -> bool:
        """Whether the hub asks to accept terms first: all of Meta's own models, and Google's Gemma 1 to 3."""
        publisher = self.id.split("/")[0]
        return publisher == "meta-llama" or (publisher == "google" and self.license == "gemma")

    def row(self) -> FoundModel:
        """The model as a search result."""
        return FoundModel(
            self.id,
            "catalogue",
            params=self.params,
            gated=self.gated,
            base=self.base,
            license=self.license,
            dtype=self.dtype,
            quantization=self.quantization,
        )


@lru_cache(maxsize=1)
def models() -> Mapping[str, CatalogueModel]:
    """Every model of the catalogue by lower-case id, in the catalogue's order."""
    found = (_read(line) for line in _text().splitlines())
    return {model.id.lower(): model for model in found if model is not None}


@lru_cache(maxsize=1)
def _text() -> str:
    return "\n" + read_text("models.jsonl")


def _read(line: str) -> CatalogueModel | None:
    head = _HEAD.match(line)
    if head is None:
        return None
    facts = head.groupdict()
    params = int(facts.pop("params") or 0) or None
    return CatalogueModel(**facts, params=params, line=line)


def find(model: str) -> CatalogueModel | None:
    """The model of that id, in any case; spelled as the catalogue does, no other line is looked at."""
    spelled = next(_models_with(f'\n{{"id":{json.dumps(model)}'), None)
    return models().get(model.lower()) if spelled is None else spelled[1]


def _models_with(part: str) -> Iterator[tuple[int, CatalogueModel]]:
    """Models whose line holds `part`, with their places."""
    text = _text()
    at = text.find(part)
    while at >= 0:
        begin, end = text.rfind("\n", 0, at + 1) + 1, text.find("\n", at + 1)
        model = _read(text[begin:end])
        if model is not None:
            yield begin, model
        at = text.find(part, end)


def search(text: str, limit: int | None = None) -> list[CatalogueModel]:
    """Models whose id holds every word of `text`, in any order and case; all for an empty text."""
    words = text.lower().replace("/", " ").split()
    found = [model for key, model in models().items() if all(word in key for word in words)]
    return found[:limit]


def siblings(model: str) -> list[CatalogueModel]:
    """Quantised forms of the same base model, and the base itself; without the model given.

    Every base is a model of the catalogue, so one that isn't there has no forms there.
    """
    entry = find(model)
    if entry is None:
        return []
    base = entry.base or entry.id
    family = dict(_models_with(f'\n{{"id":"{base}"'))
    family |= {at: other for at, other in _models_with(f',"base":"{base}"') if other.base == base}
    return [other for _, other in sorted(family.items(), key=lambda each: each[0]) if other.id != entry.id]


def load(model: str) -> ModelMetadata | None:
    """Facts of a catalogue model, or None where the catalogue doesn't hold it."""
    found = find(model)
    if found is None:
        return None
    entry = found.entry
    metadata = metadata_from_config(
        entry["config"], model=found.id, source="catalogue", hf_quant_config=entry.get("hf_quant_config")
    )
    return replace(metadata, gated=found.gated, license=found.license)
