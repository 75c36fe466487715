"""A request in, a plan out. `plan` and `check` are pure and total; `run_plan` finds the facts first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wizard.dataclass import dataclass, field, replace
from wizard.errors import ConfigError, WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.cautions import general_warnings, length_warnings, slo_warnings, taken_of_mixed
from wizard.planning.doubts import doubted, weight_warnings, with_doubts
from wizard.planning.launch import resolve
from wizard.planning.memory import decisive_gpu, evaluate
from wizard.planning.own_defaults import own_defaults
from wizard.planning.perf import estimate_performance
from wizard.planning.recommend import Choice, choose
from wizard.planning.search import alternatives, nothing
from wizard.planning.situation import Situation, nvlink_present, situation
from wizard.planning.summary import resolved, summary_of
from wizard.schemas.inputs import (
    HardwareInput,
    Interconnect,
    ModelInput,
    PlanRequest,
    PolicyInput,
    WorkloadInput,
)
from wizard.schemas.outputs import (
    FeasibilityReport,
    Fix,
    GPUInfo,
    PerfEstimate,
    Plan,
    VLLMConfig,
)
from wizard.vllm.versions import NEWEST_KNOWN

if TYPE_CHECKING:
    from wizard.models.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else could be used instead: read once by the caller, so that planning stays pure."""

    siblings: Mapping[str, ModelMetadata] = field(default_factory=dict)
    """Quantised forms of the same model, by id."""
    machines: Sequence[GPUInfo] = ()
    """GPUs of the catalogue to name when nothing on this machine works."""
    between: Callable[[], None] = nothing
    """Called between two plans of a search: who no longer waits for it ends it there by raising."""


NOTHING_ELSE = Surroundings()


def plan(
    request: PlanRequest,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    *,
    version: str | None = None,
    surroundings: Surroundings | None = None,
) -> Plan:
    """The recommended plan for `request` on `gpus` (those of one node).

    Without `surroundings` only config, verdict and forecast are computed, which is what one key press
    asks for; with them, fixes and alternatives are searched. Every valid request gets a plan; extra flags
    that the version refuses, and models that it doesn't serve, make one that won't start. Raises ConfigError
    alone, for a model that vLLM serves and whose config can't be sized.
    """
    result, chosen = _planned(request, metadata, gpus, version)
    return result if surroundings is None else _with_others(result, chosen, request, surroundings)


def _planned(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], version: str | None
) -> tuple[Plan, tuple[Situation, Choice] | None]:
    """The plan without fixes and alternatives, and what they are searched from; None where there are none."""
    chosen = version or request.policy.vllm_version or NEWEST_KNOWN
    try:
        of = situation(request, metadata, gpus, version=chosen)
    except WizardError as error:
        if not request.policy.extra_args:
            raise
        from wizard.planning.refused import refused_flags

        return refused_flags(request, metadata, gpus, chosen, error), None
    try:
        choice = choose(of)
    except ConfigError as error:
        from wizard.planning.refused import unserved

        return unserved(request, metadata, gpus, chosen, error), None
    launch = of.launch(choice.config)
    own = own_defaults(choice.config, metadata, gpus, of.request, version=chosen)
    result = Plan(
        vllm_version=chosen,
        model=summary_of(launch),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=choice.config,
        feasibility=doubted(choice.report, launch),
        performance=choice.performance,
        left_to_vllm=own,
        replicas=choice.layout.replicas,
        warnings=(
            *general_warnings(metadata, gpus, chosen),
            *weight_warnings(choice.report, launch),
            *taken_of_mixed(gpus, choice.config, choice.layout.replicas),
            *length_warnings(of, choice.report),
            *slo_warnings(of.request, choice.performance),
        ),
        resolved=resolved(launch, choice.report),
    )
    return result, (of, choice)


def _with_others(
    result: Plan, chosen: tuple[Situation, Choice] | None, request: PlanRequest, surroundings: Surroundings
) -> Plan:
    """`result` with what could be done instead."""
    if chosen is None:
        return result

    of, choice = chosen
    others = (_drafted(surroundings.siblings, of.metadata), surroundings.machines)
    between = surroundings.between
    fixes: tuple[Fix, ...] = ()
    if choice.report.verdict != "fits":
        from wizard.planning.fixes import Outcome, plan_fixes

        before = Outcome(choice.config, choice.report, choice.layout.replicas)
        fixes = plan_fixes(request, of, before, *others, between=between)
    return with_doubts(
        replace(
            result,
            fixes=fixes,
            alternatives=alternatives(request, of, choice, *others, between=between),
        ),
        of.launch(choice.config),
    )


def check(
    config: VLLMConfig,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    *,
    version: str | None = None,
    hardware: HardwareInput | None = None,
    workload: WorkloadInput | None = None,
    surroundings: Surroundings = NOTHING_ELSE,
) -> Plan:
    """What that very command would do, recommending nothing; fixes are changes to its flags."""
    chosen = version or NEWEST_KNOWN
    request = PlanRequest(
        model=ModelInput(model=config.model),
        hardware=hardware or HardwareInput(tensor_parallel_size=config.tensor_parallel_size),
        workload=workload or WorkloadInput(concurrency=1),
        policy=PolicyInput(),
    )
    nvlink = nvlink_present(request, gpus)
    nodes = hardware.nodes if hardware is not None else None
    feasibility = evaluate(
        config, metadata, gpus, version=chosen, workload=workload, nvlink=nvlink, nodes=nodes
    )
    launch = resolve(
        config, metadata, decisive_gpu(gpus), version=chosen, nvlink=nvlink, gpus_per_node=len(gpus)
    )
    result = Plan(
        vllm_version=chosen,
        model=summary_of(launch),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=config,
        feasibility=doubted(feasibility, launch),
        performance=_performance(config, feasibility, metadata, gpus, request, chosen),
        warnings=(*general_warnings(metadata, gpus, chosen), *weight_warnings(feasibility, launch)),
        resolved=resolved(launch, feasibility),
    )

    from wizard.planning.fixes import command_fixes

    fixes = command_fixes(
        config,
        feasibility,
        metadata,
        gpus,
        request,
        _drafted(surroundings.siblings, metadata),
        surroundings.machines,
        version=chosen,
        workload=workload,
        nodes_known=nodes is not None,
    )
    return with_doubts(replace(result, fixes=fixes), launch)


def _drafted(siblings: Mapping[str, ModelMetadata], metadata: ModelMetadata) -> Mapping[str, ModelMetadata]:
    """Other forms of a model, with the same models to draft for them."""
    if not metadata.drafts:
        return siblings
    return {name: replace(form, drafts=metadata.drafts) for name, form in siblings.items()}


def at_lengths(
    found: Plan, request: PlanRequest, metadata: ModelMetadata, lengths: Sequence[int]
) -> list[FeasibilityReport]:
    """What the very settings of a plan would come to at other values of max_model_len; pure."""
    workload = request.workload
    if found.replicas > 1:
        each = -(-workload.concurrency // found.replicas)
        workload = workload.model_copy(update={"concurrency": each})
    return [
        evaluate(
            found.config.model_copy(update={"max_model_len": length}),
            metadata,
            found.gpus,
            version=found.vllm_version,
            workload=workload,
            policy=request.policy,
            nvlink=nvlink_present(request, found.gpus),
            nodes=request.hardware.nodes,
        )
        for length in lengths
    ]


def run_plan(
    request: PlanRequest,
    *,
    metadata: ModelMetadata | None = None,
    gpus: Sequence[GPUInfo] | None = None,
    offline: bool = False,
    traffic: Traffic | None = None,
) -> Plan:
    """The plan for `request`, after finding the model's facts and the GPUs (seed name).

    The only function of this package that reads the disk, the network or NVML, and only for what is not
    given; `traffic` is told of every request for the model's facts. Raises ModelUnavailableError, ConfigError
    or HardwareError, each one sentence.
    """
    from wizard.hardware.resolve import machines, resolve_hardware
    from wizard.models.load import siblings_in_time, with_draft
    from wizard.models.metadata import load_model_metadata

    if metadata is None:
        metadata = load_model_metadata(
            request.model.model,
            revision=request.model.revision,
            trust_remote_code=request.model.trust_remote_code,
            params_b=request.model.params_b,
            offline=offline,
            traffic=traffic,
        )
    if request.policy.extra_args:
        from wizard.planning.typed import settled

        version = request.policy.vllm_version or NEWEST_KNOWN
        drafts = settled(request, version).fields.get("speculative_config")
        metadata = with_draft(metadata, drafts, offline=offline, traffic=traffic)
    if gpus is None:
        gpus = resolve_hardware(request.hardware)
    result, chosen = _planned(request, metadata, gpus, None)
    siblings = siblings_in_time(metadata, offline=offline or result.feasibility.verdict == "fits")
    return _with_others(result, chosen, request, Surroundings(siblings=siblings, machines=machines()))


def _performance(
    config: VLLMConfig,
    feasibility: FeasibilityReport,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    request: PlanRequest,
    version: str,
) -> PerfEstimate | None:
    if feasibility.verdict == "wont_start":
        return None
    return estimate_performance(
        metadata,
        gpus,
        config,
        request.workload,
        kv_tokens=feasibility.kv_cache.tokens,
        max_concurrency=feasibility.concurrency_at_workload,
        version=version,
        interconnect=Interconnect.NVLINK if nvlink_present(request, gpus) else Interconnect.PCIE,
        nodes=request.hardware.nodes,
        cost=request.hardware.price_per_hour is not None,
    )
