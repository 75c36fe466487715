"""Facts of hub models on disk, by commit: a second look costs no network.

Two kinds of files: `commits/` hold what was read of one commit, which never changes; `refs/` say which commit
a branch (or no revision) pointed at, which is believed for a day. A file name is a hash, so no model name
can escape from the folder; what a file says is checked like anything else from outside.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wizard.dataclass import dataclass, field
from wizard.models.metadata import Checkpoint, ModelMetadata, Source, TensorInfo

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 3

FRESH_S = 24 * 3600.0
"""How long a branch is believed to point at the same commit."""

MOST_FILES = 400
"""Of each kind; the oldest go first. The largest model's facts take 2 MB, most take 20 kB."""

LARGEST_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A model of one hub: a mirror's facts are not another's."""

    endpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What was read of one commit."""

    commit: str
    names: tuple[str, ...]
    """Files of the root."""
    files: Mapping[str, Mapping[str, Any]]
    """The small JSON files, parsed."""
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    license: str | None = None
    gated: bool = False
    warnings: tuple[str, ...] = ()
    load_risks: tuple[str, ...] = ()
    """What means that vLLM would stop while it loads the weights."""
    complete: bool = True
    """False where weight files are missing."""
    whole: bool = True
    """False where the headers have not been looked at yet."""
    weights_bytes: int | None = None
    """Sizes of the weight files together, where the hub tells them."""

    def metadata(self, model: str, *, source: Source, warnings: Sequence[str] = ()) -> ModelMetadata:
        """The facts as the planner takes them. Raises ConfigError."""
        from wizard.models.repository import metadata_from_files

        total = sum(tensor.nbytes for tensor in self.tensors.values()) or self.weights_bytes
        checkpoint = Checkpoint(self.tensors, total, self.complete) if total else None
        return metadata_from_files(
            self.files,
            self.names,
            model=model,
            source=source,
            revision=self.commit,
            checkpoint=checkpoint,
            license=self.license,
            gated=self.gated,
            warnings=[*self.warnings, *warnings],
            load_risks=self.load_risks,
        )


def folder() -> Path:
    """Where facts are kept: XDG_CACHE_HOME/vllm-wizard-tui/facts."""
    from pathlib import Path

    return Path(_folder_name())


def _folder_name() -> str:
    caches = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")  # noqa: PTH111 - as below
    return f"{caches}/vllm-wizard-tui/facts"


def load(
    place: Place, revision: str | None, *, whole: bool = True, stale: bool = False
) -> RepositoryFacts | None:
    """What is known of a model at `revision`, or None: not looked at, too long ago, or unreadable.

    `whole` wants the headers too; `stale` takes what is old rather than nothing.
    """
    if not os.path.isdir(_folder_name()):  # noqa: PTH112 - finding nothing loads neither pathlib nor hashlib
        return None
    direct = load_commit(place, revision, whole=whole) if revision else None
    if direct is not None:
        return direct
    path = _path("refs", place, revision)
    reference = _read(path)
    commit = reference.get("commit")
    if not isinstance(commit, str) or not (stale or _age_s(path) < FRESH_S):
        return None
    return load_commit(place, commit, whole=whole)


def load_commit(place: Place, commit: str, *, whole: bool = True) -> RepositoryFacts | None:
    """What was read of one commit, or None."""
    document = _read(_path("commits", place, commit))
    try:
        if document["format"] != FORMAT or document["commit"] != commit or (whole and not document["whole"]):
            return None
        return RepositoryFacts(
            **{
                **{name: value for name, value in document.items() if name != "format"},
                "names": tuple(document["names"]),
                "warnings": tuple(document["warnings"]),
                "load_risks": tuple(document["load_risks"]),
                "tensors": {
                    name: TensorInfo(dtype, tuple(shape), nbytes)
                    for name, (dtype, shape, nbytes) in document["tensors"].items()
                },
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def save(place: Place, revision: str | None, facts: RepositoryFacts) -> None:
    """Keeps the facts; a full or read-only disk costs the next look a few requests, nothing else."""
    document = {
        "format": FORMAT,
        **{name: getattr(facts, name) for name in RepositoryFacts.__slots__ if name != "tensors"},
        "tensors": {
            name: (tensor.dtype, tensor.shape, tensor.nbytes) for name, tensor in facts.tensors.items()
        },
    }
    known = load_commit(place, facts.commit, whole=facts.whole)
    if known is None:
        _write(_path("commits", place, facts.commit), document)
    _write(_path("refs", place, revision), {"commit": facts.commit})


def _read(path: Path) -> Mapping[str, Any]:
    """The object in a packed file; nothing where it can't be read."""
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            value = json.loads(file.read(LARGEST_FILE))
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """All of it or nothing, also where two processes write at once."""
    import gzip
    import tempfile
    from pathlib import Path

    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="new-")
        with os.fdopen(handle, "wb") as file:
            file.write(gzip.compress(json.dumps(document).encode(), compresslevel=6))
        Path(temporary).replace(path)
        _prune(path.parent)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _prune(directory: Path) -> None:
    files = sorted(directory.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[MOST_FILES:]:
        file.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _path(kind: str, place: Place, key: str | None) -> Path:
    import hashlib

    words = f"{place.endpoint}\n{place.model}\n{key or ''}".encode(errors="backslashreplace")
    name = hashlib.sha256(words).hexdigest()[:40]
    return folder() / kind / f"{name}.json.gz"
