"""Models on this disk: a directory, or a snapshot in the Hugging Face cache. Headers only, never weights."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from wizard.dataclass import dataclass, replace
from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models import repository
from wizard.models.hub_settings import cache_folder
from wizard.models.metadata import Checkpoint, ModelMetadata, Source, TensorInfo, short
from wizard.models.tensor_headers import LENGTH_BYTES, header_length, parse_header

LARGEST_JSON_BYTES = 16 << 20
"""Configs are kilobytes; the largest safetensors index of a 1T-parameter model is about 10 MB."""

DEFAULT_BRANCH = "main"


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a small JSON file; ConfigError, in one sentence, for anything else."""
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON_BYTES:
            raise ConfigError(
                f"{path.name} is {size >> 20} MB, far beyond any real one; check the download of {path.parent.name}."
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelUnavailableError(
            f"{path} can't be read ({error.strerror}); check its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; download it again.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not valid JSON ({short(str(error), 60)}); download it again."
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold an object, not {short(value)}; is this a model directory?")
    return value


def read_safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of one safetensors file, reading nothing but its header."""
    try:
        with path.open("rb") as file:
            length = header_length(file.read(LENGTH_BYTES), path.name)
            header = file.read(length)
            stored = path.stat().st_size - LENGTH_BYTES - length
    except OSError as error:
        raise ModelUnavailableError(
            f"{path} can't be read ({error.strerror}); check its permissions."
        ) from error
    tensors = parse_header(header, path.name)
    if sum(tensor.nbytes for tensor in tensors.values()) > stored:
        raise ConfigError(f"{path.name} is shorter than its header says; finish or repeat its download.")
    return tensors


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """What the safetensors files of a directory hold."""

    checkpoint: Checkpoint | None
    """None where no file can be read."""
    missing: str | None = None
    """A sentence about files that are not there."""
    broken: tuple[str, ...] = ()
    """Sentences about files that can't be loaded."""


def read_checkpoint(directory: Path) -> StoredWeights:
    """Reads the headers of a directory's weights."""
    names = _names(directory)
    wanted = repository.weight_files(names)
    missing = set(repository.missing_shards(names))
    index = directory / repository.index_of(names)
    if index.is_file():
        named = set(repository.indexed_files(read_json(index)))
        missing = named - set(names)
        wanted = sorted(named & set(names)) or ([] if missing else wanted)
    gap = None
    if missing:
        gap = (
            f"{len(missing)} of {len(missing) + len(wanted)} weight files are missing (first: {min(missing)}); "
            "the sizes come from the architecture until the download is finished."
        )
    tensors: dict[str, TensorInfo] = {}
    broken: list[str] = []
    for name in wanted:
        try:
            tensors.update(read_safetensors_header(directory / name))
        except ConfigError as error:
            broken.append(f"vLLM would stop while it loads the weights: {error}")
    total = sum(tensor.nbytes for tensor in tensors.values())
    complete = not missing and not broken
    return StoredWeights(
        Checkpoint(tensors, total, complete) if tensors else None, gap, tuple(broken[:MOST_SENTENCES])
    )


MOST_SENTENCES = 3
"""About broken files: whoever has more downloads them all again."""


def load_directory(
    directory: Path, *, model: str | None = None, source: Source = "path", revision: str | None = None
) -> ModelMetadata:
    """Facts of a model directory. Raises ModelUnavailableError or ConfigError in one sentence."""
    if not os.path.isdir(directory):  # noqa: PTH112 - Path's raises where a parent may not be entered
        raise ModelUnavailableError(f"{directory} is not a directory; give one that holds a config.json.")
    names = _names(directory)
    files = {name: read_json(directory / name) for name in repository.small_files(names)}
    reason = repository.why_not_servable(names, files, str(directory))
    if reason is not None:
        raise ModelUnavailableError(reason)
    if repository.needs_tokenizer(files) and repository.TOKENIZER in names:
        files[repository.TOKENIZER] = read_json(directory / repository.TOKENIZER)
    weights = read_checkpoint(directory)
    gap = (weights.missing,) if weights.missing else ()
    fetched = source == "cache"  # what a snapshot lacks vLLM fetches; of a directory it loads what is there
    return repository.metadata_from_files(
        files,
        names,
        model=model or str(directory),
        source=source,
        revision=revision,
        checkpoint=weights.checkpoint,
        warnings=gap if fetched else (),
        load_risks=weights.broken if fetched else (*gap, *weights.broken),
    )


def load_snapshot(model: str, snapshot: Path) -> ModelMetadata:
    """Facts of a snapshot in the hub cache; a download under way is said. Raises as `load_directory`."""
    metadata = load_directory(snapshot, model=model, source="cache", revision=snapshot.name)
    pending = unfinished_downloads(snapshot.parents[1])
    if metadata.checkpoint is not None and metadata.checkpoint.complete:
        return metadata
    if not pending and repository.has_weights(_names(snapshot)):
        return metadata
    said = (
        f"The download of {short(model, 80)} is not finished ({pending} files under way)"
        if pending
        else f"The weights of {short(model, 80)} are not in the cache yet"
    )
    return replace(metadata, warnings=(*metadata.warnings, f"{said}; vLLM fetches the rest when it starts."))


def _names(directory: Path) -> list[str]:
    """Files of the directory itself; a link that leads nowhere is none."""
    try:
        return sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise ModelUnavailableError(
            f"{directory} can't be read ({error.strerror}); check its permissions."
        ) from error


def cached_snapshot(model: str, revision: str | None = None) -> Path | None:
    """The snapshot directory of a model in the hub cache, or None; a revision is a branch, tag or commit."""
    repository_folder = cache_folder() / ("models--" + model.replace("/", "--"))
    snapshots = repository_folder / "snapshots"
    try:
        reference = repository_folder / "refs" / (revision or DEFAULT_BRANCH)
        if reference.is_file():
            return _usable([snapshots / reference.read_text(encoding="utf-8").strip()])
        if revision is not None:
            return _usable([snapshots / revision])
        if not snapshots.is_dir():
            return None
        return _usable(sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True))
    except (OSError, ValueError):
        return None


def _usable(snapshots: Iterable[Path]) -> Path | None:
    """The first snapshot whose config has been downloaded."""
    for snapshot in snapshots:
        if any((snapshot / name).is_file() for name in (repository.CONFIG, repository.PARAMS)):
            return snapshot
    return None


def unfinished_downloads(repository_folder: Path) -> int:
    """How many files of a cached model the hub client has begun and not finished."""
    blobs = repository_folder / "blobs"
    try:
        return sum(path.name.endswith(".incomplete") for path in blobs.iterdir())
    except OSError:
        return 0


def cached_models() -> Sequence[str]:
    """Ids of the models whose config is in the hub cache, sorted; looked at anew every few seconds.

    A search asks for them at every key press, and two hundred models take 10 ms to look at.
    """
    folder = cache_folder()
    try:
        stamp = folder.stat().st_mtime_ns
    except OSError:
        return ()
    return _cached_models(folder, stamp, int(time.monotonic() / CACHE_KNOWN_S))


CACHE_KNOWN_S = 10.0
"""How long a download that has just brought a config may go unseen."""


@lru_cache(maxsize=1)
def _cached_models(folder: Path, _stamp: int, _tick: int) -> Sequence[str]:
    try:
        names = [path.name.removeprefix("models--").replace("--", "/") for path in folder.glob("models--*")]
    except OSError:
        return ()
    return tuple(sorted(name for name in names if cached_snapshot(name) is not None))
