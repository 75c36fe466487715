"""The smallest changes that make a plan fit, each verified by planning again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from wizard.dataclass import dataclass, replace
from wizard.errors import ConfigError, WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import Changes, applied_to_config, changed_gpus, changed_request
from wizard.planning.command_options import command_options, finishing_options
from wizard.planning.launch import Launch, resolve, rounds_weights
from wizard.planning.memory import decisive_gpu, evaluate
from wizard.planning.options import (
    COST_CONTEXT,
    COST_GPUS,
    COST_OTHERS,
    Option,
    more_of_the_same,
    other_machines,
    refusal_options,
    sibling_options,
)
from wizard.planning.recommend import choose
from wizard.planning.request_options import request_options
from wizard.planning.situation import Situation, nvlink_present, situation
from wizard.planning.terms import weights_bytes
from wizard.schemas.inputs import PlanRequest, PolicyInput, WorkloadInput
from wizard.schemas.outputs import FeasibilityReport, Fix, GPUInfo, VLLMConfig

MAX_FIXES = 6
"""As many as a glance takes in; the cheapest come first."""

ENOUGH = 2
"""Fixes that fit before pairs, and before other machines, are left out."""

PLANNED_PAIRS = 12
"""Pairs planned at most, a few milliseconds each: planning combines settings on its own already."""

COMMAND_PAIRS = 150
"""Pairs of flags evaluated at most, a quarter of a millisecond each."""

MACHINES_PLANNED = 12
"""Machines planned at most until one fits."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change leads to."""

    config: VLLMConfig
    report: FeasibilityReport
    replicas: int = 1

    @property
    def engines(self) -> int:
        """Caches that requests are spread over."""
        return self.config.data_parallel_size * self.replicas


BOTH = " + "
"""Joins the kinds of a pair."""

REFUSED = frozenset({"invalid_config", "unsupported"})
"""vLLM stopped before it counted memory: what comes after is not known yet."""

WEIGHTY = frozenset({"context", "cache", "weights"})
"""Kinds of change that make a difference of gigabytes."""

Evaluate = Callable[[Changes], Outcome | None]
"""Plans again with changes applied; None where they can't be applied together."""


def plan_fixes(
    request: PlanRequest,
    of: Situation,
    before: Outcome,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo],
    *,
    between: Callable[[], None] = lambda: None,
) -> tuple[Fix, ...]:
    """Fixes of a plan that doesn't fit: changes to its answers. Empty where it fits.

    `between` is called before each change is planned; what it raises ends the search.
    """
    if before.report.verdict == "fits":
        return ()

    def planned(changes: Changes) -> Outcome | None:
        between()
        changed = changed_request(request, changes)
        if changed is None:
            return None
        metadata = siblings.get(changed.model.model, of.metadata)
        if request.model.params_b is not None and changed.model.params_b is None:
            metadata = replace(metadata, params_override=None)
        cards = changed_gpus(of.gpus, changes, machines)
        try:
            found = choose(situation(changed, metadata, cards, version=of.version))
        except WizardError:
            return None
        return Outcome(found.config, found.report, found.layout.replicas)

    def weighs(metadata: ModelMetadata) -> int:
        return _stored_bytes(metadata, of.gpu, request.model.dtype.value, of.version)

    def least_bytes(gpu: GPUInfo) -> float:
        capable = rounds_weights(gpu, of.rules.number)
        plain = of.metadata.quantization_config is None and request.model.quantization is None
        return weighs(of.metadata) / (2 if capable and plain and request.policy.allow_quantized else 1)

    search = _Search(planned, before, PLANNED_PAIRS, request.workload.concurrency)
    here = [
        *request_options(of, before.config, before.report, before.engines),
        *sibling_options(siblings, request.policy, weighs),
    ]
    hardware = request.hardware
    if of.whole_length > of.longest and before.report.verdict != "wont_start":
        return search.run(here, (), ())  # no machine serves more than the model's own length
    return search.run(
        here,
        more_of_the_same(of.gpus, hardware),
        other_machines(machines, hardware, least_bytes, besides=of.gpu.catalogue_name),
    )


def command_fixes(
    config: VLLMConfig,
    before: FeasibilityReport,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    request: PlanRequest,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo],
    *,
    version: str,
    workload: WorkloadInput | None,
    nodes_known: bool = True,
) -> tuple[Fix, ...]:
    """Fixes of a typed command: changes to its flags. Empty where it fits."""
    if before.verdict == "fits":
        return ()

    def evaluated(changes: Changes) -> Outcome | None:
        changed = applied_to_config(config, changes)
        cards = changed_gpus(gpus, changes, machines)
        asked = changed_request(request, changes)
        if asked is None:
            return None
        report = evaluate(
            changed,
            siblings.get(changed.model, metadata),
            cards,
            version=version,
            workload=workload,
            nvlink=nvlink_present(asked, cards),
            nodes=asked.hardware.nodes if nodes_known else None,
        )
        return Outcome(changed, report)

    def weighs(other: ModelMetadata) -> int:
        return _stored_bytes(other, decisive_gpu(gpus), config.dtype, version)

    def launched(settings: VLLMConfig) -> Launch:
        return resolve(
            settings,
            metadata,
            decisive_gpu(gpus),
            version=version,
            nvlink=nvlink_present(request, gpus),
            gpus_per_node=len(gpus),
            nodes=request.hardware.nodes if nodes_known else None,
        )

    users = workload.concurrency if workload else 1
    search = _Search(
        evaluated,
        Outcome(config, before),
        COMMAND_PAIRS,
        users,
        polish=lambda after: finishing_options(after.report, decisive_gpu(gpus)),
    )
    here = [
        *command_options(config, before, launched(config), gpus, request.hardware),
        *sibling_options(siblings, PolicyInput(), weighs),
    ]
    for accepted in refusal_options(launched(config), as_flags=True):
        after = evaluated(accepted.changes)
        if after is not None and after.report.cause not in REFUSED:
            more = command_options(after.config, after.report, launched(after.config), gpus, request.hardware)
            here += [
                together(accepted, option)
                for option in more
                if option.kind in WEIGHTY and not option.settings & accepted.settings
            ]
    engines = config.pipeline_parallel_size * config.data_parallel_size

    def sized(count: int) -> int:
        return max(1, count * config.nnodes // engines)

    return search.run(
        here,
        more_of_the_same(gpus, request.hardware, sized=sized),
        other_machines(
            machines,
            request.hardware,
            lambda gpu: weighs(metadata),
            besides=decisive_gpu(gpus).catalogue_name,
            sized=sized,
        ),
    )


def _stored_bytes(metadata: ModelMetadata, gpu: GPUInfo, dtype: str, version: str) -> int:
    """Weights of the whole model on one GPU, as the checkpoint stores them; 0 where that can't be told."""
    try:
        return weights_bytes(
            resolve(VLLMConfig(model=metadata.model, dtype=dtype), metadata, gpu, version=version)
        )
    except ConfigError:
        return 0


def together(one: Option, other: Option, kind: str | None = None) -> Option:
    """Both changes at once."""
    return Option(
        f"{one.title} + {other.title}",
        one.changes + other.changes,
        one.cost + other.cost,
        kind or other.kind,
    )


class _Search:
    """Evaluates options while they are worth it; keeps the first solution of each kind."""

    def __init__(
        self,
        evaluate: Evaluate,
        before: Outcome,
        pairs: int,
        users: int = 1,
        polish: Callable[[Outcome], Iterable[Option]] = lambda after: (),
    ) -> None:
        self.evaluate = evaluate
        self.polish = polish
        self.users = users
        """Requests that should run at once."""
        self.before = before
        self.pairs = pairs
        self.found: dict[str, tuple[Option, Fix]] = {}
        self.nearly: list[Option] = []
        """Leave only the cache too small, or fit with a risk."""
        self.helpful: list[Option] = []

    @property
    def fitting(self) -> int:
        """Those that work whether or not others give their memory back."""
        return sum(
            fix.verdict_after == "fits" for option, fix in self.found.values() if option.cost > COST_OTHERS
        )

    def run(
        self, here: Sequence[Option], same_cards: Iterable[Option], elsewhere: Iterable[Option]
    ) -> tuple[Fix, ...]:
        """Single changes, then pairs, then more cards, then another machine: each only where the last
        left too little to choose from. Fixes that fit come first, then by what they cost."""
        for option in sorted(here, key=lambda each: each.cost):
            self._consider(option)
        self._consider_pairs(lambda pair: pair.cost < COST_GPUS or not self.fitting)
        settled = [
            option.cost
            for option, fix in self.found.values()
            if fix.verdict_after == "fits" and option.cost > COST_OTHERS
        ]
        if not settled or (min(settled) >= COST_CONTEXT and len(settled) < ENOUGH):
            for option in same_cards:
                self._consider(option)
            self._consider_pairs(lambda pair: pair.cost >= COST_GPUS)
            for tried, option in enumerate(elsewhere):
                named = any(kind.startswith("machine") for kind in self._settled())
                if sum(kind.startswith("machine") for kind in self.found) >= ENOUGH:
                    break
                if tried >= MACHINES_PLANNED or (self.fitting >= ENOUGH and (named or settled)):
                    break
                self._consider(option)
        return tuple(fix for _, fix in self._ordered()[:MAX_FIXES])

    def _ordered(self) -> list[tuple[Option, Fix]]:
        """What fits by cost, then what is tight but cheaper than all of it."""
        fits = [each for each in self.found.values() if each[1].verdict_after == "fits"]
        cheapest = min((option.cost for option, _ in fits), default=math.inf)
        tight = [
            each
            for each in self.found.values()
            if each[1].verdict_after != "fits" and each[0].cost < cheapest
        ]
        return sorted(fits, key=_cost) + sorted(tight, key=_cost)

    def _consider_pairs(self, wanted: Callable[[Option], bool]) -> None:
        tried = 0
        for pair in self._paired():
            if tried >= self.pairs or self.fitting >= ENOUGH:
                return
            if wanted(pair) and not set(pair.kind.split(BOTH)) & self._settled():
                tried += 1
                self._consider(pair)

    def _settled(self) -> set[str]:
        return {kind for kind, (_, fix) in self.found.items() if fix.verdict_after == "fits"}

    def _consider(self, option: Option) -> None:
        """Plans with the option, unless a cheaper one of its kind works already."""
        if option.kind in self._settled():
            return
        after = self.evaluate(option.changes)
        if after is None:
            return
        option, after = self._polished(option, after)
        verdict = after.report.verdict
        if verdict == "fits" or (
            verdict == "tight"
            and self.before.report.verdict == "wont_start"
            and option.kind not in self.found
        ):
            title = option.named(after.config) if option.named else option.title
            self.found[option.kind] = (
                option,
                Fix(title, option.changes, self._effect(after, option.changes), verdict),
            )
        single = BOTH not in option.kind
        if verdict != "fits" and single and _room(after) > _room(self.before):
            near = verdict == "tight" or after.report.cause == "kv_cache_too_small"
            (self.nearly if near else self.helpful).append(option)

    def _polished(self, option: Option, after: Outcome) -> tuple[Option, Outcome]:
        """With one more setting where that finishes what it began: a shorter context where the cache came to exist
        but is too small, another share of the card where only that is amiss."""
        if self.before.report.verdict != "wont_start":
            return option, after
        too_small = after.report.cause == "kv_cache_too_small"
        if too_small and self.before.report.cause != "kv_cache_too_small" and option.cost < COST_GPUS:
            return self._extended(option, after)
        return self._extended(option, after) if after.report.verdict == "tight" else (option, after)

    def _extended(self, option: Option, after: Outcome) -> tuple[Option, Outcome]:
        """The first further setting that makes it fit, else the first that makes it start."""
        best = option, after
        for extra in self.polish(after):
            if extra.settings & option.settings:
                continue
            found = self.evaluate(option.changes + extra.changes)
            if found is None:
                continue
            if found.report.verdict == "fits":
                return together(option, extra, option.kind), found
            if found.report.verdict == "tight" and best[1].report.verdict == "wont_start":
                best = together(option, extra, option.kind), found
        return best

    def _paired(self) -> Iterator[Option]:
        """Two changes at once, never two values for one setting; the promising ones first, then the rest."""
        near = [(one, other) for one in self.nearly for other in (*self.nearly, *self.helpful)]
        for pairs in (near, list(combinations(self.helpful, 2))):
            for one, other in sorted(pairs, key=lambda pair: pair[0].cost + pair[1].cost):
                if one.settings & other.settings or one.kind == other.kind or one.cost > other.cost:
                    continue
                yield together(one, other, BOTH.join(sorted((one.kind, other.kind))))

    def _effect(self, after: Outcome, changes: Changes) -> str:
        """What it comes to, and what else changes with it."""
        report, cache = after.report, after.report.kv_cache
        words = "it needs no cache"
        if cache.bytes_per_block:
            words = f"{cache.max_concurrency:,.1f} requests of {report.max_model_len:,} tokens at once"
            if self.users > 1 and report.concurrency_at_workload:
                users = dict(changes).get("workload.concurrency", self.users)
                held = min(users, int(report.concurrency_at_workload * after.engines))
                words = f"{held:,} of your requests at once, context up to {report.max_model_len:,}"
        old, new = self.before.config, after.config
        also = []
        if new.quantization != old.quantization and new.quantization is not None:
            also.append("8-bit weights")
        if new.kv_cache_dtype != old.kv_cache_dtype and (new.kv_cache_dtype or "").startswith("fp8"):
            also.append("8-bit cache")
        if new.enforce_eager and not old.enforce_eager:
            also.append("no CUDA graphs")
        if new.tensor_parallel_size != old.tensor_parallel_size:
            also.append(f"tensor parallel {new.tensor_parallel_size}")
        if new.pipeline_parallel_size != old.pipeline_parallel_size:
            also.append(f"pipeline {new.pipeline_parallel_size}")
        return ", ".join((words, *also))


def _cost(found: tuple[Option, Fix]) -> float:
    return found[0].cost


def _room(outcome: Outcome) -> tuple[bool, int, float]:
    """Larger is nearer to fitting: it starts, fewer warnings, more requests held or more bytes for a cache."""
    report = outcome.report
    if report.verdict == "wont_start":
        return False, 0, report.per_gpu.kv_cache_available_bytes
    return True, -len(report.warnings), report.concurrency_at_workload * outcome.engines
