"""What helps is listed, applied with a digit and undone with u."""

from __future__ import annotations

from tests.tui.screen import lines, opened, settled, text
from wizard.schemas.inputs import ModelInput, PlanRequest
from wizard.tui.widgets.verdict import VerdictPane

LARGE = PlanRequest(model=ModelInput(model="meta-llama/Llama-3.3-70B-Instruct"))


async def test_a_plan_that_will_not_start_quotes_vllm_and_lists_fixes() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        shown = text(app)
        assert "✗ Won't start" in shown
        assert "No available memory for the" in shown
        assert "1 ✓ 8-bit weights on load" in shown


async def test_f_and_a_digit_apply_and_u_undoes() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        before, focus = app.request, app.focused
        await pilot.press("f", "1")
        await settled(app, pilot)
        assert app.request.model.quantization == "fp8"
        assert "✓ Fits" in text(app)
        assert "Applied: 8-bit weights on load." in text(app)
        assert app.focused is focus
        await pilot.press("u")
        assert app.request == before


async def test_arrows_read_what_each_fix_leads_to() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("3", "f", "down")
        assert "2 × H200 SXM 141GB:" in text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.request.hardware.gpu == "H200 SXM 141GB"
        assert app.request.hardware.gpus == 2


async def test_the_fix_under_the_cursor_is_whole() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        fix = app.view.plan.fixes[0]  # type: ignore[union-attr]
        await pilot.press("f")
        panel = " ".join(
            "".join(span.text for span in row) for row in app.frame.query_one(VerdictPane)._shown
        )
        assert fix.effect in " ".join(panel.split())
        assert "1-9 Enter apply" in lines(app)[-1]
        assert "Enter policy" not in lines(app)[-1]


async def test_esc_leaves_the_fixes_unapplied() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("3", "f", "escape")
        assert app.request.model.quantization is None
        assert app.frame.step_name == "workload"


async def test_fixes_are_there_too_where_the_panel_has_no_room() -> None:
    async with opened(request=LARGE, size=(60, 16)) as (app, pilot):
        await pilot.press("3", "f")
        assert "1 8-bit weights on load" in text(app)
        await pilot.press("1")
        await settled(app, pilot)
        assert app.request.model.quantization == "fp8"


async def test_nothing_to_fix_is_said() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "f")
        assert "nothing to fix" in text(app)


async def test_fixes_can_be_reached_from_a_text_box() -> None:
    async with opened(request=LARGE) as (app, pilot):
        await pilot.press("q", "ctrl+f", "1")
        await settled(app, pilot)
        assert app.request.model.quantization == "fp8"
