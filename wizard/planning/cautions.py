"""What a plan warns of: the model's files and code, the version, the GPUs, requests too long, limits missed; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wizard.hardware.topology import best_subset
from wizard.models.metadata import ModelMetadata, declared_dtype, short
from wizard.planning.situation import Situation
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Estimate, FeasibilityReport, GPUInfo, PerfEstimate, VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN, OLDEST_KNOWN, parse_version, rules

RUN_DTYPES = frozenset({"float16", "bfloat16", "float32", "half", "float"})

LAST_FOR_VOLTA = "vLLM 0.19"
"""See `VersionRules.oldest_capability`."""


def notes(metadata: ModelMetadata) -> list[str]:
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


def general_warnings(metadata: ModelMetadata, gpus: Sequence[GPUInfo], version: str) -> tuple[str, ...]:
    """What is to be said whatever the settings."""
    warnings = [note for note in notes(metadata) if note not in metadata.load_risks]
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


def taken_of_mixed(gpus: Sequence[GPUInfo], config: VLLMConfig, replicas: int) -> tuple[str, ...]:
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


def length_warnings(of: Situation, report: FeasibilityReport) -> tuple[str, ...]:
    """Requests that no machine serves, where the verdict is about memory and doesn't say so."""
    if report.verdict != "wont_start" or of.whole_length <= of.longest:
        return ()
    return (
        f"Requests of {of.whole_length:,} tokens are longer than the model's {of.longest:,}: vLLM refuses each, "
        "whatever the machine; shorten the prompt or the output.",
    )


def slo_warnings(request: PlanRequest, speed: PerfEstimate | None) -> tuple[str, ...]:
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
