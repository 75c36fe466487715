"""Finds a model's facts: a directory, the hub cache, what was read of the hub before, the catalogue, the hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from wizard.errors import ConfigError, ModelUnavailableError, WizardError
from wizard.models import catalogue, facts_cache, hub_settings, local
from wizard.models.metadata import ModelMetadata, short
from wizard.models.traffic import CancelledError, Traffic

MOST_HUB_SIBLINGS = 6
"""Quantised forms on the hub whose facts are read for one model, most downloaded first."""

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
        return local.load_directory(Path(os.path.expanduser(model)))  # noqa: PTH111 - Path raises for ~nobody
    snapshot = local.cached_snapshot(model, revision)
    if snapshot is not None:
        return local.load_snapshot(model, snapshot)
    offline_by = "--offline" if offline else "HF_HUB_OFFLINE" if hub_settings.forbidden() else None
    known = read_before(model, revision, stale=offline_by is not None)
    if known is None and revision is None:
        known = catalogue.load(model)
    if known is not None:
        return known
    if offline_by is not None:
        raise ModelUnavailableError(_unknown_offline(model, revision, offline_by))
    from wizard.models import hub  # the hub client takes 180 ms to import

    return hub.fetch(model, revision=revision, traffic=traffic)


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
    if offline or metadata.source == "path" or hub_settings.forbidden():
        return found
    from wizard.models import hub

    return found | hub.siblings(metadata.model, besides=found, limit=MOST_HUB_SIBLINGS, traffic=traffic)


def siblings_in_time(metadata: ModelMetadata, *, offline: bool) -> Mapping[str, ModelMetadata]:
    """The same for a command that must end: the hub is asked only about a model that came from there, or that
    the catalogue knows no form of, and not waited for longer than a few seconds."""
    known = load_siblings(metadata)
    if offline or (known and metadata.source != "hub"):
        return known
    traffic = Traffic()
    patience = threading.Timer(SIBLINGS_PATIENCE_S, traffic.cancelled.set)
    patience.daemon = True
    patience.start()
    try:
        return load_siblings(metadata, offline=False, traffic=traffic)
    except CancelledError:
        return known
    finally:
        patience.cancel()


def pin_in_time(
    metadata_source: str, model: str, revision: str | None, *, offline: bool, patience_s: float
) -> tuple[str, bool] | None:
    """(commit, gated) of a model that the built-in catalogue described, as the hub has it now.

    None offline, for models from elsewhere, and where the hub doesn't answer within `patience_s`.
    """
    if metadata_source != "catalogue" or offline or hub_settings.forbidden():
        return None
    from wizard.models import hub

    traffic = Traffic()
    patience = threading.Timer(patience_s, traffic.cancelled.set)
    patience.daemon = True
    patience.start()
    try:
        found = hub.pin(model, revision=revision, traffic=traffic)
    except (CancelledError, WizardError):
        return None
    finally:
        patience.cancel()
    return found.commit, found.gated


def _unknown_offline(model: str, revision: str | None, forbids: str) -> str:
    name = short(model, 80)
    if revision is not None and catalogue.load(model) is not None:
        return f"{name} at revision {short(revision, 60)} is not in the hub cache; go online or leave out --revision."
    near = catalogue.search(model.split("/")[-1], limit=3)
    hint = f"did you mean {near[0].id}?" if near else "go online, or give a model directory."
    return f"{name} is neither in the hub cache nor in the catalogue, and {forbids} forbids the hub: {hint}"
