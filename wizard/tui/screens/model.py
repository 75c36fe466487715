"""Step 1: which model. Typing searches what is on this disk and in the catalogue; each row carries its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import get_current_worker

from wizard.engine import GivenUpError, ModelRow, Progress
from wizard.errors import WizardError
from wizard.questions import question
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan
from wizard.text import count, params, plural, printable
from wizard.tui.lines import BLANK, Line, Span, fit, fit_middle, line, wrap
from wizard.tui.messages import HubFound, Judged
from wizard.tui.outlook import SIGNS, View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.entry import Entry, SearchBox, TextBox
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList

ORIGINS = {"cache": "on this disk", "path": "this directory", "catalogue": "catalogue", "hub": "hub"}
MOST_JUDGED = 40
"""Rows that one pass of verdicts covers, from the top of what is in view."""
ASK_HUB_AFTER_S = 0.25
"""Quiet seconds before the hub is asked: a word is typed first."""
JUMPS = "12345?"
"""First keys that stay jumps and the call for help: no model's name starts like this."""
SHORTEST_SEARCH = 2
"""Letters below which the hub would answer with everything."""


class ModelFacts(Painted):
    """What is known of the model under the cursor, in three rows."""

    DEFAULT_CSS = "ModelFacts { height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="model-facts")
        self.found: ModelRow | None = None
        self.plan: Plan | None = None
        self.trouble = ""

    def show(self, found: ModelRow | None, plan: Plan | None, trouble: str = "") -> None:
        """Shows another model."""
        self.found, self.plan, self.trouble = found, plan, trouble
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        if self.found is None:
            return [BLANK]
        name = line(" ", (fit_middle(printable(self.found.id, 200), width - 1), ""))
        if self.trouble:
            return [name, *(line(" ", (row, "quiet")) for row in wrap(printable(self.trouble), width - 1, 2))]
        where = ORIGINS.get(self.found.origin, self.found.origin)
        if self.plan is None:
            return [name, line(" ", (fit(where, width - 1), "quiet"))]
        model = self.plan.model
        facts = f"{params(model.params)} · {model.quantization or model.dtype} · {where}"
        reach = (
            f"{count(model.max_position_embeddings)} tokens of context · {model.attention.upper()} attention"
        )
        return [
            name,
            line(" ", (fit(facts, width - 1), "quiet")),
            line(" ", (fit(reach, width - 1), "quiet")),
        ]


class ModelStep(Step):
    """Search, rows with verdicts, facts of the row under the cursor, and how to load it."""

    TITLE = "Model"
    FIRST = "#model-search"
    GUIDE = """\
Type words of a model's name: rows appear as you type, each with its verdict on the machine of step 2. \
Enter chooses the row under the cursor and goes on; ↑↓ move.

A path (starting with / or ./ or ~) looks for model directories on this disk. A whole id like \
organisation/name can be taken although no row shows it.

✓ fits: vLLM starts and serves the workload of step 3. ! tight: it starts, with little or no margin. \
✗ won't start.

While the search is empty, 1-5 jump between screens. Esc empties it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.found: Sequence[ModelRow] = ()
        self.plans: dict[str, Plan] = {}
        self.troubles: dict[str, str] = {}
        self.judged_for: PlanRequest | None = None
        self.rows = RowList(id="model-rows", empty="no model of that name here")
        self.rows.can_focus = False
        self._hub_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield SearchBox(
            self.rows,
            placeholder="type to search models",
            hint=question("model.model").help,
            spared=JUMPS,
            id="model-search",
        )
        yield self.rows
        yield ModelFacts()
        yield Entry(question("model.revision"), placeholder="main")
        yield ChoiceField(question("model.quantization"))
        yield ChoiceField(question("model.dtype"))

    @property
    def box(self) -> SearchBox:
        """The search box."""
        return self.query_one(SearchBox)

    def show_view(self, view: View) -> None:
        super().show_view(view)
        revision = self.query_one("#model-revision", TextBox)
        if not revision.has_focus:
            revision.value = view.request.model.revision or ""
        neutral = view.request.with_value("model.model", "any").with_value("model.revision", None)
        if self.judged_for != neutral:
            self.judged_for = neutral
            self.plans.clear()
            self.troubles.clear()
        if view.plan is not None:
            self.plans[view.request.model.model] = view.plan
        self.rows.choose(view.request.model.model)
        if not self.found:
            self.search(self.box.value)
        else:
            self.refresh_rows()
        self.judge()

    def search(self, text: str) -> None:
        """Other rows, for what is typed."""
        words = printable(text, 200).strip()
        found = list(self.wizard.engine.search_models(words))
        if "/" in words and all(words.lower() != each.id.lower() for each in found):
            found.append(ModelRow(words, "path" if words[0] in "/.~" else "hub"))
        chosen = self.wizard.request.model.model
        if not words and all(chosen != each.id for each in found):
            found.insert(0, ModelRow(chosen, "path" if chosen[:1] in "/.~" else "hub"))
        self.found = found
        self.refresh_rows(keep=None if words else chosen)
        self.judge()
        if self._hub_timer is not None:
            self._hub_timer.stop()
        if len(words) >= SHORTEST_SEARCH and words[0] not in "/.~":
            self._hub_timer = self.set_timer(ASK_HUB_AFTER_S, partial(self._ask_hub, words))

    def _ask_hub(self, text: str) -> None:
        def ask() -> None:
            try:
                found = HubFound(text, tuple(self.wizard.engine.search_hub(text)))
            except WizardError as error:
                found = HubFound(text, trouble=str(error))
            self.post_message(found)

        self.run_worker(ask, thread=True, exclusive=True, group="hub", exit_on_error=False)

    @on(HubFound)
    def _hub_answered(self, event: HubFound) -> None:
        if event.text != self.box.value.strip() or (not event.rows and not event.trouble):
            return
        present = {each.id.lower() for each in self.found}
        new = [each for each in event.rows if each.id.lower() not in present]
        self.found = [*self.found, *new]
        self.refresh_rows()
        if self.box.has_focus:
            words = f"The hub has {plural(len(event.rows), 'model')} of that name."
            self.wizard.show_hint(printable(event.trouble) or words)

    def refresh_rows(self, keep: str | None = None) -> None:
        """The same rows, with what is known of them by now."""
        self.rows.show([Row(each.id, partial(self._row, each)) for each in self.found], keep=keep)
        self.show_facts()

    def show_facts(self) -> None:
        """The facts of the row under the cursor."""
        at = self.rows.cursor
        found = self.found[at] if at < len(self.found) else None
        name = found.id if found else ""
        self.query_one(ModelFacts).show(found, self.plans.get(name), self.troubles.get(name, ""))

    def judge(self) -> None:
        """Plans the rows in view that have no verdict yet, off the key press."""
        if self.wizard.facts.gpus and self.judged_for is not None:
            first = self.rows.top
            names = [each.id for each in self.found[first : first + MOST_JUDGED]]
            wanted = [name for name in names if name not in self.plans and name not in self.troubles]
            if wanted:
                self.run_worker(
                    lambda: self._judge(wanted, self.wizard.request, self.judged_for),
                    thread=True,
                    exclusive=True,
                    group="judge",
                    exit_on_error=False,
                )

    def _judge(self, names: Sequence[str], request: PlanRequest, neutral: PlanRequest | None) -> None:
        engine, gpus = self.wizard.engine, self.wizard.facts.gpus
        worker = get_current_worker()
        on_disk = {each.id: each.origin in {"cache", "path"} and each.id[-1] != "/" for each in self.found}
        plans: dict[str, Plan] = {}
        troubles: dict[str, str] = {}
        for name in names:
            if worker.is_cancelled:
                return
            try:
                metadata = engine.known_model(name, None)
                if metadata is None and on_disk.get(name):
                    metadata = engine.load_model(name, None, Progress())
                if metadata is not None:
                    changed = request.with_value("model.model", name).with_value("model.revision", None)
                    plans[name] = engine.plan(changed, metadata, gpus)
            except (WizardError, GivenUpError) as error:
                troubles[name] = str(error)
        if neutral is not None:
            self.post_message(Judged(neutral, plans, troubles))

    @on(Judged)
    def _judged(self, event: Judged) -> None:
        if event.request == self.judged_for:
            self.plans.update(event.plans)
            self.troubles.update(event.troubles)
            self.refresh_rows()

    def _row(self, each: ModelRow, width: int) -> Line:
        plan = self.plans.get(each.id)
        if plan is not None:
            sign, _, role = SIGNS[plan.feasibility.verdict]
            size = params(plan.model.params)
            kind = plan.model.quantization or plan.model.dtype
        else:
            sign, role = ("?", "tight") if each.id in self.troubles else (" ", "")
            size = params(each.params) if each.params else ""
            kind = ""
        kind = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "compressed-tensors": "ct"}.get(
            kind, kind
        )
        here = "gated" if each.gated else {"cache": "disk", "hub": "hub"}.get(each.origin, "")
        tail = f"{size:>6} {fit(printable(kind, 20), 5)}{here:>5}"
        room = width - 2 - len(tail) - 1
        name = printable(each.id, 200)
        if len(name) > room and each.origin != "path":
            name = name.rsplit("/", 1)[-1]  # the full id stands below, for the row under the cursor
        return (Span(sign + " ", role), Span(fit_middle(name, room)), Span(" " + tail, "quiet"))

    @on(Input.Changed, "#model-search")
    def _typed(self, event: Input.Changed) -> None:
        self.search(event.value)

    @on(RowList.Moved, "#model-rows")
    def _moved(self) -> None:
        self.show_facts()
        self.judge()

    @on(Input.Submitted, "#model-search")
    def _submitted(self) -> None:
        self.rows.action_pick()

    @on(RowList.Picked, "#model-rows")
    def _picked(self, event: RowList.Picked) -> None:
        name = str(event.key)
        if name.endswith("/"):
            self.box.value = name
            self.box.cursor_position = len(name)
            return
        self.box.value = ""
        self.wizard.choose_all(
            (("model.model", name), ("model.revision", None))
            if name != self.wizard.request.model.model
            else (),
            f"model {name}",
        )
        self.wizard.next()

    @on(Input.Submitted, "#model-revision")
    @on(Input.Blurred, "#model-revision")
    def _revision(self, event: Input.Submitted | Input.Blurred) -> None:
        self.wizard.choose("model.revision", event.value.strip() or None)
        if isinstance(event, Input.Submitted):
            self.wizard.next()

    def press(self, action: str) -> bool:
        if action == "back" and self.box.value:
            self.box.value = ""
            self.box.focus()
            return True
        if action == "search":
            self.box.focus()
            return True
        return False
