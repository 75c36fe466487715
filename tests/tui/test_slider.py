"""The slider: arrows, big steps, ends, typed numbers, the mouse, no answer."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from wizard.questions import question
from wizard.tui import theme
from wizard.tui.widgets.slider import Slider


class OneSlider(App[None]):
    """A slider alone."""

    charset = "unicode"

    def __init__(self, key: str, value: object = None) -> None:
        super().__init__()
        for each in theme.THEMES:
            self.register_theme(each)
        self.theme = theme.DARK.name
        self.palette = theme.palette(self.get_css_variables(), ansi=False)
        self.slider = Slider(question(key), value=value)
        self.hints: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.slider

    def show_hint(self, text: str) -> None:
        self.hints.append(text)

    def notice(self, text: str) -> None:
        self.hints.append(text)


async def pressed(key: str, *keys: str, value: object = None) -> object:
    """The value after some keys."""
    app = OneSlider(key, value)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.focus()
        await pilot.press(*keys)
        return app.slider.value


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("right",), 12),
        (("left",), 6),
        (("right", "right", "left"), 12),
        (("pageup",), 32),
        (("shift+right",), 32),
        (("pagedown",), 2),
        (("home",), 1),
        (("end",), 4096),
        (("end", "right"), 4096),
        (("home", "left"), 1),
        (("2", "0", "enter"), 20),
        (("2", "k", "enter"), 2048),
        (("2", "0", "enter", "right"), 24),
        (("2", "0", "enter", "left"), 16),
        (("2", "0", "escape"), 8),
        (("2", "0", "backspace", "enter"), 2),
        (("0", "enter"), 8),
    ],
)
async def test_keys_on_a_scale_of_stops(keys: tuple[str, ...], value: int) -> None:
    assert await pressed("workload.concurrency", *keys, value=8) == value


async def test_what_is_out_of_bounds_says_the_bounds_and_changes_nothing() -> None:
    app = OneSlider("policy.gpu_memory_utilization", 0.9)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.focus()
        await pilot.press("7", "enter")
        assert app.slider.value == 0.9
        assert "between 0.01 and 1" in app.hints[-1]


async def test_no_limit_lies_left_of_every_limit() -> None:
    assert await pressed("policy.max_ttft_ms", "right") == 50
    assert await pressed("policy.max_ttft_ms", "right", "left") is None
    assert await pressed("policy.max_ttft_ms", "right", "delete") is None


async def test_a_first_step_starts_from_what_the_planner_chose() -> None:
    app = OneSlider("policy.gpu_memory_utilization")
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.follow(0.92)
        app.slider.focus()
        assert "0.92 auto" in row(app)
        await pilot.press("left")
        assert app.slider.value == 0.91
        await pilot.press("delete")
        assert app.slider.value is None


async def test_the_scale_ends_where_the_model_does() -> None:
    app = OneSlider("model.max_model_len", 4096)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.limit(40960)
        app.slider.focus()
        await pilot.press("end")
        assert app.slider.value == 40960
        await pilot.press(*"50000", "enter")
        assert app.slider.value == 40960
        assert "at most 40,960" in app.hints[-1]


async def test_the_mouse_moves_the_knob() -> None:
    app = OneSlider("workload.concurrency", 8)
    async with app.run_test(size=(60, 5)) as pilot:
        await pilot.click(Slider, offset=(13, 0))
        assert app.slider.value == 1
        track = app.slider._track_cells(60 - 13)
        await pilot.click(Slider, offset=(13 + track - 1, 0))
        assert app.slider.value == 4096


async def test_ascii_draws_the_same_slider() -> None:
    app = OneSlider("workload.concurrency", 8)
    app.charset = "ascii"
    async with app.run_test(size=(60, 5)) as pilot:
        await pilot.pause()
        assert "===*--" in row(app)
        assert row(app).isascii()


def row(app: OneSlider) -> str:
    return "".join(segment.text for segment in app.slider.render_line(0))


async def test_changed_is_posted_for_outsiders() -> None:
    seen: list[object] = []
    app = OneSlider("workload.concurrency", 8)

    def hook(message: object) -> None:
        if isinstance(message, Slider.Changed):
            seen.append(message.value)

    async with app.run_test(size=(60, 5), message_hook=hook) as pilot:
        app.slider.focus()
        await pilot.press("right")
        await settled(pilot)
    assert 12 in seen


async def settled(pilot: Pilot[None]) -> None:
    await pilot.pause()


async def test_leaving_takes_the_number_that_was_typed() -> None:
    app = OneSlider("workload.concurrency", 8)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.focus()
        await pilot.press("2", "0")
        assert app.slider.hint.startswith("Enter or Tab sets 20")
        app.set_focus(None)
        await settled(pilot)
        assert app.slider.value == 20


async def test_leaving_a_number_that_is_none_says_so_and_keeps_the_old() -> None:
    app = OneSlider("policy.gpu_memory_utilization", 0.9)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.focus()
        await pilot.press("7")
        app.set_focus(None)
        await settled(pilot)
        assert app.slider.value == 0.9
        assert "it stays as it was" in app.hints[-1]


async def test_keys_while_a_number_is_typed() -> None:
    """Enter sets it then, and doesn't go on."""
    app = OneSlider("workload.concurrency", 8)
    async with app.run_test(size=(60, 5)) as pilot:
        app.slider.focus()
        assert not app.slider.takes_enter
        await pilot.press("2")
        assert app.slider.takes_enter
        assert ("Enter", "set") in app.slider.keys
