"""The feasibility panel: verdict, memory of one GPU, what the cache holds, how fast, and the fixes."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.message import Message

from wizard.schemas.inputs import PolicyInput
from wizard.schemas.outputs import Fix, Plan
from wizard.text import count, dollars, gib, printable, span, spelled
from wizard.tui.lines import BLANK, Line, Span, fit, line, spread, wrap
from wizard.tui.outlook import (
    SIGNS,
    NoPlan,
    Outlook,
    memory_bar,
    memory_parts,
)
from wizard.tui.widgets.bars import charset_of
from wizard.tui.widgets.painted import Painted
from wizard.wording import (
    SATURATED,
    layout_words,
    neighbours_word,
    refusal_words,
    shortage_words,
    speed_rows,
    warning_words,
)

MOST_FIXES = 9
MOST_CELLS = 46
"""The widest that it draws, whatever its place: a name and its figure must stay a row to the eye."""
TALL = 28
"""Rows from which every fix has a second one, for what it leads to."""


class VerdictPane(Painted, can_focus=False):
    """The answer to the request as it stands. It takes focus only to choose among its fixes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("enter,space", "apply", "Apply", show=False),
        Binding("escape,f", "leave", "Back", show=False),
        *(Binding(str(n), f"apply({n})", f"Apply fix {n}", show=False) for n in range(1, MOST_FIXES + 1)),
    ]

    keys = (("1-9 Enter", "apply"),)
    takes_enter = True

    class FixChosen(Message):
        """Fix number `index` (from 0) is to be applied."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.outlook: Outlook = NoPlan("Starting …", waiting=True)
        self.searching = False
        self.cursor = 0

    @property
    def plan(self) -> Plan | None:
        """The plan on show, if there is one."""
        return self.outlook if isinstance(self.outlook, Plan) else None

    @property
    def hint(self) -> str:
        plan = self.plan
        if plan is None or not plan.fixes:
            return "The plan for your answers so far."
        fix = plan.fixes[min(self.cursor, len(plan.fixes) - 1)]
        return printable(f"{fix.title}: {fix.effect}", 160)

    def show(self, outlook: Outlook, *, searching: bool = False) -> None:
        """Shows another outlook; only what differs is repainted."""
        self.outlook, self.searching = outlook, searching
        fixes = len(outlook.fixes) if isinstance(outlook, Plan) else 0
        self.cursor = min(self.cursor, max(0, fixes - 1))
        self.can_focus = bool(fixes)
        self.repaint()

    def action_move(self, by: int) -> None:
        plan = self.plan
        if plan is None or not plan.fixes:
            return
        self.cursor = min(max(self.cursor + by, 0), len(plan.fixes) - 1)
        self.repaint()
        cast(Any, self.app).show_hint(self.hint)

    def action_apply(self, number: int | None = None) -> None:
        index = self.cursor if number is None else number - 1
        if self.plan is not None and index < len(self.plan.fixes):
            self.post_message(self.FixChosen(index))

    def action_leave(self) -> None:
        cast(Any, self.app).leave_fixes()

    def draw(self, width: int) -> list[Line]:
        inner = min(width, MOST_CELLS) - 2
        plan = self.plan
        lines = self._without_plan(inner) if plan is None else self._with_plan(plan, inner)
        return [(Span(" "), *row) for row in lines]

    def _without_plan(self, width: int) -> list[Line]:
        assert isinstance(self.outlook, NoPlan)
        head = line(("… Working", "strong")) if self.outlook.waiting else line(("? No plan yet", "tight"))
        return [head, BLANK, *(line((row, "quiet")) for row in wrap(self.outlook.sentence, width, 10))]

    def _with_plan(self, plan: Plan, width: int) -> list[Line]:
        top = self._head(plan, width)
        room = self.size.height - len(top)
        if self.has_focus and plan.fixes:
            # whoever chooses sees all there is to choose from, before the figures
            fixes = self._fixes(plan, width, self.size.height - 1)
            top = top[: max(self.size.height - len(fixes), 1)]
            room = self.size.height - len(top)
            refusal = self._refusal(plan, width, room - len(fixes)) if room - len(fixes) > 3 else []
            return [*top, *refusal, *fixes]
        tall = self.size.height > TALL
        fixes = self._fixes(plan, width, self.size.height if tall else max(4, self.size.height - 17))
        if plan.feasibility.verdict == "wont_start":
            return [*top, *self._refusal(plan, width, room - len(fixes)), *fixes][: self.size.height]
        facts = self._cache(plan, width)
        speed = self._speed(plan, width)
        left = room - len(facts) - len(speed)
        if plan.feasibility.verdict == "tight":
            if left < len(fixes):
                facts, speed = facts[:3], [] if self.has_focus else speed
                left = room - len(facts) - len(speed)
            fixes = fixes[: max(left, 0)]
            reason = self._reason(plan, width, left - len(fixes))
            return [*top, *reason, *facts, *speed, *fixes]
        return [*top, *facts, *speed]

    def _head(self, plan: Plan, width: int) -> list[Line]:
        sign, word, role = SIGNS[plan.feasibility.verdict]
        memory = plan.feasibility.per_gpu
        short, layout = shortage_words(plan), layout_words(plan)
        total = f"{gib(memory.total_bytes)} GiB"
        title = "memory of each GPU"
        if short:  # the layout has no place above
            title = f"each GPU · {layout}"
            title = layout if cell_len(title + total) >= width else title
        rows = [
            spread(
                line((f" {sign} {word} ", role + "-chip")),
                line((short or layout, role if short else "quiet")),
                width,
            ),
            spread(
                line((title, "quiet")),
                line((total, "quiet")),
                width,
            ),
        ]
        if not plan.feasibility.counted:
            return rows
        rows.append(memory_bar(memory, width))
        for part in memory_parts(memory):
            missing = part.size_bytes < 0
            empty = part.size_bytes == 0
            rows.append(
                spread(
                    line((part.glyph + " ", part.role), (part.name, "quiet" if empty else "")),
                    line(
                        (
                            "none" if missing else gib(part.size_bytes),
                            "bad" if missing else "quiet" if empty else "",
                        )
                    ),
                    width,
                )
            )
        return rows

    def _cache(self, plan: Plan, width: int) -> list[Line]:
        report = plan.feasibility
        cache = report.kv_cache
        memory = report.per_gpu
        if not cache.tokens:
            return [
                BLANK,
                line("no cache: an encoder"),
                spread(line("requests at most"), line((count(report.max_num_seqs), "strong")), width),
                spread(
                    line("tokens in a batch"), line((count(report.max_num_batched_tokens), "strong")), width
                ),
            ]
        band = (memory.kv_cache_available_high_bytes - memory.kv_cache_available_low_bytes) / 2
        rows = [
            BLANK,
            spread(line("tokens in the cache"), line((count(cache.tokens), "strong")), width),
            spread(
                line("requests of ", count(report.max_model_len)),
                line((f"{cache.max_concurrency:.1f}×", "strong")),
                width,
            ),
            spread(line("longest possible"), line((count(cache.estimated_max_model_len), "strong")), width),
        ]
        if band > 0:
            words = spelled(f"±{gib(band)} GiB in 9 of 10 starts", charset_of(self))
            rows.append(line((fit(words, width), "quiet")))
        return rows

    def _speed(self, plan: Plan, width: int) -> list[Line]:
        speed = plan.performance
        if speed is None:
            return [BLANK, line(("speed: not known for this GPU", "quiet"))]
        rows = [line((fit(f"measured neighbours: {neighbours_word(speed.basis)}", width), "quiet"))]
        if self.size.height > 22:
            rows.insert(0, BLANK)
        policy: PolicyInput = cast(Any, self.app).request.policy
        missed = {
            "first token": (speed.ttft_ms.high, policy.max_ttft_ms),
            "each token": (speed.tpot_ms.high, policy.max_tpot_ms),
        }
        for name, words, unit in speed_rows(plan):
            expected, limit = missed.get(name, (0.0, None))
            mark = "! " if limit is not None and expected > limit else ""
            figure = line((mark + words, "tight" if mark else ""), (f" {unit}".ljust(6), "quiet"))
            rows.append(spread(line(name), line((SATURATED, "tight")) if speed.saturated else figure, width))
        cost = speed.usd_per_million_output_tokens
        if cost is not None and not speed.saturated:
            rows.append(spread(line("a million tokens"), line((dollars(cost.low, cost.high), "")), width))
        return rows

    def _reason(self, plan: Plan, width: int, room: int) -> list[Line]:
        """What makes it tight, as far as there is room; all of it is a key away."""
        warnings = warning_words(plan)
        if not warnings or room < 2:
            return []
        rows = wrap(warnings[0], width, min(room, 5))
        return [line((row, "tight")) for row in rows]

    def _refusal(self, plan: Plan, width: int, room: int) -> list[Line]:
        error = plan.feasibility.error
        if not error:
            return [BLANK]
        words = printable(error, 2000)
        quoted = wrap(f"“{words}”" if plan.feasibility.quoted else words, width, max(room - 2, 1))
        head = refusal_words(plan.feasibility)
        return [BLANK, line((head, "quiet")), *(line(row) for row in quoted)][: max(room, 1)]

    def _fixes(self, plan: Plan, width: int, most: int) -> list[Line]:
        """As many fixes as `most` rows take, those around the cursor."""
        if not plan.fixes:
            if self.searching and plan.feasibility.verdict != "fits":
                return [BLANK, line(("looking for fixes …", "quiet"))]
            return []
        keys = "1–9 applies" if self.has_focus else "f to apply"
        head = spread(line("Fixes"), line((keys, "here" if self.has_focus else "quiet")), width)
        blocks = [self._fix(number, fix, width) for number, fix in enumerate(plan.fixes[:MOST_FIXES])]
        first = 0
        while first < self.cursor and sum(map(len, blocks[first : self.cursor + 1])) > most - 2:
            first += 1
        rows = [row for block in blocks[first:] for row in block]
        return [BLANK, head, *rows[: most - 2]]

    def _fix(self, number: int, fix: Fix, width: int) -> list[Line]:
        """One row, two where there is room; whole for the one under the cursor."""
        sign, _, role = SIGNS[fix.verdict_after]
        room = width - 4
        here = self.has_focus and number == self.cursor
        titles = wrap(printable(fix.title, 300), room, 4) if here else [fit(printable(fix.title, 120), room)]
        rows = [
            line(
                (f"{number + 1}{'▸' if here else ' '}", "here" if here else "quiet"),
                (sign + " ", role),
                (titles[0], "strong" if here else ""),
            ),
            *(line("    ", (title, "strong")) for title in titles[1:]),
        ]
        if here:
            rows += [line("    ", (row, "quiet")) for row in wrap(printable(fix.effect, 300), room, 4)]
        elif self.size.height > TALL:
            rows.append(line(("    " + fit(printable(fix.effect, 120), room), "quiet")))
        return rows


class VerdictStrip(Painted):
    """The same answer in two rows, where the panel has no room."""

    DEFAULT_CSS = "VerdictStrip { height: 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.outlook: Outlook = NoPlan("Starting …", waiting=True)

    def show(self, outlook: Outlook) -> None:
        """Shows another outlook."""
        self.outlook = outlook
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        inner = width - 2
        if isinstance(self.outlook, NoPlan):
            head = "… Working" if self.outlook.waiting else "? No plan yet"
            return [line(" ", (head, "strong")), line(" ", (fit(self.outlook.sentence, inner), "quiet"))]
        plan = self.outlook
        report = plan.feasibility
        sign, word, role = SIGNS[report.verdict]
        left = line(
            " ",
            (f" {sign} {word} ", role + "-chip"),
            (f"  {shortage_words(plan) or layout_words(plan)}  ", "quiet"),
        )
        room = inner - sum(len(part.text) for part in left) - 11
        total = line((f" {gib(report.per_gpu.total_bytes)} GiB", "quiet"))
        first = (*left, *memory_bar(report.per_gpu, max(room, 8)), *total)
        if report.verdict == "wont_start":
            return [first, line(" ", (fit(printable(report.error or "", 300), inner), ""))]
        cache = report.kv_cache
        second = f"{count(cache.tokens)} tokens in the cache"
        second += f" · {cache.max_concurrency:.1f}× {count(report.max_model_len)}"
        if not cache.tokens:
            second = f"no cache: an encoder · at most {count(report.max_num_seqs)} requests"
        speed = plan.performance
        if speed is not None:
            rate = speed.output_tokens_per_s
            second += f" · {SATURATED if speed.saturated else span(rate.low, rate.high) + ' tok/s'}"
        return [first, line(" ", fit(second, inner))]
