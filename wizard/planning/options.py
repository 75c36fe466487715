"""Single changes that a user could make to a request or to a command, with what each costs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wizard.errors import WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import Changes, machine_changes
from wizard.planning.gates import refusal
from wizard.planning.launch import Launch
from wizard.planning.situation import Situation
from wizard.planning.typed import REQUEST_PATHS
from wizard.schemas.inputs import HardwareInput, PolicyInput
from wizard.schemas.outputs import FeasibilityReport, GPUInfo, VLLMConfig
from wizard.vllm.flags import flag_table
from wizard.vllm.serve_args import arguments, parse_serve_command, validate_extra_args
from wizard.vllm.serve_config import FIELD_FLAGS

FP8_CAPABILITY = (8, 9)
"""Ada and later round weights and caches to 8 bits at full speed."""

COUNTS = (1, 2, 4, 8)
"""GPUs that one machine is sold with."""

(
    COST_SETTING,
    COST_CONTEXT,
    COST_CONCURRENCY,
    COST_SPEED,
    COST_QUALITY,
    COST_MODEL,
    COST_GPUS,
    COST_MACHINE,
) = range(8)
"""What a change costs the user, in one order."""


@dataclass(frozen=True, slots=True)
class Option:
    """One change that a user could make."""

    title: str
    changes: Changes
    cost: float
    kind: str
    """Of several options of one kind only the cheapest that works is shown."""
    named: Callable[[VLLMConfig], str] | None = None
    """The title, where it tells what planning then comes to."""

    @property
    def settings(self) -> frozenset[str]:
        return frozenset(path for path, _ in self.changes)


def refusal_options(launch: Launch) -> Iterator[Option]:
    """What vLLM's own refusal asks for."""
    found = refusal(launch)
    if found is None:
        return
    changes: list[tuple[str, object]] = []
    for name, value in found.change:
        path = REQUEST_PATHS.get(name)
        if name == "extra_args":
            changes.append(("policy.extra_args", value))
        elif path is None:
            return
        elif path == "model.kv_cache_dtype":
            changes.append((path, value or "auto"))
        else:
            changes.append((path, value))
    if not changes:
        return
    title = ", ".join(_setting_title(path, value) for path, value in changes)
    yield Option(title, tuple(changes), COST_SETTING, "refusal")


def _setting_title(path: str, value: object) -> str:
    name = path.split(".")[1]
    if name == "extra_args" and isinstance(value, tuple):
        return str(value[-1])
    if value is None or value is False:
        return f"without {name}"
    return name if value is True else f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"


def request_options(
    of: Situation, config: VLLMConfig, report: FeasibilityReport, engines: int
) -> Iterator[Option]:
    """Changes to the answers: the user's own values given up, then context, users, precision.

    `engines`: caches that requests are spread over. What no answer forbids is left out: planning has tried it.
    """
    yield from (each for each in refusal_options(of.launch(config)) if not each.settings & RELEASED)
    yield from _released(of)
    yield from _typed_flags(of)
    yield from _shorter(of, report)
    if report.verdict == "tight":
        yield from _fewer(of, engines, report)
    yield from _precision(of, config)


RELEASED = frozenset(
    {
        "hardware.tensor_parallel_size",
        "hardware.pipeline_parallel_size",
        "hardware.data_parallel_size",
        "policy.max_num_batched_tokens",
        "policy.max_num_seqs",
        "model.quantization",
    }
)
"""Answers that the planner chooses better than a refusal's own suggestion does."""


def _released(of: Situation) -> Iterator[Option]:
    """Each value that the user chose, left to the planner instead."""
    request = of.request
    policy, model, hardware = request.policy, request.model, request.hardware
    if policy.headroom_gb:
        yield Option("no headroom", (("policy.headroom_gb", 0.0),), COST_SETTING, "headroom")
    if policy.overhead_gb:
        yield Option("overhead as measured", (("policy.overhead_gb", None),), COST_SETTING, "overhead")
    if policy.gpu_memory_utilization is not None:
        yield Option(
            "memory utilisation as planned",
            (("policy.gpu_memory_utilization", None),),
            COST_SETTING + 0.1,
            "utilisation",
            lambda config: f"memory utilisation {config.gpu_memory_utilization:g}",
        )
    if policy.max_num_batched_tokens is not None:
        yield Option(
            "max_num_batched_tokens as planned",
            (("policy.max_num_batched_tokens", None),),
            COST_SETTING + 0.2,
            "tokens",
            lambda config: f"max_num_batched_tokens {config.max_num_batched_tokens:,}",
        )
    if policy.max_num_seqs is not None:
        yield Option(
            "max_num_seqs as planned",
            (("policy.max_num_seqs", None),),
            COST_SETTING + 0.3,
            "seqs",
            lambda config: f"max_num_seqs {config.max_num_seqs:,}",
        )
    sizes = tuple(
        (f"hardware.{name}", None)
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        if getattr(hardware, name) is not None
    )
    if sizes:
        yield Option("spread as planned", sizes, COST_SETTING + 0.4, "spread", _spread_words)
    if model.dtype.value not in {"auto", "bfloat16"}:
        yield Option("dtype auto", (("model.dtype", "auto"),), COST_SETTING + 0.5, "dtype")
    if model.quantization is not None:
        yield Option("weights as stored", (("model.quantization", None),), COST_SETTING + 0.6, "quantization")
    if model.params_b is not None:
        changes: Changes = (("model.params_b", None),)
        yield Option("parameters as the config says", changes, COST_SETTING + 0.7, "parameters")


def _spread_words(config: VLLMConfig) -> str:
    parts = [f"tensor parallel {config.tensor_parallel_size}"]
    if config.pipeline_parallel_size > 1:
        parts.append(f"pipeline {config.pipeline_parallel_size}")
    if config.data_parallel_size > 1:
        parts.append(f"data {config.data_parallel_size}")
    return ", ".join(parts)


def _typed_flags(of: Situation) -> Iterator[Option]:
    """Each extra flag that moves memory, left out."""
    for name in of.fields:
        flag = FIELD_FLAGS.get(name)
        left = without_flag(of.request.policy.extra_args, flag, of.version) if flag else None
        if left is not None:
            yield Option(
                f"without {flag}", (("policy.extra_args", left),), COST_SETTING + 0.8, f"flag {name}"
            )


def without_flag(extra: Sequence[str], flag: str, version: str) -> tuple[str, ...] | None:
    """`extra` without one flag; None where it isn't among them under that name."""
    table = flag_table(version)
    if flag not in table:
        return None
    try:
        values = parse_serve_command(["model", *extra], version=version).values
        if flag not in values:
            return None
        left = {name: value for name, value in values.items() if name != flag}
        return validate_extra_args(arguments(left, table), version=version)
    except WizardError:
        return None


def _shorter(of: Situation, report: FeasibilityReport) -> Iterator[Option]:
    """A context that the cache holds, and prompts that it or the model holds."""
    wish = of.request.model.max_model_len
    workload = of.request.workload
    if wish is not None and report.verdict == "tight" and report.max_model_len < wish:
        length = report.max_model_len
        yield Option(f"context {length:,}", (("model.max_model_len", length),), COST_CONTEXT, "context")
    whole = of.whole_length
    if wish is not None and wish < whole <= of.longest:
        changes: Changes = (("model.max_model_len", whole),)
        yield Option(f"context {whole:,}", changes, COST_SETTING + 0.9, "context")
    room = min(report.max_model_len, of.longest)
    prompt = (room - workload.gen_tokens) // 256 * 256
    if whole > room and prompt >= 256:
        changes = (("workload.prompt_tokens", prompt),)
        yield Option(f"prompts of {prompt:,} tokens", changes, COST_CONTEXT + 0.2, "prompt")


def _fewer(of: Situation, engines: int, report: FeasibilityReport) -> Iterator[Option]:
    """Fewer requests at once: as many as the cache surely holds."""
    wanted = of.request.workload.concurrency
    part = report.per_gpu
    mid = report.concurrency_at_workload * engines
    low = mid * max(0.0, part.kv_cache_available_low_bytes / max(1, part.kv_cache_available_bytes))
    slots = report.max_num_seqs * engines
    for place, users in enumerate((slots, int(mid * 1.1), int(mid), int(low), int(low * 0.8))):
        if 1 <= users < wanted:
            changes: Changes = (("workload.concurrency", users),)
            cost = COST_CONCURRENCY + place / 10
            yield Option(f"{users:,} requests at once", changes, cost, "users")


def _precision(of: Situation, config: VLLMConfig) -> Iterator[Option]:
    """Graphs, cache and weights for memory, where an answer forbids it or only a queue would gain."""
    policy = of.request.policy
    capable = (of.gpu.compute_capability or (9, 0)) >= FP8_CAPABILITY
    if not config.enforce_eager:
        yield Option("no CUDA graphs", (("policy.enforce_eager", True),), COST_SPEED, "graphs")
    if capable and not (config.kv_cache_dtype or "").startswith("fp8"):
        changes: Changes = (("model.kv_cache_dtype", "fp8"),)
        if not policy.allow_fp8_kv:
            changes += (("policy.allow_fp8_kv", True),)
        yield Option("8-bit KV cache", changes, COST_QUALITY, "cache")
    if capable and config.quantization is None and of.metadata.quantization_config is None:
        changes = (("model.quantization", "fp8"),)
        if not policy.allow_quantized:
            changes += (("policy.allow_quantized", True),)
        yield Option("8-bit weights while loading", changes, COST_QUALITY + 0.5, "weights")


def sibling_options(
    siblings: Mapping[str, ModelMetadata], policy: PolicyInput, weighs: Callable[[ModelMetadata], int]
) -> Iterator[Option]:
    """Quantised forms of the model, the least rounded (the heaviest) first."""
    ordered = sorted(siblings, key=lambda name: -weighs(siblings[name]))
    for place, name in enumerate(ordered):
        changes: Changes = (("model.model", name),)
        if not policy.allow_quantized:
            changes += (("policy.allow_quantized", True),)
        yield Option(name, changes, COST_MODEL + place / 100, "sibling")


def more_of_the_same(
    gpus: Sequence[GPUInfo], hardware: HardwareInput, *, sized: Callable[[int], int] | None = None
) -> Iterator[Option]:
    """More of the cards at hand, then more machines of eight.

    `sized` gives a command's tensor parallel size for a number of GPUs; a plan chooses its own.
    """
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    if gpu.mig_profile is not None:
        return
    name = gpu.catalogue_name or gpu.name
    reset = tuple(
        (f"hardware.{field}", None)
        for field in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        if sized is None and getattr(hardware, field) is not None
    )
    for count in COUNTS:
        if count > len(gpus):
            changes: Changes = (("hardware.gpus", count), *reset)
            if sized is not None:
                changes += (("hardware.tensor_parallel_size", sized(count)),)
            yield Option(f"{count} x {name}", changes, COST_GPUS + count / 100, "gpus")
    if sized is None and len(gpus) == COUNTS[-1]:
        for nodes in (2, 4):
            if nodes > hardware.nodes:
                title = f"{nodes} machines of {len(gpus)} x {name}"
                changes = (("hardware.nodes", nodes), *reset)
                yield Option(title, changes, COST_GPUS + nodes / 10, "gpus")


def other_machines(
    machines: Sequence[GPUInfo],
    hardware: HardwareInput,
    least_bytes: Callable[[GPUInfo], float],
    *,
    sized: Callable[[int], int] | None = None,
) -> Iterator[Option]:
    """Machines of the catalogue that could hold `least_bytes` of weights, by price.

    Without a known price memory stands in for it: 20 GiB for a dollar an hour.
    """
    priced: list[tuple[float, int, int, GPUInfo]] = []
    for gpu in machines:
        for count in COUNTS:
            for nodes in (1, 2, 4) if count == COUNTS[-1] and sized is None else (1,):
                if least_bytes(gpu) < nodes * count * gpu.memory_total_bytes:
                    price = (gpu.usd_per_hour or gpu.vram_gib / 20) * count * nodes
                    priced.append((price, count, nodes, gpu))
    for price, count, nodes, gpu in sorted(priced, key=lambda each: each[:3]):
        changes = machine_changes(hardware, gpu.name, count, nodes)
        if sized is not None:
            changes = tuple(pair for pair in changes if pair[0].rpartition("_")[2] != "size")
            changes += (("hardware.tensor_parallel_size", sized(count)),)
        title = f"{count} x {gpu.name}"
        if nodes > 1:
            title = f"{nodes} machines of {title}"
        yield Option(title, changes, COST_MACHINE + price / 1000, f"machine {gpu.name}")


def command_options(
    config: VLLMConfig,
    report: FeasibilityReport,
    launch: Launch,
    gpus: Sequence[GPUInfo],
    hardware: HardwareInput,
) -> Iterator[Option]:
    """Changes to the flags of a typed command."""
    yield from refusal_options(launch)
    yield from _command_settings(report)
    yield from _command_context(report, launch.metadata.context(launch.rules.number).length)
    capable = launch.capability >= FP8_CAPABILITY
    if not config.enforce_eager:
        yield Option("--enforce-eager", (("policy.enforce_eager", True),), COST_SPEED, "graphs")
    if capable and not (config.kv_cache_dtype or "").startswith("fp8"):
        changes: Changes = (("model.kv_cache_dtype", "fp8"),)
        yield Option("--kv-cache-dtype fp8", changes, COST_QUALITY, "cache")
    if capable and config.quantization is None and launch.metadata.quantization_config is None:
        changes = (("model.quantization", "fp8"),)
        yield Option("--quantization fp8", changes, COST_QUALITY + 0.5, "weights")
    engines = config.pipeline_parallel_size * config.data_parallel_size
    for size in range(1, len(gpus) * hardware.nodes // engines + 1):
        if size != config.tensor_parallel_size:
            changes = (("hardware.tensor_parallel_size", size),)
            # more of the GPUs at hand cost nothing; fewer free some
            yield Option(
                f"--tensor-parallel-size {size}", changes, COST_SETTING + 0.5 - size / 1000, "spread"
            )


def _command_settings(report: FeasibilityReport) -> Iterator[Option]:
    part = report.per_gpu
    total = part.total_bytes
    free = total - part.other_processes_bytes - part.context_bytes
    now = part.requested_bytes / total
    if report.cause == "free_memory":
        share = int(free / total * 100) / 100
        shares = [share, round(share - 0.02, 2)] if share > 0.05 else []
    else:
        roomy = int((free - part.outside_budget_bytes) / total * 100) / 100
        shares = [share for share in (0.92, 0.94, 0.95, 0.96) if now < share <= roomy]
        if roomy < now:
            shares.append(roomy)
    for place, share in enumerate(shares):
        changes: Changes = (("policy.gpu_memory_utilization", share),)
        yield Option(
            f"--gpu-memory-utilization {share:g}", changes, COST_SETTING + 0.1 + place / 100, "utilisation"
        )
    for tokens in (8192, 4096, 2048, 1024):
        if report.max_num_seqs <= tokens < report.max_num_batched_tokens:
            changes = (("policy.max_num_batched_tokens", tokens),)
            yield Option(
                f"--max-num-batched-tokens {tokens}", changes, COST_SETTING + 0.3 + 1 / tokens, "tokens"
            )
    for seqs in (256, 128, 64, 32, 16):
        if seqs < report.max_num_seqs:
            changes = (("policy.max_num_seqs", seqs),)
            yield Option(f"--max-num-seqs {seqs}", changes, COST_SETTING + 0.6 + 1 / seqs, "seqs")


def _command_context(report: FeasibilityReport, longest: int) -> Iterator[Option]:
    limit = min(report.max_model_len, longest)
    estimated = report.kv_cache.estimated_max_model_len
    lengths = {limit, limit // 2, limit // 4, limit // 8, 32768, 16384, 8192, 4096, 2048}
    for share in (1.0, 0.9, 0.75):
        lengths.add(int(estimated * share) // 256 * 256)
    for length in sorted(lengths, reverse=True):
        if 256 <= length < report.max_model_len:
            cost = COST_CONTEXT + (1 - length / report.max_model_len) / 2
            yield Option(f"--max-model-len {length}", (("model.max_model_len", length),), cost, "context")
