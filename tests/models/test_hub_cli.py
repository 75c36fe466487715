"""The command line online: JSON on stdout, one sentence on stderr, the contract's exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub.repository import CONFIG, Repository, model, plain
from tests.hub.server import FakeHub
from wizard.cli import main

GPU = ("--gpu", "L40S")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


class TestPlan:
    def test_a_model_of_the_hub(self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        fake_hub.repositories.append(model("org/llama"))
        status, out, error = run(capsys, "plan", "--model", "org/llama", *GPU, "--json")
        answer = json.loads(out)
        assert (status, error) == (0, "")
        assert answer["model"]["source"] == "hub"
        assert answer["model"]["revision"] == fake_hub.repositories[0].branches["main"]

    def test_what_the_look_has_cost_is_told(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_hub.repositories.append(model("org/llama"))
        _, out, _ = run(capsys, "plan", "--model", "org/llama", *GPU)
        assert f"Read from the hub: {len(fake_hub.seen)} requests, " in out
        _, again, _ = run(capsys, "plan", "--model", "org/llama", *GPU)
        assert "Read from the hub" not in again

    def test_and_again_offline(self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        fake_hub.repositories.append(model("org/llama"))
        _, first, _ = run(capsys, "plan", "--model", "org/llama", *GPU, "--json")
        fake_hub.seen.clear()
        status, second, _ = run(capsys, "plan", "--model", "org/llama", *GPU, "--json", "--offline")
        online, offline = json.loads(first), json.loads(second)
        cost = [online["model"].pop(name) for name in ("hub_requests", "hub_bytes")]
        assert min(cost) > 0
        assert [offline["model"].pop(name) for name in ("hub_requests", "hub_bytes")] == [0, 0]
        for name in online:
            assert offline[name] == online[name], name
        assert status == 0
        assert not fake_hub.seen

    def test_the_hubs_quantised_form_is_a_fix(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wide = {**CONFIG, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8,
                "intermediate_size": 28672, "num_hidden_layers": 64}  # fmt: skip
        awq = {**wide, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
        fake_hub.repositories += [
            model("org/wide", wide),
            model("org/wide-AWQ", awq, tags=("base_model:quantized:org/wide", "awq")),
        ]
        status, out, _ = run(
            capsys, "check", *GPU, "--json", "--", "vllm", "serve", "org/wide", "--max-model-len", "4096"
        )
        assert status == 1
        changes = [fix["change"] for fix in json.loads(out)["fixes"]]
        assert {"model.model": "org/wide-AWQ"} in changes or {"model": "org/wide-AWQ"} in changes

    @pytest.mark.parametrize("command", ["plan", "export"])
    def test_every_failure_is_one_sentence(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
    ) -> None:
        fake_hub.repositories += [
            model("org/gated", gated="manual"),
            Repository("org/lora", {"adapter_config.json": plain({"base_model_name_or_path": "org/base"})}),
            Repository("org/broken", {"config.json": plain("{")}),
        ]
        into = ["-o", str(tmp_path / "out")] if command == "export" else []
        for name in ("org/gated", "org/lora", "org/broken", "org/missing", "org/\x1b[31mred"):
            status, out, error = run(capsys, command, "--model", name, *GPU, *into, "--json")
            assert (status, out) == (3, "")
            assert error.count("\n") == 1
            assert error.strip().isprintable()

    def test_an_exported_catalogue_model_is_pinned_to_the_hubs_commit(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """The catalogue knows no commits; the hub does, unless it may not be asked."""
        arguments = ["export", "--model", "Qwen/Qwen3-8B", *GPU, "--emit", "serve", "-o"]
        run(capsys, *arguments, str(tmp_path / "unknown"))
        assert "Not pinned" in (tmp_path / "unknown" / "serve.sh").read_text()
        fake_hub.repositories.append(model("Qwen/Qwen3-8B"))
        run(capsys, *arguments, str(tmp_path / "pinned"))
        commit = fake_hub.repositories[0].branches["main"]
        assert f"--revision {commit}" in (tmp_path / "pinned" / "serve.sh").read_text()
        fake_hub.seen.clear()
        run(capsys, *arguments, str(tmp_path / "offline"), "--offline")
        assert f"--revision {commit}" in (tmp_path / "offline" / "serve.sh").read_text()
        assert not fake_hub.seen

    def test_no_network(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, error = run(capsys, "plan", "--model", "org/llama", *GPU, "--json")
        assert (status, out) == (3, "")
        assert "can't be reached" in error

    def test_a_malformed_value_is_bad_input(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_hub.repositories.append(
            Repository("org/lies", {"config.json": plain({**CONFIG, "hidden_size": -1})})
        )
        status, out, error = run(capsys, "plan", "--model", "org/lies", *GPU)
        assert (status, out) == (2, "")
        assert "hidden_size" in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_ENDPOINT", "huggingface.co"),
        ("HF_ENDPOINT", "http://[::1"),
        ("HF_ENDPOINT", "http://a:b@c:d"),
        ("HF_ENDPOINT", "http://\x1b[2J"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
    ],
)
@pytest.mark.parametrize("command", [["plan", *GPU, "--model", "org/llama"], ["models", "llama"]])
def test_settings_that_cannot_be_used_are_bad_input(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    command: list[str],
) -> None:
    monkeypatch.setenv(name, value)
    status, out, error = run(capsys, *command)
    assert (status, out) == (2, "")
    assert name in error
    assert error.strip().isprintable()


def test_a_password_in_the_address_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")
    assert "secret" not in run(capsys, "plan", *GPU, "--model", "org/llama")[2]


class TestModels:
    def test_json_tells_all(self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        fake_hub.repositories.append(
            model("new/qwen-thing", tags=("license:mit",), downloads=12, gated="auto")
        )
        status, out, error = run(capsys, "models", "qwen", "--json")
        rows = json.loads(out)
        assert (status, error) == (0, "")
        assert rows[0]["source"] == "catalogue"
        assert rows[-1] == {
            "id": "new/qwen-thing",
            "source": "hub",
            "params": 155_730_944,
            "gated": True,
            "base": None,
            "downloads": 12,
            "license": "mit",
            "dtype": "bfloat16",
            "quantization": None,
        }

    def test_text_tells_the_same(self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        fake_hub.repositories.append(
            model("new/qwen-thing", tags=("license:mit",), downloads=1234, gated="auto")
        )
        _, out, _ = run(capsys, "models", "qwen-thing")
        assert out.split()[:8] == [
            "new/qwen-thing",
            "0.2B",
            "bf16",
            "hub",
            "1.23k",
            "downloads",
            "gated",
            "mit",
        ]

    def test_a_failing_hub_leaves_the_local_ones(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_hub.failing = 503
        status, out, error = run(capsys, "models", "qwen3", "--json")
        assert status == 0
        assert json.loads(out)
        assert error.count("\n") == 1
        status, out, error = run(capsys, "models", "nobody-has-this", "--json")
        assert (status, out) == (3, "")
        assert "503" in error

    def test_nothing_found_is_an_empty_list(
        self, fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, out, _ = run(capsys, "models", "nobody-has-this", "--json")
        assert (status, json.loads(out)) == (3, [])


class TestSettings:
    """What the client reads when it is loaded, so in processes of their own."""

    def plan(self, name: str, **settings: str) -> tuple[int, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "wizard", "plan", "--model", name, *GPU, "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, **settings},
            timeout=60,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def test_stored_login(self, fake_hub: FakeHub, tmp_path: Path) -> None:
        fake_hub.users = {"hf_alice": "alice"}
        fake_hub.repositories.append(model("org/gated", gated="manual", members=("alice",)))
        (tmp_path / "token").write_text("hf_alice\n")
        status, answer = self.plan("org/gated", HF_HOME=str(tmp_path))
        assert (status, answer["model"]["source"]) == (0, "hub")

    def test_proxy(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama"))
        settings = {
            "HF_ENDPOINT": "http://hub.example",
            "HTTP_PROXY": fake_hub.url,
            "http_proxy": fake_hub.url,
        }
        status, _ = self.plan("org/llama", **settings)
        assert status == 0
        assert fake_hub.seen[0].path.startswith("http://hub.example/")

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"HTTP_PROXY": "ftp://x", "http_proxy": "ftp://x"}, "HTTP_PROXY"),
            (
                {"HF_ENDPOINT": "https://hub.invalid", "HTTPS_PROXY": "http://me:secret@127.0.0.1:9"},
                "through the proxy 127.0.0.1:9; check HTTPS_PROXY",
            ),
            ({"HF_ENDPOINT": "https://127.0.0.1:9", "SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE"),
        ],
    )
    def test_what_breaks_the_client(self, fake_hub: FakeHub, settings: dict[str, str], words: str) -> None:
        status, error = self.plan("org/llama", **settings)
        assert status == 3
        assert words in error
        assert "secret" not in error
        assert error.count("\n") == 1

    def test_offline_by_the_environment(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama"))
        status, error = self.plan("org/llama", HF_HUB_OFFLINE="1")
        assert status == 3
        assert "HF_HUB_OFFLINE" in error
        assert not fake_hub.seen
