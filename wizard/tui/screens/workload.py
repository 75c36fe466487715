"""Step 3: what one request looks like, and how many are served at once."""

from __future__ import annotations

from textual.app import ComposeResult

from wizard.questions import PRESETS, Choice, Question, preset, question
from wizard.text import count, gib, short_gib
from wizard.tui.lines import BLANK, Line, Span, line, spread
from wizard.tui.outlook import View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.field import TITLE_CELLS, Field
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.reach import ReachChart
from wizard.tui.widgets.slider import Slider

PRESET = Question(
    key="workload.preset",
    step="workload",
    title="Preset",
    help="A typical workload to start from; every number can be changed after",
    kind="choice",
    option="--preset",
    default=None,
    choices=tuple(Choice(each.name, each.name) for each in PRESETS),
)


class CacheUse(Painted):
    """How much of the cache the stated workload takes: a bar, and what one more request costs."""

    DEFAULT_CSS = "CacheUse { height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="cache-use")
        self.view: View | None = None

    def show(self, view: View) -> None:
        """Shows another view."""
        self.view = view
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        plan = self.view.plan if self.view else None
        if plan is None or self.view is None or plan.feasibility.verdict == "wont_start":
            words = "none: it won't start like this" if plan is not None else ""
            return [line(" " + "Cache".ljust(TITLE_CELLS), (words, "quiet"))]
        if not plan.feasibility.kv_cache.tokens:
            return [line(" " + "Cache".ljust(TITLE_CELLS), ("none: an encoder keeps nothing", "quiet"))]
        report, wanted = plan.feasibility, self.view.request.workload.concurrency
        held = report.concurrency_at_workload * plan.engines
        whole = gib(report.per_gpu.kv_cache_available_bytes)
        share = wanted / held if held > 0 else 1.0
        cells = width - TITLE_CELLS - 1 - 13
        filled = min(max(round(share * cells), 1), cells)
        role = "cache" if share <= 1 else "bad"
        words_held = f"{count(wanted)} of {count(held)} such requests at once"
        if share > 1:
            words_held = f"only {count(held)} of {count(wanted)} fit at once"
        price = f"one more takes {short_gib(report.bytes_per_request)} of {whole} GiB"
        words = f"{share:.0%} used" if share <= 9.99 else "too much"
        bar = spread(
            (
                Span(" Cache".ljust(TITLE_CELLS + 1)),
                Span("▓" * filled, role),
                Span("·" * (cells - filled), "unused"),
            ),
            line((words, "strong" if share <= 1 else "bad")),
            width,
        )
        indent = " " * (TITLE_CELLS + 1)
        return [
            bar,
            line(indent, (words_held, "quiet")),
            line(indent, (price, "quiet")),
        ]


class WorkloadStep(Step):
    """Sliders for tokens, users and context, and what they do to the cache."""

    TITLE = "Workload"
    FIRST = "#workload-preset"
    GUIDE = """\
Say what a typical request looks like. Prompt and output are tokens (about four characters of English each); \
concurrency is how many requests are answered at the same time, not how many users exist.

Context is the longest prompt and answer together that vLLM will accept. Left at `auto` the plan takes what \
the cache can hold. A longer context doesn't slow short requests, but each long one takes its share of the cache: \
the chart says how many of them the cache holds, and the GiB that each takes on every GPU.

Shared is the part of the prompt that requests have in common (a system prompt, documents asked about again): \
it is computed and stored once.

←→ moves a slider one stop, PgUp and PgDn four, Home and End to its ends; or type a number (16k is 16,384) \
and press Enter."""

    def compose(self) -> ComposeResult:
        yield ChoiceField(PRESET)
        yield Blank()
        for key in (
            "workload.prompt_tokens",
            "workload.gen_tokens",
            "workload.concurrency",
            "model.max_model_len",
            "workload.prefix_share",
        ):
            yield Slider(question(key))
        yield Blank()
        yield CacheUse()
        yield ReachChart(id="reach")

    def answer(self, field: Field, value: object) -> None:
        if self.showing:
            return
        if field.asked is PRESET and isinstance(value, str):
            self.wizard.choose_all(tuple(preset(value).answers.items()), f"preset {value}")
            return
        super().answer(field, value)

    def show_view(self, view: View) -> None:
        for slider in self.query(Slider):
            part, name = slider.asked.key.split(".")
            if slider.asked.key == "model.max_model_len":
                slider.limit(view.metadata.max_position_embeddings if view.metadata else None)
                slider.follow(view.plan.feasibility.max_model_len if view.plan else None)
            slider.value = getattr(getattr(view.request, part), name)
        workload = view.request.workload
        self.query_one("#workload-preset", ChoiceField).value = next(
            (
                each.name
                for each in PRESETS
                if all(getattr(workload, key.split(".")[1]) == value for key, value in each.answers.items())
            ),
            None,
        )
        self.query_one(CacheUse).show(view)
        context = view.plan.feasibility.max_model_len if view.plan else 0
        self.query_one(ReachChart).show(view.reach, context, view.plan.engines if view.plan else 1)


class Blank(Painted):
    """An empty row between controls."""

    DEFAULT_CSS = "Blank { height: 1; }"

    def draw(self, width: int) -> list[Line]:
        return [BLANK]
