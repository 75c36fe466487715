"""Opens the wizard headless and reads its screen: what the Pilot tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from textual.pilot import Pilot
from textual.worker import WorkerCancelled, WorkerFailed

from tests.tui.fake_engine import FakeEngine
from wizard.engine import Engine
from wizard.tui.app import WizardApp
from wizard.tui.screens.model import ModelStep
from wizard.tui.widgets.painted import Painted

UNICODE = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}


@asynccontextmanager
async def opened(
    engine: Engine | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    environment: Mapping[str, str] = UNICODE,
    **options: Any,
) -> AsyncIterator[tuple[WizardApp, Pilot[int]]]:
    """The wizard with its first plan on screen."""
    app = WizardApp(engine or FakeEngine(), environment=environment, **options)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        yield app, pilot


async def settled(app: WizardApp, pilot: Pilot[int]) -> None:
    """Waits until every worker is through and what it told is on screen."""
    await pilot.pause()
    model = app.frame.query(ModelStep)
    if model and model.first().display:
        model.first()._judge_rows()
    if app._search_timer is not None and app.searching:
        app._search_timer.stop()
        app._search()
    while working := [worker for worker in app.workers if not worker.is_finished]:
        with suppress(WorkerCancelled, WorkerFailed):
            await working[0].wait()
    await pilot.pause()
    await pilot.pause()


async def redrawn(app: WizardApp, pilot: Pilot[int]) -> None:
    """Every cell anew: else a picture's pieces tell in which order they were painted, which depends on the machine."""
    for painted in app.screen.query(Painted):
        painted.recolor()
    await pilot.pause()


def lines(app: WizardApp) -> list[str]:
    """The rows of the screen."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def text(app: WizardApp) -> str:
    """The screen as one text."""
    return "\n".join(line.rstrip() for line in lines(app))
