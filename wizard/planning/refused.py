"""Plans of what stops before memory is counted: flags that a version refuses, models that it doesn't serve; pure."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.dataclass import replace
from wizard.errors import ConfigError, WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.cautions import general_warnings
from wizard.planning.changes import Changes
from wizard.planning.gates import Refusal, refusal
from wizard.planning.launch import Launch, resolve
from wizard.planning.memory import decisive_gpu, refused_report
from wizard.planning.recommend import choose
from wizard.planning.situation import situation
from wizard.planning.summary import resolved, summarise
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import FeasibilityReport, Fix, GPUInfo, Plan, VLLMConfig


def unserved(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    version: str,
    error: ConfigError,
) -> Plan:
    """The plan of a model that can't be sized because this version doesn't serve it: it says so.

    Raises `error` where the version does.
    """
    model = request.model
    config = VLLMConfig(
        model=model.model,
        revision=model.revision or metadata.revision,
        dtype=model.dtype.value,
        trust_remote_code=model.trust_remote_code or None,
    )
    launch = resolve(config, metadata, decisive_gpu(gpus), version=version, gpus_per_node=len(gpus))
    refused = refusal(launch)
    if refused is None:
        raise error
    return _uncounted(request, launch, gpus, version, refused_report(launch, refused))


def refused_flags(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    version: str,
    error: WizardError,
) -> Plan:
    """The plan of a request whose extra flags this version refuses: it says so, and offers to drop them."""
    plain = request.with_value("policy.extra_args", ())
    choice = choose(situation(plain, metadata, gpus, version=version))
    config = choice.config.model_copy(update={"extra_args": request.policy.extra_args})
    launch = resolve(config, metadata, decisive_gpu(gpus), version=version, gpus_per_node=len(gpus))
    change: Changes = (("policy.extra_args", ()),)
    report = replace(refused_report(launch, Refusal("invalid_config", str(error))), quoted=False)
    fix = Fix("without the extra flags", change, "planned without them", choice.report.verdict)
    fixes = (fix,) if choice.report.verdict != "wont_start" else ()
    return _uncounted(request, launch, gpus, version, report, fixes)


def _uncounted(
    request: PlanRequest,
    launch: Launch,
    gpus: Sequence[GPUInfo],
    version: str,
    report: FeasibilityReport,
    fixes: tuple[Fix, ...] = (),
) -> Plan:
    """The plan of what stops before memory is counted: the verdict, and no forecast."""
    metadata = launch.metadata
    return Plan(
        vllm_version=version,
        model=summarise(metadata),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=launch.config,
        feasibility=report,
        performance=None,
        fixes=fixes,
        warnings=(*general_warnings(metadata, gpus, version), *metadata.load_risks),
        resolved=resolved(launch, report),
    )
