"""What the plan is made from besides the answers: the model's facts and the machine's GPUs.

Reading them may take a disk, a driver or the network, so it happens in workers of the app and ends in a
message; what is here is only what is known by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wizard.engine import Engine, Progress
from wizard.errors import WizardError
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import GPUInfo
from wizard.text import printable
from wizard.tui.messages import Detected, DraftRead, ModelRead, Reading
from wizard.tui.outlook import NoPlan
from wizard.wording import EXAMPLE_CARD

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.models.metadata import ModelMetadata
    from wizard.tui.app import WizardApp


FINER = "finer"
"""The look at the hub for exact facts of a model that the catalogue already knows."""


class Facts:
    """Model and machine of the request in force, or why they are not known."""

    def __init__(self, app: WizardApp, engine: Engine) -> None:
        self.app, self.engine = app, engine
        self.metadata: ModelMetadata | None = None
        self.machine: Machine | None = None
        self.gpus: Sequence[GPUInfo] = ()
        self.trouble = ""
        """Why the model's facts could not be had."""
        self.no_gpus = ""
        """Why the machine that was asked for is none."""
        self._doing = ""
        self._progress: Progress | None = None
        self._draft: tuple[str, str | None] | None = None
        """The model that drafts which was looked for last, and is not there yet or can't be had."""
        self._draft_progress: Progress | None = None

    @property
    def default_card(self) -> str:
        """The what-if card to start from: like the first of this machine, if it has one."""
        if self.machine is not None and self.machine.gpus:
            return self.machine.gpus[0].catalogue_name or EXAMPLE_CARD
        return EXAMPLE_CARD

    def missing(self, request: PlanRequest) -> NoPlan | None:
        """Why there can be no plan for `request` yet; None when there can."""
        if self.trouble:
            return NoPlan(printable(self.trouble))
        if self.metadata is None:
            doing = f"{self._doing}. " if self._doing else ""
            name = printable(request.model.model, 120)
            return NoPlan(f"Reading the facts of {name} … {doing}Esc gives up.", waiting=True)
        if self.machine is None:
            return NoPlan("Looking for GPUs …", waiting=True)
        if self._draft_progress is not None and self._draft is not None:
            doing = f"{self._doing}. " if self._doing else ""
            name = printable(self._draft[0], 120)
            return NoPlan(
                f"Reading the facts of {name}, which drafts … {doing}Esc leaves it uncounted.", waiting=True
            )
        return None if self.gpus else NoPlan(printable(self.no_gpus))

    def detect(self) -> None:
        """Starts looking for GPUs."""
        self.app.work("detect", self.engine.detect, Detected)

    def detected(self, machine: Machine) -> None:
        """Detection is through."""
        self.machine = machine

    def resolve(self, request: PlanRequest) -> None:
        """The GPUs that the request means, of what is known by now."""
        self.gpus = ()
        if self.machine is None:
            return
        try:
            self.gpus = tuple(self.engine.machine(request.hardware, self.machine))
        except WizardError as error:
            self.no_gpus = str(error)

    def read_model(self, request: PlanRequest) -> None:
        """Takes the model's facts where they are at hand, else starts reading them."""
        model, revision = request.model.model, request.model.revision
        self.give_up()
        self.app.looks.stop(FINER)
        self.metadata, self.trouble, self._doing = None, "", ""
        try:
            self.metadata = self.engine.known_model(model, revision)
        except WizardError as error:
            self.trouble = str(error)
            return
        if self.metadata is None:
            progress = self._progress = Progress()
            progress.report = lambda now: self._tell(model, now)
        elif self.engine.knows_better(self.metadata):
            progress = self.app.looks.begin(FINER)  # the plan stands; the hub's exact facts take its place
        else:
            return
        self.app.work(
            "model",
            lambda: self._load(model, revision, progress),
            lambda metadata: ModelRead(model, revision, metadata),
        )

    def _load(self, model: str, revision: str | None, progress: Progress) -> ModelMetadata:
        with self.app.looks.watched(progress):
            return self.engine.load_model(model, revision, progress)

    def read(self, metadata: ModelMetadata) -> None:
        """The model's facts are there."""
        self.metadata, self._progress = metadata, None

    def failed(self, sentence: str) -> None:
        """The model's facts can't be had."""
        if self.metadata is None:
            self.trouble = sentence
        self._progress = None

    def read_draft(self, request: PlanRequest) -> None:
        """Starts reading the model that drafts, where it wasn't looked for when the request named it."""
        wanted = self.engine.draft_to_read(request)
        if wanted == self._draft:
            return
        self._end_draft()
        self._draft = wanted
        if wanted is None:
            return
        model, revision = wanted
        progress = self._draft_progress = Progress()
        progress.report = lambda now: self._tell(model, now)
        self.app.work(
            "draft",
            lambda: self.engine.load_draft(model, revision, progress),
            lambda _: DraftRead(model, revision),
        )

    def draft_read(self, model: str, revision: str | None) -> bool:
        """That model's facts are there; False where another is wanted by now."""
        if (model, revision) != self._draft:
            return False
        self._draft = self._draft_progress = None
        return True

    def draft_failed(self) -> None:
        """Its facts can't be had: the plan does without them, and says so."""
        self._draft_progress = None

    def give_up_draft(self) -> bool:
        """Stops the reading of the model that drafts; False where there is none."""
        reading = self._draft_progress is not None
        self._end_draft()
        return reading

    def _end_draft(self) -> None:
        if self._draft_progress is not None:
            self._draft_progress.cancelled.set()
            self.app.workers.cancel_group(self.app, "draft")
        self._draft_progress, self._doing = None, ""

    def waits_for(self, model: str, request: PlanRequest) -> bool:
        """Whether there is no plan before that model is read."""
        if self.metadata is None:
            return model == request.model.model
        return self._draft_progress is not None and self._draft is not None and model == self._draft[0]

    def progressed(self, words: str) -> None:
        """How far the reading is."""
        self._doing = printable(words, 120)

    def give_up(self) -> bool:
        """Stops the reading under way; False where there is none."""
        progress, self._progress = self._progress, None
        if progress is None:
            return False
        progress.cancelled.set()
        self.app.workers.cancel_group(self.app, "model")
        return True

    def stop(self) -> None:
        """Nothing that waits for the hub outlives the wizard."""
        for progress in (self._progress, self._draft_progress):
            if progress is not None:
                progress.cancelled.set()

    def _tell(self, model: str, progress: Progress) -> None:
        words = f"{progress.doing} · {progress.received_bytes / 1000:,.0f} kB so far"
        self.app.post_message(Reading(model, words))
