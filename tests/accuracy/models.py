"""The model of a launch: its config.json in the shared facts, or in the built-in catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wizard.errors import ConfigError
from wizard.models import catalogue
from wizard.models.metadata import ModelMetadata, metadata_from_config

_IDENTIFIER = re.compile(r"[\w.-]+/[\w.-]+")
_UNCERTAIN = re.compile(r"exact id|not stated|unknown|\bseries\b", re.IGNORECASE)
"""The source itself doesn't know which checkpoint it was."""

_SUFFIXES = ("-Instruct", "-it", "-Chat", "-hf", "-Instruct-2507")
"""Tunings keep the shapes of their base."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A model whose facts are at hand."""

    name: str
    metadata: ModelMetadata
    exact: bool
    """False where a sibling of the same shapes stands in."""


class Models:
    """Looks models up by the name a launch gave, however it was written."""

    def __init__(self, configs: Path | None) -> None:
        folders = configs.glob("*/*/config.json") if configs else ()
        self._files = {"/".join(path.parts[-3:-1]).lower(): path for path in folders}
        self._cache: dict[str, Found | None] = {}

    def find(self, text: str) -> Found | None:
        """The model that `text` names, or `None`; the first name in it that is known wins."""
        if _UNCERTAIN.search(text):
            return None
        if text not in self._cache:
            self._cache[text] = next(filter(None, map(self._load, _names(text))), None)
        return self._cache[text]

    def _load(self, named: tuple[str, bool]) -> Found | None:
        name, exact = named
        path = self._files.get(name.lower())
        if path is None:
            known = catalogue.load(name)
            return Found(name, known, exact) if known else None
        quantised = path.with_name("hf_quant_config.json")
        try:
            metadata = metadata_from_config(
                json.loads(path.read_text(encoding="utf-8")),
                model=name,
                source="path",
                hf_quant_config=json.loads(quantised.read_text()) if quantised.is_file() else None,
            )
        except ConfigError:
            return None
        return Found(name, metadata, exact)


def _names(text: str) -> Iterator[tuple[str, bool]]:
    for name in _IDENTIFIER.findall(text):
        yield name, True
    for name in _IDENTIFIER.findall(text):
        for suffix in _SUFFIXES:
            if name.endswith(suffix):
                yield name.removesuffix(suffix), False
            else:
                yield name + suffix, False
