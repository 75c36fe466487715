"""What lies over a screen for a moment: a question, the help text, the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual import events, on
from textual._styles_cache import StylesCache
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.reactive import Reactive, var
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input

from wizard.schemas.outputs import Plan
from wizard.text import printable, spelled
from wizard.tui.frugal import FrugalCompositor
from wizard.tui.lines import BLANK, Line, fit, line, wrap
from wizard.tui.widgets.bars import charset_of
from wizard.tui.widgets.entry import SearchBox
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList
from wizard.wording import plan_reasons, warning_words


class Dialog(ModalScreen[str | None]):
    """Esc closes; like the screen below, focus repaints nothing."""

    focused: Reactive[Widget | None] = var(None)
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self._compositor = FrugalCompositor()

    def on_unmount(self) -> None:
        """Lets go of what it drew: 200 to 500 kB a dialog (tracemalloc, 80x24).

        Textual 8.2.8 remembers two colours for each of the last 1,024 widgets in one `lru_cache`, whose key is the
        widget's cache of drawn lines: that keeps the lines after the widget is gone. Live widgets ask again at
        their next line.
        """
        StylesCache.get_inner_outer.cache_clear()


class Words(Painted):
    """A title and paragraphs, wrapped, as tall as they are; what is said of the line above is indented."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.title, self.text = title, text

    def draw(self, width: int) -> list[Line]:
        letters = charset_of(self)
        rows: list[Line] = [line((fit(spelled(self.title, letters), width), "strong")), BLANK]
        for paragraph in spelled(self.text, letters).split("\n"):
            indent = len(paragraph) - len(paragraph.lstrip())
            wrapped = wrap(printable(paragraph, 2000), width - indent, 40) or [""]
            rows += [line((" " * indent + row, "quiet" if indent else "")) for row in wrapped]
        return [*rows, BLANK]


class AskDialog(Dialog):
    """One question with a few answers; dismisses with the key of the chosen one."""

    def __init__(self, title: str, text: str, options: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.words = Words(title, text)
        self.options = options

    def compose(self) -> ComposeResult:
        rows = RowList(id="options")
        rows.styles.height = len(self.options)
        with Vertical():
            yield self.words
            yield rows

    def on_mount(self) -> None:
        self.query_one(RowList).show(
            [Row(key, partial(_option, at, words)) for at, (key, words) in enumerate(self.options, 1)]
        )
        self.query_one(RowList).focus()

    def on_key(self, event: events.Key) -> None:
        if (event.character or "").isdigit() and 1 <= int(event.key) <= len(self.options):
            event.stop()
            self.dismiss(self.options[int(event.key) - 1][0])

    @on(RowList.Picked)
    def _picked(self, event: RowList.Picked) -> None:
        self.dismiss(str(event.key))


KEYS_TEXT = """\
1-5, Enter and Esc change screens; Tab and ↑↓ controls
On a slider a digit starts its number: there g, then 1-5
u undoes any change, U (or ^y) redoes it
f lists fixes, p other plans; then a digit applies one
w says why each value is what it is
/ searches, ^s writes, ^p lists all commands, ^q leaves
In a text box letters are text: F1 helps, ^f fixes, ^_ undoes"""


ALONE_BELOW = 100
"""Columns below which help has the screen to itself."""


class GuideDialog(Dialog):
    """Help on the open screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1,enter,space,q", "dismiss(None)", "Close", show=False),
        Binding("up", "scroll(-1)", "Up", show=False),
        Binding("down", "scroll(1)", "Down", show=False),
        Binding("pageup", "scroll(-8)", "Page up", show=False),
        Binding("pagedown", "scroll(8)", "Page down", show=False),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.words = self.worded(title, text)

    def worded(self, title: str, text: str) -> Words:
        """What it shows."""
        return Words(f"{title}: help (↑↓ scroll, Esc closes)", f"{text}\n\n{KEYS_TEXT}")

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield self.words

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < ALONE_BELOW, "narrow")

    def action_scroll(self, rows: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)


class WhyDialog(GuideDialog):
    """Why each value of a plan is what it is, and what would change it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("w", "dismiss(None)", "Close", show=False)]

    def __init__(self, plan: Plan) -> None:
        told = [f"{value}\n  {why}" for value, why in plan_reasons(plan)]
        basis = plan.performance.basis if plan.performance is not None else ""
        known = [f"Forecast\n  {basis[:1].upper()}{basis[1:]}."] if basis else []
        warned = [f"Watch out\n  {warning}" for warning in warning_words(plan)]
        super().__init__("Why this plan", "\n".join([*warned, *told, *known]))

    def worded(self, title: str, text: str) -> Words:
        return Words(f"{printable(title, 200)} (↑↓ scroll, Esc closes)", text)


class PaletteDialog(Dialog):
    """Every command, found by typing."""

    def __init__(self, commands: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.commands = commands
        self.rows = RowList(id="commands", empty="no such command; Backspace shows more, Esc closes")
        self.rows.can_focus = False

    def compose(self) -> ComposeResult:
        with Vertical():
            yield SearchBox(self.rows, placeholder="type a command", hint="", id="command")
            yield self.rows

    def on_mount(self) -> None:
        self._search("")
        self.query_one(SearchBox).focus()

    def _search(self, text: str) -> None:
        words = text.lower().split()
        found = [
            (not all(word in label.lower() for word in words), action, label)
            for action, label, synonyms in self.commands
            if all(word in f"{label} {synonyms}".lower() for word in words)
        ]
        found.sort(key=lambda each: each[0])  # by its own words before by others
        self.rows.show([Row(action, partial(_command, label)) for _, action, label in found])

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._search(event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.rows.action_pick()

    @on(RowList.Picked)
    def _picked(self, event: RowList.Picked) -> None:
        self.dismiss(str(event.key))


def _option(number: int, words: str, width: int) -> Line:
    return line((f"{number} ", "quiet"), fit(printable(words, 120), width - 2))


def _command(words: str, width: int) -> Line:
    return line(fit(words, width))
