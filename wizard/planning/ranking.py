"""Which of several attempts serves a request best: verdict, limits, precision, room, then what the mode asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable

from wizard.dataclass import dataclass
from wizard.planning.attempts import Attempt
from wizard.planning.layouts import Layout
from wizard.planning.situation import Situation
from wizard.schemas.inputs import BatchingMode, PlanRequest
from wizard.schemas.outputs import PerfEstimate

AMPLE_LENGTH = 8192
"""Tokens of context that a plan should hold where the user named none, or four of its requests."""

HANDICAPS = {
    "servers": 0.8,
    "engines": 0.97,
    "stages": 0.95,
    "linked stages": 0.6,
    "experts": 0.9,
    "network": 0.6,
}
"""What a plan's merit counts for where it is harder to run: separate servers need a router and split what
prefixes share; stages idle while they wait for each other, and NVLink makes tensor parallelism cheap; experts
over the network of several machines are a project of their own. Chosen, not measured."""

PLAINER = {BatchingMode.LATENCY: 0.97, BatchingMode.THROUGHPUT: 0.97, BatchingMode.BALANCED: 0.80}
"""Share of the best plan's merit that a plainer one must reach to be taken for it. Who asks for the fastest answers
or the most tokens gets them, but for what no forecast can tell apart; `balanced` also weighs the trouble of running
it, up to a fifth of the product."""


def ample(of: Situation, attempt: Attempt) -> bool:
    wanted = min(of.wanted_length, max(AMPLE_LENGTH, 4 * of.needed_length))
    return attempt.report.max_model_len >= wanted


@dataclass(frozen=True, slots=True)
class Ranked:
    """An attempt with its forecast and place."""

    attempt: Attempt
    performance: PerfEstimate | None
    met: tuple[float, ...]
    """How much of the request is met, and what is given up for it: what comes before all speed."""
    merit: float
    ease: float = 1.0
    """1.0 for one engine that shares every layer, less for what is harder to run."""
    misses_limit: bool = False
    """The forecast exceeds a limit on time that was given."""

    @classmethod
    def of(cls, of: Situation, attempt: Attempt) -> Ranked:
        """Verdict first, then SLOs, what of the request is held, precision kept and room; speed comes after."""
        layout = attempt.layout
        if not attempt.starts:
            part = attempt.report.per_gpu
            return cls(
                attempt,
                None,
                (0.0, not attempt.refused, part.kv_cache_available_low_bytes, -layout.gpus),
                0.0,
            )
        speed = of.performance(attempt.config, attempt.report, layout)
        missed = slo_miss(of.request, speed)
        met = (
            2.0 if attempt.fits else 1.0,
            attempt.reaches,
            -math.ceil(10 * math.log(missed)),
            -attempt.quality_given_up,
            ample(of, attempt),
            round(attempt.held, 1),
        )
        return cls(attempt, speed, met, merit(of.request, speed), _ease(of, layout), missed > 1)


def ranked(of: Situation, attempts: Iterable[Attempt]) -> list[Ranked]:
    """Best first. Of those that meet as much, the plainest of the fast ones leads: `PLAINER` says how fast."""
    found = sorted((Ranked.of(of, each) for each in attempts), key=_order, reverse=True)
    if len(found) < 2 or found[0].performance is None:
        return found
    equals = [each for each in found if each.met == found[0].met]
    enough = PLAINER[of.request.workload.batching_mode] * max(each.merit for each in equals)
    best = max((each for each in equals if each.merit >= enough), key=_preference)
    return [best, *(each for each in found if each is not best)]


def keeps_limits(of: Situation, attempt: Attempt) -> bool:
    """The forecast stays within every limit on time that was given."""
    speed = of.performance(attempt.config, attempt.report, attempt.layout)
    return slo_miss(of.request, speed) <= 1


def _order(found: Ranked) -> tuple[tuple[float, ...], float, int]:
    return found.met, found.merit, -found.attempt.layout.gpus


def _preference(found: Ranked) -> tuple[float, int]:
    """Merit, with the trouble of running it; two plans within a percent go to the one on fewer GPUs."""
    return round(math.log(max(found.merit * found.ease, 1e-12)), 2), -found.attempt.layout.gpus


def _ease(of: Situation, layout: Layout) -> float:
    found = 1.0
    if layout.replicas > 1:
        found *= HANDICAPS["servers"]
    if layout.pipeline_parallel_size > 1:
        found *= HANDICAPS["linked stages" if of.nvlink and of.staged(layout) else "stages"]
    if layout.expert_parallel:
        sharing = layout.tensor_parallel_size * layout.data_parallel_size
        found *= HANDICAPS["experts" if sharing <= len(of.gpus) else "network"]
    elif layout.data_parallel_size > 1:
        found *= HANDICAPS["engines"]
    return found


def merit(request: PlanRequest, speed: PerfEstimate) -> float:
    """What the mode asks for, larger is better: tokens per second, short answers, or the mean of both.

    The mean is geometric, so that a tenth more of either counts as much in every mode.
    """
    latency_ms = max(end_to_end_ms(request, speed), 1e-6)
    rate = speed.output_tokens_per_s.mid
    return {
        BatchingMode.THROUGHPUT: rate,
        BatchingMode.LATENCY: 1 / latency_ms,
        BatchingMode.BALANCED: math.sqrt(rate / latency_ms),
    }[request.workload.batching_mode]


def end_to_end_ms(request: PlanRequest, speed: PerfEstimate) -> float:
    """From sending a request of the workload to its last token, milliseconds."""
    return speed.ttft_ms.mid + speed.tpot_ms.mid * (request.workload.gen_tokens - 1)


def slo_miss(request: PlanRequest, speed: PerfEstimate) -> float:
    """Expected time over the limit, of the limit missed most; 1.0 where all are kept."""
    asked = (
        (speed.ttft_ms.mid, request.policy.max_ttft_ms),
        (speed.tpot_ms.mid, request.policy.max_tpot_ms),
        (end_to_end_ms(request, speed), request.workload.target_latency_ms),
    )
    return max([1.0, *(expected / limit for expected, limit in asked if limit is not None)])
