"""The figures that must be reached on launches that really happened, where those are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accuracy.__main__ import measure
from tests.accuracy.report import Goal, Report


@pytest.fixture(scope="module")
def measured(shared: Path) -> Report:
    return measure(shared / "truth" / "launches.jsonl", shared / "configs")


def goal(report: Report, beginning: str) -> Goal:
    return next(goal for goal in report.goals if goal.name.startswith(beginning))


@pytest.mark.parametrize(
    "beginning",
    [
        "available KV, median",
        "available KV, 95th",
        "band coverage",
        "weights against the logs, median",
        "weights against the logs, 95th",
        "failed for memory, called fits",
        "started, called wont_start",
        "KV tokens and concurrency",
    ],
)
def test_figure_is_reached(measured: Report, beginning: str) -> None:
    found = goal(measured, beginning)
    assert found.reached, f"{found.name}: {found.value:.3f}, must be {found.bound}"


def test_most_launches_can_be_judged(measured: Report) -> None:
    assert len(measured.judged) >= 135
    assert len([j for j in measured.main if j.kv]) >= 90


def test_every_failure_for_memory_is_seen(measured: Report) -> None:
    failures = {j.record.id: j.report.verdict for j in measured.judged if j.failed_for_memory}
    assert len(failures) >= 20
    assert "fits" not in failures.values()


def test_a_term_that_logs_print_by_itself_is_close_on_the_card_it_was_calibrated_on(measured: Report) -> None:
    h100 = [j for j in measured.main if j.record.version.number == "0.19.0" and j.launch.pp == 1]
    errors = {
        name: sorted(abs(t.error) for j in h100 for t in j.terms if t.name == name)
        for name in ("activation", "non-torch")
    }
    for name, sizes in errors.items():
        assert len(sizes) > 40
        assert sizes[int(0.95 * len(sizes))] <= 0.1, name
