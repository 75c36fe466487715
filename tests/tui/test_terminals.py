"""Sizes, colours and character sets of real terminals."""

from __future__ import annotations

import pytest
from rich.color import ColorType
from textual.widget import Widget

from tests.tui.fake_engine import FakeEngine, two_h100
from tests.tui.screen import UNICODE, lines, opened, settled, text
from wizard.schemas.inputs import ModelInput, PlanRequest
from wizard.tui import theme
from wizard.tui.widgets.entry import SearchBox
from wizard.tui.widgets.rows import RowList

STEPS = "12345"


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (120, 40), (200, 60)])
@pytest.mark.parametrize("number", STEPS)
async def test_every_screen_shows_its_verdict_at_every_size(size: tuple[int, int], number: str) -> None:
    async with opened(FakeEngine(two_h100()), size=size) as (app, pilot):
        await pilot.press(number)
        await settled(app, pilot)
        shown = text(app)
        assert "✓ Fits" in shown
        assert "Model" in shown.splitlines()[0]
        assert {len(line) for line in lines(app)} == {size[0]}
        focused = app.focused
        assert focused is not None
        assert app.screen.can_view_entire(focused), number


LARGE = PlanRequest(model=ModelInput(model="meta-llama/Llama-3.3-70B-Instruct"))


@pytest.mark.parametrize("size", [(60, 16), (78, 16), (80, 20), (80, 24)])
@pytest.mark.parametrize("engine", [FakeEngine(), FakeEngine(two_h100())], ids=["what if", "two"])
@pytest.mark.parametrize("number", STEPS)
async def test_whatever_has_focus_is_in_sight(size: tuple[int, int], engine: FakeEngine, number: str) -> None:
    async with opened(engine, size=size, request=LARGE) as (app, pilot):
        await pilot.press(number)
        await settled(app, pilot)
        stops: list[Widget] = []
        while app.focused is not None and app.focused not in stops:
            stops.append(app.focused)
            assert app.screen.can_view_entire(app.focused), app.focused
            # a search box has the text cursor, and the mark stands in the list that its arrows move in
            place = app.focused.rows if isinstance(app.focused, SearchBox) else app.focused
            assert "▸" in "".join(lines(app)[place.region.y : place.region.bottom]), app.focused
            await pilot.press("tab")
        assert len(stops) == len(app.screen.focus_chain) > 1


@pytest.mark.parametrize("size", [(80, 16), (80, 24)])
async def test_every_fix_is_in_sight_once_one_is_to_be_chosen(size: tuple[int, int]) -> None:
    async with opened(size=size, request=LARGE) as (app, pilot):
        await pilot.press("3", "f")
        assert app.view.plan is not None
        for fix in app.view.plan.fixes:
            assert fix.title in text(app)
            assert f"▸✓ {fix.title}" in text(app)
            await pilot.press("down")


async def test_other_plans_have_a_row_below_their_heading() -> None:
    for size in ((80, 18), (80, 20), (80, 24)):
        async with opened(size=size) as (app, pilot):
            await pilot.press("4")
            await settled(app, pilot)
            assert ("lans (p)" in text(app)) == ("✓ two replicas" in text(app)), size
            await pilot.press("p")
            await settled(app, pilot)
            assert "✓ two replicas" in text(app), size


@pytest.mark.parametrize("size", [(59, 16), (60, 15), (40, 10), (20, 5), (2, 1)])
async def test_a_terminal_too_small_says_so_in_words(size: tuple[int, int]) -> None:
    async with opened(size=size) as (app, _):
        if size[0] >= 20:
            assert f"{size[0]}x{size[1]}" in " ".join(text(app).split())
            assert "Fits" not in text(app)


async def test_resizing_to_and_fro_loses_nothing() -> None:
    async with opened() as (app, pilot):
        await pilot.press("3", "tab", "right")
        for size in ((50, 10), (200, 60), (60, 16), (80, 24)):
            await pilot.resize_terminal(*size)
            await settled(app, pilot)
        assert app.request.workload.prompt_tokens == 1536
        assert "▸Prompt" in text(app)


@pytest.mark.parametrize("number", STEPS)
async def test_an_ascii_locale_gets_ascii_alone(number: str) -> None:
    async with opened(FakeEngine(two_h100()), environment={"LC_ALL": "C", "TERM": "xterm"}) as (app, pilot):
        await pilot.press(number)
        await settled(app, pilot)
        assert text(app).isascii()
        assert "+ Fits" in text(app)
        assert number == "5" or "+/-" in text(app)  # ~ would be "about"
        await pilot.press("question_mark")
        assert text(app).isascii()
        await pilot.press("escape", "ctrl+p")
        assert text(app).isascii()


async def test_arrows_are_not_mistaken_for_control_keys_in_ascii() -> None:
    async with opened(environment={"LC_ALL": "C", "TERM": "xterm"}) as (app, pilot):
        assert "up/dn choose" in lines(app)[-1]
        assert "^v" not in lines(app)[-1]
        await pilot.press("tab", "shift+tab")
        hint = " ".join(line[:47].strip() for line in lines(app)[-3:-1])
        assert "this disk - vllm serve MODEL" in hint
        await pilot.press("f1")
        assert "^v" not in text(app)


@pytest.mark.parametrize("number", STEPS)
@pytest.mark.parametrize("width", [60, 72, 80, 100])
async def test_help_and_the_way_out_are_named_at_every_width(width: int, number: str) -> None:
    async with opened(size=(width, 24), request=LARGE) as (app, pilot):
        await pilot.press(number)
        await settled(app, pilot)
        bar = lines(app)[-1]
        assert "? help" in bar or "F1 help" in bar
        assert "^q quit" in bar
        assert ("Enter " in bar) == (number != "5")
        assert ("^s write" in bar) == (number == "5")


def colors_of(app: object) -> set[ColorType]:
    kinds: set[ColorType] = set()
    for strip in app.screen._compositor.render_strips():  # type: ignore[attr-defined]
        for segment in strip:
            for color in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                if color is not None:
                    kinds.add(color.type)
    return kinds


async def test_no_color_means_no_colour_at_all() -> None:
    async with opened(environment={**UNICODE, "NO_COLOR": "1"}) as (app, pilot):
        for number in STEPS:
            await pilot.press(number)
            assert colors_of(app) <= {ColorType.DEFAULT}
        assert "✓ Fits" in text(app)


async def test_a_sixteen_colour_terminal_gets_its_own_palette() -> None:
    async with opened(environment={**UNICODE, "TERM": "xterm"}) as (app, pilot):
        for number in STEPS:
            await pilot.press(number)
            assert colors_of(app) <= {ColorType.DEFAULT, ColorType.STANDARD}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, "wizard-dark"),
        ({"TERM": "tmux-256color"}, "wizard-dark"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "wizard-light"),
        ({"TERM": "xterm-256color", "COLORFGBG": "15;0"}, "wizard-dark"),
        ({"TERM": "screen"}, "wizard-ansi"),
        ({"TERM": "linux"}, "wizard-ansi"),
        ({"TERM": "vt100"}, "wizard-ansi"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "wizard-dark"),
        ({"TERM": "linux", "VLLM_WIZARD_THEME": "light"}, "wizard-light"),
        ({"TERM": "xterm-256color", "VLLM_WIZARD_THEME": "nonsense"}, "wizard-dark"),
    ],
)
def test_the_theme_follows_the_terminal(environment: dict[str, str], expected: str) -> None:
    assert theme.theme_for(environment, plain=theme.is_colorless(environment["TERM"])) == expected


@pytest.mark.parametrize(
    ("typed", "found"),
    [("theme", 3), ("dark", 1), ("night", 1), ("colors", 3), ("exit", 1), ("save", 1)],
)
async def test_commands_are_found_by_other_words_too(typed: str, found: int) -> None:
    async with opened() as (app, pilot):
        await pilot.press("ctrl+p", *typed)
        assert len(app.screen.query_one("#commands", RowList).rows) == found


async def test_no_such_command_says_what_next() -> None:
    async with opened() as (app, pilot):
        await pilot.press("ctrl+p", *"nonsense", "enter")
        assert "no such command; Backspace shows more, Esc closes" in text(app)


async def test_themes_change_from_the_palette() -> None:
    async with opened() as (app, pilot):
        dark = app.palette["good"]
        await pilot.press("ctrl+p", *"light", "enter")
        await settled(app, pilot)
        assert app.theme == "wizard-light"
        assert app.palette["good"] != dark


@pytest.mark.parametrize("each", [theme.DARK, theme.LIGHT], ids=lambda each: each.name)
def test_text_stands_out_from_its_ground(each: object) -> None:
    from textual.color import Color

    system = each.to_color_system().generate() | each.variables  # type: ignore[attr-defined]
    grounds = [Color.parse(system["background"]), Color.parse(system["panel"])]
    bars = {"weights", "activation", "graphs", "other", "cache", "taken"}
    for name, role in theme.ROLES.items():
        if name in {"rail", "unused"}:
            continue
        front = Color.parse(system[role.color])
        for ground in grounds:
            one, two = sorted((_luminance(front), _luminance(ground)))
            assert (two + 0.05) / (one + 0.05) >= (3.0 if name in bars else 4.5), name


def _luminance(color: object) -> float:
    parts = [value / 255 for value in color.rgb]  # type: ignore[attr-defined]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


async def test_a_vast_terminal_keeps_names_and_figures_together() -> None:
    async with opened(FakeEngine(two_h100()), size=(200, 60), request=LARGE) as (app, pilot):
        for number in "1234":
            await pilot.press(number)
            await settled(app, pilot)
            verdict = next(
                line for line in lines(app) if "memory of each GPU" in line or "each GPU · tp" in line
            )
            assert "79.2 GiB" in verdict[114:160], number
            assert not verdict[161:].strip(), number
        await pilot.press("5")  # but a file's lines may be as long as they are
        await settled(app, pilot)
        assert app.screen.query_one("#left").size.width > 150


@pytest.mark.parametrize(("width", "shows"), [(80, False), (120, True)])
async def test_help_has_a_narrow_screen_to_itself(width: int, shows: bool) -> None:
    async with opened(size=(width, 24)) as (app, pilot):
        await pilot.press("3", "f1")
        await pilot.pause()
        grounds = {
            segment.style.bgcolor
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style
        }
        assert (len(grounds) > 1) == shows
        assert ("vLLM 0." in lines(app)[0]) == shows
