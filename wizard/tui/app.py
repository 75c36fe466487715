"""The wizard's app: one frozen request, the plan that follows from it, and the keys that change either.

A control's change replaces the request; the request's watcher plans anew, synchronously; the panes
repaint what differs: one key press, one frame. Only disks, drivers and wide searches run in workers,
which end in a message and never touch a widget.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from textual.app import App
from textual.binding import Binding
from textual.reactive import var
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from wizard.engine import Engine, Planner
from wizard.errors import WizardError
from wizard.questions import STEPS, question
from wizard.schemas.inputs import ModelInput, PlanRequest
from wizard.schemas.outputs import GPUInfo, Plan
from wizard.session import Found, Session, SessionStore
from wizard.text import charset, printable
from wizard.tui import theme
from wizard.tui.history import History
from wizard.tui.messages import Detected, ModelRead, Searched, Written
from wizard.tui.outlook import NoPlan, Outlook, View, machine_words, request_words
from wizard.tui.screens.frame import WizardScreen
from wizard.tui.widgets.bars import Hint, StepsBar
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.verdict import VerdictPane

if TYPE_CHECKING:
    from rich.style import Style

    from wizard.hardware.detect import Machine
    from wizard.models.metadata import ModelMetadata
    from wizard.tui.screens.step import Step

EXAMPLE_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
"""What a first run starts from: small enough for most cards, known without network."""
EXAMPLE_CARD = "H100 SXM5 80GB"
"""The what-if card of a machine without GPUs."""

SAVE_AFTER_S = 0.4
"""Quiet seconds before answers are written: a dragged slider is one write."""
SEARCH_AFTER_S = 0.15
"""Quiet seconds before fixes and alternatives are searched: longer than a key repeats."""

STEP_NAMES = tuple(name for name, _ in STEPS)
STEP_TITLES = dict(STEPS)


class WizardApp(App[int]):
    """Five steps over one request."""

    CSS_PATH = "wizard.tcss"
    TITLE = "vllm-wizard-tui"
    ENABLE_COMMAND_PALETTE = False
    INHERIT_BINDINGS = False

    BINDINGS = [
        Binding("ctrl+q,ctrl+c", "leave", "Quit", show=False, priority=True),
        Binding("ctrl+p", "palette", "Commands", show=False, priority=True),
        Binding("ctrl+s", "write", "Write files", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
        Binding("ctrl+underscore", "undo", "Undo", show=False, priority=True),
        Binding("ctrl+y", "redo", "Redo", show=False, priority=True),
        Binding("ctrl+f", "fixes", "Fixes", show=False, priority=True),
        Binding("f1", "guide", "Help", show=False, priority=True),
    ]

    request: var[PlanRequest] = var(PlanRequest(model=ModelInput(model=EXAMPLE_MODEL)), init=False)
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
        surroundings = os.environ if environment is None else environment
        plain_colors = bool(surroundings.get("NO_COLOR")) or _colorless(surroundings.get("TERM", ""))
        if plain_colors:
            os.environ["NO_COLOR"] = "1"
        super().__init__(ansi_color=True if plain_colors else None)
        self.engine = engine
        self.store = store
        self.found = found
        self.charset = charset(surroundings)
        self.palette: dict[str, Style] = {}
        self.history = History()
        self.metadata: ModelMetadata | None = None
        self.machine: Machine | None = None
        self.gpus: Sequence[GPUInfo] = ()
        self.trouble = ""
        self.searching = False
        self.directory_chosen = ""
        self.unticked: set[str] = set()
        self.wrote: tuple[str, ...] = ()
        self._kept_focus: Widget | None = None
        self._save_timer: Any = None
        self._search_timer: Any = None
        self._unsaved = False
        for each in theme.THEMES:
            self.register_theme(each)
        self.theme = _theme_for(surroundings, plain_colors)
        self.animation_level = "none"
        if request is not None:
            self.set_reactive(WizardApp.request, request)
        self._given = request is not None

    # -- start and end ---------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        return WizardScreen()

    @property
    def frame(self) -> WizardScreen:
        """The screen under any dialog."""
        screen = self.screen_stack[0]
        assert isinstance(screen, WizardScreen)
        return screen

    @property
    def view(self) -> View:
        """Everything there is to show, as of now."""
        return View(self.request, self.outlook, self.metadata, self.machine)

    def on_mount(self) -> None:
        self._mix_palette()
        self.theme_changed_signal.subscribe(self, self._recolor)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)

    async def begin(self) -> None:
        """The frame stands: find the facts, and say what there is to say at the start."""
        self._work("detect", self.engine.detect, Detected)
        self._read_model()
        await self.frame.open_step(STEP_NAMES[0])
        self._replan()
        if self.found is not None:
            self._offer(self.found)
        elif self.store is not None and self.store.set_aside:
            aside = printable(self.store.set_aside[0], 120)
            self.notice(f"The saved session could not be read; it is kept as {aside}.")
        elif not self._given:
            self.notice("Type to search for a model. Enter goes on, Esc back, ? explains, ^q leaves.")

    def _signalled(self, number: int) -> None:
        """SIGTERM or SIGHUP: keep the answers and give the terminal back."""
        self.save()
        self.exit(128 + number, return_code=128 + number)

    def action_leave(self) -> None:
        """Leaves; asks first only where that would lose answers."""
        self.save()
        if self._unsaved and self.store is not None and self.store.trouble and len(self.history):
            from wizard.tui.screens.dialogs import AskDialog

            asked = AskDialog(
                "Leave without saving?",
                self.store.trouble,
                (("stay", "Stay here"), ("leave", "Leave; my answers are lost")),
            )
            self.push_screen(asked, lambda answer: self.exit(0) if answer == "leave" else None)
            return
        self.exit(0)

    # -- answers ---------------------------------------------------------------------------------

    def choose(self, key: str, value: object) -> None:
        """One answer, from a control."""
        self._change(((key, value),), question(key).title.lower() if value is not None else key, key)

    def choose_all(self, changes: Sequence[tuple[str, Any]], what: str) -> None:
        """Several answers at once, undone together."""
        self._change(changes, what, "")

    def _change(self, changes: Sequence[tuple[str, Any]], what: str, key: str) -> None:
        changed = self.request
        try:
            for path, value in changes:
                changed = changed.with_value(path, value)
        except ValidationError as error:
            self.notice(printable(f"{what}: {error.errors()[0]['msg']}.", 200))
            self.frame.show_view()
            return
        if changed != self.request:
            self.history.record(self.request, what, key)
            self.request = changed

    def action_undo(self) -> None:
        change = self.history.undo(self.request)
        self._moved_in_history(change and change.request, f"Undone: {change.what}." if change else "Nothing to undo.")

    def action_redo(self) -> None:
        change = self.history.redo(self.request)
        self._moved_in_history(change and change.request, f"Redone: {change.what}." if change else "Nothing to redo.")

    def _moved_in_history(self, request: PlanRequest | None, words: str) -> None:
        if request is not None:
            self.request = request
        self.notice(printable(words, 160))

    def watch_request(self, before: PlanRequest, request: PlanRequest) -> None:
        """Plans anew; reads first what the change made unknown."""
        if (before.model.model, before.model.revision) != (request.model.model, request.model.revision):
            self._read_model()
        if before.hardware != request.hardware:
            self._resolve_gpus()
        self._replan()
        self.save_later()

    # -- facts -----------------------------------------------------------------------------------

    def _read_model(self) -> None:
        model, revision = self.request.model.model, self.request.model.revision
        self.metadata, self.trouble = None, ""
        self.workers.cancel_group(self, "model")
        try:
            self.metadata = self.engine.known_model(model, revision)
        except WizardError as error:
            self.trouble = str(error)
            return
        if self.metadata is None:
            self._work(
                "model",
                lambda: self.engine.load_model(model, revision),
                lambda metadata: ModelRead(model, revision, metadata),
            )

    def on_model_read(self, event: ModelRead) -> None:
        if (event.model, event.revision) == (self.request.model.model, self.request.model.revision):
            self.metadata = event.metadata
            self._replan()

    def on_detected(self, event: Detected) -> None:
        self.machine = event.machine
        if not event.machine.gpus and self.request.hardware.gpu == "auto":
            # not an answer of the user, so nothing to undo
            self.request = self.request.with_value("hardware.gpu", self.default_card())
        else:
            self._resolve_gpus()
            self._replan()

    def default_card(self) -> str:
        """The what-if card to start from."""
        if self.machine is not None and self.machine.gpus:
            return self.machine.gpus[0].catalogue_name or EXAMPLE_CARD
        return EXAMPLE_CARD

    def _resolve_gpus(self) -> None:
        self.gpus = ()
        if self.machine is None:
            return
        try:
            self.gpus = tuple(self.engine.machine(self.request.hardware, self.machine))
        except WizardError as error:
            self._no_gpus = str(error)

    _no_gpus = ""

    # -- planning --------------------------------------------------------------------------------

    def _replan(self) -> None:
        self.outlook = self._outlook()
        self._search_later()

    def _outlook(self) -> Outlook:
        if self.trouble:
            return NoPlan(printable(self.trouble))
        if self.metadata is None:
            return NoPlan(f"Reading the facts of {printable(self.request.model.model, 120)} …", waiting=True)
        if self.machine is None:
            return NoPlan("Looking for GPUs …", waiting=True)
        if not self.gpus:
            return NoPlan(printable(self._no_gpus))
        plan = self.engine.plan(self.request, self.metadata, self.gpus)
        earlier = self.outlook
        if isinstance(earlier, Plan):
            # what was found for the plan before stays in sight until the search for this one is through
            fixes = () if plan.feasibility.verdict == "fits" else earlier.fixes
            plan = replace(plan, fixes=plan.fixes or fixes, alternatives=plan.alternatives or earlier.alternatives)
        return plan

    def watch_outlook(self) -> None:
        """Shows the new outlook everywhere."""
        if not self.is_running or not self.screen_stack:
            return
        subject = request_words(self.request)
        plan = self.view.plan
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
        request, metadata, gpus = self.request, self.metadata, self.gpus
        if metadata is not None and gpus:
            self._work(
                "search",
                lambda: self.engine.plan_with_fixes(request, metadata, gpus),
                lambda plan: Searched(request, plan),
            )

    def on_searched(self, event: Searched) -> None:
        if event.request == self.request and isinstance(self.outlook, Plan):
            self.searching = False
            self.outlook = event.plan

    def _work(self, group: str, work: Callable[[], Any], done: Callable[[Any], Any]) -> None:
        """Runs `work` in a thread, one of a group at a time; its answer comes back as a message."""

        def job() -> None:
            self.post_message(done(work()))

        self.run_worker(job, name=group, group=group, thread=True, exclusive=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What a worker could not do becomes a sentence; anything else is a bug and ends the app."""
        if event.state is not WorkerState.ERROR or event.worker.error is None:
            return
        error = event.worker.error
        if not isinstance(error, WizardError | OSError):
            self._fatal_error_of(error)
            return
        sentence = printable(str(error))
        if event.worker.group == "model":
            self.trouble = sentence
            self._replan()
        else:
            self.searching = False
            self.notice(sentence)

    def _fatal_error_of(self, error: BaseException) -> None:
        self.save()
        self.panic(f"{type(error).__name__}: {printable(str(error))}")

    # -- moving about ----------------------------------------------------------------------------

    def keys(self, focused: Widget | None) -> list[tuple[str, str]]:
        """(key, what it does), the most wanted first."""
        from wizard.tui.widgets.choice import ChoiceField
        from wizard.tui.widgets.slider import Slider
        from wizard.tui.widgets.switch import TickField

        keys: list[tuple[str, str]] = []
        if isinstance(focused, VerdictPane):
            return [("1-9", "apply that fix"), ("↑↓", "read"), ("Enter", "apply"), ("Esc", "back"), ("u", "undo")]
        if isinstance(focused, Slider):
            keys += [("←→", "change"), ("0-9", "type")]
        elif isinstance(focused, ChoiceField):
            keys.append(("←→", "change"))
        elif isinstance(focused, TickField):
            keys.append(("Space", "tick"))
        step = self.frame.step
        keys += step.keys if step else ()
        at = STEP_NAMES.index(self.frame.step_name)
        if at + 1 < len(STEP_NAMES) and ("Enter", "take this plan") not in keys:
            keys.append(("Enter", STEP_TITLES[STEP_NAMES[at + 1]]))
        keys.append(("Tab", "next"))
        if at:
            keys.append(("Esc", "back"))
        plan = self.view.plan
        if plan is not None and plan.fixes:
            keys.append(("f", "fixes"))
        keys += [("u", "undo"), ("?", "help"), ("^p", "more"), ("^q", "quit")]
        return keys

    def show_hint(self, text: str) -> None:
        """Words on the focused control that have changed."""
        self.frame.query_one(Hint).show(text)

    def notice(self, text: str) -> None:
        """Words on what has just happened; the next move of focus replaces them."""
        self.frame.query_one(Hint).show(text, notice=True)

    async def go(self, name: str) -> None:
        """To the step called `name`."""
        self.history.close()
        await self.frame.open_step(name)
        self.save_later()

    async def action_go(self, name: str) -> None:
        await self.go(name)

    async def action_go_number(self, number: int) -> None:
        await self.go(STEP_NAMES[number - 1])

    async def action_next(self) -> None:
        at = STEP_NAMES.index(self.frame.step_name)
        if at + 1 < len(STEP_NAMES):
            await self.go(STEP_NAMES[at + 1])

    def next(self) -> None:
        """On to the next step, from inside a handler."""
        self.call_later(self.action_next)

    async def action_back(self) -> None:
        step = self.frame.step
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
            await self.go("model")
            if self.frame.step is not None:
                self.frame.step.press("search")

    def action_copy(self) -> None:
        step = self.frame.step
        if step is not None:
            step.press("copy")

    def action_fixes(self) -> None:
        plan = self.view.plan
        pane = self.frame.query_one(VerdictPane)
        if plan is None or not plan.fixes:
            words = "still looking for fixes" if self.searching else "there is nothing to fix"
            self.notice(f"Fixes: {words}.")
        elif not pane.display:
            self._fix_dialog(plan)
        elif self.screen.focused is not pane:
            self._kept_focus = self.screen.focused
            pane.focus()

    def _fix_dialog(self, plan: Plan) -> None:
        from wizard.tui.screens.dialogs import AskDialog

        options = tuple(
            (str(at), f"{fix.title} ({fix.verdict_after.replace('_', ' ')})") for at, fix in enumerate(plan.fixes)
        )
        asked = AskDialog("Fixes", "Each is applied at once; u undoes it.", options)
        self.push_screen(asked, lambda answer: self._apply_fix(int(answer)) if answer else None)

    def leave_fixes(self) -> None:
        """Focus back to where it was before the fixes."""
        kept = self._kept_focus
        if kept is not None and kept.focusable:
            kept.focus()
        elif self.frame.step is not None:
            self.frame.focus_next()

    def on_verdict_pane_fix_chosen(self, event: VerdictPane.FixChosen) -> None:
        self._apply_fix(event.index)
        self.leave_fixes()

    def _apply_fix(self, index: int) -> None:
        plan = self.view.plan
        if plan is not None and index < len(plan.fixes):
            fix = plan.fixes[index]
            self.choose_all(fix.changes, fix.title)
            self.call_after_refresh(self.notice, printable(f"Applied: {fix.title}. u undoes it.", 160))

    async def action_guide(self) -> None:
        from wizard.tui.screens.dialogs import GuideDialog

        step = self.frame.step
        if step is not None and len(self.screen_stack) == 1:
            await self.push_screen(GuideDialog(step.TITLE, step.GUIDE))

    async def action_palette(self) -> None:
        from wizard.tui.screens.dialogs import PaletteDialog

        if len(self.screen_stack) == 1:
            await self.push_screen(PaletteDialog(self.commands()), self._run_command)

    def commands(self) -> tuple[tuple[str, str], ...]:
        """(action, words) of the command palette."""
        steps = tuple((f"app.go('{name}')", f"Go to {number} {title}") for number, (name, title) in enumerate(STEPS, 1))
        return (
            *steps,
            ("app.write", "Write the files (^s)"),
            ("app.fixes", "Show the fixes (f)"),
            ("app.undo", "Undo (u)"),
            ("app.redo", "Redo (U)"),
            ("app.search", "Search models (/)"),
            ("app.guide", "Help on this screen (?)"),
            ("app.restart", "Start over with fresh answers"),
            ("app.use_theme('wizard-dark')", "Dark colours"),
            ("app.use_theme('wizard-light')", "Light colours"),
            ("app.use_theme('wizard-ansi')", "The terminal's own 16 colours"),
            ("app.suspend_process", "Suspend (^z)"),
            ("app.leave", "Leave the wizard (^q)"),
        )

    async def _run_command(self, action: str | None) -> None:
        if action:
            await self.run_action(action)

    def action_use_theme(self, name: str) -> None:
        self.theme = name

    def action_restart(self) -> None:
        fresh = PlanRequest(model=ModelInput(model=EXAMPLE_MODEL))
        if self.machine is not None and not self.machine.gpus:
            fresh = fresh.with_value("hardware.gpu", self.default_card())
        if fresh != self.request:
            self.history.record(self.request, "starting over")
            self.request = fresh
        self.call_later(self.go, "model")

    # -- export ----------------------------------------------------------------------------------

    @property
    def directory(self) -> str:
        """Where the export goes: as typed, else named after model and machine."""
        return self.directory_chosen or self._suggested_directory()

    def _suggested_directory(self) -> str:
        name = request_words(self.request).lower()
        safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)
        return "./" + "-".join(filter(None, safe.split("-")))[:60]

    def directory_typed(self, text: str) -> None:
        """The user wants the files elsewhere."""
        if text.strip() != self.directory:
            self.directory_chosen = text.strip()
            self.save_later()

    async def action_write(self) -> None:
        if self.frame.step_name != "export":
            await self.go("export")
            return
        self.write()

    def write(self) -> None:
        """Writes the ticked files, asking first where a file with other contents would be replaced."""
        from wizard.tui.screens.export import ExportStep

        step, plan = self.frame.step, self.view.plan
        if not isinstance(step, ExportStep) or plan is None:
            self.notice("There is no plan to write yet.")
            return
        if plan.feasibility.verdict == "wont_start":
            self.notice("Not written: vLLM would not start like this. f shows what would help.")
            return
        files = step.ticked()
        if not files:
            self.notice("No file is ticked; Space ticks the one under the cursor.")
            return
        directory = step.directory
        differing = self.engine.existing(directory, files)
        if not differing:
            self._write(directory, files, overwrite=False)
            return
        from wizard.tui.screens.dialogs import AskDialog

        asked = AskDialog(
            f"Replace {len(differing)} of {len(files)} files?",
            f"In {printable(directory, 200)} these have other contents: {printable(', '.join(differing), 300)}.",
            (("keep", "Keep them, write nothing"), ("replace", "Replace them")),
        )
        self.push_screen(
            asked, lambda answer: self._write(directory, files, overwrite=True) if answer == "replace" else None
        )

    def _write(self, directory: Path, files: dict[str, str], *, overwrite: bool) -> None:
        self._work(
            "write",
            lambda: self.engine.write(directory, files, overwrite=overwrite),
            lambda written: Written(written.directory, tuple(path.name for path in written.files)),
        )

    def on_written(self, event: Written) -> None:
        from wizard.tui.screens.dialogs import AskDialog
        from wizard.tui.whatnext import next_steps

        lines = next_steps(event.directory, event.names)
        self.wrote = (f"Written to {event.directory}: {', '.join(event.names)}", *lines)
        asked = AskDialog(
            "Written",
            "\n\n".join((f"{len(event.names)} files are in {printable(event.directory, 200)}.", "\n".join(lines))),
            (("leave", "Leave; this stays on your screen"), ("stay", "Stay here")),
        )
        self.push_screen(asked, lambda answer: self.exit(0) if answer == "leave" else None)

    # -- keeping ---------------------------------------------------------------------------------

    def save_later(self) -> None:
        """Saves once the hands are still."""
        self._unsaved = True
        if self.store is not None and self.is_running:
            if self._save_timer is not None:
                self._save_timer.stop()
            self._save_timer = self.set_timer(SAVE_AFTER_S, self.save)

    def save(self) -> None:
        """Saves now; a failure is said once and never in the way."""
        if self.store is None or not self._unsaved:
            return
        before = self.store.trouble
        session = Session(
            step=self.frame.step_name,
            request=self.request,
            directory=self.directory_chosen,
            unticked=tuple(sorted(self.unticked)),
        )
        if self.store.save(session):
            self._unsaved = False
        elif self.store.trouble != before:
            self.notice(self.store.trouble)

    def _offer(self, found: Found) -> None:
        from wizard.tui.screens.dialogs import AskDialog

        session = found.session
        words = f"{request_words(session.request)} · {STEP_TITLES.get(session.step, 'Model')}"  # type: ignore[call-overload]
        asked = AskDialog(
            "Continue where you left off?",
            words,
            (("continue", "Continue"), ("fresh", "Start afresh")),
        )
        self.push_screen(asked, lambda answer: self._continue(session) if answer != "fresh" else None)

    def _continue(self, session: Session) -> None:
        self.directory_chosen = session.directory
        self.unticked = set(session.unticked)
        self.request = session.request
        if session.step in STEP_NAMES:
            self.call_later(self.go, session.step)

    # -- colours ---------------------------------------------------------------------------------

    def _mix_palette(self) -> None:
        self.palette = theme.palette(self.get_css_variables(), self.current_theme.ansi)

    def _recolor(self, _: object) -> None:
        self._mix_palette()
        for screen in self.screen_stack:
            for painted in screen.query(Painted):
                painted.recolor()


def _colorless(term: str) -> bool:
    """Terminals of the days before colour."""
    return term.startswith(("vt1", "vt2")) or term.endswith("-m") or term.endswith("-mono")


def _theme_for(environment: Mapping[str, str], plain_colors: bool) -> str:
    """Dark, unless the terminal has sixteen colours or says that its ground is light."""
    wanted = f"wizard-{environment.get('VLLM_WIZARD_THEME', '')}"
    if wanted in {each.name for each in theme.THEMES}:
        return wanted
    term = environment.get("TERM", "")
    rich_colors = "256color" in term or environment.get("COLORTERM") in {"truecolor", "24bit"} or "direct" in term
    if plain_colors or not rich_colors:
        return theme.ANSI.name
    ground = environment.get("COLORFGBG", "").rsplit(";", 1)[-1]
    return theme.LIGHT.name if ground in {"7", "15"} else theme.DARK.name


def run(request: PlanRequest | None, *, fresh: bool, offline: bool, mouse: bool = True) -> int:
    """Runs the wizard on this terminal; returns the exit status."""
    import sys

    store = SessionStore()
    found = None if fresh or request is not None else store.find()
    app = WizardApp(Planner(offline=offline), request=request, found=found, store=store)
    app.run(mouse=mouse)
    store.release()
    for line in app.wrote:
        print(printable(line, 1000), file=sys.stderr)  # noqa: T201 - the last words, after the screen is back
    return app.return_code or 0
