"""Single changes that a user could make to a request or to a command, with what each costs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import Changes, machine_changes
from wizard.planning.gates import refusal
from wizard.planning.launch import Launch
from wizard.planning.prices import cheapness
from wizard.planning.typed import REQUEST_PATHS
from wizard.schemas.inputs import HardwareInput, PolicyInput
from wizard.schemas.outputs import GIB, GPUInfo, VLLMConfig
from wizard.text import printable

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

COST_OTHERS = -1.0
"""Memory that others hold is not the plan's fault: getting it back costs the plan nothing."""

CROWDED_BYTES = 1 << 30
"""Memory in use beyond a driver's own, from which ending what holds it is worth a fix."""


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


def freed_options(gpus: Sequence[GPUInfo]) -> Iterator[Option]:
    """The memory that other programs hold, given back."""
    fullest = max(gpus, key=lambda gpu: gpu.memory_used_bytes)
    if fullest.memory_used_bytes < CROWDED_BYTES:
        return
    holders = sorted(fullest.processes, key=lambda each: -(each.used_bytes or 0))
    who = "other programs"
    if holders:
        who = f"{printable(holders[0].name, 40)} (PID {holders[0].pid})"
        if len(holders) > 1:
            who += f" and {len(holders) - 1} more"
    title = f"free the {fullest.memory_used_bytes / GIB:.1f} GiB that {who} hold{'' if len(holders) != 1 else 's'}"
    yield Option(title, (("hardware.used_gib", 0.0),), COST_OTHERS, "others")


def refusal_options(launch: Launch, *, as_flags: bool = False) -> Iterator[Option]:
    """What vLLM's own refusal asks for, worded as answers or as flags."""
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
    word = _flag_title if as_flags else _setting_title
    title = ", ".join(word(path, value) for path, value in changes)
    yield Option(title, tuple(changes), COST_SETTING, "refusal")


def _setting_title(path: str, value: object) -> str:
    name = path.split(".")[1]
    if name == "extra_args" and isinstance(value, tuple):
        return str(value[-1])
    if value is None or value is False:
        return f"without {name}"
    return name if value is True else f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"


def _flag_title(path: str, value: object) -> str:
    flag = "--" + path.split(".")[1].replace("_", "-")
    if path == "policy.extra_args" and isinstance(value, tuple):
        return str(value[-1])
    if value is None or value is False:
        return f"without {flag}"
    return flag if value is True else f"{flag} {value}"


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
    besides: str | None = None,
    sized: Callable[[int], int] | None = None,
) -> Iterator[Option]:
    """Machines of the catalogue that could hold `least_bytes` of weights, by price as sold.

    Those without a known price come after, by their memory. `besides` names the card at hand, of
    which there can be more.
    """
    priced: list[tuple[tuple[bool, float], int, int, GPUInfo]] = []
    for gpu in machines:
        if gpu.name == besides:
            continue
        for count in COUNTS:
            for nodes in (1, 2, 4) if count == COUNTS[-1] and sized is None else (1,):
                if least_bytes(gpu) < nodes * count * gpu.memory_total_bytes:
                    priced.append((cheapness(gpu, count, nodes), count, nodes, gpu))
    for place, (_, count, nodes, gpu) in enumerate(sorted(priced, key=lambda each: each[:3])):
        changes = machine_changes(hardware, gpu.name, count, nodes)
        if sized is not None:
            changes = tuple(pair for pair in changes if pair[0].rpartition("_")[2] != "size")
            changes += (("hardware.tensor_parallel_size", sized(count)),)
        title = f"{count} x {gpu.name}"
        if nodes > 1:
            title = f"{nodes} machines of {title}"
        yield Option(title, changes, COST_MACHINE + place / 1000, f"machine {gpu.name}")
