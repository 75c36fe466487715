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
