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
        assert "Replace 1 of 4 files in llama-3-1-8b-instruct?" in text(app)
        assert "-mine" in text(app)
        assert "+#!/usr/bin/env bash" in text(app)
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


async def test_files_that_are_not_usual_can_be_ticked_and_are_remembered(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with opened(engine) as (app, pilot):
        await pilot.press("5", "down", "down", "down", "down")
        assert "[ ] kubernetes.yaml" in text(app)
        await pilot.press("space")
        assert "[x] kubernetes.yaml" in text(app)
        await pilot.press("ctrl+s")
        await settled(app, pilot)
        assert (tmp_path / "llama-3-1-8b-instruct" / "kubernetes.yaml").is_file()
        assert app.writing.ticks.ticked == {"kubernetes.yaml"}


async def test_the_address_is_shown_chosen_and_undone() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5")
        assert "Listen on" in text(app)
        assert "127.0.0.1" in text(app)
        app.screen.query_one("#serving-host").focus()
        await pilot.press("home", "ctrl+k", *"0.0.0.0", "enter")
        app.screen.query_one("#serving-port").focus()
        await pilot.press("home", "ctrl+k", *"9000", "enter")
        assert (app.request.serving.host, app.request.serving.port) == ("0.0.0.0", 9000)
        app.screen.query_one("#files").focus()
        await pilot.press("u")
        assert app.request.serving.port == 8000


@pytest.mark.parametrize(
    ("box", "typed", "words"),
    [("serving-host", "0.0.0.0; rm", "write an address of this machine"), ("serving-port", "99999", "65535")],
)
async def test_an_address_that_is_none_is_one_sentence(box: str, typed: str, words: str) -> None:
    async with opened() as (app, pilot):
        await pilot.press("5")
        app.screen.query_one(f"#{box}").focus()
        await pilot.press("home", "ctrl+k", *typed, "enter")
        assert words in text(app)
        await pilot.press("tab")
        assert (app.request.serving.host, app.request.serving.port) == ("127.0.0.1", 8000)
        assert typed not in text(app)


async def test_writing_again_while_the_answer_is_open_opens_no_second_dialog() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5", "ctrl+s")
        await settled(app, pilot)
        await pilot.press("ctrl+s", "ctrl+s")
        await settled(app, pilot)
        assert len(app.screen_stack) == 2


async def test_the_models_own_directory_is_never_suggested(tmp_path: Path) -> None:
    (tmp_path / "llama-3-1-8b-instruct").mkdir()
    (tmp_path / "llama-3-1-8b-instruct" / "config.json").write_text("{}")
    async with opened() as (app, pilot):
        await pilot.press("5")
        assert "./llama-3-1-8b-instruct-vllm" in text(app)
