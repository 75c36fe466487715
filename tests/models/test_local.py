"""Directories and the hub cache: headers only, unfinished downloads recognised."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models.local import cached_models, cached_snapshot, load_directory, read_safetensors_header

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A real BF16 safetensors file of zeros."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + bytes(offset))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_sizes_come_from_headers(model: Path) -> None:
    write_safetensors(model / "model.safetensors", {"a": (256, 64), "b": (64,)})
    metadata = load_directory(model)
    assert metadata.checkpoint is not None
    assert metadata.checkpoint.total_bytes == 2 * (256 * 64 + 64)
    assert metadata.source == "path"


def test_unfinished_download_is_recognised(model: Path) -> None:
    write_safetensors(model / "model-00001-of-00002.safetensors", {"a": (4, 4)})
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    metadata = load_directory(model)
    assert metadata.checkpoint is not None
    assert not metadata.checkpoint.complete
    assert "model-00002-of-00002.safetensors" in metadata.warnings[0]


def test_file_cut_short_is_recognised(model: Path) -> None:
    path = model / "model.safetensors"
    write_safetensors(path, {"a": (64, 64)})
    path.write_bytes(path.read_bytes()[:-100])
    assert "shorter than its header" in load_directory(model).warnings[0]


@pytest.mark.parametrize("body", [b"", b"1234", struct.pack("<Q", 1 << 60), struct.pack("<Q", 4) + b"nope"])
def test_malformed_headers_are_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(body)
    with pytest.raises(ConfigError):
        read_safetensors_header(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("adapter_config.json", {"base_model_name_or_path": "org/base"}, "org/base"),
        ("model.Q4_K_M.gguf", {}, "GGUF"),
        ("params.json", {}, "params.json"),
        ("README.md", {}, "no config.json"),
    ],
)
def test_without_config_says_what_it_is(tmp_path: Path, name: str, content: object, words: str) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ModelUnavailableError, match=words):
        load_directory(tmp_path)


def cache_model(hub: Path, name: str, commit: str, branch: str = "main") -> Path:
    """A snapshot as the hub client lays it out: blobs, symlinks, refs."""
    repository = hub / ("models--" + name.replace("/", "--"))
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    (repository / "blobs" / commit).write_text(json.dumps(CONFIG))
    (snapshot / "config.json").symlink_to(Path("../../blobs") / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / branch).write_text(commit)
    return snapshot


def test_cache_is_found_by_branch_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    first = cache_model(tmp_path, "org/model", "a" * 40)
    second = cache_model(tmp_path, "org/model", "b" * 40, branch="dev")
    assert cached_snapshot("org/model") == first
    assert cached_snapshot("org/model", "dev") == second
    assert cached_snapshot("org/model", "a" * 40) == first
    assert cached_snapshot("org/model", "c" * 40) is None
    assert cached_models() == ["org/model"]


def test_no_cache_is_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    assert cached_models() == []
    assert cached_snapshot("org/model") is None
