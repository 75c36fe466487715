"""Finds a model's facts: a directory, the hub cache, what was read of the hub before, the hub, the catalogue.

The hub knows more than the catalogue (exact bytes, the commit, who may have the model), so the catalogue
speaks only where the hub may not be asked, or fails.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wizard.dataclass import replace
from wizard.errors import ConfigError, ModelUnavailableError, WizardError
from wizard.models import catalogue, facts_cache, hub_settings
from wizard.models.drafts import draft_named
from wizard.models.metadata import ModelMetadata, short

if TYPE_CHECKING:
    from wizard.models.traffic import Traffic

MOST_HUB_SIBLINGS = 6
"""Quantised forms on the hub whose facts are read for one model, most downloaded first."""

HUB_PATIENCE_S = 20.0
"""For a model that the catalogue knows too; the headers of the largest take 3 s on a good line."""

SIBLINGS_PATIENCE_S = 8.0
"""A listing and six small look-ups take about a second on a good line."""


def load(
    model: str, *, revision: str | None = None, offline: bool = False, traffic: Traffic | None = None
) -> ModelMetadata:
    """Facts of `model`, a directory or a Hugging Face id; `offline` never touches the network.

    `traffic` is told of every request, and stops the look-up when it is cancelled. Raises
    ModelUnavailableError or ConfigError, each one sentence with the next step; CancelledError.
    """
    if looks_like_path(model):
        from pathlib import Path

        from wizard.models import local

        return local.load_directory(Path(os.path.expanduser(model)))  # noqa: PTH111 - Path raises for ~nobody
    if hub_settings.cached(model):
        from wizard.models import (
            local,  # what reads the disk, the network and threads is loaded where it does
        )

        snapshot = local.cached_snapshot(model, revision)
        if snapshot is not None:
            return local.load_snapshot(model, snapshot)
    offline_by = "--offline" if offline else "HF_HUB_OFFLINE" if hub_settings.forbidden() else None
    known = read_before(model, revision, stale=offline_by is not None)
    if known is not None:
        return known
    fallback = catalogue.load(model) if revision is None else None
    if offline_by is not None:
        if fallback is None:
            raise ModelUnavailableError(_unknown_offline(model, revision, offline_by))
        return fallback
    if fallback is not None and hub_settings.nameless() and read_before(model, stale=True) is None:
        hub_place = hub_settings.place(hub_settings.endpoint())
        return _meanwhile(fallback, f"{short(model, 80)}: {hub_place} {hub_settings.UNREACHED}.")
    from wizard.models import hub  # the hub client takes 180 ms to import
    from wizard.models.traffic import CancelledError, Traffic, within

    if fallback is None:
        part = Traffic(parent=traffic)
        return _counted(hub.fetch(model, revision=revision, traffic=part), part)
    try:
        with within(HUB_PATIENCE_S, traffic) as part:
            return _counted(hub.fetch(model, traffic=part), part)
    except ModelUnavailableError as error:
        why = str(error)
    except CancelledError:
        if traffic is not None:
            traffic.check()
        why = f"{short(model, 80)}: the hub took more than {HUB_PATIENCE_S:.0f} s."
    return _meanwhile(fallback, why)


def _meanwhile(fallback: ModelMetadata, why: str) -> ModelMetadata:
    said = f"{why} The catalogue's facts are used meanwhile, sized by the architecture."
    return replace(fallback, warnings=(*fallback.warnings, said))


def with_draft(
    metadata: ModelMetadata,
    speculative: Mapping[str, Any] | None,
    *,
    offline: bool = True,
    traffic: Traffic | None = None,
) -> ModelMetadata:
    """The facts with those of the model that `--speculative-config` names beside it.

    A draft that can't be read is left out, which planning tells. Raises CancelledError.
    """
    wanted = draft_named(speculative)
    if wanted is None or wanted[0] in metadata.drafts:
        return metadata
    try:
        draft = load_draft(*wanted, offline=offline, traffic=traffic)
    except WizardError:
        return metadata
    return drafted_by(metadata, wanted[0], draft)


def drafted_by(metadata: ModelMetadata, name: str, draft: ModelMetadata) -> ModelMetadata:
    """The facts with those of one more model that may draft, by the name that a command gives it."""
    return replace(metadata, drafts={**metadata.drafts, name: draft})


def load_draft(
    model: str, revision: str | None, *, offline: bool, traffic: Traffic | None = None
) -> ModelMetadata:
    """Facts of a model that drafts, as `load` finds them; the hub is not waited for longer than `HUB_PATIENCE_S`.

    Raises as `load` does.
    """
    from wizard.models.traffic import CancelledError, within

    if offline:
        return load(model, revision=revision, offline=True)
    try:
        with within(HUB_PATIENCE_S, traffic) as part:
            return load(model, revision=revision, traffic=part)
    except CancelledError:
        if traffic is not None:
            traffic.check()
        return load(model, revision=revision, offline=True)


def _counted(metadata: ModelMetadata, traffic: Traffic) -> ModelMetadata:
    """The facts, with what reading them has cost."""
    return replace(metadata, hub_requests=traffic.requests, hub_bytes=traffic.received_bytes)


def read_before(model: str, revision: str | None = None, *, stale: bool = False) -> ModelMetadata | None:
    """Facts that an earlier look at the hub left on this disk; `stale` takes those older than a day too."""

    place = facts_cache.Place(hub_settings.endpoint(), model)
    known = facts_cache.load(place, revision, stale=stale)
    return None if known is None else known.metadata(model, source="hub")


def looks_like_path(model: str) -> bool:
    """A directory as typed: it exists, or is written like a path. Never raises, whatever was typed."""
    written_so = model.startswith(("/", "./", "../", "~")) or model in {".", ".."}
    return written_so or os.path.isdir(model)  # noqa: PTH112 - Path's raises for names too long


def load_siblings(
    metadata: ModelMetadata, *, offline: bool = True, traffic: Traffic | None = None
) -> Mapping[str, ModelMetadata]:
    """Facts of the quantised forms of a model by id: the catalogue's, then the hub's unless `offline`.

    The hub's cost a listing and two or three requests each, for a handful. A hub that fails leaves the
    catalogue's. Raises CancelledError.
    """
    found: dict[str, ModelMetadata] = {}
    for entry in catalogue.siblings(metadata.model):
        try:
            loaded = catalogue.load(entry.id)
        except ConfigError:
            continue
        if loaded is not None and loaded.quantization_config is not None:
            found[entry.id] = loaded
    if offline or metadata.source == "path" or hub_settings.forbidden() or hub_settings.nameless():
        return found
    from wizard.models import hub

    return found | hub.siblings(metadata.model, besides=found, limit=MOST_HUB_SIBLINGS, traffic=traffic)


def siblings_in_time(metadata: ModelMetadata, *, offline: bool) -> Mapping[str, ModelMetadata]:
    """The same for a command that must end: the hub is asked only about a model that came from there, or that
    the catalogue knows no form of, and not waited for longer than a few seconds."""
    known = load_siblings(metadata)
    if offline or (known and metadata.source != "hub"):
        return known
    from wizard.models.traffic import CancelledError, within

    try:
        with within(SIBLINGS_PATIENCE_S, None) as traffic:
            return load_siblings(metadata, offline=False, traffic=traffic)
    except CancelledError:
        return known


def _unknown_offline(model: str, revision: str | None, forbids: str) -> str:
    name = short(model, 80)
    if revision is not None and catalogue.load(model) is not None:
        return f"{name} at revision {short(revision, 60)} is not in the hub cache; go online or leave out --revision."
    near = catalogue.search(model.split("/")[-1], limit=3)
    hint = f"did you mean {near[0].id}?" if near else "go online, or give a model directory."
    return f"{name} is neither in the hub cache nor in the catalogue, and {forbids} forbids the hub: {hint}"
