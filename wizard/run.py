"""`run_plan` as scripts call it: the plan, and the files that start it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wizard.dataclass import replace
from wizard.planning.planner import run_plan as find_plan

if TYPE_CHECKING:
    from wizard.models.metadata import ModelMetadata
    from wizard.schemas.inputs import PlanRequest
    from wizard.schemas.outputs import GPUInfo, Plan


def run_plan(
    request: PlanRequest,
    *,
    metadata: ModelMetadata | None = None,
    gpus: Sequence[GPUInfo] | None = None,
    offline: bool = False,
) -> Plan:
    """The plan for `request`, after finding the model's facts and the GPUs (seed name).

    `artifacts` holds the usual files by name, as `export` would write them; none for a plan that won't start,
    of which nothing is ever written. Raises ModelUnavailableError, ConfigError or HardwareError, each one
    sentence.
    """
    return with_artifacts(find_plan(request, metadata=metadata, gpus=gpus, offline=offline), request)


def with_artifacts(plan: Plan, request: PlanRequest) -> Plan:
    """The plan with its files. Raises WizardError where an extra flag is not legal."""
    if plan.feasibility.verdict == "wont_start":
        return plan
    from wizard.render.bundle import render

    return replace(plan, artifacts=render(plan, request))
