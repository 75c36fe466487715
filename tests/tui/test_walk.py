"""The five screens are walked by keyboard alone, with the verdict on each."""

from __future__ import annotations

import pytest

from tests.tui.screen import lines, opened, settled, text

SIGHTS = {"1": "type to search models", "2": "Machine", "3": "Preset", "4": "Goal", "5": "serve.sh"}


async def test_enter_goes_through_all_five_screens_and_esc_back() -> None:
    async with opened() as (app, pilot):
        for number in "12345":
            assert SIGHTS[number] in text(app)
            assert "✓ Fits" in text(app)
            if number != "5":
                await pilot.press("enter")
                await settled(app, pilot)
        for number in "4321":
            await pilot.press("escape")
            assert SIGHTS[number] in text(app)


@pytest.mark.parametrize("number", "12345")
async def test_a_digit_jumps_from_the_empty_search_box(number: str) -> None:
    async with opened() as (app, pilot):
        await pilot.press(number)
        assert SIGHTS[number] in text(app)


async def test_esc_on_the_first_screen_says_where_one_is() -> None:
    async with opened() as (app, pilot):
        await pilot.press("escape")
        assert "first screen" in text(app)
        assert app.is_running


async def test_focus_is_where_it_was_left() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab", "tab")
        before = app.focused
        await pilot.press("enter", "escape")
        assert app.focused is before


async def test_help_is_written_for_the_screen() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "question_mark")
        assert "Workload: help" in text(app)
        assert "tokens" in text(app)
        await pilot.press("escape")
        assert "Workload: help" not in text(app)


async def test_the_palette_finds_a_command_by_typing() -> None:
    async with opened() as (app, pilot):
        await pilot.press("ctrl+p", *"policy", "enter")
        await settled(app, pilot)
        assert SIGHTS["4"] in text(app)


async def test_leaving_asks_nothing_where_nothing_is_lost() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab", "right", "ctrl+q")
        assert app.return_code == 0
        assert not app.is_running


async def test_keys_in_one_burst_take_effect_one_after_the_other() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab", "tab", "tab", "right", "enter", "escape", "left", "left")
        await settled(app, pilot)
        assert app.request.workload.concurrency == 6
        assert "▸Concurrency" in text(app)


async def test_every_row_fits_the_screen() -> None:
    async with opened() as (app, pilot):
        for number in "2345":
            assert {len(line) for line in lines(app)} == {80}
            await pilot.press(number)


async def test_every_control_has_one_line_on_what_it_means() -> None:
    async with opened() as (app, pilot):
        for number in "1234":
            await pilot.press(number)
            for widget in app.screen.focus_chain:
                assert getattr(widget, "hint", ""), widget
            await pilot.press("ctrl+p", "escape")


@pytest.mark.parametrize("number", "12345")
async def test_g_and_a_digit_jump_where_a_digit_starts_a_number(number: str) -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab")
        await pilot.press(number)
        assert app.frame.step_name == "workload"
        await pilot.press("escape", "g", number)
        await settled(app, pilot)
        assert SIGHTS[number] in text(app)


async def test_after_g_any_other_key_keeps_its_meaning() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab", "g")
        assert "Go to: 1 Model" in text(app)
        before = app.request
        await pilot.press("right")
        assert app.request != before
        assert app.frame.step_name == "workload"


async def test_the_key_bar_says_what_enter_does() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2")
        app.frame.query_one("#gpu-search").focus()
        await pilot.pause()
        assert "Enter choose" in lines(app)[-1]
        assert "workload" not in lines(app)[-1]
        await app.go("policy")
        app.frame.query_one("#alternatives").focus()
        await pilot.pause()
        assert "take it over" in lines(app)[-1]
        assert "export" not in lines(app)[-1]


async def test_the_key_bar_names_keys_that_work_in_a_text_box() -> None:
    async with opened() as (app, pilot):
        await pilot.press("q", "question_mark")
        assert "F1 help" in lines(app)[-1]
        assert "? help" not in lines(app)[-1]
        await pilot.press("f1")
        assert "Model: help" in text(app)
