"""A request in, a plan out. `plan` and `check` are pure and total; `run_plan` finds the facts first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wizard.errors import WizardError
from wizard.models.cache_layers import cache_model
from wizard.models.metadata import ModelMetadata
from wizard.models.tree import parameter_count
from wizard.planning.changes import Changes
from wizard.planning.fixes import Outcome, command_fixes, plan_fixes
from wizard.planning.gates import Refusal
from wizard.planning.launch import quantization_method, resolve
from wizard.planning.memory import decisive_gpu, evaluate, refused_report
from wizard.planning.perf import estimate_performance
from wizard.planning.recommend import choose
from wizard.planning.search import alternatives, nothing
from wizard.planning.situation import Situation, nvlink_present, situation
from wizard.schemas.inputs import (
    HardwareInput,
    Interconnect,
    ModelInput,
    PlanRequest,
    PolicyInput,
    WorkloadInput,
)
from wizard.schemas.outputs import (
    Estimate,
    FeasibilityReport,
    Fix,
    GPUInfo,
    ModelSummary,
    PerfEstimate,
    Plan,
    VLLMConfig,
)
from wizard.vllm.versions import NEWEST_KNOWN, rules


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
    that the version refuses make one that won't start. Raises ConfigError alone, for a model whose config
    can't be sized.
    """
    chosen = version or request.policy.vllm_version or NEWEST_KNOWN
    try:
        of = situation(request, metadata, gpus, version=chosen)
    except WizardError as error:
        if not request.policy.extra_args:
            raise
        return _refused_flags(request, metadata, gpus, chosen, error)
    choice = choose(of)
    result = Plan(
        vllm_version=chosen,
        model=summarise(metadata),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=choice.config,
        feasibility=choice.report,
        performance=choice.performance,
        replicas=choice.layout.replicas,
        warnings=(
            *_warnings(metadata, gpus, chosen),
            *_length_warnings(of, choice.report),
            *_slo_warnings(of.request, choice.performance),
        ),
    )
    if surroundings is None:
        return result
    before = Outcome(choice.config, choice.report, choice.layout.replicas)
    others = (surroundings.siblings, surroundings.machines)
    return replace(
        result,
        fixes=plan_fixes(request, of, before, *others, between=surroundings.between),
        alternatives=alternatives(request, of, choice, *others, between=surroundings.between),
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
    feasibility = evaluate(config, metadata, gpus, version=chosen, workload=workload, nvlink=nvlink)
    result = Plan(
        vllm_version=chosen,
        model=summarise(metadata),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=config,
        feasibility=feasibility,
        performance=_performance(config, feasibility, metadata, gpus, request, chosen),
        warnings=_warnings(metadata, gpus, chosen),
    )
    fixes = command_fixes(
        config,
        feasibility,
        metadata,
        gpus,
        request,
        surroundings.siblings,
        surroundings.machines,
        version=chosen,
        workload=workload,
    )
    return replace(result, fixes=fixes)


def run_plan(
    request: PlanRequest,
    *,
    metadata: ModelMetadata | None = None,
    gpus: Sequence[GPUInfo] | None = None,
    offline: bool = False,
) -> Plan:
    """The plan for `request`, after finding the model's facts and the GPUs (seed name).

    The only function of this package that reads the disk, the network or NVML, and only for what is not
    given. Raises ModelUnavailableError, ConfigError or HardwareError, each one sentence.
    """
    from wizard.hardware.resolve import machines, resolve_hardware
    from wizard.models.load import siblings_in_time
    from wizard.models.metadata import load_model_metadata

    if metadata is None:
        metadata = load_model_metadata(
            request.model.model,
            revision=request.model.revision,
            trust_remote_code=request.model.trust_remote_code,
            params_b=request.model.params_b,
            offline=offline,
        )
    if gpus is None:
        gpus = resolve_hardware(request.hardware)
    fits = plan(request, metadata, gpus).feasibility.verdict == "fits"
    siblings = siblings_in_time(metadata, offline=offline or fits)
    surroundings = Surroundings(siblings=siblings, machines=machines())
    return plan(request, metadata, gpus, surroundings=surroundings)


def summarise(metadata: ModelMetadata) -> ModelSummary:
    """The model as the plan saw it."""
    return ModelSummary(
        id=metadata.model,
        revision=metadata.revision,
        source=metadata.source,
        architecture=metadata.architecture,
        params=metadata.params_override or parameter_count(metadata),
        attention=attention_kind(metadata),
        max_position_embeddings=metadata.max_position_embeddings,
        quantization=quantization_method(metadata.quantization_config),
        dtype=metadata.dtype,
        weights_exact=metadata.checkpoint is not None and metadata.checkpoint.complete,
    )


def attention_kind(metadata: ModelMetadata) -> str:
    """One word for how the model attends: mha, gqa, mla, sliding_hybrid, linear_hybrid ..."""
    model = cache_model(metadata)
    kinds = {layer.kind for layer in model.layers}
    if not kinds:
        return "none"
    if "state" in kinds:
        return "linear_hybrid" if len(kinds) > 1 else "linear"
    if kinds & {"sliding", "chunked"}:
        return "sliding_hybrid" if len(kinds) > 1 else "sliding"
    for kind, word in (("compressed", "compressed"), ("block_sparse", "block_sparse"), ("latent", "mla")):
        if kind in kinds:
            return word
    return "mha" if metadata.num_key_value_heads == metadata.num_attention_heads else "gqa"


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


def _warnings(metadata: ModelMetadata, gpus: Sequence[GPUInfo], version: str) -> tuple[str, ...]:
    warnings = list(metadata.warnings)
    if not rules(version).known:
        warnings.append(
            f"vLLM {version} is newer than any version known here; the rules of {NEWEST_KNOWN} are used."
        )
    if len({gpu.name for gpu in gpus}) > 1:
        smallest = min(gpus, key=lambda gpu: gpu.memory_total_bytes)
        warnings.append(f"The GPUs differ; the plan is made for the smallest, {smallest.name}.")
    if metadata.needs_remote_code:
        warnings.append(
            "The model brings its own Python code: vLLM runs it only with --trust-remote-code; read it first."
        )
    return tuple(warnings)


def _length_warnings(of: Situation, report: FeasibilityReport) -> tuple[str, ...]:
    """Requests that no machine serves, where the verdict is about memory and doesn't say so."""
    if report.verdict != "wont_start" or of.whole_length <= of.longest:
        return ()
    return (
        f"Requests of {of.whole_length:,} tokens are longer than the model's {of.longest:,}: vLLM refuses each, "
        "whatever the machine; shorten the prompt or the output.",
    )


def _slo_warnings(request: PlanRequest, speed: PerfEstimate | None) -> tuple[str, ...]:
    """Limits that the forecast says will be missed, or may be."""
    if speed is None:
        return ()
    policy, workload = request.policy, request.workload
    last = Estimate(
        *(
            getattr(speed.ttft_ms, part) + getattr(speed.tpot_ms, part) * (workload.gen_tokens - 1)
            for part in ("low", "mid", "high")
        )
    )
    limits = (
        ("Time to first token", speed.ttft_ms, policy.max_ttft_ms),
        ("Time per token", speed.tpot_ms, policy.max_tpot_ms),
        ("Time to the last token", last, workload.target_latency_ms),
    )
    found = []
    for name, expected, limit in limits:
        if limit is None or expected.high <= limit:
            continue
        how = "is expected above" if expected.mid > limit else "may exceed"
        found.append(f"{name} {how} your {limit:,.0f} ms: {expected.low:,.0f} to {expected.high:,.0f} ms.")
    return tuple(found)


def _refused_flags(
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
    fix = Fix("without the extra flags", change, "planned without them", choice.report.verdict)
    return Plan(
        vllm_version=version,
        model=summarise(metadata),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=config,
        feasibility=refused_report(launch, Refusal("invalid_config", str(error))),
        performance=None,
        fixes=(fix,) if choice.report.verdict != "wont_start" else (),
        warnings=_warnings(metadata, gpus, version),
    )
