"""Step 1: search by typing, verdicts on rows, choosing, what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.tui.fake_engine import FakeEngine
from tests.tui.screen import lines, opened, settled, text
from wizard.engine import ModelRow
from wizard.schemas.inputs import ModelInput, PlanRequest


async def test_typing_searches_and_every_row_carries_its_verdict() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"qwen3 32")
        await settled(app, pilot)
        shown = text(app)
        assert "✓ Qwen/Qwen3-32B " in shown
        assert "✓ Qwen/Qwen3-32B-AWQ" in shown
        assert "Llama-3.3" not in shown


async def test_enter_chooses_the_row_and_goes_on() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"qwen3 32", "down", "enter")
        await settled(app, pilot)
        assert app.request.model.model == "Qwen/Qwen3-32B-AWQ"
        assert app.frame.step_name == "hardware"
        await pilot.press("u")
        assert app.request.model.model == "meta-llama/Llama-3.1-8B-Instruct"


async def test_a_row_that_will_not_start_says_so() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"deepseek")
        await settled(app, pilot)
        assert "✗ deepseek-ai/DeepSeek-R1" in text(app)


async def test_the_facts_follow_the_cursor() -> None:
    async with opened() as (app, pilot):
        await pilot.press("down")
        await settled(app, pilot)
        assert "70.6B · bfloat16 · catalogue" in text(app)


async def test_esc_empties_the_search() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"qwen", "escape")
        assert "type to search models" in text(app)
        assert "Llama-3.1-8B-Instruct" in text(app)


async def test_slash_comes_back_to_the_search() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "slash", *"gemma", "enter")
        await settled(app, pilot)
        assert app.request.model.model == "google/gemma-3-27b-it"


async def test_the_hub_adds_its_rows_below() -> None:
    engine = FakeEngine()
    engine.hub = (
        ModelRow("somebody/qwen-unheard-of", "hub", 3_000_000_000),
        ModelRow("Qwen/Qwen3-8B", "hub"),
    )
    async with opened(engine) as (app, pilot):
        await pilot.press(*"qwen")
        await pilot.pause(0.3)
        await settled(app, pilot)
        shown = text(app)
        assert "qwen-unheard-of" in shown.replace("…", "") or "↓" in shown
        assert "The hub has 2 models of that name." in shown


async def test_a_model_nobody_has_is_one_sentence_and_can_be_undone() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"no/such", "enter")
        await settled(app, pilot)
        shown = text(app)
        assert "No plan yet" in shown
        assert "is in no place that this test" in " ".join(shown.split())
        await pilot.press("u")
        await settled(app, pilot)
        assert "✓ Fits" in text(app)


async def test_nothing_found_says_what_next() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"no model like this", "enter")
        await settled(app, pilot)
        assert "No model of that name. Type fewer words" in " ".join(text(app).split())
        assert app.frame.step_name == "model"


async def test_what_is_pasted_becomes_no_model_unless_it_is_written_like_one() -> None:
    async with opened() as (app, pilot):
        app.screen.query_one("#model-search").value = "\x1b[31mevil/repo\x1b[0m"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settled(app, pilot)
        assert "No model of that name" in text(app)


async def test_a_revision_is_typed_and_taken() -> None:
    async with opened() as (app, pilot):
        await pilot.press("tab", *"refs/pr/1", "tab")
        await settled(app, pilot)
        assert app.request.model.revision == "refs/pr/1"


@pytest.mark.parametrize(
    "name",
    [
        "evil/\x1b]0;owned\x07model",
        "evil/\x1b[2J\x1b[H",
        "evil/[red]markup[/red]",
        "evil/[link=file:///etc/passwd]x",
        "evil/" + "w" * 5000,
        "evil/\u202egnp.exe",
        "evil/" + "a\u0301\u0301\u0301\u0301\u0301" * 20,
        "evil/line\nbreak\ttab",
    ],
    ids=["title", "clear", "markup", "link", "long", "override", "combining", "lines"],
)
async def test_a_hostile_name_is_shown_as_plain_text(name: str) -> None:
    engine = FakeEngine()
    engine.extra = (ModelRow(name, "hub"),)
    async with opened(engine, request=PlanRequest(model=ModelInput(model=name[:4000]))) as (app, pilot):
        await pilot.press(*"evil")
        await settled(app, pilot)
        assert {cell_len(line) for line in lines(app)} == {80}
        for line in lines(app):
            assert not any(ord(character) < 32 or character in "\x7f\u202e\u2066" for character in line)
        await pilot.press("down", "enter")
        await settled(app, pilot)
        assert app.is_running


async def test_a_directory_is_found_by_typing_its_path(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.extra = (ModelRow(f"{tmp_path}/", "path"), ModelRow(f"{tmp_path}/model", "path"))
    async with opened(engine) as (app, pilot):
        box = app.screen.query_one("#model-search")
        box.value = str(tmp_path)[:-1]  # type: ignore[attr-defined]
        await settled(app, pilot)
        await pilot.press("enter")
        await settled(app, pilot)
        assert box.value == f"{tmp_path}/"  # type: ignore[attr-defined]
        assert app.frame.step_name == "model"
