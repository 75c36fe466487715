"""Models by words: the hub cache and the catalogue at once, the hub where the network is allowed."""

from __future__ import annotations

from wizard.dataclass import dataclass, replace
from wizard.errors import ModelUnavailableError, WizardError
from wizard.models import catalogue, hub_settings, local
from wizard.models.config_values import short
from wizard.models.found import FoundModel, merged
from wizard.models.ranking import ranked
from wizard.models.traffic import Traffic
from wizard.models.tree import parameter_count

SHORTEST_SEARCH = 2
"""Letters below which the hub would answer with everything."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and why the hub has no part in it."""

    models: list[FoundModel]
    trouble: str | None = None
    """One sentence where the hub could not be asked."""


def search_local(text: str, limit: int | None = None) -> list[FoundModel]:
    """Cached models and the catalogue's, the most likely first; no network, no waiting."""
    words = text.lower().replace("/", " ").split()
    cached = [name for name in local.cached_models() if all(word in name.lower() for word in words)]
    present = {name.lower() for name in cached}
    found = [_cached(name) for name in cached]
    found += [entry.row() for entry in catalogue.search(text) if entry.id.lower() not in present]
    return ranked(found, text)[:limit]


def _cached(name: str) -> FoundModel:
    """A cached model, with what the catalogue says of the same name."""
    entry = catalogue.models().get(name.lower())
    return FoundModel(name, "cache") if entry is None else replace(entry.row(), id=name, source="cache")


def _described(row: FoundModel) -> FoundModel:
    """A cached model that the catalogue doesn't know, with what its own files say; reads the disk."""
    snapshot = local.cached_snapshot(row.id) if row.source == "cache" and row.params is None else None
    if snapshot is None:
        return row
    try:
        metadata = local.load_snapshot(row.id, snapshot)
        size = parameter_count(metadata)
    except WizardError:
        return row
    method = (metadata.quantization_config or {}).get("quant_method")
    return replace(
        row,
        params=size,
        dtype=metadata.dtype,
        quantization=short(method, 40).strip("'") if isinstance(method, str) else None,
    )


def find(text: str, *, offline: bool = False, limit: int = 50, traffic: Traffic | None = None) -> Found:
    """Local results, then the hub's; a hub that can't be asked leaves the local ones. Raises CancelledError."""
    found = [_described(row) for row in search_local(text)]
    if offline or hub_settings.forbidden() or len(text.strip()) < SHORTEST_SEARCH:
        return Found(found)
    hub_settings.endpoint()
    from wizard.models import hub  # the hub client takes 180 ms to import

    try:
        remote = hub.search(text, limit=limit, traffic=traffic)
    except ModelUnavailableError as error:
        return Found(found, str(error))
    return Found(merged(found, remote))
