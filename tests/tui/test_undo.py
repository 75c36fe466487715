"""Every change can be undone and redone."""

from __future__ import annotations

from tests.tui.screen import opened, settled, text
from wizard.history import History
from wizard.tui.widgets.entry import TextBox
from wizard.wording import first_request


async def test_a_run_of_steps_on_one_slider_is_one_change() -> None:
    async with opened() as (app, pilot):
        start = app.request
        await pilot.press("3", "tab", "tab", "tab", "right", "right", "right", "tab", "tab", "right", "u")
        assert app.request.workload.concurrency == 24
        assert app.request.workload.prefix_share == 0
        await pilot.press("u")
        assert app.request == start
        assert "Undone: concurrency." in text(app)
        await pilot.press("U", "U")
        assert app.request.workload.concurrency == 24
        assert app.request.workload.prefix_share == 0.05


async def test_the_controls_follow_an_undo() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4", "right", "u")
        assert "● balanced" in text(app)


async def test_a_tick_of_the_export_is_undone_and_redone_in_its_turn() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4", "right", "5", "space")
        assert "[ ] serve.sh" in text(app)
        await pilot.press("u")
        assert "[x] serve.sh" in text(app)
        assert "Undone: tick of serve.sh." in text(app)
        assert app.request.workload.batching_mode == "throughput"
        await pilot.press("U")
        assert "[ ] serve.sh" in text(app)
        await pilot.press("u", "u")
        assert app.request.workload.batching_mode == "balanced"


async def test_the_directory_of_the_export_is_undone_and_redone_in_its_turn() -> None:
    async with opened() as (app, pilot):
        await pilot.press("5", "space", "shift+tab", "end", "a", "b")
        suggested = app.writing.directory[:-2]
        assert app.writing.chosen == f"{suggested}ab"
        await pilot.press("ctrl+underscore")
        assert app.writing.chosen == "" and app.query_one("#export-directory", TextBox).value == suggested
        assert "Undone: directory." in text(app)
        await pilot.press("ctrl+y")
        assert app.writing.chosen == app.query_one("#export-directory", TextBox).value == f"{suggested}ab"
        await pilot.press("tab", "u", "u")
        assert "[x] serve.sh" in text(app) and app.writing.chosen == ""


async def test_nothing_to_undo_is_said() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "u")
        assert "Nothing to undo" in text(app)


async def test_undo_works_inside_a_text_box() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "right", "1")
        await settled(app, pilot)
        before = app.request
        assert before.workload.prompt_tokens == 6144
        await pilot.press("ctrl+underscore")
        assert app.request.workload.prompt_tokens == 1024
        await pilot.press("ctrl+y")
        assert app.request == before


def test_a_new_change_ends_what_could_be_redone() -> None:
    history, request = History(), first_request()
    one = request.with_value("workload.concurrency", 1)
    two = request.with_value("workload.concurrency", 2)
    history.record(request, "one")
    undone = history.undo(one)
    assert undone is not None
    assert undone.request == request
    history.record(request, "two")
    assert history.redo(two) is None


def test_history_is_bounded() -> None:
    history, request = History(), first_request()
    for _ in range(2000):
        history.record(request, "change")
    assert len(history) == 500
