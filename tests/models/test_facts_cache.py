"""Facts on disk: found again by commit and by branch, never believed blindly, never in the way."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from wizard.models import facts_cache
from wizard.models.facts_cache import Place, RepositoryFacts, load, load_commit, save
from wizard.models.metadata import TensorInfo

PLACE = Place("https://hub.example", "org/model")
FACTS = RepositoryFacts(
    commit="a" * 40,
    names=("config.json", "model.safetensors"),
    files={"config.json": {"hidden_size": 64}},
    tensors={"w": TensorInfo("BF16", (2, 3), 12)},
    license="mit",
    gated=True,
    warnings=("mind the step",),
    weights_bytes=20,
)
DAY_S = 24 * 3600


def age(days: float) -> None:
    """Lets everything on disk be as old as that."""
    for path in facts_cache.folder().rglob("*.gz"):
        stamp = path.stat().st_mtime - days * DAY_S
        os.utime(path, (stamp, stamp))


def test_what_was_kept_is_found_by_branch_and_by_commit() -> None:
    save(PLACE, "main", FACTS)
    assert load(PLACE, "main") == FACTS
    assert load(PLACE, "a" * 40) == FACTS
    assert load_commit(PLACE, "a" * 40) == FACTS
    assert load(PLACE, "dev") is None
    assert load(PLACE, None) is None


def test_another_hub_is_another_place() -> None:
    save(PLACE, None, FACTS)
    assert load(Place("https://mirror.example", "org/model"), None) is None


def test_a_branch_is_believed_for_a_day_and_a_commit_for_ever() -> None:
    save(PLACE, None, FACTS)
    age(1.5)
    assert load(PLACE, None) is None
    assert load(PLACE, None, stale=True) == FACTS
    assert load(PLACE, "a" * 40) == FACTS


def test_a_glance_is_no_whole_look_and_never_replaces_one() -> None:
    glance = replace(FACTS, whole=False, tensors={})
    save(PLACE, None, glance)
    assert load(PLACE, None) is None
    assert load(PLACE, None, whole=False) == glance
    save(PLACE, None, FACTS)
    save(PLACE, None, glance)
    assert load(PLACE, None) == FACTS


UNREADABLE = {
    "empty": b"",
    "not packed": b"not packed",
    "not JSON": gzip.compress(b"not JSON"),
    "a list": gzip.compress(b"[]"),
    "nested": gzip.compress(b"[" * 100_000),
    "older": gzip.compress(json.dumps({"format": 1, "commit": "a" * 40}).encode()),
    "wrong": gzip.compress(
        json.dumps({"format": 2, "commit": "a" * 40, "whole": True, "tensors": 5}).encode()
    ),
    "cut": gzip.compress(b"{}")[:-4],
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_that_cannot_be_read_is_no_knowledge(kind: str) -> None:
    save(PLACE, None, FACTS)
    for path in (facts_cache.folder() / "commits").iterdir():
        path.write_bytes(UNREADABLE[kind])
    assert load(PLACE, None) is None
    save(PLACE, None, FACTS)
    assert load(PLACE, None) == FACTS


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    save(PLACE, None, FACTS)
    assert load(PLACE, None) is None


def test_names_cannot_leave_the_folder() -> None:
    save(Place("https://hub.example", "../../../../tmp/evil"), "../../x", FACTS)
    assert all(path.parent.parent == facts_cache.folder() for path in facts_cache.folder().rglob("*.gz"))


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_cache, "MOST_FILES", 3)
    for number in range(5):
        save(PLACE, None, replace(FACTS, commit=f"{number}" * 40))
        age(1)
    assert load_commit(PLACE, "4" * 40) is not None
    assert load_commit(PLACE, "0" * 40) is None
    assert len(list((facts_cache.folder() / "commits").iterdir())) == 3
