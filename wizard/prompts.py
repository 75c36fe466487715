"""The plain wizard: the same questions line by line, for slow links, screen readers and dumb terminals.

Questionary asks where the terminal can move its cursor; where it can't, or for a screen reader, the same
questions are numbered lines, and nothing that was printed is ever changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wizard.answers import AnswerError, parse, shown
from wizard.asking import Asker, LeaveError, LineAsker, Option, QuestionaryAsker, moves_cursor
from wizard.draft import Draft
from wizard.engine import Engine, GivenUpError, ModelRow, Planner
from wizard.errors import WizardError
from wizard.leaving import next_steps, suggested_directory
from wizard.progress import told
from wizard.questions import PRESETS, QUESTIONS, STEPS, Question, Step, question
from wizard.schemas.inputs import PlanRequest
from wizard.session import Resume, Session, SessionStore
from wizard.text import charset, gib, own_environment, printable
from wizard.ticks import Ticks
from wizard.wording import VERDICTS, plan_lines, planned_answer, request_words

INTERRUPTED = 130
"""Exit status after Ctrl+C, as shells count it."""


MOST_LISTED = 20
"""Models of one search: what a person reads, or listens to."""


class PlainWizard:
    """Walks the five steps: each shows its answers, changes those that are asked for, and says the verdict."""

    def __init__(self, engine: Engine, asker: Asker, *, store: SessionStore | None = None) -> None:
        self.engine, self.asker, self.store = engine, asker, store
        self.draft = Draft(engine, asker.say)
        self.directory = ""
        self.ticks = Ticks()
        self.step: Step = "model"

    # -- from start to end

    def run(self, request: PlanRequest | None, resume: Resume = lambda saved: saved, *, fresh: bool) -> int:
        """Asks until the user is through; the exit status."""
        try:
            self._begin(request, resume, fresh=fresh)
            while self._walk():
                pass
        except LeaveError:
            self.asker.say()
            self.asker.say("Your answers are kept; start the wizard again to go on.")
            return INTERRUPTED
        finally:
            self._save()
            if self.store is not None:
                self.store.release()
        return 0

    def _begin(self, request: PlanRequest | None, resume: Resume, *, fresh: bool) -> None:
        found = self.store.find(resume) if self.store is not None and not fresh else None
        if self.store is not None and self.store.set_aside:
            self.asker.say(self.store.set_aside_words)
        if found is not None:
            words = f"Continue with {request_words(found.session.request)}, at {_title(found.session.step)}?"
            options = (("continue", "Continue where I left off"), ("fresh", "Start afresh"))
            if self.asker.choose(words, options, "continue") == "continue":
                request = found.session.request
                self.directory = found.session.directory
                self.ticks = Ticks(found.session.unticked, found.session.ticked)
                self.step = next((name for name, _ in STEPS if name == found.session.step), "model")
        if request is not None:
            self.draft.request = request
        self.draft.look_around()

    def _walk(self) -> bool:
        """One visit to the step at hand; False when the user is through."""
        number = next(at for at, (name, _) in enumerate(STEPS) if name == self.step)
        self.asker.say()
        self.asker.say(f"{number + 1} of {len(STEPS)}: {STEPS[number][1]}")
        for line in self.verdict():
            self.asker.say(line)
        menu = self._menu(number)
        answer = self.asker.choose("What next?", menu, menu[0][0])
        match answer.split(":", 1):
            case ["next"]:
                self.step = STEPS[number + 1][0]
            case ["back"]:
                self.step = STEPS[number - 1][0]
            case ["undo"]:
                self.draft.undo()
            case ["redo"]:
                self.draft.redo()
            case ["fixes"]:
                self._fix()
            case ["write"]:
                return not self._write()
            case ["leave"]:
                raise LeaveError
            case ["ask", key]:
                self._ask(key)
        self._save()
        return True

    def _menu(self, number: int) -> list[Option]:
        options: list[Option] = []
        if number + 1 < len(STEPS):
            options.append(("next", f"Go on to {STEPS[number + 1][1]}"))
        else:
            options.append(("write", "Write the files"))
        options += [(f"ask:{key}", words) for key, words in self._questions()]
        plan = self.draft.plan()
        if plan is not None and plan.feasibility.verdict != "fits":
            options.append(("fixes", "Show what would help"))
        if len(self.draft.history):
            options.append(("undo", "Undo the last change"))
        if self.draft.history.can_redo:
            options.append(("redo", "Redo what was undone"))
        if number:
            options.append(("back", f"Back to {STEPS[number - 1][1]}"))
        options.append(("leave", "Leave; answers are kept"))
        return options

    def _questions(self) -> list[Option]:
        if self.step == "export":
            return [
                ("directory", f"Directory: {printable(self._directory(), 300)}"),
                *(
                    (each.key, f"{each.title}: {self._shown(each)}")
                    for each in QUESTIONS
                    if each.step == "export"
                ),
                ("files", f"Files: {', '.join(self._wanted()) or 'none'}"),
                ("show", "Show a file"),
            ]
        options: list[Option] = []
        if self.step == "workload":
            options.append(("preset", "Preset: start from a typical workload"))
        for asked in QUESTIONS:
            if asked.step == self.step and not asked.only_option:
                options.append((asked.key, f"{_titled(asked)}: {self._shown(asked)}"))
            if asked.key == "hardware.gpu" and self._several_here():
                options.append(("devices", f"Which of them: {', '.join(self._devices())}"))
        if self.step == "policy" and self.draft.plan() is not None:
            options.append(("alternatives", "Other plans that differ in kind"))
        return options

    # -- answers

    def _value(self, asked: Question) -> Any:
        part, name = asked.key.split(".")
        return getattr(getattr(self.draft.request, part), name)

    def _shown(self, asked: Question) -> str:
        value = self._value(asked)
        if asked.key == "hardware.gpu" and value == "auto":
            return "this machine's"
        plan = self.draft.plan() if value is None else None
        planned = planned_answer(plan, asked.key) if plan is not None else None
        words = printable(shown(asked, value), 120)
        return words if planned is None else f"{words} ({shown(asked, planned)})"

    def _several_here(self) -> bool:
        machine = self.draft.machine
        return self.draft.request.hardware.gpu == "auto" and machine is not None and len(machine.gpus) > 1

    def _devices(self) -> list[str]:
        """Indices of this machine's GPUs that the plan may use."""
        every = [str(gpu.index) for gpu in self.draft.machine.gpus] if self.draft.machine else []
        return list(self.draft.request.hardware.device_ids or every)

    def _ask_devices(self) -> None:
        assert self.draft.machine is not None
        gpus = self.draft.machine.gpus
        while True:
            chosen = self._devices()
            options = [
                (
                    str(gpu.index),
                    f"{'[x]' if str(gpu.index) in chosen else '[ ]'} {gpu.index}: {printable(gpu.name, 80)}, "
                    f"{gib(gpu.memory_used_bytes)} of {gib(gpu.memory_total_bytes)} GiB taken",
                )
                for gpu in gpus
            ]
            at = self.asker.choose(
                "GPUs to plan for; choosing one turns it on or off", [("", "Done"), *options], ""
            )
            if not at:
                return
            ticked = [str(gpu.index) for gpu in gpus if (str(gpu.index) in chosen) != (str(gpu.index) == at)]
            if not ticked:
                self.asker.say("At least one GPU stays chosen.")
                continue
            ids = None if len(ticked) == len(gpus) else tuple(ticked)
            self.draft.change((("hardware.device_ids", ids),), "GPUs")

    def _ask(self, key: str) -> None:
        special: dict[str, Callable[[], None]] = {
            "model.model": self._ask_model,
            "hardware.gpu": self._ask_gpu,
            "devices": self._ask_devices,
            "preset": self._ask_preset,
            "alternatives": self._ask_alternative,
            "directory": self._ask_directory,
            "files": self._ask_files,
            "show": self._show_file,
        }
        if key in special:
            special[key]()
            return
        asked = question(key)
        self.asker.say(asked.help)
        if asked.kind in {"choice", "switch"}:
            choices = [(each.value, each.label) for each in asked.choices] or [(True, "yes"), (False, "no")]
            options = [(str(value), words) for value, words in choices]
            answer = self.asker.choose(_titled(asked), options, str(self._value(asked)))
            self.draft.change(
                ((key, next(value for value, _ in choices if str(value) == answer)),), _titled(asked)
            )
            return
        now = self._value(asked)
        default = asked.none if now is None else shown(asked, now)
        answer = self.asker.ask(asked.title, default, lambda text: self._complaint(asked, text))
        self.draft.change(((key, parse(asked, answer)),), asked.title)

    def _complaint(self, asked: Question, text: str) -> str | None:
        """What is wrong with an answer, for the question or for the request."""
        try:
            self.draft.request.with_value(asked.key, parse(asked, text))
        except AnswerError as error:
            return str(error)
        except ValidationError as error:
            return f"{asked.title}: {error.errors()[0]['msg'].removeprefix('Value error, ')}."
        return None

    def _ask_preset(self) -> None:
        options = [(each.name, f"{each.name}: {each.help}") for each in PRESETS]
        name = self.asker.choose("Preset", options, PRESETS[0].name)
        chosen = next(each for each in PRESETS if each.name == name)
        self.draft.change(tuple(chosen.answers.items()), f"preset {name}")

    def _ask_model(self) -> None:
        self.asker.say(question("model.model").help)
        text = self.asker.ask("Words to search for, an id, or a directory", "", lambda text: None)
        rows = list(self.engine.search_models(text))
        try:
            with told(self.asker.say) as progress:
                found = self.engine.search_hub(text, progress)
            rows += [row for row in found if row.id not in {each.id for each in rows}]
        except GivenUpError:
            self.asker.say("Stopped asking the hub; these are the models known here.")
        except WizardError as error:
            self.asker.say(printable(error))
        every = [row for row in rows if not row.id.endswith("/")]
        rows = every[:MOST_LISTED]
        if not rows:
            self.asker.say("No model of that name. Type fewer words, a whole organisation/name, or a path.")
            return
        options = [(row.id, self._model_words(row)) for row in rows]
        options.append(("", f"Keep {printable(self.draft.request.model.model, 120)}"))
        title = f"{len(every)} found"
        if len(every) > MOST_LISTED:
            title = f"The first {MOST_LISTED} of {len(every)} found; another word narrows it"
        name = self.asker.choose(title, options, options[0][0])
        if name:
            self.draft.change((("model.model", name), ("model.revision", None)), f"model {name}")

    def _model_words(self, row: ModelRow) -> str:
        name = printable(row.id, 120)
        try:
            metadata = self.engine.known_model(row.id, None)
            if metadata is None or not self.draft.gpus:
                return f"{name} ({row.origin})"
            changed = self.draft.request.with_value("model.model", row.id).with_value("model.revision", None)
            plan = self.engine.plan(changed, metadata, self.draft.gpus)
        except WizardError as error:
            return f"{name}: {printable(error)}"
        sign, word = VERDICTS[plan.feasibility.verdict]
        return f"{sign} {name} ({word.lower()}, {row.origin})"

    def _ask_gpu(self) -> None:
        self.asker.say(question("hardware.gpu").help)
        text = self.asker.ask("Words of a GPU's name, or auto for this machine", "", lambda text: None)
        options = [("auto", "this machine's GPUs")] if self.draft.machine and self.draft.machine.gpus else []
        cards = self.engine.gpu_catalogue("" if text == "auto" else text)
        options += [
            (card.name, f"{printable(card.name, 80)}, {gib(card.memory_total_bytes)} GiB") for card in cards
        ]
        options.append(("", f"Keep {self._shown(question('hardware.gpu'))}"))
        name = self.asker.choose(f"{len(options) - 1} found", options, options[0][0])
        if name:
            self.draft.change((("hardware.gpu", name), ("hardware.device_ids", None)), f"GPU {name}")

    # -- plans

    def verdict(self) -> list[str]:
        """The feasibility panel in lines to be read from top to bottom."""
        plan = self.draft.plan()
        return (
            [f"No plan yet: {self.draft.trouble or 'something is missing.'}"]
            if plan is None
            else plan_lines(plan)
        )

    def _fix(self) -> None:
        plan = self.draft.whole_plan()
        if plan is None or not plan.fixes:
            self.asker.say("No single change was found that helps; choose a smaller model or more GPUs.")
            return
        options = [
            (
                str(at),
                f"{VERDICTS[fix.verdict_after][0]} {printable(fix.title, 120)}: {printable(fix.effect, 160)}",
            )
            for at, fix in enumerate(plan.fixes)
        ]
        answer = self.asker.choose("What would help", [*options, ("", "None of these")], "0")
        if answer:
            fix = plan.fixes[int(answer)]
            self.draft.change(fix.changes, fix.title)

    def _ask_alternative(self) -> None:
        plan = self.draft.whole_plan()
        if plan is None or not plan.alternatives:
            self.asker.say("No other plan differs enough to list.")
            return
        options = [
            (
                str(at),
                f"{VERDICTS[each.feasibility.verdict][0]} {printable(each.title, 80)}: {printable(each.why, 160)}",
            )
            for at, each in enumerate(plan.alternatives)
        ]
        answer = self.asker.choose("Other plans", [*options, ("", "Keep the recommended one")], "")
        if answer:
            each = plan.alternatives[int(answer)]
            self.draft.change(each.request_changes, each.title)

    # -- files

    def _directory(self) -> str:
        return self.directory or suggested_directory(self.draft.request)

    def _offer(self) -> tuple[Mapping[str, str], Collection[str]]:
        """Every file that fits the plan, and the names of the usual ones; README.md speaks of those ticked."""
        plan = self.draft.whole_plan()
        if plan is None:
            return {}, ()
        try:
            usual = self.engine.usual(plan, self.draft.request)
            listed = [*(set(usual) - self.ticks.unticked), *self.ticks.ticked]
            return self.engine.render(plan, self.draft.request, listed), usual
        except WizardError as error:  # a flag or a port that no file can carry
            self.asker.say(printable(error))
            return {}, ()

    def _wanted(self) -> list[str]:
        files, usual = self._offer()
        return self.ticks.wanted(files, usual)

    def _ask_directory(self) -> None:
        self.directory = self.asker.ask("Directory", self._directory(), lambda text: None)

    def _ask_files(self) -> None:
        while True:
            files, usual = self._offer()
            options = [(name, f"{'[x]' if self.ticks.on(name, usual) else '[ ]'} {name}") for name in files]
            name = self.asker.choose(
                "Files to write; choosing one turns it on or off", [("", "Done"), *options], ""
            )
            if not name:
                return
            self.ticks.toggle(name, usual)

    def _show_file(self) -> None:
        artifacts, _ = self._offer()
        if artifacts:
            name = self.asker.choose("File", [(each, each) for each in artifacts], next(iter(artifacts)))
            for line in artifacts[name].splitlines():
                self.asker.quote(printable(line.expandtabs(4), 1000))

    def _write(self) -> bool:
        plan = self.draft.plan()
        offered, usual = self._offer()
        files = {name: offered[name] for name in self.ticks.wanted(offered, usual)}
        if plan is None or plan.feasibility.verdict == "wont_start" or not files:
            words = (
                "no file is chosen" if plan is not None and not files else "vLLM would not start like this"
            )
            self.asker.say(f"Not written: {words}.")
            return False
        try:
            directory = Path(self._directory()).expanduser()
            differing = self.engine.differences(directory, files)
            if differing:
                for line in "".join(differing.values()).splitlines():
                    self.asker.say(printable(line.expandtabs(4), 1000))
                options = (("keep", "Keep them, write nothing"), ("replace", "Replace them"))
                words = f"In {printable(directory, 200)} these have other contents: {printable(', '.join(differing))}."
                if self.asker.choose(words, options, "keep") == "keep":
                    return False
            written = self.engine.write(directory, files, overwrite=bool(differing))
        except (WizardError, RuntimeError) as error:  # RuntimeError: ~nobody has no home directory
            self.asker.say(printable(error))
            return False
        names = [path.name for path in written.files]
        self.asker.say(f"Written to {printable(written.directory, 300)}: {', '.join(names)}")
        for line in next_steps(written.directory, names, self.draft.request):
            self.asker.quote(printable(line, 1000))  # to be copied as it is
        return True

    def _save(self) -> None:
        if self.store is None:
            return
        session = Session(
            step=self.step,
            request=self.draft.request,
            directory=self.directory,
            unticked=tuple(sorted(self.ticks.unticked)),
            ticked=tuple(sorted(self.ticks.ticked)),
        )
        before = self.store.trouble
        if not self.store.save(session) and self.store.trouble != before:
            self.asker.say(self.store.trouble)


def _complaint(asked: Question, text: str) -> str | None:
    try:
        parse(asked, text)
    except AnswerError as error:
        return str(error)
    return None


def _titled(asked: Question) -> str:
    return f"{asked.group} {asked.title}".strip()


def _title(step: str) -> str:
    return next((title for name, title in STEPS if name == step), STEPS[0][1])


def run(
    request: PlanRequest | None, resume: Resume, *, fresh: bool, offline: bool, screen_reader: bool
) -> int:
    """Asks on this terminal; the exit status. A session that is found goes through `resume`."""
    environment = own_environment()
    letters = charset(environment)
    still = screen_reader or not moves_cursor(os.environ.get("TERM", ""))
    asker: Asker = LineAsker(letters) if still else QuestionaryAsker(letters)
    wizard = PlainWizard(Planner(offline=offline), asker, store=SessionStore())
    return wizard.run(request, resume, fresh=fresh)
