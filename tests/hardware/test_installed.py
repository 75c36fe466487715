"""The vLLM beside us is found by its installer's record."""

from __future__ import annotations

from pathlib import Path

import pytest

from wizard.hardware.installed import installed_vllm_version


@pytest.mark.parametrize(
    ("record", "release"),
    [
        ("vllm-0.33.0.dist-info", "0.33.0"),
        ("vllm-0.19.1+cu129.dist-info", "0.19.1"),
        ("vllm-0.34.0rc2.dev5+gabc.dist-info", "0.34.0"),
        ("vllm-dev.dist-info", None),
        ("vllm_wizard_tui-0.1.0.dist-info", None),
    ],
)
def test_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: str, release: str | None) -> None:
    (tmp_path / record).mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert installed_vllm_version() == release


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "absent"), "/no/such.zip"])
    assert installed_vllm_version() is None


@pytest.mark.parametrize(
    "first_lines",
    ["#!{venv}/bin/python3.12\n", "#!/bin/sh\n'''exec' {venv}/bin/python \"$0\" \"$@\"\n"],
    ids=["shebang", "long path"],
)
def test_the_vllm_on_the_path_tells_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first_lines: str
) -> None:
    venv, tools = tmp_path / "venv", tmp_path / "tools"
    (venv / "lib/python3.12/site-packages/vllm-0.31.2.dist-info").mkdir(parents=True)
    (venv / "bin").mkdir()
    tools.mkdir()
    script = tools / "vllm"
    script.write_text(first_lines.format(venv=venv) + "raise SystemExit('never run')\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.path", [])
    assert installed_vllm_version({"PATH": str(tools)}) == "0.31.2"
    assert installed_vllm_version({"PATH": str(venv)}) is None


def test_a_linked_vllm_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    venv, tools = tmp_path / "venv", tmp_path / "tools"
    (venv / "lib/python3.11/site-packages/vllm-0.30.0.dist-info").mkdir(parents=True)
    (venv / "bin").mkdir()
    tools.mkdir()
    (venv / "bin/vllm").write_bytes(b"\x7fELF")
    (venv / "bin/vllm").chmod(0o755)
    (tools / "vllm").symlink_to(venv / "bin/vllm")
    monkeypatch.setattr("sys.path", [])
    assert installed_vllm_version({"PATH": str(tools)}) == "0.30.0"
