"""The plain wizard's answers so far, with the facts that a plan for them needs, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wizard.engine import Engine, GivenUpError
from wizard.errors import ModelUnavailableError, WizardError
from wizard.history import Change, History
from wizard.progress import told
from wizard.schemas.checked import why_not
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import GPUInfo, Plan
from wizard.text import printable
from wizard.wording import EXAMPLE_CARD, first_request

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.models.metadata import ModelMetadata


class Draft:
    """One request and its history; `say` tells the user what takes time or went wrong."""

    def __init__(self, engine: Engine, say: Callable[[str], None]) -> None:
        self.engine, self._say = engine, say
        self.request = first_request()
        self.history = History()
        self.machine: Machine | None = None
        self.gpus: Sequence[GPUInfo] = ()
        self.trouble = ""
        """Why there is no plan, in one sentence; empty where there is one."""
        self._metadata: ModelMetadata | None = None
        self._metadata_of: tuple[str, str | None] | None = None
        self._draft: tuple[str, str | None] | None = None
        """The model that drafts which was looked for last, found or not."""
        self._whole: tuple[PlanRequest, Plan] | None = None

    def look_around(self) -> None:
        """Finds this machine's GPUs, else settles on a what-if card; then the model's facts."""
        self._say("Looking for GPUs …")
        self.machine = self.engine.detect()
        if not self.machine.gpus:
            self._say(printable(self.machine.why_none or "No GPU was found on this machine."))
            if self.request.hardware.gpu == "auto":
                self.request = self.request.with_value("hardware.gpu", EXAMPLE_CARD)
                self._say(f"Planning for a what-if {EXAMPLE_CARD}; choose another in step 2.")
        self._find_facts()

    def change(self, changes: Sequence[tuple[str, Any]], what: str) -> None:
        """Other answers, undone together; what the request doesn't take is said and changes nothing."""
        changed = self.request
        try:
            for path, value in changes:
                changed = changed.with_value(path, value)
        except ValueError as error:
            self._say(printable(f"{what}: {why_not(error)}."))
            return
        if changed != self.request:
            self.history.record(self.request, what)
            self.request = changed
            self._find_facts()

    def undo(self) -> None:
        """Back to before the last change."""
        self._go(self.history.undo(self.request), "Undone")

    def redo(self) -> None:
        """Forward again to after the change that was undone last."""
        self._go(self.history.redo(self.request), "Redone")

    def _go(self, change: Change | None, done: str) -> None:
        if change is not None:
            self.request = change.request
            self._find_facts()
            self._say(printable(f"{done}: {change.what}."))

    def plan(self) -> Plan | None:
        """The plan for the answers so far; None where `trouble` says why not."""
        if self.trouble or self._metadata is None:
            return None
        return self.engine.plan(self.request, self._metadata, self.gpus)

    def whole_plan(self) -> Plan | None:
        """The same with fixes and alternatives, which take a moment to find."""
        if self.trouble or self._metadata is None:
            return None
        if self._whole is None or self._whole[0] != self.request:
            plan = self.engine.plan_with_fixes(self.request, self._metadata, self.gpus)
            self._whole = (self.request, plan)
        return self._whole[1]

    def _find_facts(self) -> None:
        wanted = (self.request.model.model, self.request.model.revision)
        self.trouble = ""
        try:
            if self._metadata_of != wanted:
                self._metadata = self._metadata_of = None
                self._metadata = self._read(*wanted)
                self._metadata_of = wanted
            if self.machine is not None:
                self.gpus = tuple(self.engine.machine(self.request.hardware, self.machine))
        except WizardError as error:
            self.trouble = printable(error)
        self._find_draft()

    def _find_draft(self) -> None:
        """Reads the model that drafts, once for each; a plan without it says so."""
        wanted = self.engine.draft_to_read(self.request)
        if wanted == self._draft:
            return
        self._draft = wanted
        if wanted is not None:
            self._say(f"Reading the facts of {printable(wanted[0], 120)}, which drafts …")
            with suppress(WizardError, GivenUpError), told(self._say) as progress:
                self.engine.load_draft(*wanted, progress)

    def _read(self, model: str, revision: str | None) -> ModelMetadata:
        known = self.engine.known_model(model, revision)
        name = printable(model, 120)
        if known is not None and not self.engine.knows_better(known):
            return known
        self._say(f"Reading the facts of {name} …")
        try:
            with told(self._say) as progress:
                return self.engine.load_model(model, revision, progress)
        except GivenUpError:
            if known is None:
                raise ModelUnavailableError(
                    f"The facts of {name} were not read; choose a model again."
                ) from None
            self._say("Stopped asking the hub; the catalogue's facts are taken.")
        except WizardError as error:
            if known is None:
                raise
            self._say(f"{printable(error)} The catalogue's facts are taken.")
        return known
