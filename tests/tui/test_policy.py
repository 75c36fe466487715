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
