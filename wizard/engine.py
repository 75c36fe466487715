"""The one seam between the wizard's front ends and everything that knows about models and memory.

`plan` is pure and quick (one key press); what reads a disk, a driver or the network, or searches widely,
says so and belongs in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wizard.models.metadata import ModelMetadata
from wizard.schemas.inputs import HardwareInput, PlanRequest
from wizard.schemas.outputs import GPUInfo, Plan

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine

ModelOrigin = str
"""cache | path | catalogue | hub"""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """One model that a search found."""

    id: str
    origin: ModelOrigin
    params: int | None = None
    gated: bool = False


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

    def load_model(self, model: str, revision: str | None) -> ModelMetadata:
        """Facts of a model, wherever they are. Slow."""
        ...

    def search_models(self, text: str) -> Sequence[FoundModel]:
        """Models on this disk and in the catalogue whose name matches. Quick."""
        ...

    def detect(self) -> Machine:
        """The GPUs of this machine, or why there are none. Slow."""
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

    def plan_with_fixes(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        """The same plan with fixes and alternatives searched. Slow."""
        ...

    def render(self, plan: Plan, request: PlanRequest) -> Mapping[str, str]:
        """Every artifact by file name. Pure."""
        ...

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        """Writes the artifacts; FileExistsError where a differing file would be replaced unasked."""
        ...

    def existing(self, directory: Path, artifacts: Mapping[str, str]) -> Sequence[str]:
        """Names of artifacts that are on disk already with other contents."""
        ...


class Planner:
    """The engine of every real run; heavy modules are imported by what needs them."""

    def __init__(self, *, offline: bool = False) -> None:
        self.offline = offline
        self._version: str | None = None

    def known_model(self, model: str, revision: str | None) -> ModelMetadata | None:
        from wizard.models import catalogue, local
        from wizard.models.load import looks_like_path

        if revision is not None or looks_like_path(model) or local.cached_snapshot(model) is not None:
            return None
        return catalogue.load(model)

    def load_model(self, model: str, revision: str | None) -> ModelMetadata:
        from wizard.models.load import load

        return load(model, revision=revision, offline=self.offline)

    def search_models(self, text: str) -> Sequence[FoundModel]:
        from wizard.models import catalogue, local

        words = text.lower().replace("/", " ").split()
        cached = [name for name in local.cached_models() if all(word in name.lower() for word in words)]
        found = [FoundModel(name, "cache") for name in cached]
        found += [FoundModel(entry.id, "catalogue") for entry in catalogue.search(text) if entry.id not in cached]
        return found

    def detect(self) -> Machine:
        from wizard.hardware.detect import detect

        return detect()

    def gpu_catalogue(self, text: str) -> Sequence[GPUInfo]:
        from wizard.hardware import catalogue
        from wizard.hardware.resolve import PLANNED_VENDORS

        return [row.info() for row in catalogue.search(text) if row.vendor in PLANNED_VENDORS]

    def machine(self, hardware: HardwareInput, detected: Machine) -> Sequence[GPUInfo]:
        from wizard.hardware.resolve import resolve_hardware

        return resolve_hardware(hardware, detector=lambda: detected)

    def plan(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        from wizard.planning.planner import plan

        return plan(request, self._metadata(request, metadata), gpus, version=self.version(request))

    def plan_with_fixes(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        from wizard.hardware.resolve import machines
        from wizard.models.load import load_siblings
        from wizard.planning.planner import Surroundings, plan

        surroundings = Surroundings(siblings=load_siblings(metadata), machines=machines())
        facts = self._metadata(request, metadata)
        return plan(request, facts, gpus, version=self.version(request), surroundings=surroundings)

    def version(self, request: PlanRequest) -> str:
        """The vLLM version to plan for: as asked, else the one installed beside us, else the newest known."""
        if request.policy.vllm_version is not None:
            return request.policy.vllm_version
        if self._version is None:
            from wizard.hardware.preflight import installed_vllm_version
            from wizard.vllm.versions import NEWEST_KNOWN

            self._version = installed_vllm_version() or NEWEST_KNOWN
        return self._version

    def render(self, plan: Plan, request: PlanRequest) -> Mapping[str, str]:
        from wizard.render.bundle import render

        return render(plan, request)

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        from wizard.render.writer import write_bundle

        written = write_bundle(directory, dict(artifacts), overwrite=overwrite)
        return Written(directory, tuple(written.files))

    def existing(self, directory: Path, artifacts: Mapping[str, str]) -> Sequence[str]:
        return [name for name, text in artifacts.items() if _differs(directory / name, text)]

    @staticmethod
    def _metadata(request: PlanRequest, metadata: ModelMetadata) -> ModelMetadata:
        from dataclasses import replace

        if request.model.params_b is None:
            return metadata
        return replace(metadata, params_override=round(request.model.params_b * 1e9))


def _differs(path: Path, text: str) -> bool:
    try:
        return path.exists() and path.read_bytes() != text.encode()
    except OSError:
        return True
