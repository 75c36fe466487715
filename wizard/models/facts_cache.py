"""Facts of hub models on disk, by commit: a second look costs no network."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wizard.models.metadata import TensorInfo

FORMAT = 1

FRESH_S = 24 * 3600.0
"""How long a branch name is believed to point at the same commit; a commit itself never changes."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of one commit."""

    commit: str
    config: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    license: str | None = None
    gated: bool = False
    warnings: list[str] = field(default_factory=list)
    received_bytes: int = 0


def folder() -> Path:
    """Where facts are kept: XDG_CACHE_HOME/vllm-wizard-tui/facts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vllm-wizard-tui" / "facts"


def load(model: str, revision: str | None) -> Facts | None:
    """What is known of `model` at `revision`, or None: not looked at, too long ago, or unreadable."""
    path = _path(model, revision)
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        if document["format"] != FORMAT or document["model"] != model:
            return None
        if document["commit"] != revision and time.time() - path.stat().st_mtime > FRESH_S:
            return None
        return Facts(
            commit=document["commit"],
            config=document["config"],
            files=document["files"],
            tensors={
                name: TensorInfo(dtype, tuple(shape), nbytes)
                for name, (dtype, shape, nbytes) in document["tensors"].items()
            },
            license=document["license"],
            gated=document["gated"],
            warnings=document["warnings"],
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save(model: str, revision: str | None, facts: Facts) -> None:
    """Keeps the facts; a full or read-only disk costs the next look a few requests, nothing else."""
    document = {
        "format": FORMAT,
        "model": model,
        "commit": facts.commit,
        "config": facts.config,
        "files": facts.files,
        "tensors": {
            name: (tensor.dtype, tensor.shape, tensor.nbytes) for name, tensor in facts.tensors.items()
        },
        "license": facts.license,
        "gated": facts.gated,
        "warnings": facts.warnings,
    }
    packed = gzip.compress(json.dumps(document).encode(), compresslevel=6)
    for key in {revision, facts.commit}:
        path = _path(model, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(packed)
            Path(temporary).replace(path)
        except OSError:
            return


def _path(model: str, revision: str | None) -> Path:
    """A file name that no model name can escape from."""
    key = hashlib.sha256(f"{model}\n{revision or ''}".encode()).hexdigest()[:32]
    return folder() / f"{key}.json.gz"
