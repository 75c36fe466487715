"""Step 4: goal, limits, permissions, version, and other plans."""

from __future__ import annotations

from tests.tui.screen import opened, settled, text


async def test_the_goal_is_chosen_with_the_arrows() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4", "right")
        assert app.request.workload.batching_mode == "throughput"
        assert "● throughput" in text(app)


async def test_permissions_are_ticked_with_space() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4")
        app.screen.query_one("#policy-allow_quantized").focus()
        await pilot.press("space")
        assert app.request.policy.allow_quantized is False
        assert "[ ] quantised" in text(app)


async def test_another_plan_is_taken_over_with_enter_and_undone() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        before = app.request
        app.screen.query_one("#alternatives").focus()
        await pilot.press("down")
        assert "8-bit cache: longest context" in text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.request.model.kv_cache_dtype == "fp8"
        assert app.frame.step_name == "policy"
        await pilot.press("u")
        assert app.request == before


async def test_the_version_changes_the_plan() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4")
        app.screen.query_one("#policy-vllm_version").focus()
        await pilot.press("right", "right")
        await settled(app, pilot)
        assert app.request.policy.vllm_version == "0.32.0"
        assert "vLLM 0.32.0" in text(app).splitlines()[0]


async def test_a_value_only_the_command_line_offers_is_shown_and_kept() -> None:
    from wizard.wording import first_request

    request = first_request().with_value("model.kv_cache_dtype", "fp8_e5m2")
    async with opened(request=request) as (app, pilot):
        await pilot.press("4")
        assert "‹ fp8_e5m2 ›" in text(app)
        assert app.request.model == request.model


async def test_one_key_goes_to_the_other_plans_from_any_screen_and_a_digit_takes_one() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        await pilot.press("p")
        await settled(app, pilot)
        assert app.frame.step_name == "policy"
        shown = text(app)
        assert "1 ✓ two replicas" in shown
        assert "2 ✓ 8-bit cache" in shown
        before = app.request
        await pilot.press("2")
        await settled(app, pilot)
        assert app.request.model.kv_cache_dtype == "fp8"
        await pilot.press("u")
        assert app.request == before


async def test_the_plans_have_a_small_screen_to_themselves_and_give_it_back() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        assert "Utilisation" in text(app)
        await pilot.press("p")
        await settled(app, pilot)
        assert "Utilisation" not in text(app)
        assert "tokens/s, against ms per token" in text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert "Utilisation" in text(app)
        assert app.frame.step_name == "policy"


async def test_answers_table_and_plot_stand_together_where_there_is_room() -> None:
    async with opened(size=(120, 40)) as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        shown = text(app)
        for part in ("Utilisation", "Other plans", "tokens/s, against ms per token", "@"):
            assert part in shown


async def test_every_speed_in_the_table_is_a_range() -> None:
    async with opened(size=(120, 40)) as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        row = next(line for line in text(app).splitlines() if "two replicas" in line)
        assert row.split("two replicas")[1].count("–") == 2


async def test_the_reasons_of_every_value_are_a_key_away() -> None:
    async with opened() as (app, pilot):
        await pilot.press("4", "w")
        await settled(app, pilot)
        assert "Why this plan" in text(app)
        await pilot.press("w")
        await settled(app, pilot)
        assert "Why this plan" not in text(app)
