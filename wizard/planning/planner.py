"""A request in, a plan out. `plan` and `check` are pure and total; `run_plan` finds the facts first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from wizard.models.cache_layers import cache_model
from wizard.models.metadata import ModelMetadata
from wizard.models.tree import parameter_count
from wizard.planning.fixes import Changes, applied_to_config, find_fixes, options
from wizard.planning.launch import quantization_method
from wizard.planning.memory import evaluate
from wizard.planning.perf import estimate_performance
from wizard.planning.recommend import generate_recommendations, nvlink_present
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
    """GPUs of the catalogue to name when nothing on this machine works, cheapest first."""


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
    asks for; with them, fixes are searched as well. Raises nothing for a valid request.
    """
    chosen = version or request.policy.vllm_version or NEWEST_KNOWN
    config = generate_recommendations(request, metadata, gpus, version=chosen)
    nvlink = nvlink_present(request, gpus)
    feasibility = evaluate(
        config,
        metadata,
        gpus,
        version=chosen,
        workload=request.workload,
        policy=request.policy,
        nvlink=nvlink,
    )
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
    if surroundings is None or feasibility.verdict == "fits":
        return result

    def evaluate_changes(changes: Changes) -> FeasibilityReport | None:
        changed = changed_request(request, changes)
        if changed is None:
            return None
        other = surroundings.siblings.get(changed.model.model, metadata)
        machine = changed_gpus(gpus, changes, surroundings.machines)
        settings = generate_recommendations(changed, other, machine, version=chosen)
        return evaluate(
            settings,
            other,
            machine,
            version=chosen,
            workload=changed.workload,
            policy=changed.policy,
            nvlink=nvlink_present(changed, machine),
        )

    return replace(
        result, fixes=_fixes(config, feasibility, metadata, gpus, request, surroundings, evaluate_changes)
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
    if feasibility.verdict == "fits":
        return result

    def evaluate_changes(changes: Changes) -> FeasibilityReport | None:
        changed = applied_to_config(config, changes)
        return evaluate(
            changed,
            surroundings.siblings.get(changed.model, metadata),
            changed_gpus(gpus, changes, surroundings.machines),
            version=chosen,
            workload=workload,
            nvlink=nvlink,
        )

    return replace(
        result, fixes=_fixes(config, feasibility, metadata, gpus, request, surroundings, evaluate_changes)
    )


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
    from wizard.models.load import load_siblings
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
    surroundings = Surroundings(siblings=load_siblings(metadata), machines=machines())
    return plan(request, metadata, gpus, surroundings=surroundings)


def changed_request(request: PlanRequest, changes: Changes) -> PlanRequest | None:
    """`request` with the changes applied together; None where a value is not allowed."""
    changed = request
    try:
        for path, value in changes:
            changed = changed.with_value(path, value)
    except ValidationError:
        return None
    return changed


def changed_gpus(
    gpus: Sequence[GPUInfo], changes: Changes, machines: Sequence[GPUInfo] = ()
) -> Sequence[GPUInfo]:
    """The GPUs of one node after the changes: another card, another count."""
    values: Mapping[str, Any] = dict(changes)
    chosen = list(gpus)
    if name := values.get("hardware.gpu"):
        chosen = [machine for machine in machines if machine.name == name] or chosen
    if count := values.get("hardware.gpus"):
        chosen = (chosen * count)[:count] if len(set(chosen)) == 1 else [chosen[0]] * count
    return chosen


def summarise(metadata: ModelMetadata) -> ModelSummary:
    """The model as the plan saw it."""
    return ModelSummary(
        id=metadata.model,
        revision=metadata.revision,
        source=metadata.source,
        architecture=metadata.architecture,
        params=parameter_count(metadata),
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


def _fixes(
    config: VLLMConfig,
    feasibility: FeasibilityReport,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    request: PlanRequest,
    surroundings: Surroundings,
    evaluate_changes: Callable[[Changes], FeasibilityReport | None],
) -> tuple[Fix, ...]:
    candidates = list(
        options(
            config,
            feasibility,
            metadata,
            gpus,
            request.hardware,
            request.policy,
            tuple(surroundings.siblings),
            surroundings.machines,
        )
    )
    return find_fixes(candidates, evaluate_changes, feasibility)
