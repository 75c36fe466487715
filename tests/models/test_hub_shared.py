"""The same client against another hub, written by others: only where the shared tools are at hand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wizard.cli import main
from wizard.errors import ModelUnavailableError
from wizard.models import hub, hub_connection
from wizard.models.metadata import ModelMetadata


@pytest.fixture(scope="module")
def running(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The shared hub with the repositories that its companion writes."""
    specification = importlib.util.spec_from_file_location("shared_hub", shared / "tools" / "fakehub.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    root = tmp_path_factory.mktemp("repositories")
    subprocess.run([sys.executable, shared / "tools" / "mkrepos.py", root], check=True)
    with module.FakeHub(root, seed=4) as hub_server:
        hub_server.server.handle_error = lambda *_: None  # a client that hung up is no news
        yield hub_server


@pytest.fixture
def other(running: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The shared hub, free of faults."""
    monkeypatch.setattr(hub_connection, "PAUSES_S", (0.0,) * len(hub_connection.PAUSES_S))
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    faults = dict(running.faults)
    yield running
    running.faults = faults


def whole_bytes(metadata: ModelMetadata) -> int:
    assert metadata.checkpoint is not None
    return metadata.checkpoint.total_bytes


def test_exact_bytes_of_a_mixture_of_experts(other: Any) -> None:
    metadata = hub.fetch("Qwen/Qwen3-30B-A3B")
    assert whole_bytes(metadata) == 2 * 30_532_122_624
    first = len(other.requests)
    hub.fetch("Qwen/Qwen3-30B-A3B")
    assert len(other.requests) == first


def test_files_behind_redirects(other: Any) -> None:
    other.faults["redirects"] = True
    assert whole_bytes(hub.fetch("meta-llama/Llama-3.1-8B-Instruct")) == 2 * 8_030_261_248


def test_search_over_pages(other: Any) -> None:
    other.faults["page_size"] = 2
    ids = [row.id for row in hub.search("llama")]
    assert ids[:2] == ["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"]
    assert "gated/Llama-3.1-8B-Instruct" in ids


def test_gate(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailableError, match="is gated: accept its terms"):
        hub.fetch("gated/Llama-3.1-8B-Instruct")
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    with pytest.raises(ModelUnavailableError, match="no access yet"):
        hub.fetch("gated/Llama-3.1-8B-Instruct")
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    assert whole_bytes(hub.fetch("gated/Llama-3.1-8B-Instruct")) == 2 * 8_030_261_248


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken/truncated", "broke off"),
        ("broken/huge-config", "over 4 MB"),
        ("broken/malformed", "not valid JSON"),
        ("no/such-model", "not on the hub"),
    ],
)
def test_refusals(other: Any, capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    assert main(["plan", "--model", name, "--gpu", "L40S", "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_bad_header_and_no_ranges(other: Any) -> None:
    (risk,) = hub.fetch("broken/bad-header").load_risks
    assert "not a safetensors file; it is broken on the hub" in risk
    assert whole_bytes(hub.fetch("broken/no-range")) > 0


@pytest.mark.parametrize("status", [503, 429, 0])
def test_flaky(other: Any, status: int) -> None:
    other.faults |= {"fail_rate": 0.2, "fail_status": status}
    assert hub.fetch("google/gemma-3-27b-it").num_layers == 62


def test_plan_and_search_from_the_command_line(other: Any, capsys: pytest.CaptureFixture[str]) -> None:
    revision = ["--revision", "main"]
    assert main(["plan", "--model", "Qwen/Qwen3-30B-A3B-FP8", *revision, "--gpu", "H200", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["model"]["source"] == "hub"
    assert main(["models", "qwen", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["Qwen/Qwen3-30B-A3B"]["downloads"] == 800_000
