"""Where a model's facts come from: the disk first, then the hub, the catalogue in its place; offline never asks."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.hub.repository import CONFIG, model
from tests.hub.server import FakeHub
from wizard.errors import ModelUnavailableError, WizardError
from wizard.models import facts_cache
from wizard.models.load import load, load_siblings, siblings_in_time, with_draft
from wizard.models.metadata import load_model_metadata
from wizard.models.search import find
from wizard.models.traffic import CancelledError, Traffic


def in_cache(name: str, files: dict[str, object], commit: str = "a" * 40) -> Path:
    """A snapshot in the hub cache that HF_HOME names (tests/conftest.py)."""
    from wizard.models.hub_settings import cache_folder

    repository = cache_folder() / ("models--" + name.replace("/", "--"))
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for each, content in files.items():
        (snapshot / each).write_text(json.dumps(content))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return repository


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert load(str(tmp_path), offline=True).source == "path"


def test_a_draft_is_read_along_from_this_machine_alone(tmp_path: Path, fake_hub: FakeHub) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    target = load(str(tmp_path))
    asked = {"method": "draft_model", "model": str(tmp_path), "num_speculative_tokens": 2}
    assert list(with_draft(target, asked).drafts) == [str(tmp_path)]
    assert with_draft(target, {**asked, "model": "org/nowhere"}) is target
    assert with_draft(target, {"method": "ngram", "model": str(tmp_path)}) is target
    assert with_draft(target, {"model": "[ngram]", "num_speculative_tokens": 2}) is target
    assert with_draft(target, None) is target
    assert not fake_hub.seen


def test_the_hub_tells_of_a_draft_where_it_may_be_asked(tmp_path: Path, fake_hub: FakeHub) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    target = load(str(tmp_path))
    fake_hub.repositories.append(model("org/draft"))
    asked = {"method": "draft_model", "model": "org/draft", "num_speculative_tokens": 2}
    assert with_draft(target, asked, offline=False).drafts["org/draft"].source == "hub"
    assert with_draft(target, {**asked, "model": "org/nowhere"}, offline=False) is target
    fake_hub.seen.clear()
    assert list(with_draft(target, asked).drafts) == ["org/draft"]
    assert not fake_hub.seen


def test_a_hub_too_slow_for_a_draft_leaves_it_out(
    tmp_path: Path, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    target = load(str(tmp_path))
    fake_hub.hangs = True
    monkeypatch.setattr("wizard.models.load.HUB_PATIENCE_S", 0.05)
    asked = {"method": "draft_model", "model": "org/draft", "num_speculative_tokens": 2}
    assert with_draft(target, asked, offline=False) is target
    given_up = Traffic()
    given_up.cancelled.set()
    with pytest.raises(CancelledError):
        with_draft(target, asked, offline=False, traffic=given_up)


def test_the_hub_cache_comes_before_the_catalogue_and_the_hub(fake_hub: FakeHub) -> None:
    in_cache("Qwen/Qwen3-8B", {"config.json": CONFIG})
    metadata = load("Qwen/Qwen3-8B")
    assert (metadata.source, metadata.hidden_size) == ("cache", 1024)
    assert not fake_hub.seen


def test_offline_the_catalogue_asks_nobody(fake_hub: FakeHub) -> None:
    assert load("Qwen/Qwen3-8B", offline=True).source == "catalogue"
    assert not fake_hub.seen


def test_online_the_hub_is_asked_about_a_catalogue_model_too(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    metadata = load("Qwen/Qwen3-8B")
    assert (metadata.source, metadata.hidden_size) == ("hub", 1024)
    assert metadata.revision is not None
    assert metadata.checkpoint is not None
    assert metadata.checkpoint.exact
    assert metadata.warnings == ()


def test_the_catalogue_stands_in_for_a_hub_that_fails_and_says_so(fake_hub: FakeHub) -> None:
    missing = load("Qwen/Qwen3-8B")
    assert missing.source == "catalogue"
    assert "is not on the hub" in missing.warnings[-1]
    assert "The catalogue's facts are used" in missing.warnings[-1]
    fake_hub.failing = 503
    assert "status 503" in load("Qwen/Qwen3-8B").warnings[-1]


def test_the_catalogue_stands_in_at_once_where_no_name_server_knows_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@hub.invalid:8080")
    metadata = load("Qwen/Qwen3-8B")
    assert metadata.source == "catalogue"
    assert "http://hub.invalid:8080 can't be reached; check the network" in metadata.warnings[-1]
    assert set(load_siblings(metadata, offline=False)) == set(load_siblings(metadata, offline=True))


def test_what_the_hub_said_earlier_comes_before_the_catalogue_where_no_name_server_knows_it(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    load("Qwen/Qwen3-8B")
    monkeypatch.setattr(facts_cache, "FRESH_S", 0)
    monkeypatch.setattr("socket.getaddrinfo", _unknown_name)
    assert load("Qwen/Qwen3-8B").source == "hub"


def test_a_name_server_that_is_busy_is_asked_once_more(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    asked, known = [], socket.getaddrinfo

    def busy(*arguments: Any, **named: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return known(*arguments, **named)

    monkeypatch.setattr("socket.getaddrinfo", busy)
    assert load("Qwen/Qwen3-8B").source == "hub"


def _unknown_name(*_: object) -> list[object]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_gated_catalogue_model_says_what_to_do(fake_hub: FakeHub) -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    fake_hub.repositories.append(model(name, gated="manual"))
    metadata = load(name)
    assert (metadata.source, metadata.gated) == ("catalogue", True)
    assert f"accept its terms at {fake_hub.url}/{name}" in metadata.warnings[-1]
    assert load(name, offline=True).gated
    assert not load("Qwen/Qwen3-8B", offline=True).gated


def test_a_hub_that_takes_its_time_is_not_waited_for(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    fake_hub.hangs = True
    monkeypatch.setattr("wizard.models.load.HUB_PATIENCE_S", 0.05)
    assert "took more than" in load("Qwen/Qwen3-8B").warnings[-1]
    turned_away = Traffic()
    turned_away.cancelled.set()
    with pytest.raises(CancelledError):
        load("Qwen/Qwen3-8B", traffic=turned_away)


def test_a_part_tells_its_whole_what_it_costs(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    whole = Traffic()
    load("Qwen/Qwen3-8B", traffic=whole)
    assert whole.requests == len(fake_hub.seen)
    assert whole.received_bytes > 0


def test_a_revision_of_a_catalogue_model_is_the_hubs(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
    metadata = load("Qwen/Qwen3-8B", revision="main")
    assert (metadata.source, metadata.hidden_size) == ("hub", 1024)


def test_what_the_hub_said_is_known_offline_however_old(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.repositories.append(model("org/llama"))
    assert load("org/llama").source == "hub"
    fake_hub.seen.clear()
    monkeypatch.setattr(facts_cache, "FRESH_S", -1.0)
    assert load("org/llama", offline=True).checkpoint is not None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load("org/llama").checkpoint is not None
    assert not fake_hub.seen


@pytest.mark.parametrize(("offline", "words"), [(True, "--offline"), (False, "HF_HUB_OFFLINE")])
def test_offline_says_what_forbids_the_hub(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, offline: bool, words: str
) -> None:
    if not offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailableError, match=words):
        load("nobody/unheard-of-7b", offline=offline)
    with pytest.raises(ModelUnavailableError, match="revision 'v2'"):
        load("Qwen/Qwen3-8B", revision="v2", offline=offline)
    assert not fake_hub.seen


HOSTILE = (
    "a" * 5000,
    "org/" + "a" * 300,
    "a\x01b/c",
    "a\0b/c",
    "~nobody-here/x",
    "/dev/null",
    "org//x",
    "\udcff/x",
    "../" * 50,
)


@pytest.mark.parametrize("revision", [None, "r" * 5000, "../../x", "r\0", "\udcff"])
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_typed_is_one_sentence(fake_hub: FakeHub, name: str, revision: str | None) -> None:
    for offline in (True, False):
        with pytest.raises(WizardError) as caught:
            load(name, revision=revision, offline=offline)
        assert "\n" not in str(caught.value)
    if not revision:
        assert find(name).trouble is None


def test_a_revision_that_no_address_can_hold(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("org/llama"))
    with pytest.raises(ModelUnavailableError, match="no revision"):
        load("org/llama", revision="\udcff")


def test_parameters_given_by_the_user(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("org/llama"))
    assert load_model_metadata("org/llama", params_b=0.2).params_override == 200_000_000


QUANTISED = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}


class TestSiblings:
    def test_the_catalogue_alone_unless_told_otherwise(self, fake_hub: FakeHub) -> None:
        found = load_siblings(load("Qwen/Qwen3-32B", offline=True))
        assert found
        assert all(metadata.quantization_config for metadata in found.values())
        assert not fake_hub.seen

    def test_the_hubs_come_after(self, fake_hub: FakeHub) -> None:
        tag = "base_model:quantized:Qwen/Qwen3-32B"
        fake_hub.repositories += [
            model("new/Qwen3-32B-FP8", QUANTISED, tags=(tag,)),
            model("Qwen/Qwen3-32B-FP8", QUANTISED, tags=(tag,)),
        ]
        found = load_siblings(load("Qwen/Qwen3-32B"), offline=False)
        assert list(found)[-1] == "new/Qwen3-32B-FP8"
        assert found["Qwen/Qwen3-32B-FP8"].source == "catalogue"

    def test_a_command_asks_for_a_model_of_the_hub_only(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories += [
            model("org/llama"),
            model("a/llama-FP8", QUANTISED, tags=("base_model:quantized:org/llama",)),
        ]
        metadata = load("org/llama")
        assert list(siblings_in_time(metadata, offline=False)) == ["a/llama-FP8"]
        fake_hub.seen.clear()
        assert siblings_in_time(metadata, offline=True) == {}
        siblings_in_time(load("Qwen/Qwen3-32B", offline=True), offline=False)
        assert not fake_hub.seen

    def test_a_command_waits_for_seconds_only(
        self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_hub.repositories.append(model("org/llama"))
        metadata = load("org/llama")
        fake_hub.hangs = True
        monkeypatch.setattr("wizard.models.load.SIBLINGS_PATIENCE_S", 0.05)
        assert siblings_in_time(metadata, offline=False) == {}
