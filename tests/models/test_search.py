"""Search by words: what is here at once and first, the hub's below, whatever the hub does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.repository import CONFIG, model
from tests.hub.server import FakeHub
from wizard.models.found import FoundModel, merged
from wizard.models.search import find, search_local


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two models in the hub cache, one of which the catalogue knows."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("Qwen--Qwen3-8B", "me--my-qwen3"):
        snapshot = tmp_path / f"models--{name}" / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps(CONFIG))


@pytest.mark.usefixtures("cached")
def test_cached_models_come_first_and_once() -> None:
    found = search_local("qwen3")
    assert [(row.id, row.source) for row in found[:2]] == [
        ("Qwen/Qwen3-8B", "cache"),
        ("me/my-qwen3", "cache"),
    ]
    assert [row.id for row in found].count("Qwen/Qwen3-8B") == 1
    assert found[0].params == 8_190_735_360
    assert found[2].source == "catalogue"


@pytest.mark.parametrize("text", ["qwen3", "llama", "deepseek", "gemma", "mistral"])
def test_makers_come_before_those_who_quantise_their_models(text: str) -> None:
    found = search_local(text)
    others = [bool(row.base) and row.base.split("/")[0] != row.id.split("/")[0] for row in found]
    assert others == sorted(others)
    assert found[0].id.lower().rpartition("/")[2].startswith(text)


def test_the_exact_name_and_whole_words_come_first() -> None:
    names = [row.id for row in search_local("qwen3")]
    sizes = [names.index(f"Qwen/Qwen3-{size}B") for size in ("1.7", "8", "14", "32")]
    assert sizes == sorted(sizes)
    assert names.index("Qwen/Qwen3-235B-A22B") < next(
        at for at, name in enumerate(names) if name.startswith("Qwen/Qwen3.5")
    )
    assert search_local("qwen3-8b")[0].id == "Qwen/Qwen3-8B"
    assert search_local("qwen/qwen3-8b-fp8")[0].id == "Qwen/Qwen3-8B-FP8"


def test_rows_of_the_catalogue_tell_size_and_storage() -> None:
    row = next(row for row in search_local("qwen3 32b fp8") if row.id == "Qwen/Qwen3-32B-FP8")
    assert (row.quantization, row.base, row.license) == ("fp8", "Qwen/Qwen3-32B", "apache-2.0")
    assert row.params is not None
    assert abs(row.params - 32.8e9) < 0.1e9


def test_the_hubs_rows_follow_and_tell_more_of_those_known(fake_hub: FakeHub) -> None:
    fake_hub.repositories += [model("new/qwen3-unheard-of", downloads=3), model("Qwen/Qwen3-8B", downloads=9)]
    found = find("qwen3")
    assert found.trouble is None
    assert found.models[-1].id == "new/qwen3-unheard-of"
    known = next(row for row in found.models if row.id == "Qwen/Qwen3-8B")
    assert (known.source, known.downloads) == ("catalogue", 9)


@pytest.mark.parametrize("text", ["", "q", " x "])
def test_nothing_much_typed_asks_nobody(fake_hub: FakeHub, text: str) -> None:
    find(text)
    assert not fake_hub.seen


def test_offline_asks_nobody(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("qwen3", offline=True).models
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find("qwen3").models
    assert not fake_hub.seen


def test_a_hub_that_fails_leaves_what_is_here(fake_hub: FakeHub) -> None:
    fake_hub.failing = 503
    found = find("qwen3")
    assert found.models
    assert found.trouble is not None
    assert "503" in found.trouble


def test_merging_keeps_what_is_known_here() -> None:
    here = FoundModel("Org/Model", "cache", params=5, license="mit")
    there = FoundModel(
        "org/model", "hub", params=6, license="other", gated=True, downloads=1, quantization="fp8"
    )
    assert merged([here], [there]) == [
        FoundModel("Org/Model", "cache", params=5, gated=True, downloads=1, license="mit", quantization="fp8")
    ]


def test_a_cached_model_nobody_lists_tells_size_and_dtype_by_its_own_files() -> None:
    from wizard.models.hub_settings import cache_folder

    repository = cache_folder() / "models--me--mine"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (row,) = find("me/mine", offline=True).models
    assert (row.source, row.dtype) == ("cache", "bfloat16")
    assert row.params is not None
    assert row.params > 1_000_000
