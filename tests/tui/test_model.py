"""Step 1: search by typing, verdicts on rows, choosing, what goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from tests.tui.fake_engine import FakeEngine
from tests.tui.screen import UNICODE, lines, opened, settled, text
from wizard.engine import ModelRow
from wizard.schemas.inputs import ModelInput, PlanRequest
from wizard.tui.app import WizardApp
from wizard.tui.screens.model import ModelStep


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


async def test_the_catalogue_answers_at_once_and_the_hub_takes_over() -> None:
    engine = FakeEngine()
    engine.slow_hub = threading.Event()
    app = WizardApp(engine, environment=UNICODE)
    async with app.run_test(size=(80, 24)) as pilot:
        while app.facts.machine is None:
            await pilot.pause()
        first = app.facts.metadata
        assert first is not None
        await pilot.press("escape")  # a look that only refines is nothing to give up
        assert app.request.model.model == first.model
        engine.slow_hub.set()
        await settled(app, pilot)
        assert app.facts.metadata is not None
        assert app.facts.metadata is not first
        assert "Fits" in text(app)


async def test_a_hub_that_fails_leaves_the_catalogues_plan() -> None:
    engine = FakeEngine()
    engine.slow_hub = threading.Event()
    engine.slow_hub.set()
    engine.hub_fails = True
    async with opened(engine) as (app, _):
        assert app.facts.metadata is not None
        assert not app.facts.trouble
        assert "Fits" in text(app)


GATED = ModelRow("org/qwen-secret", "hub", 3_000_000_000, gated=True, downloads=12_345, license="apache-2.0")


async def searched(engine: FakeEngine, app: WizardApp, pilot: Pilot[int], words: str) -> None:
    """Types words and lets the hub answer at once."""
    await pilot.press(*words)
    app.screen.query_one(ModelStep)._ask_hub(words)
    await settled(app, pilot)


async def test_where_there_is_room_a_row_tells_downloads_licence_and_both_marks() -> None:
    engine = FakeEngine()
    engine.hub = (GATED,)
    async with opened(engine, size=(140, 40)) as (app, pilot):
        await searched(engine, app, pilot, "secret")
        (row,) = [line for line in text(app).splitlines() if "qwen-secret" in line and "↓" in line]
        assert "12.3k↓ apache-2.0" in " ".join(row.split())
        assert "gated  hub" in row


async def test_a_chosen_row_keeps_what_was_found_out() -> None:
    engine = FakeEngine()
    engine.hub = (GATED,)
    async with opened(engine) as (app, pilot):
        await searched(engine, app, pilot, "secret")
        await pilot.press("enter")
        await settled(app, pilot)
        await pilot.press("1")
        await settled(app, pilot)
        (row,) = [line for line in text(app).splitlines() if line.startswith("▸")]
        assert "qwen-secret" in row
        assert "3.0B" in row
        assert "gated" in row


async def test_an_empty_answer_of_the_hub_is_said() -> None:
    engine = FakeEngine()
    async with opened(engine) as (app, pilot):
        await searched(engine, app, pilot, "nothing")
        assert "The hub has nothing of that name." in text(app)
        await pilot.press("escape")
        assert "The hub has nothing" not in text(app)


async def test_a_long_sentence_about_a_model_is_shown_whole() -> None:
    engine = FakeEngine()
    engine.extra = (ModelRow("gated/model", "path"),)
    async with opened(engine) as (app, pilot):
        step = app.screen.query_one(ModelStep)
        await pilot.press(*"gated/model")
        await settled(app, pilot)
        step.troubles["gated/model"] = (
            "'gated/model' is gated: accept its terms at https://huggingface.co/gated/model, "
            "then run `hf auth login` or set HF_TOKEN."
        )
        step.refresh_rows()
        await settled(app, pilot)
        left = " ".join(" ".join(line[:48] for line in lines(app)).split())
        assert "then run `hf auth login` or set HF_TOKEN." in left


async def test_what_is_to_be_said_about_a_model_stands_with_its_facts() -> None:
    engine = FakeEngine()
    engine.notes = ("The model is gated: accept its terms on its page of the hub, and give an HF_TOKEN.",)
    for size in ((80, 24), (120, 40)):
        async with opened(engine, size=size) as (app, _):
            left = " ".join(" ".join(line[: size[0] - 40] for line in lines(app)).split())
            assert "give an HF_TOKEN." in left
            assert ("tokens of context" in left) == (size == (120, 40))
