"""Which of several attempts serves a request best: verdict, limits, precision, room, then what the mode asks for."""

from __future__ import annotations

import math

from wizard.dataclass import dataclass
from wizard.planning.attempts import Attempt
from wizard.planning.layouts import Layout
from wizard.planning.situation import Situation
from wizard.schemas.inputs import BatchingMode, PlanRequest
from wizard.schemas.outputs import PerfEstimate

AMPLE_LENGTH = 8192
"""Tokens of context that a plan should hold where the user named none, or four of its requests."""

SAME_SPEED = 1.03
"""Plans within 3 % of each other are as fast: the plainer one is taken."""

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


def ample(of: Situation, attempt: Attempt) -> bool:
    wanted = min(of.wanted_length, max(AMPLE_LENGTH, 4 * of.needed_length))
    return attempt.report.max_model_len >= wanted


@dataclass(frozen=True, slots=True)
class Ranked:
    """An attempt with its forecast and place."""

    attempt: Attempt
    performance: PerfEstimate | None
    order_key: tuple[float, ...]
    merit: float

    def order(self) -> tuple[float, ...]:
        return self.order_key

    @classmethod
    def of(cls, of: Situation, attempt: Attempt) -> Ranked:
        """Verdict first, then SLOs, precision kept, room, and what the mode asks for; the plainest of equals."""
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
        merit = _merit(of, speed)
        verdict = 2.0 if attempt.fits else 1.0
        key = (
            verdict,
            attempt.reaches,
            -math.ceil(10 * math.log(slo_miss(of.request, speed))),
            -attempt.quality_given_up,
            ample(of, attempt),
            round(attempt.held, 1),
            round(math.log(max(merit * _handicap(of, layout), 1e-12)) / math.log(SAME_SPEED)),
            -layout.gpus,
        )
        return cls(attempt, speed, key, merit)


def _handicap(of: Situation, layout: Layout) -> float:
    """1.0 for one engine that shares every layer."""
    found = 1.0
    if layout.replicas > 1:
        found *= HANDICAPS["servers"]
    if layout.pipeline_parallel_size > 1:
        found *= HANDICAPS["linked stages" if of.nvlink and of.staged(layout) else "stages"]
    if layout.expert_parallel:
        found *= HANDICAPS["experts" if layout.engine_gpus <= len(of.gpus) else "network"]
    elif layout.data_parallel_size > 1:
        found *= HANDICAPS["engines"]
    return found


def _merit(of: Situation, speed: PerfEstimate) -> float:
    """What the mode asks for, larger is better: tokens per second, short answers, or the product of both."""
    workload = of.request.workload
    latency_ms = max(end_to_end_ms(of.request, speed), 1e-6)
    rate = speed.output_tokens_per_s.mid
    return {
        BatchingMode.THROUGHPUT: rate,
        BatchingMode.LATENCY: 1 / latency_ms,
        BatchingMode.BALANCED: rate / latency_ms,
    }[workload.batching_mode]


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
