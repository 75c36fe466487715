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
