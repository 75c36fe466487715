"""A small scatter plot: tokens per second against the time per token, one sign for each plan.

Both axes are logarithmic: plans lie from a few milliseconds to hundreds apart. Only letters, digits and a few
signs are drawn, so that it reads the same in ASCII.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wizard.schemas.outputs import PerfEstimate
from wizard.text import milliseconds, rounded, short_count
from wizard.tui.lines import BLANK, Line, Span, fit, line, width
from wizard.tui.widgets.painted import Painted

LEAST_ROWS = 6
"""Rows below which there is nothing to see: title, four rows of dots, axis."""

LABEL_CELLS = 7
MARGIN = 1.08
"""Room around the outermost plans, as a factor."""


@dataclass(frozen=True, slots=True)
class Point:
    """One plan in the plot."""

    mark: str
    """One character."""
    speed: PerfEstimate
    here: bool = False
    """The plan that the cursor is on: drawn with its range."""


class Scatter(Painted):
    """Tokens/s upwards, milliseconds per token to the right: the upper left corner is the best place."""

    DEFAULT_CSS = "Scatter { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.points: Sequence[Point] = ()

    def show(self, points: Sequence[Point]) -> None:
        """Shows other plans."""
        self.points = points
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        height = self.size.height
        drawn = [each for each in self.points if not each.speed.saturated]
        if height < LEAST_ROWS or width < 30 or len(drawn) < 2:
            return [BLANK]
        return plot(drawn, width, min(height, 16), len(self.points) - len(drawn))


def plot(points: Sequence[Point], cells: int, height: int, saturated: int = 0) -> list[Line]:
    """The plot in lines: a title, rows of dots with the tokens/s at their left, an axis, and the milliseconds."""
    rows, columns = height - 3, cells - LABEL_CELLS - 2
    right = _scale([(each.speed.tpot_ms.low, each.speed.tpot_ms.high) for each in points if each.here])
    xs = _scale([(each.speed.tpot_ms.mid, each.speed.tpot_ms.mid) for each in points] + right)
    ys = _scale([(each.speed.output_tokens_per_s.mid,) * 2 for each in points])
    left, far = _ends(xs)
    low, high = _ends(ys)
    grid = [[" "] * columns for _ in range(rows)]
    roles: dict[tuple[int, int], str] = {}

    def column(value: float) -> int:
        return _place(value, left, far, columns)

    for each in sorted(points, key=lambda point: point.here):
        y = rows - 1 - _place(each.speed.output_tokens_per_s.mid, low, high, rows)
        x = column(each.speed.tpot_ms.mid)
        if each.here:
            for at in range(column(each.speed.tpot_ms.low), column(each.speed.tpot_ms.high) + 1):
                if grid[y][at] == " ":
                    grid[y][at] = "-"
        if grid[y][x] not in " -" and not each.here:
            x = next((at for at in range(x + 1, columns) if grid[y][at] in " -"), x)
        grid[y][x] = each.mark
        roles[(y, x)] = "here" if each.here else "strong" if each.mark == "@" else "accent"
    title = "tokens/s, against ms per token" + (f" ({saturated} saturated, not drawn)" if saturated else "")
    lines = [line((" " + fit(title, cells - 1), "quiet"))]
    for y, row in enumerate(grid):
        label = {0: high, rows - 1: low}.get(y)
        shown = short_count(rounded(label)) if label is not None else ""
        spans = [Span(shown.rjust(LABEL_CELLS) + "│", "quiet")]
        spans += [Span(sign, roles.get((y, x), "quiet")) for x, sign in enumerate(row)]
        lines.append(_joined(spans))
    lines.append(line((" " * LABEL_CELLS + "└" + "─" * columns, "quiet")))
    ends = line((" " * (LABEL_CELLS + 1) + milliseconds(rounded(left)), "quiet"))
    far_label = f"{milliseconds(rounded(far))} ms"
    gap = max(1, cells - 1 - width(ends) - len(far_label))
    lines.append((*ends, Span(" " * gap + far_label, "quiet")))
    return lines


def _scale(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(max(low, 1e-3), max(high, 1e-3)) for low, high in values]


def _ends(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in values) / MARGIN, max(high for _, high in values) * MARGIN


def _place(value: float, low: float, high: float, cells: int) -> int:
    share = math.log(max(value, 1e-3) / low) / math.log(high / low)
    return min(cells - 1, max(0, round(share * (cells - 1))))


def _joined(spans: Sequence[Span]) -> Line:
    """Neighbours of one role as one span."""
    found: list[Span] = []
    for each in spans:
        if found and found[-1].role == each.role:
            found[-1] = Span(found[-1].text + each.text, each.role)
        else:
            found.append(each)
    return tuple(found)
