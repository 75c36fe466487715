"""Where files go by default, and the three lines after writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wizard.leaving import next_steps, suggested_directory
from wizard.schemas.inputs import ModelInput, PlanRequest, ServingInput


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def request(model: str = "Qwen/Qwen3-8B", host: str = "127.0.0.1", port: int = 8000) -> PlanRequest:
    return PlanRequest(model=ModelInput(model=model), serving=ServingInput(host=host, port=port))


def test_files_go_beside_us_under_the_models_name() -> None:
    assert suggested_directory(request()) == "./qwen3-8b"


@pytest.mark.parametrize("typed", ["./mymodel", "mymodel", "mymodel/"])
def test_never_into_the_models_own_directory(typed: str, tmp_path: Path) -> None:
    (tmp_path / "mymodel").mkdir()
    assert suggested_directory(request(typed)) == "./mymodel-vllm"


def test_never_among_other_files_unless_they_are_an_earlier_export(tmp_path: Path) -> None:
    (tmp_path / "qwen3-8b").mkdir()
    assert suggested_directory(request()) == "./qwen3-8b"
    (tmp_path / "qwen3-8b" / "thesis.tex").write_text("x")
    (tmp_path / "qwen3-8b-vllm").write_text("a file")
    assert suggested_directory(request()) == "./qwen3-8b-vllm-2"
    (tmp_path / "qwen3-8b" / "plan.json").write_text("{}")
    assert suggested_directory(request()) == "./qwen3-8b"


BUNDLE = ("smoke.sh", "bench.sh", ".env.example")


def test_one_machine_is_started_asked_and_measured() -> None:
    lines = next_steps(Path("my model"), ("serve.sh", *BUNDLE), request())
    assert lines[0] == "cd './my model' && ./serve.sh".replace("./my", "my")
    assert lines[1].startswith("./smoke.sh")
    assert lines[2].startswith("./bench.sh")


def test_several_nodes_need_the_head_address() -> None:
    lines = next_steps(Path("x"), ("node-0.sh", "node-1.sh", *BUNDLE), request())
    assert "HEAD_ADDRESS=" in lines[0]
    assert "./node-0.sh" in lines[0]
    assert "on node 0" in lines[1]


def test_a_cluster_is_given_the_file() -> None:
    lines = next_steps(Path("x"), ("kubernetes.yaml", *BUNDLE), request())
    assert "kubectl apply -f kubernetes.yaml" in lines[0]


def test_an_open_address_asks_for_a_key_first() -> None:
    lines = next_steps(Path("x"), ("serve.sh", *BUNDLE), request(host="0.0.0.0"))
    assert "set VLLM_API_KEY" in lines[0]
    assert lines[1] == "./serve.sh"


def test_the_url_is_the_one_that_was_chosen() -> None:
    lines = next_steps(Path("-x"), ("serve.sh",), request(port=9000))
    assert lines[0].startswith("cd ./-x")
    assert "http://127.0.0.1:9000/v1/models" in lines[1]
    assert "Authorization" in next_steps(Path("x"), ("serve.sh",), request(host="10.0.0.5"))[1]
