"""What a plan says where the weights themselves are doubtful: broken files, or those of another model.

Settings, fixes and alternatives are chosen by memory alone, as if the weights would load; what they say of
themselves is qualified afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from wizard.dataclass import replace
from wizard.planning.launch import Launch
from wizard.planning.verdicts import RISKS
from wizard.planning.weights import draft_is_uncounted, weight_doubts
from wizard.schemas.outputs import FeasibilityReport, Plan


def _load_risks(launch: Launch) -> tuple[str, ...]:
    """Why vLLM would stop while it loads the weights, whatever their size."""
    doubts = weight_doubts(launch)
    foreign = (doubts.disagreement,) if doubts.foreign and doubts.disagreement else ()
    return (*launch.metadata.load_risks, *foreign)


def doubted(report: FeasibilityReport, launch: Launch) -> FeasibilityReport:
    """The report on weights that may not load: at most tight. Memory alone decides on settings and fixes."""
    risks = _load_risks(launch)
    if not risks or report.verdict == "wont_start":
        return report
    return replace(report, verdict="tight", oom_risk=RISKS["tight"], warnings=(*risks, *report.warnings))


def with_doubts(result: Plan, launch: Launch) -> Plan:
    """The plan whose fixes and alternatives are no surer of the same weights than it is."""
    if not _load_risks(launch):
        return result
    same = launch.metadata.model
    return replace(
        result,
        fixes=tuple(
            replace(fix, verdict_after="tight")
            if fix.verdict_after == "fits" and "model.model" not in dict(fix.changes)
            else fix
            for fix in result.fixes
        ),
        alternatives=tuple(
            replace(each, feasibility=doubted(each.feasibility, launch))
            if each.config.model == same
            else each
            for each in result.alternatives
        ),
    )


def weight_warnings(report: FeasibilityReport, launch: Launch) -> Iterator[str]:
    """Doubts about the weights that the verdict doesn't carry."""
    doubts = weight_doubts(launch)
    yield from doubts.warnings
    if launch.shortened_from and report.cause not in {"invalid_config", "unsupported"}:
        yield (
            f"The model that drafts reads {launch.max_model_len:,} tokens at most: vLLM lowers max_model_len from "
            f"{launch.shortened_from:,} to that."
        )
    if draft_is_uncounted(launch):
        yield (
            "The model that drafts is not known here: its weights and cache are not counted. Give a directory, or a "
            "model of the hub or the catalogue."
        )
    if doubts.disagreement and (not doubts.foreign or report.verdict == "wont_start"):
        yield doubts.disagreement
    if report.verdict == "wont_start":
        yield from launch.metadata.load_risks
