"""The one seam between the wizard's front ends and everything that knows about models and memory.

`plan` is pure and quick (one key press); what reads a disk, a driver or the network, or searches widely,
says so and belongs in a worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, replace
from wizard.errors import WizardError
from wizard.models.found import FoundModel, is_whole_id
from wizard.models.traffic import CancelledError, Traffic
from wizard.schemas.inputs import HardwareInput, PlanRequest
from wizard.schemas.outputs import GPUInfo, Plan, Verdict

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.hardware.preflight import Check
    from wizard.models.metadata import ModelMetadata

ModelRow: TypeAlias = FoundModel
"""One model that a search found."""

Progress: TypeAlias = Traffic
"""How far a slow look-up is; setting `cancelled` ends it at once, with GivenUpError."""

GivenUpError: TypeAlias = CancelledError
"""The user turned to something else; there is nothing to show."""


def nothing() -> None:
    """What is done between two plans of a search that nobody ends."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one context length would come to."""

    context: int
    at_once: float
    """Requests of that length that the cache holds; vLLM logs it as maximum concurrency."""
    verdict: Verdict
    each_bytes: int
    """Cache of one GPU that one such request takes."""


PLANS_KEPT = 32
"""A slider moved back, an undo, and the reach of a plan ask for one that was just made."""

SHORTEST_REACH = 2048
MOST_REACHES = 12


@dataclass(frozen=True, slots=True)
class Written:
    """What an export left on disk."""

    directory: Path
    files: tuple[Path, ...]


class Engine(Protocol):
    """What a front end may ask. Errors are `wizard.errors.WizardError`, each one sentence."""

    def known_model(self, model: str, revision: str | None) -> ModelMetadata | None:
        """Facts that need no disk walk and no network, or None."""
        ...

    def load_model(self, model: str, revision: str | None, progress: Progress) -> ModelMetadata:
        """Facts of a model, wherever they are. Slow; GivenUpError once `progress` is cancelled."""
        ...

    def knows_better(self, metadata: ModelMetadata) -> bool:
        """Whether `load_model` may tell more than these facts: the catalogue's, while the hub may be asked."""
        ...

    def draft_to_read(self, request: PlanRequest) -> tuple[str, str | None] | None:
        """Name and revision of the model that a request drafts with, where `load_draft` may tell of it. Quick."""
        ...

    def load_draft(self, model: str, revision: str | None, progress: Progress) -> None:
        """Reads the facts of a model that drafts; remembered, so that later plans count it. Slow, as `load_model`."""
        ...

    def search_models(self, text: str) -> Sequence[ModelRow]:
        """Models on this disk and in the catalogue whose name matches, and a whole id as typed. Quick."""
        ...

    def search_hub(self, text: str, progress: Progress | None = None) -> Sequence[ModelRow]:
        """Models of the hub, most wanted first; empty where the network is not allowed. Slow."""
        ...

    def glance_model(self, model: str, progress: Progress) -> ModelMetadata | None:
        """Facts of a model of the hub for two or three requests, sized by its architecture. Slow."""
        ...

    def siblings(self, metadata: ModelMetadata, progress: Progress) -> Mapping[str, ModelMetadata]:
        """Quantised forms of a model, by id; remembered, so that later plans propose them. Slow."""
        ...

    def detect(self) -> Machine:
        """The GPUs of this machine, or why there are none. Slow."""
        ...

    def preflight(self, machine: Machine, metadata: ModelMetadata, plan: Plan) -> Sequence[Check]:
        """What around the GPUs could spoil a start of `plan` here. Slow."""
        ...

    def gpu_catalogue(self, text: str) -> Sequence[GPUInfo]:
        """Cards of the catalogue that match what was typed so far."""
        ...

    def machine(self, hardware: HardwareInput, detected: Machine) -> Sequence[GPUInfo]:
        """The GPUs of one node that an answer means; HardwareError where it means none."""
        ...

    def plan(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        """Config, verdict and forecast, without fixes and alternatives. Pure, about a millisecond."""
        ...

    def plan_with_fixes(
        self,
        request: PlanRequest,
        metadata: ModelMetadata,
        gpus: Sequence[GPUInfo],
        between: Callable[[], None] = nothing,
    ) -> Plan:
        """The same plan with fixes and alternatives searched. Slow; `between` may end it by raising GivenUpError."""
        ...

    def reach(
        self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]
    ) -> Sequence[Reach]:
        """The plan's own settings at other context lengths, shortest first. Slow."""
        ...

    def render(
        self, plan: Plan, request: PlanRequest, ticked: Collection[str] | None = None
    ) -> Mapping[str, str]:
        """Every file that fits the plan, by name; README.md speaks of those `ticked`. Pure."""
        ...

    def usual(self, plan: Plan, request: PlanRequest) -> Collection[str]:
        """Names of the files that are ticked unless the user says otherwise. Pure."""
        ...

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        """Writes all artifacts or none; WizardError where one would replace a differing file unasked."""
        ...

    def differences(self, directory: Path, artifacts: Mapping[str, str]) -> Mapping[str, str]:
        """What writing would change in files that are there already: a unified diff by name."""
        ...


@lru_cache(maxsize=PLANS_KEPT)
def _planned(request: PlanRequest, metadata: ModelMetadata, gpus: tuple[GPUInfo, ...], version: str) -> Plan:
    from wizard.planning.planner import plan

    return plan(request, metadata, gpus, version=version)


class Planner:
    """The engine of every real run; heavy modules are imported by what needs them."""

    def __init__(self, *, offline: bool = False) -> None:
        self.offline = offline
        self._version: str | None = None
        self._siblings: dict[str, Mapping[str, ModelMetadata]] = {}
        self._read: dict[tuple[str, str | None], ModelMetadata] = {}
        """What the hub has told in this run."""
        self._drafts: dict[tuple[str, str | None], ModelMetadata] = {}
        """Models that draft, as they were read in this run."""
        self._completed: WeakKeyDictionary[ModelMetadata, tuple[object, ModelMetadata]] = WeakKeyDictionary()
        """The facts of each model with the latest answers about it, and those answers."""

    def known_model(self, model: str, revision: str | None) -> ModelMetadata | None:
        from wizard.models import catalogue, local
        from wizard.models.load import looks_like_path

        if (model, revision) in self._read:
            return self._read[model, revision]
        if revision is not None or looks_like_path(model) or local.cached_snapshot(model) is not None:
            return None
        return catalogue.load(model)

    def load_model(self, model: str, revision: str | None, progress: Progress) -> ModelMetadata:
        from wizard.models.load import load
        from wizard.models.stored import stored_bytes

        metadata = load(model, revision=revision, offline=self.offline, traffic=progress)
        if metadata.checkpoint is not None:
            stored_bytes(metadata.checkpoint, 2)  # a hundred thousand tensors are added up here, not at a key
        if metadata.source == "hub":
            self._read[model, revision] = metadata
        return metadata

    def knows_better(self, metadata: ModelMetadata) -> bool:
        return metadata.source == "catalogue" and not self._forbidden

    def draft_to_read(self, request: PlanRequest) -> tuple[str, str | None] | None:
        wanted = self._draft_named(request)
        return None if wanted in self._drafts else wanted

    def _draft_named(self, request: PlanRequest) -> tuple[str, str | None] | None:
        if not request.policy.extra_args:
            return None
        from wizard.models.drafts import draft_named
        from wizard.planning.typed import settled

        try:
            fields = settled(request, self.version(request)).fields
        except WizardError:
            return None  # the plan says what is wrong with the flags
        return draft_named(fields.get("speculative_config"))

    def load_draft(self, model: str, revision: str | None, progress: Progress) -> None:
        from wizard.models.load import load_draft
        from wizard.models.stored import stored_bytes

        draft = load_draft(model, revision, offline=self.offline, traffic=progress)
        if draft.checkpoint is not None:
            stored_bytes(draft.checkpoint, 2)
        self._drafts[model, revision] = draft

    def search_models(self, text: str) -> Sequence[ModelRow]:
        from wizard.models.load import looks_like_path
        from wizard.models.search import search_local

        if text and (looks_like_path(text) or text[0] in "/~"):
            return _directories(text)
        found = search_local(text)
        if (
            is_whole_id(text)
            and all(text.lower() != row.id.lower() for row in found)
            and self._may_have(text)
        ):
            found.append(ModelRow(text, "hub"))
        return found

    def _may_have(self, model: str) -> bool:
        """Whether choosing a model that nothing here lists can lead anywhere: offline, if it was read before."""
        if not self._forbidden:
            return True
        from wizard.models.load import read_before

        try:
            return read_before(model, stale=True) is not None
        except WizardError:
            return False

    def search_hub(self, text: str, progress: Progress | None = None) -> Sequence[ModelRow]:
        if self._forbidden:
            return ()
        from wizard.models import hub_settings

        hub_settings.endpoint()
        from wizard.models import hub

        return hub.search(text, traffic=progress)

    def glance_model(self, model: str, progress: Progress) -> ModelMetadata | None:
        from wizard.models.load import read_before

        known = read_before(model, stale=self._forbidden)
        if known is not None or self._forbidden:
            return known
        from wizard.models import hub

        return hub.glance(model, traffic=progress)

    def siblings(self, metadata: ModelMetadata, progress: Progress) -> Mapping[str, ModelMetadata]:
        from wizard.models.load import load_siblings

        if metadata.model not in self._siblings:
            found = load_siblings(metadata, offline=self.offline, traffic=progress)
            self._siblings[metadata.model] = found
        return self._siblings[metadata.model]

    @property
    def _forbidden(self) -> bool:
        from wizard.models.hub_settings import forbidden

        return self.offline or forbidden()

    def detect(self) -> Machine:
        from wizard.hardware.detect import detect

        return detect()

    def preflight(self, machine: Machine, metadata: ModelMetadata, plan: Plan) -> Sequence[Check]:
        from wizard.hardware.preflight import checks_in_time

        whole = plan.feasibility.per_gpu.weights_bytes * plan.config.world_size
        checkpoint, present = metadata.checkpoint, 0
        if checkpoint is not None and checkpoint.complete:
            whole = checkpoint.total_bytes
        if metadata.source == "path":
            present = whole
        elif metadata.source == "cache" and checkpoint is not None:
            present = checkpoint.total_bytes
        return checks_in_time(
            machine, whole, download_bytes=max(whole - present, 0), vllm_version=plan.vllm_version
        )

    def gpu_catalogue(self, text: str) -> Sequence[GPUInfo]:
        from wizard.hardware import catalogue
        from wizard.hardware.resolve import PLANNED_VENDORS

        return [row.info() for row in catalogue.search(text) if row.vendor in PLANNED_VENDORS]

    def machine(self, hardware: HardwareInput, detected: Machine) -> Sequence[GPUInfo]:
        from wizard.hardware.resolve import resolve_hardware

        return resolve_hardware(hardware, detector=lambda: detected)

    def plan(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        return _planned(request, self._metadata(request, metadata), tuple(gpus), self.version(request))

    def plan_with_fixes(
        self,
        request: PlanRequest,
        metadata: ModelMetadata,
        gpus: Sequence[GPUInfo],
        between: Callable[[], None] = nothing,
    ) -> Plan:
        from wizard.hardware.resolve import machines
        from wizard.models.load import load_siblings
        from wizard.planning.planner import Surroundings, plan

        siblings = self._siblings.get(metadata.model)
        if siblings is None:
            siblings = load_siblings(metadata)
        surroundings = Surroundings(siblings=siblings, machines=machines(), between=between)
        facts = self._metadata(request, metadata)
        return plan(request, facts, gpus, version=self.version(request), surroundings=surroundings)

    def reach(
        self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]
    ) -> Sequence[Reach]:
        from wizard.planning.planner import at_lengths

        plan = self.plan(request, metadata, gpus)
        chosen = plan.feasibility.max_model_len
        lengths = context_lengths(metadata.max_position_embeddings, chosen)
        reports = at_lengths(plan, request, self._metadata(request, metadata), lengths)
        return [
            Reach(length, report.kv_cache.max_concurrency, report.verdict, report.kv_cache.needed_bytes)
            for length, report in zip(lengths, reports, strict=True)
        ]

    def version(self, request: PlanRequest) -> str:
        """The vLLM version to plan for: as asked, else the one installed beside us, else the newest known."""
        if request.policy.vllm_version is not None:
            return request.policy.vllm_version
        if self._version is None:
            from wizard.hardware.installed import installed_vllm_version
            from wizard.vllm.versions import NEWEST_KNOWN

            self._version = installed_vllm_version() or NEWEST_KNOWN
        return self._version

    def render(
        self, plan: Plan, request: PlanRequest, ticked: Collection[str] | None = None
    ) -> Mapping[str, str]:
        from wizard.render.bundle import render_all

        return render_all(plan, request, ticked)

    def usual(self, plan: Plan, request: PlanRequest) -> Collection[str]:
        from wizard.render.bundle import usual_files

        return usual_files(plan, request)

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        from wizard.render.writer import write_bundle

        written = write_bundle(directory, dict(artifacts), overwrite=overwrite)
        return Written(directory, tuple(written.files))

    def differences(self, directory: Path, artifacts: Mapping[str, str]) -> Mapping[str, str]:
        from wizard.render.writer import diff_bundle

        return diff_bundle(directory, artifacts)

    def _metadata(self, request: PlanRequest, metadata: ModelMetadata) -> ModelMetadata:
        """The facts with what the answers add to them: one object while they stay, whose sizes are known."""
        wanted = self._draft_named(request)
        draft = None if wanted is None else self._drafts.get(wanted)
        params_b = request.model.params_b
        if draft is None and params_b is None:
            return metadata
        answers = (params_b, draft and wanted)
        known = self._completed.get(metadata)
        if known is not None and known[0] == answers:
            return known[1]
        facts = metadata
        if params_b is not None:
            facts = replace(facts, params_override=round(params_b * 1e9))
        if draft is not None and wanted is not None:
            from wizard.models.load import drafted_by

            facts = drafted_by(facts, wanted[0], draft)
        self._completed[metadata] = answers, facts
        return facts


def context_lengths(longest: int, chosen: int | None) -> list[int]:
    """Powers of two from 2,048 to the model's longest, that one, and the chosen one."""
    lengths = {longest} | ({chosen} if chosen and chosen <= longest else set())
    length = SHORTEST_REACH
    while length < longest:
        lengths.add(length)
        length *= 2
    return sorted(lengths)[-MOST_REACHES:]


MOST_DIRECTORIES = 40
"""Of each kind, in one listing."""


def _directories(text: str) -> list[ModelRow]:
    """What a typed path may become: model directories (with a config.json), then those on the way to some.

    Absolute, because the exported files run in a directory of their own.
    """
    typed = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path raises for ~nobody
    parent, prefix = (typed, "") if text.endswith("/") else (typed.parent, typed.name)
    try:
        with os.scandir(parent) as entries:
            names = sorted(each.name for each in entries if each.name.startswith(prefix) and each.is_dir())
    except OSError:
        names = []
    paths = [parent / name for name in names if prefix.startswith(".") or not name.startswith(".")]
    models = [path for path in paths if (path / "config.json").is_file()]
    if text.endswith("/") and (typed / "config.json").is_file():
        models.insert(0, typed)
    others = [path for path in paths if path not in models]
    rows = [ModelRow(str(path), "path") for path in models[:MOST_DIRECTORIES]]
    rows += [ModelRow(f"{path}/", "path") for path in others[:MOST_DIRECTORIES]]
    return rows or [ModelRow(str(typed), "path")]  # choosing it says what is wrong with it
