"""The Hugging Face hub: search, quantised forms, and the facts of a model without its weights.

HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE, proxies and the stored login work as everywhere, because the
client's own session is used. What is read of a model is its file list, a few small JSON files and the
headers of its safetensors files, by range requests; all of it is kept on disk by commit.

Every function is slow, safe to call from any thread, and ends at once when its `traffic` is cancelled.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from wizard.errors import ConfigError, ModelUnavailableError, WizardError
from wizard.models import facts_cache, hub_rows, repository
from wizard.models.config_values import short
from wizard.models.facts_cache import RepositoryFacts
from wizard.models.found import FoundModel
from wizard.models.hub_connection import Connection
from wizard.models.hub_errors import UnreachableError, UnreadableError, makes_no_sense
from wizard.models.hub_headers import OverBudgetError, read_headers
from wizard.models.metadata import ModelMetadata
from wizard.models.traffic import Traffic, in_background, in_threads

MODEL_ID = re.compile(r"(?:[A-Za-z0-9_][\w.\-]*/)?[A-Za-z0-9_][\w.\-]*", re.ASCII)
LONGEST_ID = 96
"""Characters, by the hub's own rule."""

MOST_PAGES = 4
"""Of one listing; a hub that pages for ever is left."""

SMALL_CONNECTIONS = 4


def search(text: str, *, limit: int = 50, traffic: Traffic | None = None) -> list[FoundModel]:
    """Models of the hub that match `text`, most downloaded first.

    Raises ModelUnavailableError in one sentence when the hub can't be asked; CancelledError.
    """
    words = text.encode(errors="replace").decode()
    return _listed(text, {"search": words}, limit, traffic)


def quantised_forms(model: str, *, limit: int = 50, traffic: Traffic | None = None) -> list[FoundModel]:
    """Models that the hub lists as quantised from `model`, most downloaded first; raises as `search` does."""
    found = _listed(model, {"filter": f"base_model:quantized:{model}"}, limit, traffic)
    return [replace(each, base=each.base or model) for each in found if each.id.lower() != model.lower()]


def fetch(model: str, *, revision: str | None = None, traffic: Traffic | None = None) -> ModelMetadata:
    """Facts of a model, exact bytes per tensor included; a second look at the same commit costs no network.

    Raises ModelUnavailableError or ConfigError, each one sentence with the next step; CancelledError.
    """
    return _facts_of(model, revision, traffic or Traffic(), whole=True)


def glance(model: str, *, revision: str | None = None, traffic: Traffic | None = None) -> ModelMetadata:
    """Facts of a model for two or three requests: its config, with sizes from the architecture. Raises as `fetch`."""
    return _facts_of(model, revision, traffic or Traffic(), whole=False)


@dataclass(frozen=True, slots=True)
class Pin:
    """What a repository's page says about serving it: no file is read."""

    commit: str
    gated: bool


def pin(model: str, *, revision: str | None = None, traffic: Traffic | None = None) -> Pin:
    """The commit that a branch, a tag or none means now; one request. Raises ModelUnavailableError, CancelledError."""
    connection = Connection(model, revision, traffic or Traffic())

    def asked() -> Pin:
        with connection.words():
            listing = _list_files(connection, revision)
        return Pin(listing.commit, listing.gated)

    return in_background(asked, connection.traffic)


def siblings(
    model: str, *, besides: Collection[str] = (), limit: int = 6, traffic: Traffic | None = None
) -> dict[str, ModelMetadata]:
    """Facts of the most wanted quantised forms of `model` that vLLM could load; fewer where the hub fails.

    Never raises but CancelledError.
    """
    traffic = traffic or Traffic()
    known = {name.lower() for name in besides}
    try:
        forms = quantised_forms(model, traffic=traffic)
    except ModelUnavailableError:
        return {}
    wanted = [
        form.id
        for form in forms
        if form.quantization not in hub_rows.FOREIGN and form.id.lower() not in known
    ]

    def read(name: str) -> tuple[str, ModelMetadata | None]:
        try:
            return name, glance(name, traffic=traffic)
        except WizardError:
            return name, None

    found = dict(in_threads(read, wanted[:limit], traffic, SMALL_CONNECTIONS))
    usable = {name: metadata for name, metadata in found.items() if metadata and metadata.quantization_config}
    return {name: usable[name] for name in wanted if name in usable}


def _listed(asked: str, params: Mapping[str, Any], limit: int, traffic: Traffic | None) -> list[FoundModel]:
    connection = Connection(asked, traffic=traffic)
    wanted = {
        **params,
        "sort": "downloads",
        "direction": -1,
        "limit": limit,
        "expand": list(hub_rows.EXPANDED),
    }

    def listed() -> list[FoundModel]:
        found: dict[str, FoundModel] = {}
        with connection.words():
            page, following = connection.listing("api/models", "search result", wanted)
            for _ in range(MOST_PAGES):
                if not isinstance(page, list):
                    raise makes_no_sense(connection.asked, "the search result")
                rows = filter(None, map(hub_rows.row, page))
                found.update((row.id, row) for row in rows)
                if len(found) >= limit or following is None:
                    break
                page, following = connection.listing(following, "search result")
        return list(found.values())[:limit]

    return in_background(listed, connection.traffic)


def _facts_of(model: str, revision: str | None, traffic: Traffic, *, whole: bool) -> ModelMetadata:
    connection = Connection(model, revision, traffic)
    place = facts_cache.Place(connection.endpoint, model)
    known = facts_cache.load(place, revision, whole=whole)
    warnings: list[str] = []
    if known is None:
        try:
            known = in_background(lambda: _read(connection, place, revision, whole=whole), traffic)
        except (UnreachableError, UnreadableError) as error:
            known = facts_cache.load(place, revision, whole=whole, stale=True)
            if known is None:
                raise
            warnings.append(f"{error} What was read of {short(model, 80)} earlier is used meanwhile.")
    return known.metadata(model, source="hub", warnings=warnings)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The hub's page on one revision of a model."""

    model: str
    """Its name there: another one than asked for, where it was renamed."""
    commit: str
    sizes: Mapping[str, int | None]
    """Every file, with its bytes where the hub tells them."""
    license: str | None
    gated: bool
    base: object


def _read(
    connection: Connection, place: facts_cache.Place, revision: str | None, *, whole: bool
) -> RepositoryFacts:
    with connection.words():
        listing = _list_files(connection, revision)
        known = facts_cache.load_commit(place, listing.commit, whole=whole)
        if known is None:
            known = _read_files(connection, listing, whole=whole)
        facts_cache.save(place, revision, known)
        return known


def _list_files(connection: Connection, revision: str | None) -> _Listing:
    model = connection.asked.model
    if len(model) > LONGEST_ID or not MODEL_ID.fullmatch(model) or ".." in model or "--" in model:
        raise ModelUnavailableError(
            f"{connection.asked.shown} is no model id: write it like organisation/name, or give a directory."
        )
    path = f"api/models/{model}" + (
        f"/revision/{quote(revision, safe='', errors='replace')}" if revision else ""
    )
    entry, _ = connection.listing(path, "file list", {"blobs": True})
    siblings = entry.get("siblings") if isinstance(entry, Mapping) else None
    if not isinstance(siblings, list) or not isinstance(entry.get("sha"), str):
        raise makes_no_sense(connection.asked, "the file list")
    sizes: dict[str, int | None] = {}
    for sibling in siblings:
        if isinstance(sibling, Mapping) and isinstance(sibling.get("rfilename"), str):
            size = sibling.get("size")
            sizes[sibling["rfilename"]] = size if isinstance(size, int) and size >= 0 else None
    named = hub_rows.row(entry)
    return _Listing(
        model=named.id if named else model,
        commit=entry["sha"],
        sizes=sizes,
        license=hub_rows.license_of(entry),
        gated=entry.get("gated") not in (None, False),
        base=hub_rows.base_of(entry),
    )


def _read_files(connection: Connection, listing: _Listing, *, whole: bool) -> RepositoryFacts:
    names = list(listing.sizes)
    files = _small_files(connection, listing, repository.small_files(names))
    reason = repository.why_not_servable(names, files, connection.asked.shown, listing.base)
    if reason is not None:
        raise ModelUnavailableError(reason)
    extra = (
        [repository.TOKENIZER] if repository.needs_tokenizer(files) and repository.TOKENIZER in names else []
    )
    weights = repository.weight_files(names)
    if whole and repository.needs_index(names):
        index = repository.index_of(names)
        named = set(repository.indexed_files(_small_files(connection, listing, [index])[index]))
        weights = [name for name in weights if name in named] or weights
    files = {**files, **_small_files(connection, listing, extra)}
    warnings = _renamed(connection.asked.model, listing.model)
    missing = repository.missing_shards(names)
    if missing:
        warnings.append(
            f"{len(missing)} weight files are missing on the hub (first: {missing[0]}): the upload is not finished."
        )
    facts = RepositoryFacts(
        commit=listing.commit,
        names=tuple(name for name in names if "/" not in name),
        files=files,
        license=listing.license,
        gated=listing.gated,
        warnings=tuple(warnings),
        complete=not missing,
        whole=whole,
        weights_bytes=_total(listing.sizes, weights),
    )
    return _with_headers(connection, listing, facts, weights) if whole and weights else facts


def _with_headers(
    connection: Connection, listing: _Listing, facts: RepositoryFacts, weights: Sequence[str]
) -> RepositoryFacts:
    """The facts with every tensor, or with a warning that says why sizes come from elsewhere."""
    try:
        return replace(facts, tensors=read_headers(connection, listing.model, listing.commit, weights))
    except OverBudgetError:
        return facts
    except ConfigError as error:
        said = f"{error} Sizes come from the architecture."
        return replace(facts, weights_bytes=None, warnings=(*facts.warnings, said))
    except (UnreachableError, UnreadableError) as error:
        said = f"{error} Its headers will be read next time; sizes come from the architecture."
        return replace(facts, whole=False, warnings=(*facts.warnings, said))


def _small_files(
    connection: Connection, listing: _Listing, wanted: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    def read(name: str) -> tuple[str, Mapping[str, Any]]:
        return name, connection.small_file(listing.model, listing.commit, name)

    return dict(in_threads(read, wanted, connection.traffic, SMALL_CONNECTIONS))


def _total(sizes: Mapping[str, int | None], names: Sequence[str]) -> int | None:
    """Bytes of the weight files together; None where the hub doesn't tell them."""
    found = [sizes.get(name) for name in names]
    known = [size for size in found if size is not None]
    return sum(known) if known and len(known) == len(found) else None


def _renamed(asked: str, name: str) -> list[str]:
    if asked == name:
        return []
    return [f"{short(asked, 80)} is called {short(name, 80)} on the hub; take that name, the old one may go."]
