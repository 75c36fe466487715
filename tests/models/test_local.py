"""Directories and the hub cache: headers only, unfinished downloads recognised."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from wizard.errors import ConfigError, ModelUnavailableError
from wizard.models.hub_settings import cache_folder
from wizard.models.local import (
    cached_models,
    cached_snapshot,
    load_directory,
    load_snapshot,
    read_safetensors_header,
)

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
    (risk,) = load_directory(model).load_risks
    assert "shorter than its header" in risk
    assert "vLLM would stop" in risk


def test_a_missing_shard_stops_vllm_in_a_directory_but_not_in_the_cache(model: Path) -> None:
    write_safetensors(model / "model-00001-of-00002.safetensors", {"a": (4, 4)})
    assert "1 of 2 weight files are missing" in load_directory(model).load_risks[0]
    assert load_directory(model, source="cache").load_risks == ()


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


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestCache:
    def test_found_by_branch_and_commit(self, hub_cache: Path) -> None:
        first = cache_model(hub_cache, "org/model", "a" * 40)
        second = cache_model(hub_cache, "org/model", "b" * 40, branch="dev")
        assert cached_snapshot("org/model") == first
        assert cached_snapshot("org/model", "dev") == second
        assert cached_snapshot("org/model", "a" * 40) == first
        assert cached_snapshot("org/model", "c" * 40) is None
        assert list(cached_models()) == ["org/model"]

    def test_no_cache_is_no_models(self, hub_cache: Path) -> None:
        assert not cached_models()
        assert cached_snapshot("org/model") is None

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"HF_HUB_CACHE": "/a"}, "/a"),
            ({"HF_HOME": "/b"}, "/b/hub"),
            ({"HF_HOME": "$PLACE/hf"}, "/srv/hf/hub"),
            ({"HF_HOME": "~/hf"}, "/home/me/hf/hub"),
            ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
            ({}, "/home/me/.cache/huggingface/hub"),
        ],
    )
    def test_its_place_is_the_clients(
        self, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: str
    ) -> None:
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv("PLACE", "/srv")
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert str(cache_folder()) == expected

    def test_a_link_that_leads_nowhere_is_no_file(self, hub_cache: Path) -> None:
        snapshot = cache_model(hub_cache, "org/model", "a" * 40)
        (snapshot / "model.safetensors").symlink_to("../../blobs/gone")
        assert load_snapshot("org/model", snapshot).checkpoint is None
        (hub_cache / "models--org--model" / "blobs" / ("a" * 40)).unlink()
        assert cached_snapshot("org/model") is None

    def test_a_model_that_arrives_is_seen(self, hub_cache: Path) -> None:
        cache_model(hub_cache, "org/first", "a" * 40)
        assert list(cached_models()) == ["org/first"]
        cache_model(hub_cache, "org/second", "b" * 40)
        assert list(cached_models()) == ["org/first", "org/second"]

    def test_a_cache_behind_a_symlink(self, hub_cache: Path, tmp_path: Path) -> None:
        real = tmp_path / "big-disk"
        real.mkdir()
        hub_cache.symlink_to(real)
        cache_model(hub_cache, "org/model", "a" * 40)
        assert list(cached_models()) == ["org/model"]
        assert load_snapshot("org/model", cached_snapshot("org/model") or Path()).source == "cache"

    def test_a_download_under_way_is_told(self, hub_cache: Path) -> None:
        snapshot = cache_model(hub_cache, "org/model", "a" * 40)
        (snapshot.parents[1] / "blobs" / "abc.1234.incomplete").write_bytes(b"half")
        metadata = load_snapshot("org/model", snapshot)
        assert metadata.revision == "a" * 40
        assert "not finished (1 files under way)" in metadata.warnings[0]

    def test_weights_that_were_never_fetched_are_told(self, hub_cache: Path) -> None:
        snapshot = cache_model(hub_cache, "org/model", "a" * 40)
        assert "not in the cache yet" in load_snapshot("org/model", snapshot).warnings[0]
        write_safetensors(snapshot / "model.safetensors", {"a": (4, 4)})
        assert load_snapshot("org/model", snapshot).warnings == ()


class TestSets:
    """Which of several sets of weights counts."""

    def test_the_indexs(self, model: Path) -> None:
        write_safetensors(model / "model-00001-of-00001.safetensors", {"a": (4, 4)})
        write_safetensors(model / "model-other.safetensors", {"b": (4, 4)})
        index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        checkpoint = load_directory(model).checkpoint
        assert checkpoint is not None
        assert set(checkpoint.tensors) == {"a"}

    def test_mistrals_own(self, model: Path) -> None:
        write_safetensors(model / "model.safetensors", {"a": (4, 4)})
        write_safetensors(model / "consolidated.safetensors", {"b": (4, 4)})
        checkpoint = load_directory(model).checkpoint
        assert checkpoint is not None
        assert set(checkpoint.tensors) == {"b"}

    def test_an_adapter_beside_the_model_does_not(self, model: Path) -> None:
        write_safetensors(model / "model.safetensors", {"a": (4, 4)})
        write_safetensors(model / "adapter_model.safetensors", {"b": (4, 4)})
        (model / "adapter_config.json").write_text("{}")
        checkpoint = load_directory(model).checkpoint
        assert checkpoint is not None
        assert set(checkpoint.tensors) == {"a"}

    def test_a_numbered_set_without_index_tells_what_is_missing(self, model: Path) -> None:
        write_safetensors(model / "model-00001-of-00003.safetensors", {"a": (4, 4)})
        metadata = load_directory(model)
        assert "2 of 3 weight files are missing (first: model-00002-of-00003" in metadata.warnings[0]


def test_dtype_comes_from_the_weights_where_the_config_names_none(model: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "torch_dtype"}
    (model / "config.json").write_text(json.dumps(config))
    assert load_directory(model).dtype == "float32"
    write_safetensors(model / "model.safetensors", {"a": (4, 4)})
    assert load_directory(model).dtype == "bfloat16"


def test_limits_beside_the_config(model: Path) -> None:
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    (model / "generation_config.json").write_text('{"max_new_tokens": 64}')
    metadata = load_directory(model)
    assert metadata.max_position_embeddings == 128
    assert "64 tokens" in metadata.warnings[-1]


def test_a_directory_without_weights_is_planned_and_says_so(model: Path) -> None:
    metadata = load_directory(model)
    assert "no weights in this directory" in metadata.warnings[0]
    assert metadata.load_risks == ()
    (model / "pytorch_model.bin").write_bytes(b"x")
    assert load_directory(model).warnings == ()
