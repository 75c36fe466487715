"""What one plan gains and costs against another, in figures and in words."""

from __future__ import annotations

from collections.abc import Iterator

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata
from wizard.planning.perf_facts import model_facts
from wizard.planning.prices import hourly_usd
from wizard.planning.recommend import Choice
from wizard.planning.situation import Situation

NOTICEABLE = 1.05
"""Ratios nearer to 1 than this are within any forecast's error and say nothing."""

SAME = 1.02
"""Two plans whose figures lie within 2 % are told apart by nobody."""

FEWER_BITS = 0.9
"""Weights of fewer bits than this share of the others' are rounded more."""

TIMES = 1.95
"""From this ratio on, `2.3 times` reads better than a percentage."""


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """Ratios of the other plan over the recommended one; 1.0 where either is not known."""

    rate: float
    per_token: float
    first_token: float
    held: float
    """Requests of the workload that the cache holds."""
    length: int
    """Longest context of the other plan."""
    length_before: int
    gpus: int
    gpus_before: int
    gpu: str
    usd_per_hour: float | None
    usd_before: float | None
    enough_held: bool
    """The other plan's cache holds twice the wanted requests: fewer than before cost nothing."""
    settings: tuple[str, ...]
    """What the other plan changed besides, in words."""
    rounded: bool
    """The other plan rounds weights or cache to fewer bits."""
    verdict_better: bool
    started_before: bool

    @property
    def worth_showing(self) -> bool:
        """Better at something that the user may care about."""
        return (
            self.verdict_better
            or self.rate >= NOTICEABLE
            or min(self.per_token, self.first_token) <= 1 / NOTICEABLE
            or self.held >= NOTICEABLE
            or self.length >= NOTICEABLE * self.length_before
            or self.gpus < self.gpus_before
            or self.cheaper
        )

    @property
    def cheaper(self) -> bool:
        return (
            self.usd_per_hour is not None
            and self.usd_before is not None
            and self.usd_per_hour < self.usd_before
        )

    def like(self, other: Tradeoff) -> bool:
        """Nothing that a user would see differs: two names for one plan."""
        return (self.gpu, self.gpus) == (other.gpu, other.gpus) and all(
            one / SAME <= two <= one * SAME
            for one, two in (
                (self.rate, other.rate),
                (self.per_token, other.per_token),
                (self.first_token, other.first_token),
                (self.held, other.held),
                (self.length, other.length),
            )
        )

    def words(self, why: str, said: str = "") -> str:
        """One sentence: what is done, what it gains, what it costs. `said`: the setting that `why` tells."""
        parts = [" and ".join(each for each in self.settings if each != said)]
        if self.rounded:
            parts.append("rounding costs a little quality")
        if self.gpus != self.gpus_before:
            parts.append(f"{self.gpus} GPU{'s' if self.gpus > 1 else ''} instead of {self.gpus_before}")
        if self.cheaper:
            parts.append(f"${self.usd_per_hour:,.2f} instead of ${self.usd_before:,.2f} an hour")
        parts += self._figures()
        told = ", ".join(part for part in parts if part)
        return f"{why}: {told}." if told else f"{why}."

    def _figures(self) -> Iterator[str]:
        if not self.started_before:
            yield f"it starts, with context {self.length:,}"
            return
        yield _compared(self.rate, "more tokens/s", "fewer tokens/s", "the tokens/s")
        yield _faster(self.per_token, "per token")
        yield _faster(self.first_token, "to the first token")
        if self.held > 1 or not self.enough_held:
            cache = "requests in the cache"
            yield _compared(self.held, f"more {cache}", f"fewer {cache}", f"the {cache}")
        if not self.length_before / NOTICEABLE <= self.length <= self.length_before * NOTICEABLE:
            yield f"context {self.length:,} instead of {self.length_before:,}"


def tradeoff(of: Situation, best: Choice, other: Situation, choice: Choice) -> Tradeoff:
    """`choice` in the situation `other` against `best` in `of`."""
    before, after = best.performance, choice.performance
    rate = per_token = first_token = 1.0
    if before is not None and after is not None:
        rate = after.output_tokens_per_s.mid / before.output_tokens_per_s.mid
        per_token = after.tpot_ms.mid / before.tpot_ms.mid if before.tpot_ms.mid else 1.0
        first_token = after.ttft_ms.mid / before.ttft_ms.mid
    held_before, held = _held(best), _held(choice)
    verdicts = {"wont_start": 0, "tight": 1, "fits": 2}
    return Tradeoff(
        rate=rate,
        per_token=per_token,
        first_token=first_token,
        held=held / held_before if held_before > 0 else 1.0,
        length=choice.report.max_model_len,
        length_before=best.report.max_model_len,
        gpus=choice.layout.gpus,
        gpus_before=best.layout.gpus,
        gpu=other.gpu.name,
        usd_per_hour=_price(other, choice),
        usd_before=_price(of, best),
        enough_held=held >= 2 * other.request.workload.concurrency,
        settings=tuple(_settings(best, choice)),
        rounded=weight_bits(other.metadata, choice) < FEWER_BITS * weight_bits(of.metadata, best)
        or _cache_bits(other.metadata, choice) < _cache_bits(of.metadata, best),
        started_before=best.report.verdict != "wont_start",
        verdict_better=verdicts[choice.report.verdict] > verdicts[best.report.verdict],
    )


def _settings(best: Choice, choice: Choice) -> Iterator[str]:
    """Precision and graphs that planning gave up, or got back, on the way."""
    before, after = best.config, choice.config
    if after.model == before.model and after.quantization != before.quantization:
        yield "8-bit weights" if after.quantization else "weights as stored"
    if after.kv_cache_dtype != before.kv_cache_dtype:
        yield (
            "8-bit cache" if (after.kv_cache_dtype or "").startswith("fp8") else "cache as the model's dtype"
        )
    if bool(after.enforce_eager) != bool(before.enforce_eager):
        yield "no CUDA graphs" if after.enforce_eager else "CUDA graphs"


def _held(choice: Choice) -> float:
    layout = choice.layout
    return choice.report.concurrency_at_workload * layout.data_parallel_size * layout.replicas


def _price(of: Situation, choice: Choice) -> float | None:
    nodes = of.request.hardware.nodes if choice.layout.engine_gpus > len(of.gpus) else 1
    return hourly_usd(of.gpu, min(len(of.gpus), -(-choice.layout.gpus // nodes)), nodes)


def weight_bits(metadata: ModelMetadata, choice: Choice) -> float:
    """Mean bits of a weight, scales included: 16 as most are trained, 4.5 in NVFP4."""
    facts = model_facts(metadata, choice.config.quantization)
    nbytes = sum(part.nbytes for part in facts.matrices)
    nbytes += sum(part.nbytes * part.count * part.layers for part in facts.experts)
    values = sum(part.parameters for part in facts.matrices)
    values += sum(part.parameters * part.count * part.layers for part in facts.experts)
    return 8 * nbytes / values if values else 16.0


def _cache_bits(metadata: ModelMetadata, choice: Choice) -> int:
    asked = choice.config.kv_cache_dtype or "auto"
    return 16 if asked in {"auto", "bfloat16", "float16"} else 8 if "8" in asked else 4


def _compared(ratio: float, more: str, fewer: str, plain: str) -> str:
    if ratio >= TIMES:
        return f"{ratio:.1f} times {plain}"
    if ratio >= NOTICEABLE:
        return f"{ratio - 1:.0%} {more}"
    return f"{1 - ratio:.0%} {fewer}" if ratio <= 1 / NOTICEABLE else ""


def _faster(ratio: float, what: str) -> str:
    if ratio <= 1 / NOTICEABLE:
        return f"{1 - ratio:.0%} faster {what}"
    if ratio >= TIMES:
        return f"{ratio:.1f} times slower {what}"
    return f"{ratio - 1:.0%} slower {what}" if ratio >= NOTICEABLE else ""
