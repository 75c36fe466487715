"""Step 4: what to favour, what is allowed, and the plans that differ in kind."""

from __future__ import annotations

from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from wizard.questions import question
from wizard.schemas.outputs import Alternative, Plan
from wizard.text import printable, short_count
from wizard.tui.lines import Line, Span, fit, line
from wizard.tui.outlook import SIGNS, View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList
from wizard.tui.widgets.slider import Slider
from wizard.tui.widgets.switch import TickField

NUMBER_CELLS = 8


class TableHead(Painted):
    """Titles of the columns of the alternatives."""

    DEFAULT_CSS = "TableHead { height: 1; }"

    def draw(self, width: int) -> list[Line]:
        room = width - 5 - 3 * NUMBER_CELLS
        columns = "".join(title.rjust(NUMBER_CELLS) for title in ("tok/s", "ms/tok", "cache"))
        return [line(("     " + fit("Other plans", room) + columns, "quiet"))]


class AllowRow(Horizontal):
    """Tick boxes side by side under one title."""

    DEFAULT_CSS = "AllowRow { height: 1; } AllowRow .title { width: 12; }"


class RowTitle(Painted):
    """The title of a row whose controls stand for themselves."""

    DEFAULT_CSS = "RowTitle { width: 12; height: 1; }"

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def draw(self, width: int) -> list[Line]:
        return [line(" " + self.text)]


class PolicyStep(Step):
    """Goal, memory, limits, permissions, version; then ranked alternatives."""

    TITLE = "Policy"
    FIRST = "#workload-batching_mode"
    GUIDE = """\
The goal decides where the plan has a choice: throughput fills the cache with as many requests as it holds, \
latency keeps batches small, balanced lies between.

Utilisation is the share of each GPU that vLLM takes for itself. More of it means more cache; above 0.95 other \
programs, even a desktop, can make the start fail. `Keep free` takes GiB off that share.

Limits on the first token and on each token after it are checked against the forecast: a plan whose upper \
estimate exceeds one is marked.

Under `Other plans` are ways to serve the same model that differ in kind. ↑↓ shows why each is listed, Enter \
takes one over (u undoes that)."""

    def compose(self) -> ComposeResult:
        yield ChoiceField(question("workload.batching_mode"))
        for key in (
            "policy.gpu_memory_utilization",
            "policy.headroom_gb",
            "policy.max_ttft_ms",
            "policy.max_tpot_ms",
            "hardware.tensor_parallel_size",
            "hardware.pipeline_parallel_size",
            "hardware.data_parallel_size",
        ):
            yield Slider(question(key))
        yield ChoiceField(question("model.kv_cache_dtype"))
        with AllowRow():
            yield RowTitle("Allow")
            yield TickField(question("policy.allow_quantized"))
            yield TickField(question("policy.allow_fp8_kv"))
        with AllowRow():
            yield RowTitle("")
            yield TickField(question("model.trust_remote_code"))
            yield TickField(question("policy.enforce_eager"))
        yield ChoiceField(question("policy.vllm_version"))
        yield TableHead(id="alternatives-head")
        yield RowList(
            id="alternatives",
            empty="none differs enough to list",
            hint="↑↓ shows why each plan is listed, Enter takes one over",
            keys=(("Enter", "take it over"),),
        )

    def show_view(self, view: View) -> None:
        super().show_view(view)
        plan = view.plan
        for key, chosen in (
            ("policy-gpu_memory_utilization", _utilisation(plan)),
            ("hardware-tensor_parallel_size", plan.config.tensor_parallel_size if plan else None),
            ("hardware-pipeline_parallel_size", plan.config.pipeline_parallel_size if plan else None),
            ("hardware-data_parallel_size", plan.config.data_parallel_size if plan else None),
        ):
            self.query_one(f"#{key}", Slider).follow(chosen)
        rows = self.query_one("#alternatives", RowList)
        if plan is not None:
            rows.show([Row(at, partial(_alternative, each)) for at, each in enumerate(plan.alternatives)])

    def why(self, at: object) -> str:
        """Why an alternative is listed."""
        plan = self.wizard.view.plan
        if plan is None or not isinstance(at, int) or at >= len(plan.alternatives):
            return ""
        each = plan.alternatives[at]
        return printable(f"{each.title}: {each.why}", 160)

    @on(RowList.Moved, "#alternatives")
    def _moved(self, event: RowList.Moved) -> None:
        self.wizard.show_hint(self.why(event.key))

    @on(RowList.Picked, "#alternatives")
    def _picked(self, event: RowList.Picked) -> None:
        plan = self.wizard.view.plan
        if plan is not None and isinstance(event.key, int) and event.key < len(plan.alternatives):
            each = plan.alternatives[event.key]
            self.wizard.choose_all(each.request_changes, each.title)


def _utilisation(plan: Plan | None) -> float | None:
    if plan is None:
        return None
    if plan.config.gpu_memory_utilization is not None:
        return plan.config.gpu_memory_utilization
    memory = plan.feasibility.per_gpu
    return round(memory.requested_bytes / memory.total_bytes, 2)


def _alternative(each: Alternative, width: int) -> Line:
    sign, _, role = SIGNS[each.feasibility.verdict]
    title = fit(printable(each.title, 80), width - 2 - 3 * NUMBER_CELLS)
    if each.performance is None:
        return line((sign + " ", role), title)
    numbers = (
        short_count(each.performance.output_tokens_per_s.mid),
        f"{each.performance.tpot_ms.mid:.0f}",
        short_count(each.feasibility.kv_cache.tokens),
    )
    return line((sign + " ", role), title, *(Span(number.rjust(NUMBER_CELLS), "quiet") for number in numbers))
