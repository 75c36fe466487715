"""What a longer context costs: how many requests the cache holds at once, and what each takes, by context length."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.engine import Reach
from wizard.text import count, short_gib
from wizard.tui.lines import BLANK, Line, Span, fit, line
from wizard.tui.outlook import SIGNS
from wizard.tui.widgets.painted import Painted

CONTEXT_CELLS = 12
AT_ONCE_CELLS = 9
EACH_CELLS = 8
EIGHTHS = " ▏▎▍▌▋▊▉"


class ReachChart(Painted):
    """One bar per context length; the one in force is marked."""

    DEFAULT_CSS = "ReachChart { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.reach: Sequence[Reach] = ()
        self.context = 0
        self.engines = 1

    def show(self, reach: Sequence[Reach], context: int, engines: int = 1) -> None:
        """Shows other lengths, or the same with another one in force; each of several `engines` holds as many."""
        self.reach, self.context, self.engines = reach, context, engines
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        rows = self.reach[-max(self.size.height - 1, 1) :]
        if not rows or self.size.height < 3:
            return []
        starts = [each for each in rows if each.verdict != "wont_start"]
        if starts and not any(each.at_once for each in starts):
            return []  # an encoder: there is no cache for a context to share
        most = max(each.at_once for each in rows)
        cells = width - CONTEXT_CELLS - AT_ONCE_CELLS - EACH_CELLS - 1
        words = "at once, of each engine" if self.engines > 1 else "held at once"
        each = "GiB each".rjust(EACH_CELLS + 1)
        title = line((fit(f" Context     requests {words}", width - len(each)) + each, "quiet"))
        if not starts:
            return [BLANK, title, line(("             none, at any length", "quiet"))]
        gap = (
            [BLANK] if self.size.height > len(self.reach) + 1 else []
        )  # where every row is a bar's there is none
        return [*gap, title, *(self._bar(each, most, cells) for each in rows)]

    def _bar(self, each: Reach, most: float, cells: int) -> Line:
        here = each.context == self.context
        sign, word, role = SIGNS[each.verdict]
        label = line(
            ("▸" if here else " ", "accent"),
            (count(each.context).rjust(CONTEXT_CELLS - 2) + " ", "strong" if here else "quiet"),
        )
        if each.verdict == "wont_start":
            return (*label, Span(f"{sign} {word.lower()}", role))
        return (
            *label,
            Span(" "),
            *bar(each.at_once / most if most else 0, cells, "cache" if here else "other"),
            Span(f"{each.at_once:,.1f}×".rjust(AT_ONCE_CELLS), "strong" if here else "quiet"),
            Span(short_gib(each.each_bytes).rjust(EACH_CELLS), "strong" if here else "quiet"),
        )


def bar(share: float, cells: int, role: str) -> Line:
    """A bar of `share` of the cells, to an eighth of a cell; something is always seen of more than nothing."""
    eighths = round(share * cells * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(min(eighths, cells * 8), 8)
    filled = "█" * full + (EIGHTHS[rest] if rest else "")
    return (Span(filled, role), Span(" " * (cells - len(filled))))
