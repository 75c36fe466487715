"""Step 5: ticked files, previews, writing without ever replacing unasked, copying."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.fake_engine import FakeEngine
from tests.tui.screen import opened, settled, text
from wizard.schemas.inputs import ModelInput, PlanRequest


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_every_file_is_previewed_as_it_will_be_written() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5")
        assert "exec vllm serve meta-llama/Llama-3.1-8B-Instruct" in text(app)
        await pilot.press("down")
        assert "image: vllm/vllm-openai:v0.33.0" in text(app)


async def test_ticked_files_are_written_and_the_next_steps_said(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with opened(engine) as (app, pilot):
        await pilot.press("5", "down", "space", "ctrl+s")
        await settled(app, pilot)
        directory = tmp_path / "llama-3-1-8b-instruct"
        assert sorted(path.name for path in directory.iterdir()) == ["plan.json", "profile.yaml", "serve.sh"]
        assert "&& ./serve.sh" in text(app)
        await pilot.press("1")
    assert app.return_code == 0
    assert any("serve.sh" in line for line in app.writing.last_words)


async def test_files_with_other_contents_are_replaced_only_when_asked_to(tmp_path: Path) -> None:
    directory = tmp_path / "llama-3-1-8b-instruct"
    directory.mkdir()
    (directory / "serve.sh").write_text("mine")
    async with opened() as (app, pilot):
        await pilot.press("5", "ctrl+s")
        await settled(app, pilot)
        assert "Replace 1 of 4 files?" in text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert (directory / "serve.sh").read_text() == "mine"
        await pilot.press("ctrl+s", "2")
        await settled(app, pilot)
        assert (directory / "serve.sh").read_text() != "mine"


async def test_what_will_not_start_is_not_written(tmp_path: Path) -> None:
    request = PlanRequest(model=ModelInput(model="deepseek-ai/DeepSeek-R1"))
    async with opened(request=request) as (app, pilot):
        await pilot.press("5", "ctrl+s")
        await settled(app, pilot)
        assert "Not written: vLLM would not start like this." in text(app)
    assert not list(tmp_path.iterdir())


async def test_nothing_ticked_writes_nothing() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5", "space", "down", "space", "down", "space", "down", "space", "ctrl+s")
        await settled(app, pilot)
        assert "No file is ticked" in text(app)


async def test_the_directory_is_typed(tmp_path: Path) -> None:
    async with opened() as (app, pilot):
        await pilot.press("5")
        box = app.screen.query_one("#export-directory")
        box.focus()
        await pilot.press("home", "ctrl+k", *"deep/er place", "enter")
        await settled(app, pilot)
        assert (tmp_path / "deep" / "er place" / "serve.sh").is_file()
        assert "cd 'deep/er place'" in text(app)


async def test_y_copies_the_file_through_the_terminal() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5", "y")
        assert app.clipboard.startswith("#!/usr/bin/env bash")
        assert "OSC 52" in text(app)


async def test_ctrl_s_goes_to_the_export_from_anywhere() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2", "ctrl+s")
        assert app.frame.step_name == "export"


async def test_long_files_are_read_with_the_page_keys() -> None:
    async with opened(size=(80, 16)) as (app, pilot):
        await pilot.press("5", "tab", "end")
        assert "--max-model-len 16384" in text(app)
        await pilot.press("right")
        assert "of 7" in text(app)
