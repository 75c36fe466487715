"""Looks at the hub that nobody waits for: told once they last, with their bytes, and stopped by Esc."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from textual.pilot import Pilot

from tests.tui.fake_engine import FakeEngine
from tests.tui.screen import lines, opened, settled
from wizard.engine import GivenUpError, ModelRow, Progress
from wizard.models.metadata import ModelMetadata
from wizard.tui.app import WizardApp
from wizard.tui.looks import SHOWN_AFTER_S
from wizard.tui.screens.model import ModelStep


class SlowHub(FakeEngine):
    """A hub that has sent 12,000 bytes of its answer, and the rest when `lets_go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.lets_go = threading.Event(), threading.Event()
        self.stopped = threading.Event()

    def ask(self, progress: Progress, what: str) -> None:
        progress.request(what)
        progress.receive(12_000)
        self.asked.set()
        while not self.lets_go.wait(0.01):
            if progress.cancelled.is_set():
                self.stopped.set()
                raise GivenUpError

    def search_hub(self, text: str, progress: Progress | None = None) -> Sequence[ModelRow]:
        assert progress is not None
        self.ask(progress, "search result")
        return [ModelRow("org/zebra", "hub")]


class SlowHeaders(SlowHub):
    """The same while it reads the exact facts of a model of the catalogue."""

    def knows_better(self, metadata: ModelMetadata) -> bool:
        return True

    def load_model(self, model: str, revision: str | None, progress: Progress | None = None) -> ModelMetadata:
        if progress is not None:  # else the catalogue is asked
            self.ask(progress, "header of model.safetensors")
        return super().load_model(model, revision, progress)


async def searching(engine: SlowHub, app: WizardApp, pilot: Pilot[int]) -> None:
    """Types, and waits until the hub is being asked."""
    await pilot.press(*"zebra")
    app.screen.query_one(ModelStep)._ask_hub("zebra")
    await until(engine.asked, pilot)


async def until(event: threading.Event, pilot: Pilot[int]) -> None:
    while not event.is_set():
        await pilot.pause()


def second_row(app: WizardApp) -> str:
    return lines(app)[1].rstrip()


async def test_a_search_that_lasts_is_told_with_its_bytes() -> None:
    engine = SlowHub()
    async with opened(engine) as (app, pilot):
        await searching(engine, app, pilot)
        app.looks.appear("hub")
        await pilot.pause()
        assert second_row(app).endswith("hub: search result · 12 kB · Esc stops")
        engine.lets_go.set()
        await settled(app, pilot)
        assert "hub:" not in second_row(app)
        assert "org/zebra" in "".join(lines(app))


async def test_it_is_told_by_itself_before_long() -> None:
    assert SHOWN_AFTER_S <= 0.3
    engine = SlowHub()
    async with opened(engine) as (app, pilot):
        await searching(engine, app, pilot)
        while "hub: search result" not in second_row(app):
            await pilot.pause()
        engine.lets_go.set()


async def test_esc_stops_it_and_keeps_what_was_typed() -> None:
    engine = SlowHub()
    async with opened(engine) as (app, pilot):
        await searching(engine, app, pilot)
        app.looks.appear("hub")
        await pilot.press("escape")
        await until(engine.stopped, pilot)
        await settled(app, pilot)
        assert "hub:" not in second_row(app)
        assert "Stopped asking the hub" in "".join(lines(app))
        box = app.screen.query_one(ModelStep).box
        assert box.value == "zebra"
        await pilot.press("escape")
        assert not box.value


async def test_what_is_through_soon_is_never_told() -> None:
    engine = SlowHub()
    engine.lets_go.set()
    async with opened(engine) as (app, pilot):
        await searching(engine, app, pilot)
        await settled(app, pilot)
        assert not app.looks.words
        assert not app.looks.stop_shown()


async def test_where_nothing_is_asked_there_is_nothing_to_tell() -> None:
    async with opened() as (app, pilot):
        app.looks.begin("hub")
        app.looks.appear("hub")
        await pilot.pause()
        assert "hub:" not in second_row(app)
        assert not app.looks.stop_shown()


async def test_emptying_the_search_gives_it_up() -> None:
    engine = SlowHub()
    async with opened(engine) as (app, pilot):
        await searching(engine, app, pilot)
        await pilot.press("escape")
        await until(engine.stopped, pilot)


async def test_exact_facts_are_told_on_every_screen_and_may_be_left() -> None:
    engine = SlowHeaders()
    app = WizardApp(engine, environment={"LANG": "C.UTF-8", "TERM": "xterm-256color"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(engine.asked, pilot)
        await pilot.press("3")
        app.looks.appear("finer")
        await pilot.pause()
        assert "hub: header of model.safete" in second_row(app)
        assert " on " in second_row(app)  # the subject keeps its place
        assert "Esc stop" in lines(app)[-1]
        first = app.facts.metadata
        assert first is not None
        await pilot.press("escape")
        await until(engine.stopped, pilot)
        await settled(app, pilot)
        assert app.facts.metadata is first
        assert app.frame.step_name == "workload"
        assert "Esc back" in lines(app)[-1]
        assert "Fits" in "".join(lines(app))
