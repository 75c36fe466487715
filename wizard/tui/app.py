"""The wizard's app: one frozen request, the plan that follows from it, and the keys that change either.

A control's change replaces the request; the request's watcher plans anew, synchronously; the panes
repaint what differs: one key press, one frame. Only disks, drivers and wide searches run in workers,
which end in a message and never touch a widget.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from wizard.engine import Engine, GivenUpError, Planner, Reach
from wizard.errors import WizardError
from wizard.history import Change, History
from wizard.questions import STEPS, question
from wizard.schemas.checked import why_not
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan
from wizard.session import Found, Resume, SessionStore
from wizard.text import charset, own_environment, printable
from wizard.tui import theme
from wizard.tui.facts import Facts
from wizard.tui.flow import QUESTION, Flow
from wizard.tui.keeper import Keeper
from wizard.tui.looks import LookEnded, Looks
from wizard.tui.messages import Detected, DraftRead, ModelRead, NextKey, Reading, Searched, Written
from wizard.tui.outlook import NoPlan, Outlook, View
from wizard.tui.screens.frame import WizardScreen
from wizard.tui.widgets.bars import Hint, StepsBar
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.verdict import VerdictPane
from wizard.tui.writing import Writing
from wizard.wording import first_request, machine_words, request_words

if TYPE_CHECKING:
    from rich.style import Style

SEARCH_AFTER_S = 0.15
"""Quiet seconds before fixes and alternatives are searched: longer than a key repeats."""

SWITCH_S = 0.001
"""Seconds after which a search in its thread gives the interpreter to a waiting key (CPython's default is 5 ms)."""

BREATH_S = 0.001
"""Seconds for which a search sleeps after each plan: long enough for a waiting key to get the interpreter."""

CYCLES_PER_KEY = 24
"""Turns of the event loop in which a key reaches its widget, bubbles up and takes effect: two for each level."""

HURRIED_S = 0.06
"""Keys closer than this are a held key, or a burst that a slow link delivers at once."""

STEP_NAMES = tuple(name for name, _ in STEPS)


class WizardApp(App[int], inherit_bindings=False):
    """Five steps over one request."""

    CSS_PATH = "wizard.tcss"
    TITLE = "vllm-wizard-tui"
    ENABLE_COMMAND_PALETTE = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q,ctrl+c", "leave", "Quit", show=False, priority=True),
        Binding("ctrl+p", "palette", "Commands", show=False, priority=True),
        Binding("ctrl+s", "write", "Write files", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
        Binding("ctrl+underscore", "undo", "Undo", show=False, priority=True),
        Binding("ctrl+y", "redo", "Redo", show=False, priority=True),
        Binding("ctrl+f", "fixes", "Fixes", show=False, priority=True),
        Binding("f1", "guide", "Help", show=False, priority=True),
        Binding("tab", "focus_next", "Next control", show=False, priority=True),
        Binding("shift+tab", "focus_previous", "Previous control", show=False, priority=True),
    ]

    request: var[PlanRequest] = var(first_request, init=False)
    outlook: var[Outlook] = var(NoPlan("Looking for GPUs …", waiting=True), init=False, always_update=True)

    def __init__(
        self,
        engine: Engine,
        *,
        request: PlanRequest | None = None,
        found: Found | None = None,
        store: SessionStore | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        surroundings = own_environment() if environment is None else environment
        plain = bool(surroundings.get("NO_COLOR")) or theme.is_colorless(surroundings.get("TERM", ""))
        if plain:
            os.environ["NO_COLOR"] = "1"  # which is where Textual looks, and removes it
        super().__init__(ansi_color=True if plain else None)
        self.engine = engine
        self.frame = WizardScreen()
        self.charset = charset(surroundings)
        self.palette: dict[str, Style] = {}
        self.history = History()
        self.looks = Looks(self)
        self.facts = Facts(self, engine)
        self.keeper = Keeper(self, store)
        self.writing = Writing(self)
        self.flow = Flow()
        self._keys: deque[events.Key] = deque()
        self._key_in_flight = False
        self._key_task: asyncio.Task[None] | None = None
        self._last_key_s = 0.0
        self._jumping = False
        """Whether `g` was the last key: a digit goes to a screen then."""
        self.hurried = False
        """Whether keys come faster than one looks at what each of them does."""
        self.searching = False
        self.reach: Sequence[Reach] = ()
        self._found, self._given = found, request is not None
        self._kept_focus: Widget | None = None
        self._search_timer: Timer | None = None
        for each in theme.THEMES:
            self.register_theme(each)
        self.theme = theme.theme_for(surroundings, plain=plain)
        self.animation_level = "none"
        if request is not None:
            self.set_reactive(WizardApp.request, request)

    def get_default_screen(self) -> Screen[Any]:
        return self.frame

    @property
    def view(self) -> View:
        """Everything there is to show, as of now."""
        return View(self.request, self.outlook, self.facts.metadata, self.facts.machine, self.reach)

    # -- keys, strictly one after the other

    async def on_event(self, event: events.Event) -> None:
        """Hands out keys one at a time, each after the one before it has had its effect.

        Textual gives a key to whatever has focus when it arrives, and only then lets the key before it
        bubble up to where focus or screen change. Over a slow link keys arrive in bursts.
        """
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        now = monotonic()
        self.hurried, self._last_key_s = now - self._last_key_s < HURRIED_S, now
        self._keys.append(event)
        if not self._key_in_flight:
            self._key_in_flight = True
            self.post_message(NextKey())

    async def on_next_key(self) -> None:
        key = self._keys.popleft()
        if not await self._jumps(key):
            await super().on_event(key)
        self._key_task = asyncio.create_task(self._settle_key())

    async def _jumps(self, key: events.Key) -> bool:
        """The digit after `g` goes to that screen, whatever it would mean to the focused control."""
        jumping, self._jumping = self._jumping, False
        if not jumping:
            return False
        self.frame.explain()
        number = int(key.key) if key.key.isdecimal() and key.key.isascii() else 0
        if not 1 <= number <= len(STEP_NAMES):
            return key.key == "escape"
        await self.go(STEP_NAMES[number - 1])
        return True

    async def _settle_key(self) -> None:
        for _ in range(CYCLES_PER_KEY):
            await asyncio.sleep(0)
        if self._keys:
            self.post_message(NextKey())
        else:
            self._key_in_flight = False

    # -- frames, no more of them than the link carries

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Writes a frame; now and then asks the terminal to say when it has drawn it."""
        super()._display(screen, renderable)
        size = getattr(renderable, "written_bytes", 0)
        if size and self._driver is not None and self.flow.sent(size, monotonic()):
            self._driver.write(QUESTION)

    def _on_terminal_supports_synchronized_output(self, message: Any) -> None:
        super()._on_terminal_supports_synchronized_output(message)
        self.flow.answered()

    # -- start and end

    def on_mount(self) -> None:
        self._mix_palette()
        self.theme_changed_signal.subscribe(self, self._recolor)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)

    async def begin(self) -> None:
        """The frame stands: find the facts, and say what there is to say at the start."""
        self.facts.read_model(self.request)
        self.facts.read_draft(self.request)
        await self.frame.open_step(STEP_NAMES[0])
        self._replan()
        self.call_after_refresh(self.facts.detect)
        if not self.keeper.greet(self._found, given=self._given) and not self._given:
            self.notice("Type to search for a model. Enter goes on, Esc back, ? explains, ^q leaves.")

    def on_unmount(self) -> None:
        self.facts.stop()
        self.looks.stop_all()

    def _signalled(self, number: int) -> None:
        """SIGTERM or SIGHUP: keep the answers and give the terminal back."""
        self.keeper.save()
        self.exit(128 + number, return_code=128 + number)

    def action_leave(self) -> None:
        """Leaves; asks first only where that would lose answers."""
        self.keeper.save()
        if not self.keeper.would_lose:
            self.exit(0)
            return
        from wizard.tui.screens.dialogs import AskDialog

        options = (("stay", "Stay here"), ("leave", "Leave; my answers are lost"))
        self.push_screen(
            AskDialog("Leave without saving?", self.keeper.would_lose, options),
            lambda answer: self.exit(0) if answer == "leave" else None,
        )

    # -- answers

    def choose(self, key: str, value: object) -> None:
        """One answer, from a control."""
        self._change(((key, value),), question(key).title.lower(), key)

    def choose_all(self, changes: Sequence[tuple[str, Any]], what: str) -> None:
        """Several answers at once, undone together."""
        self._change(changes, what, "")

    def _change(self, changes: Sequence[tuple[str, Any]], what: str, key: str) -> None:
        changed = self.request
        try:
            for path, value in changes:
                changed = changed.with_value(path, value)
        except ValueError as error:
            self.notice(printable(f"{what}: {why_not(error)}.", 200))
            self.frame.show_view()
            return
        if changed != self.request:
            self._remember(what, key)
            self.request = changed
            self.keeper.save_later()

    def _remember(self, what: str, key: str = "") -> None:
        self.history.record(self.request, what, key, export=self.writing.wanted)

    def tick(self, name: str, usual: Collection[str]) -> None:
        """A file of the export is wanted, or no longer."""
        self._remember(f"tick of {name}")
        self.writing.ticks.toggle(name, usual)
        self.frame.show_view()
        self.keeper.save_later()

    def write_to(self, directory: str) -> None:
        """The export goes there."""
        self._remember("directory", "export.directory")
        self.writing.chosen = directory
        self.keeper.save_later()

    def action_undo(self) -> None:
        change = self.history.undo(self.request, export=self.writing.wanted)
        self._go_in_history(change, "Undone", "Nothing to undo.")

    def action_redo(self) -> None:
        change = self.history.redo(self.request, export=self.writing.wanted)
        self._go_in_history(change, "Redone", "Nothing to redo.")

    def _go_in_history(self, change: Change | None, done: str, nothing: str) -> None:
        if change is not None:
            export_differs = self.writing.wanted != change.export
            self.writing.wanted = change.export
            self.request = change.request
            if export_differs:
                self.frame.show_view()
            self.keeper.save_later()
        self.notice(printable(f"{done}: {change.what}." if change else nothing, 160))

    def action_restart(self) -> None:
        fresh = first_request()
        if self.facts.machine is not None and not self.facts.machine.gpus:
            fresh = fresh.with_value("hardware.gpu", self.facts.default_card)
        if fresh != self.request:
            self._remember("starting over")
            self.request = fresh
        self.call_later(self.go, STEP_NAMES[0])

    def watch_request(self, before: PlanRequest, request: PlanRequest) -> None:
        """Plans anew; reads first what the change made unknown."""
        if (before.model.model, before.model.revision) != (request.model.model, request.model.revision):
            self.facts.read_model(request)
        if before.hardware != request.hardware:
            self.facts.resolve(request)
        self.facts.read_draft(request)
        self._replan()

    # -- planning

    def _replan(self) -> None:
        self.outlook = self._outlook()
        self._search_later()

    def _outlook(self) -> Outlook:
        missing = self.facts.missing(self.request)
        if missing is not None or self.facts.metadata is None:
            return missing or NoPlan("")
        plan = self.engine.plan(self.request, self.facts.metadata, self.facts.gpus)
        earlier = self.outlook
        if isinstance(earlier, Plan):
            # what was found for the plan before stays in sight until the search for this one is through
            fixes = () if plan.feasibility.verdict == "fits" else earlier.fixes
            plan = replace(plan, fixes=fixes, alternatives=earlier.alternatives)
        return plan

    def watch_outlook(self) -> None:
        """Shows the new outlook everywhere."""
        if not self.frame.is_running:
            return
        subject, plan = request_words(self.request), self.view.plan
        if plan is not None:
            subject += f" on {machine_words(plan.gpus, plan.nodes)}"
        self.frame.query_one(StepsBar).show(subject=subject, version=plan.vllm_version if plan else None)
        self.frame.show_view()

    def _search_later(self) -> None:
        if self._search_timer is not None:
            self._search_timer.stop()
        self.searching = isinstance(self.outlook, Plan)
        if self.searching:
            self._search_timer = self.set_timer(SEARCH_AFTER_S, self._search)

    def _search(self) -> None:
        request, metadata, gpus = self.request, self.facts.metadata, self.facts.gpus
        if metadata is not None and gpus:
            self.work(
                "search",
                lambda: (
                    self.engine.plan_with_fixes(request, metadata, gpus, lambda: self._still_wanted(request)),
                    self.engine.reach(request, metadata, gpus),
                ),
                lambda found: Searched(request, found[0], tuple(found[1])),
            )

    def _still_wanted(self, request: PlanRequest) -> None:
        """Called in the worker, between two plans of its search: lets keys through, and ends it once it is stale."""
        sleep(BREATH_S)
        if request is not self.request:
            raise GivenUpError

    # -- workers and what they tell

    def work(self, group: str, job: Callable[[], Any], done: Callable[[Any], Message]) -> None:
        """Runs `job` in a thread, one of a group at a time; its answer comes back as a message."""

        def run() -> None:
            self.post_message(done(job()))

        self.run_worker(run, name=group, group=group, thread=True, exclusive=True, exit_on_error=False)

    def on_detected(self, event: Detected) -> None:
        self.facts.detected(event.machine)
        if event.machine.trouble and event.machine.why_none:
            self.call_later(self.notice, printable(event.machine.why_none))
        if not event.machine.gpus and self.request.hardware.gpu == "auto":
            # not an answer of the user, so there is nothing to undo
            self.request = self.request.with_value("hardware.gpu", self.facts.default_card)
            return
        self.facts.resolve(self.request)
        self._replan()

    def on_reading(self, event: Reading) -> None:
        if self.facts.waits_for(event.model, self.request):
            self.facts.progressed(event.words)
            self.outlook = self._outlook()

    def on_model_read(self, event: ModelRead) -> None:
        if (event.model, event.revision) == (self.request.model.model, self.request.model.revision):
            self.facts.read(event.metadata)
            self._replan()

    def on_draft_read(self, event: DraftRead) -> None:
        if self.facts.draft_read(event.model, event.revision):
            self._replan()

    def on_searched(self, event: Searched) -> None:
        if event.request == self.request and isinstance(self.outlook, Plan):
            self.searching, self.reach = False, event.reach
            self.outlook = event.plan
            if self.writing.waiting and self.frame.step is not None:
                self.frame.step.press("write")

    def on_look_ended(self, event: LookEnded) -> None:
        self.looks.ended(event.progress)

    def on_written(self, event: Written) -> None:
        self.writing.written(event.directory, event.names)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What a worker could not do becomes a sentence; anything else is a bug and ends the app."""
        error = event.worker.error
        if event.state is not WorkerState.ERROR or error is None or isinstance(error, GivenUpError):
            return
        if not isinstance(error, WizardError | OSError):
            self.keeper.save()
            self._handle_exception(error)  # type: ignore[arg-type]
        elif event.worker.group == "model":
            self.facts.failed(printable(error))
            self._replan()
        elif event.worker.group == "draft":
            self.facts.draft_failed()
            self._replan()
        else:
            self.searching = self.searching and event.worker.group != "search"
            self.notice(printable(error))

    # -- words

    def show_hint(self, text: str) -> None:
        """Words on the focused control that have changed, and with them its keys."""
        self._say(text, notice=False)
        if self.frame.is_running:
            self.frame.show_keys()

    def notice(self, text: str) -> None:
        """Words on what has just happened; the next move of focus replaces them."""
        self._say(text, notice=True)

    def show_looks(self, words: str) -> None:
        """What is being read of the hub, while nobody waits for it."""
        if self.frame.is_running:
            self.frame.query_one(StepsBar).show(looks=words)
            self.frame.show_keys()

    def _say(self, text: str, *, notice: bool) -> None:
        if self.frame.is_running:
            self.frame.query_one(Hint).show(text, notice=notice)

    # -- moving about

    async def go(self, name: str) -> None:
        """To the step called `name`."""
        self.history.close()
        await self.frame.open_step(name)
        self.keeper.save_later()

    async def action_go(self, name: str) -> None:
        await self.go(name)

    async def action_go_number(self, number: int) -> None:
        await self.go(STEP_NAMES[number - 1])

    def action_jump(self) -> None:
        """`g`: the next key says where to."""
        self._jumping = True
        steps = ", ".join(f"{number} {title}" for number, (_, title) in enumerate(STEPS, 1))
        self.notice(f"Go to: {steps}.")

    async def action_next(self) -> None:
        at = STEP_NAMES.index(self.frame.step_name)
        if at + 1 < len(STEP_NAMES):
            await self.go(STEP_NAMES[at + 1])

    def next(self) -> None:
        """On to the next step, from inside a handler."""
        self.call_later(self.action_next)

    async def action_back(self) -> None:
        step = self.frame.step
        if self.facts.give_up():
            self.action_undo()
            return
        if self.facts.give_up_draft():
            self._replan()
            return
        if self.looks.stop_shown():
            self.notice("Stopped asking the hub; what this machine knows stays.")
            return
        if step is not None and step.press("back"):
            return
        at = STEP_NAMES.index(self.frame.step_name)
        if at:
            await self.go(STEP_NAMES[at - 1])
        else:
            self.notice("This is the first screen; ^q leaves, and your answers are kept.")

    async def action_search(self) -> None:
        step = self.frame.step
        if step is not None and not step.press("search"):
            await self.go(STEP_NAMES[0])
            if self.frame.step is not None:
                self.frame.step.press("search")

    def action_copy(self) -> None:
        if self.frame.step is not None:
            self.frame.step.press("copy")

    async def action_write(self) -> None:
        if self.frame.step is None or not self.frame.step.press("write"):
            await self.go(STEP_NAMES[-1])

    def action_fixes(self) -> None:
        plan, pane = self.view.plan, self.frame.query_one(VerdictPane)
        if plan is None or not plan.fixes:
            words = "still looking for some" if self.searching else "there is nothing to fix"
            self.notice(f"Fixes: {words}.")
        elif not pane.display:
            self._ask_for_fix(plan)
        elif self.screen.focused is not pane:
            self._kept_focus = self.screen.focused
            pane.focus()

    def _ask_for_fix(self, plan: Plan) -> None:
        from wizard.tui.screens.dialogs import AskDialog

        options = [(str(at), f"{fix.title}: {fix.effect}") for at, fix in enumerate(plan.fixes)]
        self.push_screen(
            AskDialog("Fixes", "Enter or a digit applies one; u undoes it.", options),
            lambda answer: self._apply_fix(int(answer)) if answer else None,
        )

    def leave_fixes(self) -> None:
        """Focus back to where it was before the fixes."""
        kept = self._kept_focus
        if kept is not None and kept.focusable:
            kept.focus()
        elif self.frame.step is not None:
            self.frame.focus_next()

    def on_verdict_pane_fix_chosen(self, event: VerdictPane.FixChosen) -> None:
        self.leave_fixes()
        self._apply_fix(event.index)

    def _apply_fix(self, index: int) -> None:
        plan = self.view.plan
        if plan is not None and index < len(plan.fixes):
            fix = plan.fixes[index]
            self.choose_all(fix.changes, fix.title)
            self.call_after_refresh(self.notice, printable(f"Applied: {fix.title}. u undoes it.", 160))

    async def action_plans(self) -> None:
        """To the plans that differ in kind, from any screen."""
        if len(self.screen_stack) > 1:
            return
        if self.frame.step_name != "policy":
            await self.go("policy")
        if self.frame.step is not None:
            self.frame.step.press("plans")

    def leave_plans(self) -> None:
        """Back to the answers of that screen."""
        if self.frame.step is not None:
            self.frame.step.press("back")

    async def action_why(self) -> None:
        """Why every value of the plan is what it is."""
        from wizard.tui.screens.dialogs import WhyDialog

        plan = self.view.plan
        if plan is not None and len(self.screen_stack) == 1:
            await self.push_screen(WhyDialog(plan))

    async def action_guide(self) -> None:
        from wizard.tui.screens.dialogs import GuideDialog

        step = self.frame.step
        if step is not None and len(self.screen_stack) == 1:
            await self.push_screen(GuideDialog(step.TITLE, step.GUIDE))

    async def action_palette(self) -> None:
        from wizard.tui.commands import COMMANDS
        from wizard.tui.screens.dialogs import PaletteDialog

        if len(self.screen_stack) == 1:
            await self.push_screen(PaletteDialog(COMMANDS), self._run_command)

    async def _run_command(self, action: str | None) -> None:
        if action:
            await self.run_action(action)

    # -- colours

    def action_use_theme(self, name: str) -> None:
        self.theme = name

    def _mix_palette(self) -> None:
        self.palette = theme.palette(self.get_css_variables(), self.current_theme.ansi)

    def _recolor(self, _: object) -> None:
        self._mix_palette()
        for screen in self.screen_stack:
            for painted in screen.query(Painted):
                painted.recolor()


def run(
    request: PlanRequest | None, resume: Resume, *, fresh: bool, offline: bool, mouse: bool = True
) -> int:
    """Runs the wizard on this terminal; returns the exit status. A session that is found goes through `resume`."""
    store = SessionStore()
    found = None if fresh else store.find(resume)
    app = WizardApp(Planner(offline=offline), request=request, found=found, store=store)
    return run_app(app, mouse=mouse)


COLLECT_AFTER = 10_000
"""New objects after which Python looks for garbage; by its default of 700 it does so some ten times for every key,
which was a tenth of a slider step (Policy at 120x40, side by side: 9.6 ms for 10.8)."""


def run_app(app: WizardApp, *, mouse: bool = True) -> int:
    """Runs a wizard to its end, keeps its answers however that comes, and leaves its last words behind."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(COLLECT_AFTER)
    try:
        app.run(mouse=mouse)
    finally:
        app.keeper.close()
    for line in app.writing.last_words:
        sys.stderr.write(printable(line, 1000) + "\n")
    if app._exception is not None:
        sys.stderr.write("This is a bug of the wizard's. Your answers are kept: start it again to go on.\n")
    return app.return_code or 0
