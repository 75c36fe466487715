"""The plot of plans: where each lies, what is left out, and that it is plain text."""

from __future__ import annotations

from wizard.schemas.outputs import Estimate, PerfEstimate
from wizard.text import drawable
from wizard.tui.lines import Line
from wizard.tui.widgets.scatter import Point, plot


def speed(rate: float, per_token_ms: float) -> PerfEstimate:
    one = Estimate(1.0, 1.0, 1.0)
    return PerfEstimate(
        one,
        Estimate(per_token_ms * 0.8, per_token_ms, per_token_ms * 1.2),
        Estimate(rate * 0.8, rate, rate * 1.2),
        one,
        one,
        basis="test",
    )


def drawn(points: list[Point], cells: int = 60, height: int = 10) -> list[str]:
    return ["".join(span.text for span in line) for line in plot(points, cells, height)]


def place(rows: list[str], mark: str) -> tuple[int, int]:
    """Row and column of a mark, the labels of the axes left out."""
    inside = [row[8:] for row in rows[1:-2]]
    y = next(at for at, row in enumerate(inside) if mark in row)
    return y, inside[y].index(mark)


def test_faster_is_further_left_and_more_is_higher() -> None:
    rows = drawn([Point("@", speed(1000, 20)), Point("1", speed(2000, 10)), Point("2", speed(300, 90))])
    (y0, x0), (y1, x1), (y2, x2) = (place(rows, mark) for mark in "@12")
    assert y1 < y0 < y2
    assert x1 < x0 < x2


def test_the_plan_under_the_cursor_shows_its_range() -> None:
    rows = drawn([Point("@", speed(1000, 20)), Point("1", speed(2000, 40), here=True)])
    assert "-1-" in rows[place(rows, "1")[0] + 1]


def test_two_plans_in_one_place_are_both_seen() -> None:
    rows = drawn([Point("@", speed(1000, 20)), Point("1", speed(1000, 20)), Point("2", speed(10, 200))])
    assert place(rows, "1")[0] == place(rows, "@")[0]


def test_it_is_as_wide_and_as_tall_as_its_place_and_plain_in_ascii() -> None:
    points = [Point("@", speed(1000, 20)), Point("1", speed(2000, 5))]

    def cells(of: Line) -> int:
        return sum(len(span.text) for span in of)

    for width in (40, 78, 120):
        lines = plot(points, width, 9)
        assert len(lines) == 9
        assert max(cells(each) for each in lines) <= width
        for each in lines:
            assert "?" not in "".join(drawable(span.text, "ascii") for span in each)


def test_saturated_plans_are_counted_and_not_drawn() -> None:
    assert "2 saturated" in "".join(span.text for span in plot([Point("@", speed(10, 5))] * 2, 70, 9, 2)[0])
