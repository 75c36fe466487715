"""Models by words: the hub cache and the catalogue at once, the hub where the network is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wizard.errors import ModelUnavailableError
from wizard.models import catalogue, local

Found = Literal["cache", "catalogue", "hub"]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """One search result."""

    id: str
    source: Found
    base: str | None = None
    """The model that this one is a quantised form of."""
    downloads: int | None = None
    license: str | None = None
    gated: bool = False
    params: int | None = None


def search_local(text: str, limit: int | None = None) -> list[FoundModel]:
    """Cached models first, then the catalogue's; no network, no waiting."""
    words = text.lower().replace("/", " ").split()
    cached = [name for name in local.cached_models() if all(word in name.lower() for word in words)]
    found = [FoundModel(name, "cache") for name in cached]
    present = {name.lower() for name in cached}
    found += [
        FoundModel(entry.id, "catalogue", base=entry.base)
        for entry in catalogue.search(text)
        if entry.id.lower() not in present
    ]
    return found[:limit]


def search(text: str, *, offline: bool = False, limit: int = 50) -> list[FoundModel]:
    """Local results, then the hub's; a hub that can't be reached leaves the local ones."""
    found = search_local(text)
    if offline or not text.strip():
        return found
    from wizard.models import hub  # the hub client takes 180 ms to import

    present = {model.id.lower() for model in found}
    try:
        remote = hub.search(text, limit=limit)
    except ModelUnavailableError:
        return found
    return found + [model for model in remote if model.id.lower() not in present]
