"""Step 1: which model. Typing searches what is on this disk and in the catalogue; each row carries its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import get_current_worker

from wizard.engine import GivenUpError, ModelRow, Progress
from wizard.errors import WizardError
from wizard.models.found import merged
from wizard.questions import question
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan
from wizard.text import params, plural, printable, short_count
from wizard.tui.lines import Line, Span, fit, fit_middle
from wizard.tui.messages import FormsFound, HubFound, Judged
from wizard.tui.outlook import SIGNS, View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.entry import Entry, SearchBox, TextBox
from wizard.tui.widgets.model_facts import ModelFacts
from wizard.tui.widgets.rows import Row, RowList

if TYPE_CHECKING:
    from wizard.models.metadata import ModelMetadata

JUDGE_AFTER_S = 0.12
"""Quiet seconds before rows are judged: while a list is scrolled there is nothing to read."""
ASK_HUB_AFTER_S = 0.25
"""Quiet seconds before the hub is asked: a word is typed first."""
JUMPS = "12345?"
"""First keys that stay jumps and the call for help: no model's name starts like this."""
MOST_GLANCED = 8
"""Rows of the hub in view whose config one pass of verdicts reads: two or three requests each."""
WIDE_ROW = 72
"""Cells from which a row has room for downloads and licence."""
SHORTEST_SEARCH = 2
"""Letters below which the hub would answer with everything."""


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
        self.forms: Sequence[ModelRow] = ()
        """Quantised forms of the chosen model, shown below it while the search is empty."""
        self.forms_of = ""
        self.picked: dict[str, ModelRow] = {}
        """Rows that were chosen, with what was found out about them."""
        self._hub_timer: Timer | None = None
        self._judge_timer: Timer | None = None

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
        self._ask_forms()

    def _ask_forms(self) -> None:
        """Looks for quantised forms of the chosen model, once for each."""
        metadata, gpus, neutral = self.wizard.facts.metadata, self.wizard.facts.gpus, self.judged_for
        request, engine = self.wizard.request, self.wizard.engine
        model = request.model.model
        if (
            metadata is None
            or metadata.model != model
            or not gpus
            or neutral is None
            or self.forms_of == model
        ):
            return
        self.forms_of, self.forms = model, ()
        progress = self.wizard.looks.begin("forms")

        def ask() -> None:
            try:
                with self.wizard.looks.watched(progress):
                    found = engine.siblings(metadata, progress)
            except GivenUpError:
                return
            plans = {
                name: engine.plan(request.with_value("model.model", name), form, gpus)
                for name, form in found.items()
            }
            rows = tuple(
                ModelRow(name, form.source, gated=form.gated, base=model, license=form.license)
                for name, form in found.items()
            )
            self.post_message(FormsFound(model, rows, Judged(neutral, plans, {})))

        self.run_worker(ask, thread=True, exclusive=True, group="forms", exit_on_error=False)

    @on(FormsFound)
    def _forms_found(self, event: FormsFound) -> None:
        if event.model == self.forms_of:
            self.forms = event.rows
            self._judged(event.judged)
            if event.rows and not self.box.value.strip():
                self.search("")

    def search(self, text: str) -> None:
        """Other rows, for what is typed."""
        words = printable(text, 200).strip()
        found = list(self.wizard.engine.search_models(words))
        chosen = self.wizard.request.model.model
        if not words and all(chosen != each.id for each in found):
            unknown = ModelRow(chosen, "path" if chosen[:1] in "/.~" else "hub")
            found.insert(0, self.picked.get(chosen, unknown))
        if not words and self.forms and chosen == self.forms_of:
            names = {each.id.lower() for each in self.forms}
            found = [each for each in found if each.id.lower() not in names]
            at = [each.id for each in found].index(chosen) + 1
            found[at:at] = self.forms
        self.found = found
        self.refresh_rows(keep=None if words else chosen)
        self.judge()
        if self._hub_timer is not None:
            self._hub_timer.stop()
        self.wizard.looks.stop("hub")
        if len(words) >= SHORTEST_SEARCH and words[0] not in "/.~":
            self._hub_timer = self.set_timer(ASK_HUB_AFTER_S, partial(self._ask_hub, words))

    def _ask_hub(self, text: str) -> None:
        progress = self.wizard.looks.begin("hub")

        def ask() -> None:
            try:
                with self.wizard.looks.watched(progress):
                    rows = self.wizard.engine.search_hub(text, progress)
                found = HubFound(text, tuple(rows), asked=progress.requests > 0)
            except GivenUpError:
                return
            except WizardError as error:
                found = HubFound(text, trouble=str(error))
            self.post_message(found)

        self.run_worker(ask, thread=True, exclusive=True, group="hub", exit_on_error=False)

    @on(HubFound)
    def _hub_answered(self, event: HubFound) -> None:
        if event.text != self.box.value.strip():
            return
        self.found = merged(self.found, event.rows)
        self.refresh_rows()
        self.judge()
        if self.box.has_focus:
            words = f"The hub has {plural(len(event.rows), 'model')} of that name."
            if not event.rows:
                words = "The hub has nothing of that name." if event.asked else ""
            self.wizard.show_hint(printable(event.trouble) or words or self.box.hint)

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
        """Plans the rows in view that have no verdict yet, once the hands are still."""
        if self._judge_timer is not None:
            self._judge_timer.stop()
        self._judge_timer = self.set_timer(JUDGE_AFTER_S, self._judge_rows)

    def _judge_rows(self) -> None:
        if self.wizard.facts.gpus and self.judged_for is not None:
            first = self.rows.top
            names = [each.id for each in self.found[first : first + max(self.rows.size.height, 1)]]
            wanted = [name for name in names if name not in self.plans and name not in self.troubles]
            if wanted:
                progress = self.wizard.looks.begin("judge")
                self.run_worker(
                    lambda: self._judge(wanted, self.wizard.request, self.judged_for, progress),
                    thread=True,
                    exclusive=True,
                    group="judge",
                    exit_on_error=False,
                )

    def _judge(
        self, names: Sequence[str], request: PlanRequest, neutral: PlanRequest | None, progress: Progress
    ) -> None:
        with self.wizard.looks.watched(progress):
            self._judge_each(names, request, neutral, progress)

    def _judge_each(
        self, names: Sequence[str], request: PlanRequest, neutral: PlanRequest | None, progress: Progress
    ) -> None:
        """Plans what is at hand first, then a few of the hub's rows, each told as soon as it is there."""
        engine, gpus = self.wizard.engine, self.wizard.facts.gpus
        worker = get_current_worker()
        sources = {each.id: each.source for each in self.found if each.id[-1] != "/"}
        plans: dict[str, Plan] = {}
        troubles: dict[str, str] = {}

        def judge(name: str, metadata: ModelMetadata | None) -> None:
            if metadata is not None:
                changed = request.with_value("model.model", name).with_value("model.revision", None)
                plans[name] = engine.plan(changed, metadata, gpus)

        for name in names:
            if worker.is_cancelled:
                return
            try:
                metadata = engine.known_model(name, None)
                if metadata is None and sources.get(name) in {"cache", "path"}:
                    metadata = engine.load_model(name, None, progress)
                judge(name, metadata)
            except GivenUpError:
                return
            except WizardError as error:
                troubles[name] = str(error)
        if neutral is None:
            return
        self.post_message(Judged(neutral, dict(plans), dict(troubles)))
        remote = [name for name in names if sources.get(name) == "hub" and name not in plans]
        for name in remote[:MOST_GLANCED]:
            try:
                judge(name, engine.glance_model(name, progress))
            except GivenUpError:
                return
            except WizardError as error:
                troubles[name] = str(error)
            self.post_message(Judged(neutral, dict(plans), dict(troubles)))

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
            kind = each.quantization or each.dtype or ""
        kind = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "compressed-tensors": "ct"}.get(
            kind, kind
        )
        where = {"cache": "disk", "hub": "hub"}.get(each.source, "")
        tail = f"{size:>6} {fit(printable(kind, 20), 5)}{('gated' if each.gated else where):>5}"
        if width >= WIDE_ROW:
            wanted = short_count(each.downloads) if each.downloads is not None else ""
            licence = fit(printable(each.license or "", 30), 12)
            gated = "gated" if each.gated else ""
            tail = f"{size:>6} {fit(printable(kind, 20), 5)} {wanted:>7}↓ {licence} {gated:>5}{where:>5}"
            tail = tail if wanted else tail.replace("↓", " ")
        room = width - 2 - len(tail) - 1
        name = printable(each.id, 200)
        if len(name) > room and each.source != "path":
            name = name.rsplit("/", 1)[-1]  # the full id stands below, for the row under the cursor
        return (Span(sign + " ", role), Span(fit_middle(name, room)), Span(" " + tail, "quiet"))

    @on(Input.Changed, "#model-search")
    def _typed(self, event: Input.Changed) -> None:
        if not event.value and self.box.has_focus:
            self.wizard.show_hint(self.box.hint)  # what was said of an earlier search is no longer so
        self.search(event.value)

    @on(RowList.Moved, "#model-rows")
    def _moved(self) -> None:
        self.show_facts()
        self.judge()

    @on(Input.Submitted, "#model-search")
    def _submitted(self) -> None:
        if self.rows.rows:
            self.rows.action_pick()
        else:
            self.wizard.notice(
                "No model of that name. Type fewer words, a whole organisation/name, or a path."
            )

    @on(RowList.Picked, "#model-rows")
    def _picked(self, event: RowList.Picked) -> None:
        name = str(event.key)
        if name.endswith("/"):
            self.box.value = name
            self.box.cursor_position = len(name)
            return
        self.picked.update((each.id, each) for each in self.found if each.id == name)
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
