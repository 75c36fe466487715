"""Models on this disk: a directory, or a snapshot in the Hugging Face cache. Headers only, never weights."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models.metadata import (
    Checkpoint,
    ModelMetadata,
    Source,
    TensorInfo,
    metadata_from_config,
    section,
    short,
)

LARGEST_JSON_BYTES = 16 << 20
"""Configs are kilobytes; the largest safetensors index of a 1T-parameter model is about 10 MB."""
LARGEST_HEADER_BYTES = 100 << 20
"""The safetensors format's own limit on a header."""

DTYPE_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "BF16": 2,
    "F16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


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


def parse_safetensors_header(header: bytes, name: str) -> dict[str, TensorInfo]:
    """Tensors of one safetensors JSON header (without its 8 length bytes).

    Raises ConfigError where the header is malformed or its sizes disagree with its shapes.
    """
    try:
        entries = json.loads(header)
        tensors: dict[str, TensorInfo] = {}
        for key, entry in entries.items():
            if key == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            shape = tuple(int(size) for size in entry["shape"])
            dtype = str(entry["dtype"])
            if not 0 <= start <= end or any(size < 0 for size in shape):
                raise ValueError(key)
            tensors[key] = TensorInfo(dtype=dtype, shape=shape, nbytes=end - start)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{name} has a malformed safetensors header; download it again.") from error
    return tensors


def read_safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of one safetensors file, reading nothing but its header."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if len(head) < 8:
                raise ConfigError(f"{path.name} is truncated; finish or repeat its download.")
            (length,) = struct.unpack("<Q", head)
            if length > LARGEST_HEADER_BYTES:
                raise ConfigError(f"{path.name} is not a safetensors file; download it again.")
            header = file.read(length)
            stored = path.stat().st_size - 8 - length
    except OSError as error:
        raise ModelUnavailableError(
            f"{path} can't be read ({error.strerror}); check its permissions."
        ) from error
    tensors = parse_safetensors_header(header, path.name)
    if sum(tensor.nbytes for tensor in tensors.values()) > stored:
        raise ConfigError(f"{path.name} is shorter than its header says; finish or repeat its download.")
    return tensors


def read_checkpoint(directory: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """What the safetensors files of a directory hold, and warnings about unfinished downloads.

    None where there are no safetensors files.
    """
    warnings: list[str] = []
    index = directory / "model.safetensors.index.json"
    wanted: set[str] = set()
    if index.is_file():
        weight_map = section(read_json(index), "weight_map") or {}
        wanted = {name for name in weight_map.values() if isinstance(name, str)}
    present = {path.name: path for path in directory.glob("*.safetensors") if path.is_file()}
    missing = sorted(wanted - present.keys())
    names = sorted(wanted & present.keys()) if wanted else sorted(present)
    if not wanted and "consolidated.safetensors" in names and len(names) > 1:
        names.remove("consolidated.safetensors")
    tensors: dict[str, TensorInfo] = {}
    complete = not missing
    for name in names:
        try:
            tensors.update(read_safetensors_header(present[name]))
        except ConfigError as error:
            complete = False
            warnings.append(str(error))
    if missing:
        warnings.append(
            f"{len(missing)} of {len(wanted)} weight files are missing (first: {missing[0]}); "
            "the sizes come from the architecture until the download is finished."
        )
    if not tensors:
        return None, tuple(warnings)
    total = sum(tensor.nbytes for tensor in tensors.values())
    return Checkpoint(tensors=tensors, total_bytes=total, complete=complete), tuple(warnings)


def load_directory(
    directory: Path, *, model: str | None = None, source: Source = "path", revision: str | None = None
) -> ModelMetadata:
    """Facts of a model directory. Raises ModelUnavailableError or ConfigError in one sentence."""
    if not directory.is_dir():
        raise ModelUnavailableError(f"{directory} is not a directory; give one that holds a config.json.")
    config_path = directory / "config.json"
    if not config_path.is_file():
        raise ModelUnavailableError(_without_config(directory))
    checkpoint, warnings = read_checkpoint(directory)
    metadata = metadata_from_config(
        read_json(config_path),
        model=model or str(directory),
        source=source,
        revision=revision,
        checkpoint=checkpoint,
        hf_quant_config=_optional_json(directory / "hf_quant_config.json"),
        tokenizer_config=_optional_json(directory / "tokenizer_config.json"),
    )
    if not warnings:
        return metadata
    return ModelMetadata(**{**vars(metadata), "warnings": metadata.warnings + warnings})


def _optional_json(path: Path) -> Mapping[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _without_config(directory: Path) -> str:
    if (directory / "adapter_config.json").is_file():
        base = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
        named = f" ({short(base, 80)})" if isinstance(base, str) else ""
        return f"{directory} is a LoRA adapter: plan its base model{named} and pass the adapter with --lora-modules."
    if any(directory.glob("*.gguf")):
        return f"{directory} holds GGUF files only: give the original safetensors model instead."
    if (directory / "params.json").is_file():
        return f"{directory} holds Mistral's params.json only: add the config.json of the same model."
    return f"{directory} has no config.json; give the directory of a Hugging Face model."


def cache_folder() -> Path:
    """The Hugging Face hub cache, by the hub client's own rules (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME)."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def cached_snapshot(model: str, revision: str | None = None) -> Path | None:
    """The snapshot directory of a model in the hub cache, or None; a revision is a branch, tag or commit."""
    repository = cache_folder() / ("models--" + model.replace("/", "--"))
    reference = repository / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        snapshots = repository / "snapshots"
        if commit is None:
            found = (
                sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime)
                if snapshots.is_dir()
                else []
            )
            return found[-1] if found else None
        snapshot = snapshots / commit
        return snapshot if (snapshot / "config.json").is_file() else None
    except OSError:
        return None


def cached_models() -> list[str]:
    """Ids of the models whose config.json is in the hub cache, sorted."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    names = [path.name.removeprefix("models--").replace("--", "/") for path in folder.glob("models--*")]
    return sorted(name for name in names if cached_snapshot(name) is not None)
