"""Plans that differ in kind from the recommended one: searched, planned, compared, ranked.

Every variant is a change to the request, planned by the same planner, so that choosing one gives exactly the
plan that was shown. Planning one takes a few milliseconds, a whole search a hundred or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import changed_gpus, changed_request
from wizard.planning.ranking import merit, slo_miss
from wizard.planning.recommend import Choice, choose
from wizard.planning.situation import Situation, situation
from wizard.planning.tradeoffs import Tradeoff, tradeoff, weight_bits
from wizard.planning.variant import Variant
from wizard.planning.variants import variants
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Alternative, GPUInfo

MOST = 8
"""As many as the screen's table takes."""

ENOUGH = 5
"""Fewer than these leave too little to choose from: then second plans of a kind are shown too."""

MOST_PLANNED = 60
"""Variants planned at most: a few milliseconds each, in the background."""

PROMISES: Mapping[str, Callable[[Tradeoff], bool]] = {
    "most tokens per second": lambda gained: gained.rate > 1.01,
    "shortest answers": lambda gained: min(gained.per_token, gained.first_token) < 0.99,
    "balanced": lambda gained: gained.rate > 1.01 or min(gained.per_token, gained.first_token) < 0.99,
    "context": lambda gained: gained.length > gained.length_before,
    "users": lambda gained: gained.rate > 1.0,
    "fewer": lambda gained: gained.gpus < gained.gpus_before,
    "cheaper": lambda gained: gained.cheaper,
    "faster": lambda gained: gained.rate > 1.05 or gained.per_token < 0.95,
}
"""What a title or a kind of plan says of itself, and must keep."""

ALWAYS_WORTH = frozenset({"users", "fewer users", "room", "rented"})
"""Better at something that no figure of a `Tradeoff` tells."""

FOUR_BITS = 6.5
"""Weights of fewer bits on the mean are 4-bit ones: what is left in 16 bits adds to them."""


def nothing() -> None:
    """Between two plans there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A variant, planned."""

    variant: Variant
    request: PlanRequest
    choice: Choice
    tradeoff: Tradeoff
    bits: float
    """Of a weight, on the mean."""

    @property
    def kind(self) -> str:
        """Of the variant, or of what planning came to; rounded weights by their bits, whoever rounds them."""
        kind = self.variant.kind
        if self.variant.told is not None:
            return self.variant.told(self.choice.layout)[0]
        if kind in {"sibling", "weights"}:
            return f"{'4' if self.bits < FOUR_BITS else '8'}-bit weights"
        return kind

    @property
    def why(self) -> str:
        told = self.variant.told
        return told(self.choice.layout)[1] if told is not None else self.variant.why

    @property
    def worth(self) -> bool:
        return self.tradeoff.worth_showing or self.kind in ALWAYS_WORTH

    @property
    def keeps_its_word(self) -> bool:
        name = self.variant.title if self.variant.kind == "goal" else self.kind
        return name not in PROMISES or not self.tradeoff.started_before or PROMISES[name](self.tradeoff)

    @property
    def signature(self) -> tuple[object, ...]:
        """Plans with one signature are one plan to the user."""
        config = self.choice.config
        return (*_settings(self.choice), config.model, self.tradeoff.gpu, config.max_num_seqs)


def alternatives(
    request: PlanRequest,
    of: Situation,
    best: Choice,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo] = (),
    *,
    between: Callable[[], None] = nothing,
    limit: int = MOST,
) -> tuple[Alternative, ...]:
    """Five to eight plans that differ in kind from `best` and are better at something, best first.

    `request` is as the user gave it, `of` the situation that `best` was chosen in; `siblings` are quantised
    forms of the model by id, `machines` cards that could be had instead. `between` is called between two plans:
    a caller that is not wanted any more ends the search there by raising.
    """
    found = rank(enumerate_plans(request, of, best, siblings, machines, between), request)
    seen: set[tuple[object, ...]] = {
        (*_settings(best), best.config.model, of.gpu.name, best.config.max_num_seqs)
    }
    distinct: list[Found] = []
    for each in found:
        alike = any(each.tradeoff.like(other.tradeoff) for other in distinct)
        if (
            each.signature not in seen
            and each.keeps_its_word
            and not (alike and each.kind not in ALWAYS_WORTH)
        ):
            seen.add(each.signature)
            distinct.append(each)
    kept = _selected(distinct, limit)
    return tuple(
        Alternative(
            title=each.variant.named(each.choice.config, each.choice.layout),
            config=each.choice.config,
            feasibility=each.choice.report,
            performance=each.choice.performance,
            why=each.tradeoff.words(each.why, each.variant.said),
            request_changes=each.variant.changes,
            replicas=each.choice.layout.replicas,
        )
        for each in found
        if each in kept
    )


def _selected(found: Sequence[Found], limit: int) -> list[Found]:
    """The best of each kind; then, while there are few, the next of each, and what is merely different."""
    kept: list[Found] = []

    def fill(most: int, until: int, *, worth: bool) -> None:
        for each in found:
            if len(kept) >= until:
                return
            alike = sum(other.kind == each.kind for other in kept)
            if each not in kept and alike < min(most, each.variant.most) and (each.worth or not worth):
                kept.append(each)

    fill(1, limit, worth=True)
    fill(MOST, ENOUGH, worth=True)
    fill(1, ENOUGH, worth=False)
    return kept


def enumerate_plans(
    request: PlanRequest,
    of: Situation,
    best: Choice,
    siblings: Mapping[str, ModelMetadata],
    machines: Sequence[GPUInfo] = (),
    between: Callable[[], None] = nothing,
) -> Iterator[Found]:
    """Every variant worth planning that starts, with what it gains and costs against `best`."""
    planned = 0
    settled: set[str] = set()
    for variant in variants(of, best, siblings, machines):
        if variant.settles in settled:
            continue
        if planned >= MOST_PLANNED:
            return
        planned += 1
        between()
        changed = changed_request(request, variant.changes)
        if changed is None:
            continue
        metadata = siblings.get(changed.model.model, of.metadata)
        gpus = changed_gpus(of.gpus, variant.changes, machines)
        try:
            other = situation(changed, metadata, gpus, version=of.version)
            choice = choose(other)
        except WizardError:
            continue  # this version lacks a flag that the variant needs, or a sibling can't be sized
        if choice.report.verdict != "wont_start":
            bits = weight_bits(metadata, choice)
            found = Found(variant, changed, choice, tradeoff(of, best, other, choice), bits)
            if variant.settles and choice.report.verdict == "fits" and found.keeps_its_word:
                settled.add(variant.settles)
            yield found


def rank(found: Iterable[Found], request: PlanRequest) -> list[Found]:
    """Best first: what fits, then what keeps the limits, then by what the mode asks for."""
    return sorted(found, key=lambda each: _order(each, request), reverse=True)


def _order(found: Found, request: PlanRequest) -> tuple[float, ...]:
    speed = found.choice.performance
    fits = found.choice.report.verdict == "fits"
    if speed is None:
        return fits, 0.0, 0.0
    return fits, -slo_miss(request, speed), merit(request, speed)


def _settings(choice: Choice) -> tuple[object, ...]:
    config = choice.config
    return (
        choice.layout,
        config.kv_cache_dtype,
        config.quantization,
        config.max_model_len,
        bool(config.enforce_eager),
        config.decode_context_parallel_size,
        str(config.speculative_config),
    )
