"""The table of plans that differ in kind: a number to take each over, what it comes to, and why it is there."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any, ClassVar, cast

from textual.binding import Binding, BindingType

from wizard.schemas.outputs import Alternative, Plan
from wizard.text import printable, short_count, short_span
from wizard.tui.lines import BLANK, Line, Span, fit, line, wrap
from wizard.tui.outlook import SIGNS
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import MARK_CELLS, Row, RowList
from wizard.tui.widgets.scatter import Point
from wizard.wording import SATURATED

COLUMNS = (("tok/s", 11), ("ms/tok", 9), ("cache", 7))
NUMBER_CELLS = sum(cells for _, cells in COLUMNS)
SIGN_CELLS = 4
"""Number and verdict."""

MOST_PLANS = 9
HERE = "@"
"""The plan in force, in the plot."""


class TableHead(Painted):
    """Titles of the columns of the alternatives."""

    DEFAULT_CSS = "TableHead { height: 1; }"

    def draw(self, width: int) -> list[Line]:
        room = width - MARK_CELLS - SIGN_CELLS - NUMBER_CELLS
        columns = "".join(title.rjust(cells) for title, cells in COLUMNS)
        lead = " " * (MARK_CELLS + SIGN_CELLS)
        title = "Other plans (p)" if room > 15 else "Plans (p)"
        return [line((lead + fit(title, room) + columns, "quiet"))]


class PlanRows(RowList):
    """A digit takes a plan over; Esc goes back to the answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"take({n - 1})", f"Take plan {n}", show=False) for n in range(1, MOST_PLANS + 1)),
        Binding("p,escape", "leave", "Back to the answers", show=False),
    ]

    def action_take(self, at: int) -> None:
        if at < len(self.rows):
            self.action_move_to(at)
            self.action_pick()

    def action_leave(self) -> None:
        cast(Any, self.app).leave_plans()


class PlanReason(Painted):
    """Why the plan under the cursor is listed, in full."""

    DEFAULT_CSS = "PlanReason { height: 3; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = ""

    def show(self, text: str) -> None:
        """Shows another reason."""
        self.text = text
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        return [line(" ", (row, "quiet")) for row in wrap(self.text, width - 2, 3)] or [BLANK]


def plan_rows(plan: Plan) -> list[Row[Hashable]]:
    """A row for each alternative."""
    return [Row(at, partial(_alternative, at, each)) for at, each in enumerate(plan.alternatives)]


def plan_points(plan: Plan, cursor: object) -> list[Point]:
    """The plan in force and the alternatives, as the plot shows them."""
    points = [] if plan.performance is None else [Point(HERE, plan.performance, cursor is None)]
    for at, each in enumerate(plan.alternatives[:MOST_PLANS]):
        if each.performance is not None:
            points.append(Point(str(at + 1), each.performance, at == cursor))
    return points


def _alternative(at: int, each: Alternative, width: int) -> Line:
    sign, _, role = SIGNS[each.feasibility.verdict]
    title = fit(printable(each.title, 120), width - SIGN_CELLS - NUMBER_CELLS)
    head = (Span(f"{at + 1} ", "quiet"), Span(sign + " ", role), Span(title))
    speed = each.performance
    if speed is None:
        return head
    cache = each.feasibility.kv_cache.tokens * each.config.data_parallel_size * each.replicas
    if speed.saturated:
        rate, per_token = SATURATED, ""
    else:
        rate = short_span(speed.output_tokens_per_s.low, speed.output_tokens_per_s.high)
        per_token = short_span(speed.tpot_ms.low, speed.tpot_ms.high)
    numbers = (rate, per_token, short_count(cache))
    return (
        *head,
        *(Span(text.rjust(cells), "quiet") for text, (_, cells) in zip(numbers, COLUMNS, strict=True)),
    )
