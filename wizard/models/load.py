"""Finds a model's facts: a directory, the hub cache, the built-in catalogue, then the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models import catalogue, local
from wizard.models.metadata import ModelMetadata, short


def load(model: str, *, revision: str | None = None, offline: bool = False) -> ModelMetadata:
    """Facts of `model`, a directory or a Hugging Face id; `offline` never touches the network.

    Raises ModelUnavailableError or ConfigError, each one sentence with the next step.
    """
    if looks_like_path(model):
        return local.load_directory(Path(model).expanduser())
    snapshot = local.cached_snapshot(model, revision)
    if snapshot is not None:
        return local.load_directory(snapshot, model=model, source="cache", revision=snapshot.name)
    if revision is None:
        known = catalogue.load(model)
        if known is not None:
            return known
    if offline:
        raise ModelUnavailableError(_unknown_offline(model, revision))
    from wizard.models import hub  # the hub client takes 180 ms to import

    return hub.fetch(model, revision=revision)


def looks_like_path(model: str) -> bool:
    """A directory as typed: it exists, or is written like a path."""
    return model.startswith(("/", "./", "../", "~")) or model in {".", ".."} or Path(model).is_dir()


def load_siblings(metadata: ModelMetadata) -> Mapping[str, ModelMetadata]:
    """Facts of the quantised forms of a model that the catalogue knows, by id."""
    found: dict[str, ModelMetadata] = {}
    for entry in catalogue.siblings(metadata.model):
        try:
            loaded = catalogue.load(entry.id)
        except ConfigError:
            continue
        if loaded is not None and loaded.quantization_config is not None:
            found[entry.id] = loaded
    return found


def _unknown_offline(model: str, revision: str | None) -> str:
    name = short(model, 80)
    if revision is not None and catalogue.load(model) is not None:
        return f"{name} at revision {short(revision, 60)} is not in the hub cache; go online or leave out --revision."
    near = catalogue.search(model.split("/")[-1], limit=3)
    hint = f"did you mean {near[0].id}?" if near else "go online, or give a model directory."
    return f"{name} is neither in the hub cache nor in the catalogue, and --offline forbids the hub: {hint}"
