"""Step 4: what to favour, what is allowed, and the plans that differ in kind."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from wizard.questions import question
from wizard.schemas.outputs import Plan
from wizard.text import printable
from wizard.tui.keyhints import KeyHint
from wizard.tui.lines import Line, line
from wizard.tui.outlook import View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.plans import PlanReason, PlanRows, TableHead, plan_points, plan_rows
from wizard.tui.widgets.rows import RowList
from wizard.tui.widgets.scatter import LEAST_ROWS, Scatter
from wizard.tui.widgets.slider import Slider
from wizard.tui.widgets.switch import TickField

ANSWER_ROWS = 13
REASON_ROWS = 3


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
    plans_open = False
    """Somebody has gone to the other plans, with `p`."""

    GUIDE = """\
The goal decides where the plan has a choice: throughput fills the cache with as many requests as it holds, \
latency keeps batches small, balanced lies between.

Utilisation is the share of each GPU that vLLM takes for itself. More of it means more cache; above 0.95 other \
programs, even a desktop, can make the start fail. `Keep free` takes GiB off that share.

Limits on the first token and on each token after it are checked against the forecast: a plan whose upper \
estimate exceeds one is marked with ! at that figure, and w says by how much.

Under `Other plans` are ways to serve the same model that differ in kind. p goes to them, from any screen, and gives \
them the whole screen where it is small: ↑↓ shows why each is listed, its digit or Enter takes it over (u undoes \
that), p or Esc goes back. All figures are ranges; cache is in tokens, of all engines together.

In the plot every digit is a plan and @ is the one in force: tokens/s upwards, ms per token to the right, so that \
the upper left corner is the best place to be."""

    def compose(self) -> ComposeResult:
        with Vertical(id="answers"):
            yield from self._answers()
        yield TableHead(id="alternatives-head")
        yield PlanRows(
            id="alternatives",
            empty="none differs enough to list",
            hint="↑↓ shows why each plan is listed; its digit, or Enter, takes it over",
            keys=(("1-8", "take over"),),
        )
        yield PlanReason(id="plan-reason")
        yield Scatter(id="scatter")

    def _answers(self) -> ComposeResult:
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
        with AllowRow():
            yield RowTitle("Show")
            yield TickField(question("policy.cost"))
        yield ChoiceField(question("policy.vllm_version"))

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
        if plan is not None:
            self.query_one("#alternatives", PlanRows).show(plan_rows(plan))
        self._place()
        self._explain()

    @property
    def keys(self) -> Sequence[KeyHint]:
        return (("p", "answers" if self.plans_open else "plans"),)

    def open_plans(self) -> None:
        """The table gets the focus, and the whole screen where that is small."""
        self.plans_open = True
        self._place()
        self.query_one("#alternatives", PlanRows).focus()
        self._explain()

    def press(self, action: str) -> bool:
        """`plans` goes to the plans; back leaves them first."""
        if action == "plans":
            self.open_plans()
            return True
        if action != "back" or not self.plans_open:
            return False
        self.plans_open = False
        self._place()
        self.query_one(self.FIRST).focus()
        self._explain()
        return True

    def on_resize(self) -> None:
        self._place()

    def _place(self) -> None:
        """Answers, table and plot, as far as there is room; the plans alone where one has gone to them."""
        plan = self.wizard.view.plan
        count = len(plan.alternatives) if plan is not None else 0
        height = self.size.height
        roomy = height >= ANSWER_ROWS + 2 + count + REASON_ROWS + LEAST_ROWS
        alone = self.plans_open and not roomy
        listed = alone or height >= ANSWER_ROWS + 3  # p shows them where a heading alone would fit
        self.query_one("#answers").display = not alone
        left = height - 1 - count
        head = self.query_one("#alternatives-head")
        head.display, head.styles.margin = listed, (0 if alone else 1, 0, 0, 0)
        # where the plans stand alone the hint below says why, unless there is room for the whole reason
        self.query_one("#plan-reason").display = roomy or (alone and left >= LEAST_ROWS + REASON_ROWS + 1)
        self.query_one("#scatter").display = roomy or alone
        rows = self.query_one("#alternatives", PlanRows)
        rows.display = listed
        rows.styles.height = max(1, count) if roomy or alone else "1fr"
        if self.wizard.frame.step is self:
            self.wizard.frame.place_panes()

    def wants_room(self, width: int) -> bool:
        """The plans alone on a narrow terminal take the panel's place too."""
        return self.plans_open and width < 100

    def why(self, at: object) -> str:
        """Why an alternative is listed."""
        plan = self.wizard.view.plan
        if plan is None or not isinstance(at, int) or at >= len(plan.alternatives):
            return ""
        each = plan.alternatives[at]
        return printable(f"{each.title}: {each.why}", 400)

    def _explain(self) -> None:
        """Reason and plot follow the cursor."""
        plan = self.wizard.view.plan
        if plan is None:
            return
        rows = self.query_one("#alternatives", PlanRows)
        here = rows.current if rows.has_focus or self.plans_open else None
        self.query_one(PlanReason).show(self.why(rows.current))
        self.query_one(Scatter).show(plan_points(plan, here))

    @on(RowList.Moved, "#alternatives")
    def _moved(self, event: RowList.Moved) -> None:
        self.wizard.show_hint(self.why(event.key))
        self._explain()

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
