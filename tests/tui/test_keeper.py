"""Answers are saved as they are given and offered at the next start."""

from __future__ import annotations

from pathlib import Path

from tests.tui.fake_engine import FakeEngine
from tests.tui.screen import opened, settled, text
from wizard.session import Found, Session, SessionStore
from wizard.wording import first_request

CHANGED = first_request().with_value("workload.concurrency", 96).with_value("hardware.gpu", "L40S")


async def test_every_change_is_saved(tmp_path: Path) -> None:
    async with opened(store=SessionStore(tmp_path)) as (app, pilot):
        await pilot.press("3", "tab", "tab", "tab", "right")
        await pilot.pause(0.5)
        found = SessionStore(tmp_path)._read(tmp_path / "session.json")
        assert found is not None
        assert found.request.workload.concurrency == 12
        assert found.step == "workload"
        assert app.is_running


async def test_a_first_look_saves_nothing(tmp_path: Path) -> None:
    async with opened(store=SessionStore(tmp_path)) as (_, pilot):
        await pilot.press("ctrl+q")
    assert not (tmp_path / "session.json").exists()


async def test_the_next_start_offers_to_continue(tmp_path: Path) -> None:
    found = Found(
        Session(step="policy", request=CHANGED, directory="./there", unticked=("plan.json",)), tmp_path
    )
    async with opened(found=found, store=SessionStore(tmp_path)) as (app, pilot):
        assert "Continue where you left off?" in text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.request == CHANGED
        assert app.frame.step_name == "policy"
        await pilot.press("5")
        assert "./there" in text(app)
        assert "[ ] plan.json" in text(app)


async def test_starting_afresh_is_one_key_away(tmp_path: Path) -> None:
    found = Found(Session(step="policy", request=CHANGED), tmp_path)
    async with opened(found=found, store=SessionStore(tmp_path)) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        assert app.request.workload.concurrency == 8
        assert app.frame.step_name == "model"


async def test_leaving_asks_where_answers_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SessionStore(tmp_path / "file" / "below")
    async with opened(FakeEngine(), store=store) as (app, pilot):
        await pilot.press("3", "right", "ctrl+q")
        await settled(app, pilot)
        assert "Leave without saving?" in text(app)
        await pilot.press("enter")
        assert app.is_running
        await pilot.press("ctrl+q", "2")
    assert app.return_code == 0


async def test_a_session_set_aside_is_said(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text("not a session")
    store = SessionStore(tmp_path)
    assert store.find() is None
    async with opened(store=store) as (app, pilot):
        assert "could not be read; it is kept as" in " ".join(text(app).split())
        assert "session.unreadable-1.json" in "".join(text(app).split())
        await pilot.press("enter")
        await settled(app, pilot)
        assert "✓ Fits" in text(app)
