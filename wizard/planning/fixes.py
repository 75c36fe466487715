"""The smallest changes that make a plan fit, each verified by planning again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from wizard.models.metadata import ModelMetadata
from wizard.schemas.inputs import HardwareInput, PolicyInput
from wizard.schemas.outputs import GIB, FeasibilityReport, Fix, GPUInfo, VLLMConfig

MAX_FIXES = 6
"""As many as a glance takes in; the cheapest come first."""

Changes = tuple[tuple[str, Any], ...]
Evaluate = Callable[[Changes], FeasibilityReport | None]
"""Plans again with `(path, value)` changes applied; None where they can't be applied together."""


@dataclass(frozen=True, slots=True)
class Option:
    """One change that a user could make."""

    title: str
    changes: Changes
    cost: float
    """What it costs the user, in one order: settings < context < speed < quality < money."""
    kind: str
    """Of several options of one kind only the cheapest that works is shown."""


ENOUGH = 2
"""Fixes that fit before pairs are left out."""

PAIRS_TRIED = 150
"""Pairs evaluated at most: a tenth of a second."""

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


def options(
    config: VLLMConfig,
    report: FeasibilityReport,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    hardware: HardwareInput,
    policy: PolicyInput,
    siblings: Sequence[str],
    machines: Sequence[GPUInfo],
) -> Iterator[Option]:
    """Single changes worth trying, whatever the failure; the caller evaluates each."""
    yield from _setting_options(config, report)
    yield from _context_options(config, report, metadata)
    gpu = min(gpus, key=lambda item: item.memory_total_bytes)
    capability = gpu.compute_capability or (9, 0)
    if config.kv_cache_dtype in {None, "auto"} and policy.allow_fp8_kv and capability >= (8, 9):
        yield Option("fp8 KV cache", (("model.kv_cache_dtype", "fp8"),), COST_QUALITY, "kv")
    if not config.enforce_eager:
        yield Option("no CUDA graphs", (("policy.enforce_eager", True),), COST_SPEED, "eager")
    if metadata.quantization_config is None and policy.allow_quantized and config.quantization is None:
        if capability >= (8, 9):
            yield Option(
                "fp8 weights, online", (("model.quantization", "fp8"),), COST_QUALITY + 0.5, "online"
            )
        for sibling in siblings:
            yield Option(sibling, (("model.model", sibling),), COST_MODEL, sibling)
    count = len(gpus)
    for more in (2, 4, 8):
        if more > count:
            changes: Changes = (("hardware.gpus", more),)
            if hardware.tensor_parallel_size is not None or config.tensor_parallel_size > 1 or count == 1:
                changes += (("hardware.tensor_parallel_size", more),)
            yield Option(f"{more} x {gpu.catalogue_name or gpu.name}", changes, COST_GPUS + more / 10, "gpus")
    if hardware.tensor_parallel_size is not None or config.tensor_parallel_size < count:
        for size in range(1, count + 1):
            if size != config.tensor_parallel_size:
                yield Option(
                    f"tensor parallel {size}",
                    (("hardware.tensor_parallel_size", size),),
                    COST_SETTING + 0.5,
                    "tp",
                )
    for machine in machines:
        for number in (1, 2, 4, 8):
            yield Option(
                f"{number} x {machine.name}",
                (
                    ("hardware.gpu", machine.name),
                    ("hardware.gpus", number),
                    ("hardware.tensor_parallel_size", number),
                ),
                COST_MACHINE + (machine.usd_per_hour or machine.vram_gib / 20) * number / 100,
                machine.name,
            )


def _setting_options(config: VLLMConfig, report: FeasibilityReport) -> Iterator[Option]:
    part = report.per_gpu
    free = part.total_bytes - part.other_processes_bytes - part.context_bytes
    if report.cause == "free_memory":
        share = int(free / part.total_bytes * 100) / 100
        if share > 0.05:
            title = f"memory utilisation {share:.2f}"
            yield Option(title, (("policy.gpu_memory_utilization", share),), COST_SETTING, "utilisation")
    else:
        for share in (0.94, 0.96):
            if share > part.requested_bytes / part.total_bytes and share * part.total_bytes < free:
                title = f"memory utilisation {share:.2f}"
                yield Option(
                    title, (("policy.gpu_memory_utilization", share),), COST_SETTING + 0.1, "utilisation"
                )
        lower = round(part.requested_bytes / part.total_bytes - 0.04, 2)
        if lower > 0.3:
            title = f"memory utilisation {lower:.2f}"
            yield Option(
                title, (("policy.gpu_memory_utilization", lower),), COST_SETTING + 0.2, "utilisation"
            )
    for tokens in (8192, 4096, 2048, 1024):
        if tokens < report.max_num_batched_tokens:
            title = f"max_num_batched_tokens {tokens:,}"
            cost = COST_SETTING + 0.3 + 1 / tokens
            yield Option(title, (("policy.max_num_batched_tokens", tokens),), cost, "tokens")
    for seqs in (256, 128, 64, 32, 16):
        if seqs < report.max_num_seqs:
            title = f"max_num_seqs {seqs}"
            yield Option(title, (("policy.max_num_seqs", seqs),), COST_SETTING + 0.4 + 1 / seqs, "seqs")


def _context_options(
    config: VLLMConfig, report: FeasibilityReport, metadata: ModelMetadata
) -> Iterator[Option]:
    limit = min(report.max_model_len, metadata.max_position_embeddings)
    estimated = report.kv_cache.estimated_max_model_len
    lengths = {limit // 2, limit // 4, limit // 8, 32768, 16384, 8192, 4096}
    if estimated >= 256:
        lengths.add(estimated // 256 * 256)
    if report.max_model_len > metadata.max_position_embeddings:
        lengths.add(metadata.max_position_embeddings)
    for length in sorted(lengths, reverse=True):
        if 256 <= length < report.max_model_len:
            cost = COST_CONTEXT + (1 - length / max(report.max_model_len, 1)) / 2
            yield Option(f"context {length:,}", (("model.max_model_len", length),), cost, "context")


def find_fixes(
    candidates: Sequence[Option], evaluate: Evaluate, before: FeasibilityReport, limit: int = MAX_FIXES
) -> tuple[Fix, ...]:
    """The cheapest single changes that help, one of each kind; pairs where too few single ones fit.

    Only what plans to `fits`, or to `tight` from something that won't start, counts as a fix.
    """
    search = _Search(evaluate, before, limit)
    ordered = sorted(candidates, key=lambda option: option.cost)
    for option in ordered:
        if option.cost < COST_MACHINE:
            search.consider(option)
    if search.fitting < ENOUGH:
        for pair in _pairs(search.nearly, search.helpful):
            search.consider(pair, is_pair=True)
    for option in ordered:
        if option.cost >= COST_MACHINE and search.fitting < ENOUGH:
            search.consider(option)
    return tuple(sorted(search.found, key=lambda fix: fix.verdict_after != "fits"))


def _pairs(nearly: Sequence[Option], helpful: Sequence[Option]) -> Iterator[Option]:
    """Two changes at once, never two values for one setting: cheapest first, the promising before the rest.

    `nearly` holds what leaves only the cache too small; another change can mend that. Two changes that
    both leave no cache at all may still do together, and come last.
    """
    promising = [(first, second) for first in nearly for second in (*nearly, *helpful) if first is not second]
    for group in (promising, list(combinations(helpful, 2))):
        for first, second in sorted(group, key=lambda pair: pair[0].cost + pair[1].cost):
            if not _settings(first) & _settings(second):
                yield Option(
                    f"{first.title} + {second.title}",
                    first.changes + second.changes,
                    first.cost + second.cost,
                    " + ".join(sorted((first.kind, second.kind))),
                )


def _settings(option: Option) -> set[str]:
    return {path for path, _ in option.changes}


class _Search:
    """Evaluates options while they are worth it; keeps the first solution of each kind."""

    def __init__(self, evaluate: Evaluate, before: FeasibilityReport, limit: int) -> None:
        self.evaluate = evaluate
        self.before = before
        self.limit = limit
        self.found: list[Fix] = []
        self.nearly: list[Option] = []
        self.helpful: list[Option] = []
        self.kinds: set[str] = set()
        self.kind_of: dict[str, str] = {}
        self.tried: set[frozenset[tuple[str, Any]]] = set()
        self.pairs_tried = 0

    @property
    def fitting(self) -> int:
        return sum(fix.verdict_after == "fits" for fix in self.found)

    def consider(self, option: Option, *, is_pair: bool = False) -> None:
        """Plans with the option, unless a cheaper one of its kind already works."""
        if option.kind in self.kinds or len(self.found) >= self.limit:
            return
        asked = frozenset(option.changes)
        if asked in self.tried or (is_pair and (self.pairs_tried >= PAIRS_TRIED or self.fitting >= ENOUGH)):
            return
        self.tried.add(asked)
        self.pairs_tried += is_pair
        after = self.evaluate(option.changes)
        if after is None:
            return
        if option.kind in self.kind_of.values() and after.verdict != "fits":
            if after.verdict == "tight" and not is_pair:
                self.nearly.append(option)
            return
        if is_pair and self.found and after.verdict != "fits":
            return
        if _solves(self.before, after):
            self.found = [fix for fix in self.found if self.kind_of[fix.title] != option.kind]
            self.found.append(_fix(option, after))
            self.kind_of[option.title] = option.kind
            if after.verdict == "fits":
                self.kinds.add(option.kind)
            elif not is_pair:
                self.nearly.append(option)
        elif not is_pair and option.cost < COST_MACHINE and _headroom(after) >= _headroom(self.before):
            near = after.verdict == "tight" or after.cause == "kv_cache_too_small"
            (self.nearly if near else self.helpful).append(option)


def _solves(before: FeasibilityReport, after: FeasibilityReport) -> bool:
    return after.verdict == "fits" or (after.verdict == "tight" and before.verdict == "wont_start")


def _headroom(report: FeasibilityReport) -> int:
    return report.per_gpu.kv_cache_available_bytes


def _fix(option: Option, after: FeasibilityReport) -> Fix:
    kv = after.kv_cache
    effect = (
        f"{kv.tokens:,} tokens of cache, {kv.max_concurrency:.1f} x {after.max_model_len:,}; "
        f"{after.per_gpu.kv_cache_available_bytes / GIB:.1f} GiB for it"
    )
    return Fix(option.title, option.changes, effect, after.verdict)


def applied_to_config(config: VLLMConfig, changes: Changes) -> VLLMConfig:
    """A `vllm serve` command with the changes made to its flags; hardware paths are the caller's."""
    fields = {
        path.split(".")[1]: value for path, value in changes if path.split(".")[1] in VLLMConfig.model_fields
    }
    return config.model_copy(update=fields)
