"""A model that drafts is counted on screen as `plan` counts it, read in a worker, once, and can be given up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.drafting import DRAFT, UNCOUNTED, Counting, drafting, tells_uncounted
from tests.hub.repository import model
from tests.hub.server import FakeHub
from tests.tui.screen import UNICODE, opened, settled, text
from wizard.run import run_plan
from wizard.schemas.outputs import Plan
from wizard.session import Session, SessionStore
from wizard.tui.app import WizardApp
from wizard.tui.outlook import NoPlan


def planned(app: WizardApp) -> Plan:
    plan = app.view.plan
    assert plan is not None
    return plan


@pytest.fixture
def draft(tmp_path: Path) -> str:
    """A directory with a model that drafts."""
    folder = tmp_path / "draft"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(DRAFT))
    return str(folder)


async def test_the_screen_counts_what_plan_counts_and_reads_it_once(draft: str) -> None:
    engine, asked = Counting(offline=True), drafting(draft)
    async with opened(engine, request=asked) as (app, pilot):
        shown = planned(app)
        assert not tells_uncounted(shown)
        assert shown.feasibility == run_plan(asked, offline=True).feasibility
        for key in ("3", "right", "right", "4", "right"):
            await pilot.press(key)
        await settled(app, pilot)
        assert app.request != asked
        assert not tells_uncounted(planned(app))
        assert engine.looks == [draft]


async def test_without_the_flag_its_memory_is_free_again(draft: str) -> None:
    async with opened(Counting(offline=True), request=drafting(draft)) as (app, pilot):
        counted = planned(app).feasibility.per_gpu.weights_bytes
        app.choose_all((("policy.extra_args", ()),), "flags")
        await settled(app, pilot)
        assert planned(app).feasibility.per_gpu.weights_bytes < counted


async def test_an_unknown_draft_is_one_sentence_and_is_looked_for_once() -> None:
    engine = Counting(offline=True)
    async with opened(engine, request=drafting("org/nowhere")) as (app, pilot):
        assert tells_uncounted(planned(app))
        await pilot.press("3", "right", "right")
        await settled(app, pilot)
        assert tells_uncounted(planned(app))
        assert engine.looks == ["org/nowhere"]


async def test_a_resumed_session_counts_it_too(draft: str, tmp_path: Path) -> None:
    before = SessionStore(tmp_path)
    assert before.save(Session(step="workload", request=drafting(draft)))
    before.release()
    store = SessionStore(tmp_path)
    async with opened(Counting(offline=True), store=store, found=store.find()) as (app, pilot):
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.request == drafting(draft)
        assert planned(app).feasibility == run_plan(drafting(draft), offline=True).feasibility
        assert not tells_uncounted(planned(app))


async def test_the_hub_is_asked_in_a_worker_and_esc_leaves_it_uncounted(
    fake_hub: FakeHub, draft: str
) -> None:
    fake_hub.hangs = True
    engine = Counting()
    engine.knows_better = lambda metadata: False  # type: ignore[method-assign]
    app = WizardApp(engine, request=drafting("org/draft"), environment=UNICODE)
    async with app.run_test(size=(80, 24)) as pilot:
        while not (isinstance(app.outlook, NoPlan) and "which drafts" in app.outlook.sentence):
            await pilot.pause()
        assert app.outlook.waiting
        assert "org/draft, which drafts" in " ".join(text(app).split())
        await pilot.press("escape")
        await settled(app, pilot)
        assert app.request == drafting("org/draft")
        assert tells_uncounted(planned(app))


async def test_the_hub_tells_of_a_draft(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(model("org/draft", DRAFT))
    engine = Counting()
    engine.knows_better = lambda metadata: False  # type: ignore[method-assign]
    async with opened(engine, request=drafting("org/draft")) as (app, pilot):
        assert not tells_uncounted(planned(app))
        assert UNCOUNTED not in text(app)
        fake_hub.seen.clear()
        await pilot.press("3", "right", "right")
        await settled(app, pilot)
        assert not tells_uncounted(planned(app))
        assert not fake_hub.seen
