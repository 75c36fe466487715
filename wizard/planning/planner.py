"""A request in, a plan out. `plan` and `check` are pure and total; `run_plan` finds the facts first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wizard.dataclass import dataclass, field, replace
from wizard.errors import ConfigError, WizardError
from wizard.hardware.topology import best_subset
from wizard.models.cache_layers import cache_model
from wizard.models.metadata import ModelMetadata, declared_dtype, short
from wizard.models.tree import parameter_count
from wizard.planning.changes import Changes
from wizard.planning.doubts import doubted, weight_warnings, with_doubts
from wizard.planning.gates import Refusal, refusal
from wizard.planning.launch import Launch, quantization_method, resolve
from wizard.planning.memory import decisive_gpu, evaluate, refused_report
from wizard.planning.own_defaults import own_defaults
from wizard.planning.perf import estimate_performance
from wizard.planning.recommend import Choice, choose
from wizard.planning.search import alternatives, nothing
from wizard.planning.situation import Situation, nvlink_present, situation
from wizard.planning.weights import weight_doubts
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
    Resolved,
    VLLMConfig,
)
from wizard.vllm.versions import NEWEST_KNOWN, OLDEST_KNOWN, parse_version, rules

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

RUN_DTYPES = frozenset({"float16", "bfloat16", "float32", "half", "float"})

LAST_FOR_VOLTA = "vLLM 0.19"
"""See `VersionRules.oldest_capability`."""


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
        return _refused_flags(request, metadata, gpus, chosen, error), None
    try:
        choice = choose(of)
    except ConfigError as error:
        return _unserved(request, metadata, gpus, chosen, error), None
    launch = of.launch(choice.config)
    own = own_defaults(choice.config, metadata, gpus, of.request, version=chosen)
    result = Plan(
        vllm_version=chosen,
        model=_summary(launch),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=choice.config,
        feasibility=doubted(choice.report, launch),
        performance=choice.performance,
        left_to_vllm=own,
        replicas=choice.layout.replicas,
        warnings=(
            *_warnings(metadata, gpus, chosen),
            *weight_warnings(choice.report, launch),
            *_taken_of_mixed(gpus, choice.config, choice.layout.replicas),
            *_length_warnings(of, choice.report),
            *_slo_warnings(of.request, choice.performance),
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
        model=_summary(launch),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=config,
        feasibility=doubted(feasibility, launch),
        performance=_performance(config, feasibility, metadata, gpus, request, chosen),
        warnings=(*_warnings(metadata, gpus, chosen), *weight_warnings(feasibility, launch)),
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


def summarise(metadata: ModelMetadata) -> ModelSummary:
    """The model as the plan saw it; its size and attention are unknown where nothing here describes it."""
    params: int | None = metadata.params_override
    try:
        attention = attention_kind(metadata)
        params = params or parameter_count(metadata)
    except ConfigError:
        attention = "unknown"
    return ModelSummary(
        id=metadata.model,
        revision=metadata.revision,
        source=metadata.source,
        architecture=metadata.architecture,
        params=params,
        attention=attention,
        max_position_embeddings=metadata.max_position_embeddings,
        quantization=quantization_method(metadata.quantization_config),
        dtype=metadata.dtype,
        gated=metadata.gated,
        weights_exact=metadata.checkpoint is not None and metadata.checkpoint.exact,
        notes=tuple(_notes(metadata)),
        hub_requests=metadata.hub_requests,
        hub_bytes=metadata.hub_bytes,
    )


def _summary(launch: Launch) -> ModelSummary:
    """The model, its sizes called exact only where headers and config agree."""
    summary = summarise(launch.metadata)
    told = weight_doubts(launch).disagreement
    return replace(summary, weights_exact=False, notes=(*summary.notes, told)) if told else summary


def resolved(launch: Launch, report: FeasibilityReport) -> Resolved:
    """A launch's settings as vLLM resolves them; the block size is the cache's own."""
    return Resolved(
        dtype=launch.dtype,
        quantization=launch.quantization,
        kv_cache_dtype=launch.kv_cache_dtype,
        gpu_memory_utilization=launch.gpu_memory_utilization,
        max_model_len=report.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
        block_size=report.kv_cache.block_size if report.kv_cache.bytes_per_block else None,
        enforce_eager=launch.enforce_eager,
        enable_prefix_caching=launch.prefix_caching,
        enable_chunked_prefill=launch.chunked_prefill,
        async_scheduling=launch.async_scheduling,
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


def _notes(metadata: ModelMetadata) -> list[str]:
    """What is to be said about the model's files, its code and who may have it; the start's risks first."""
    risks = metadata.load_risks
    warnings = [*risks, *(warning for warning in metadata.warnings if warning not in risks)]
    if metadata.gated and metadata.source != "path" and not any(map(_tells_gated, metadata.warnings)):
        warnings.append(
            "The model is gated: accept its terms on its page of the hub, and give an HF_TOKEN of that account "
            "to whoever starts vLLM."
        )
    if metadata.needs_remote_code:
        warnings.append(
            "The model brings its own Python code: vLLM runs it only with --trust-remote-code; read it first."
        )
    return warnings


def _warnings(metadata: ModelMetadata, gpus: Sequence[GPUInfo], version: str) -> tuple[str, ...]:
    warnings = [note for note in _notes(metadata) if note not in metadata.load_risks]
    declared = declared_dtype(metadata.config)
    if declared is not None and declared not in RUN_DTYPES:
        warnings.append(
            f"config.json gives the dtype as {short(declared)}, in which vLLM doesn't run: it falls back to another "
            "and says so in its log."
        )
    if not rules(version).known:
        warnings.append(
            f"vLLM {version} is newer than any version known here; the rules of {NEWEST_KNOWN} are used."
        )
    if parse_version(version) < parse_version(OLDEST_KNOWN):
        warnings.append(
            f"vLLM {version} is older than any version known here; the rules of {OLDEST_KNOWN} are used, and may "
            "not hold for it."
        )
    oldest = rules(version).oldest_capability
    too_old = [gpu for gpu in gpus if gpu.compute_capability and gpu.compute_capability < oldest]
    if too_old and too_old[0].vendor == "nvidia":
        major, minor = too_old[0].compute_capability or oldest
        warnings.append(
            f"{too_old[0].name} has compute capability {major}.{minor}; the wheels of vLLM {version} hold kernels "
            f"for {oldest[0]}.{oldest[1]} and newer."
            + (f" {LAST_FOR_VOLTA} was the last for Volta." if (major, minor) == (7, 0) else "")
        )
    if len({gpu.name for gpu in gpus}) > 1:
        smallest = min(gpus, key=lambda gpu: gpu.memory_total_bytes)
        warnings.append(f"The GPUs differ; the plan is made for the smallest, {smallest.name}.")
    silent = [
        gpu for gpu in gpus if gpu.index is not None and gpu.vendor == "nvidia" and not gpu.nvml_total_bytes
    ]
    if any(not gpu.unified_memory for gpu in silent):
        warnings.append(
            f"GPU {silent[0].index} does not tell its memory: the catalogue's figure is used, and what other "
            "programs hold there is not known; look with `nvidia-smi`."
        )
    return tuple(warnings)


def _taken_of_mixed(gpus: Sequence[GPUInfo], config: VLLMConfig, replicas: int) -> tuple[str, ...]:
    """Which of unlike GPUs serve, where not all of them do."""
    needed = -(-config.world_size // config.nnodes) * replicas
    if needed >= len(gpus) or len({gpu.name for gpu in gpus}) == 1:
        return ()
    taken = [gpus[position] for position in best_subset(gpus, needed)]
    kinds = Counter(gpu.label for gpu in taken)
    names = " and ".join(f"{number} x {name}" for name, number in kinds.items())
    return (f"Of these GPUs {names} will serve; choose them alone to plan with all of their memory.",)


def _tells_gated(warning: str) -> bool:
    """Whether the hub has said so already, with the page to go to."""
    return "is gated" in warning


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


def _unserved(
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
        warnings=(*_warnings(metadata, gpus, version), *metadata.load_risks),
        resolved=resolved(launch, report),
    )
