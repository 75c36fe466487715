"""Step 3: what the stated load takes of the cache."""

from __future__ import annotations

import re

from tests.tui.screen import opened, settled, text
from wizard.engine import Planner
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, WorkloadInput


async def test_the_caches_of_all_engines_hold_the_load() -> None:
    """Four engines hold four times what one does: what fits is never more than all of them."""
    request = PlanRequest(
        model=ModelInput(model="meta-llama/Llama-3.1-8B-Instruct"),
        hardware=HardwareInput(gpu="L40S", gpus=4, data_parallel_size=4),
        workload=WorkloadInput(prompt_tokens=2048, gen_tokens=1024, concurrency=160),
    )
    async with opened(Planner(offline=True), request=request, size=(120, 40)) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        plan = app.view.plan
        assert plan is not None
        assert plan.engines == 4
        found = re.search(r"160 of ([\d,]+) such requests at once", text(app))
        assert found is not None
        assert int(found[1].replace(",", "")) == round(4 * plan.feasibility.concurrency_at_workload)
        assert plan.feasibility.verdict == "fits"
        assert int(found[1].replace(",", "")) >= 160
        assert "of each engine" in text(app)


REQUEST = PlanRequest(
    model=ModelInput(model="Qwen/Qwen3-32B"),
    hardware=HardwareInput(gpu="H100 SXM5 80GB", gpus=2),
    workload=WorkloadInput(prompt_tokens=2048, gen_tokens=512, concurrency=32),
)


async def test_what_one_more_user_and_a_longer_context_cost() -> None:
    async with opened(Planner(offline=True), request=REQUEST) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        # 64 layers x 4 of 8 KV heads x 128 x K and V x 2 bytes are 128 KiB a token on each of the two GPUs
        assert "one more takes 0.31 of 40.0 GiB" in text(app)  # 2,560 tokens
        rows = {row[:11].strip(" ▸"): row[:47].split() for row in text(app).splitlines()}
        assert rows["8,192"][-2:] == ["40.0×", "1.0"]
        assert rows["32,768"][-2:] == ["10.0×", "4.0"]
        assert "2,048" in rows  # the shortest has its row at 80x24, too


async def test_where_nothing_starts_nothing_has_a_price() -> None:
    request = REQUEST.with_value("hardware.gpu", "GeForce RTX 4090").with_value(
        "policy.allow_quantized", False
    )
    async with opened(Planner(offline=True), request=request) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        assert "Won't start" in text(app)
        assert "one more" not in text(app)
        assert "none, at any length" in text(app)


CROWDED = REQUEST.with_value("hardware.gpus", 1).with_value("policy.allow_quantized", False)
CROWDED = CROWDED.with_value("workload.prompt_tokens", 8000).with_value("workload.concurrency", 100)


async def test_a_tight_plan_says_what_makes_it_tight() -> None:
    async with opened(Planner(offline=True), request=CROWDED, size=(120, 40)) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        assert app.view.plan is not None
        assert app.view.plan.feasibility.verdict == "tight"
        assert re.search(r"The cache holds 9\.\d of 100 requests", text(app))
        assert "only 9 of 100 fit at once" in text(app)
        await pilot.press("w")
        await pilot.pause()
        rows = [row.strip() for row in text(app).splitlines()]
        at = next(number for number, row in enumerate(rows) if "Watch out" in row)
        assert re.search(r"The cache holds 9\.\d of 100 requests at once; the rest wait", rows[at + 1])


async def test_a_figure_beyond_its_limit_is_marked() -> None:
    for limit_ms, marked in ((30, True), (60_000, False)):
        request = REQUEST.with_value("policy.max_ttft_ms", limit_ms)
        async with opened(Planner(offline=True), request=request) as (app, _):
            (row,) = [row for row in text(app).splitlines() if "first token " in row]
            assert ("first token  ! " in row) == marked, row


async def test_an_encoder_has_no_cache_and_no_price() -> None:
    request = REQUEST.with_value("model.model", "BAAI/bge-m3").with_value("hardware.gpus", 1)
    async with opened(Planner(offline=True), request=request) as (app, pilot):
        await pilot.press("3")
        await settled(app, pilot)
        shown = text(app)
        assert "Fits" in shown
        assert "none: an encoder keeps nothing" in shown
        assert "requests at most" in shown
        for unmeant in ("one more", "held at once", "0.0×", "% used"):
            assert unmeant not in shown, unmeant
        await pilot.press("5")
        await settled(app, pilot)
        assert "no cache: an encoder · at most" in text(app)  # the strip
