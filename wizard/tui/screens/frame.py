"""The one real screen: steps above, the open step left, the verdict right, hint and keys below.

Three behaviours of Textual are overridden here, each guarded by a test:
- `Screen.focused` repaints the whole terminal whenever focus moves; as a plain `var` it repaints nothing,
  and the two widgets concerned repaint their few cells.
- The key bar is one row of text instead of a `Footer` that recomposes its children at every focus change.
- Frames keep a distance while keys come in a hurry, and wait while the link is full: a slow link would
  queue them, and show the past.
"""

from __future__ import annotations

from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.reactive import Reactive, var
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from wizard.tui.frugal import FrugalCompositor
from wizard.tui.keyhints import common_keys, own_keys
from wizard.tui.screens.step import Step
from wizard.tui.widgets.bars import Hint, KeyBar, StepsBar
from wizard.tui.widgets.verdict import MOST_CELLS, VerdictPane, VerdictStrip

if TYPE_CHECKING:
    from wizard.tui.app import WizardApp

SMALLEST = (60, 16)
ROOMY_FROM = 22
"""Rows from which groups of controls stand apart; below, every row is a control's."""
PANE_FROM = 78
"""Columns from which form and panel stand side by side; below, the verdict is two rows on top."""
WIDE = 104
"""Columns from which even the export screen, which needs room for the preview, keeps the panel."""
VAST_FROM = 160
"""Columns from which the form grows no wider: titles and figures further apart are no rows to the eye."""

FRAME_S = 0.05
"""Least time between two frames while a key is held: 20 steps of a slider fit into 128 kbit/s, 60 don't."""


class WizardScreen(Screen[None]):
    """Holds the five steps; a step is built when it is first opened."""

    focused: Reactive[Widget | None] = var(None)

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "app.next", "Next", show=False),
        Binding("escape", "app.back", "Back", show=False),
        *(Binding(str(n), f"app.go_number({n})", f"Screen {n}", show=False) for n in range(1, 6)),
        Binding("g", "app.jump", "Go to a screen", show=False),
        Binding("u", "app.undo", "Undo", show=False),
        Binding("U,shift+u", "app.redo", "Redo", show=False),
        Binding("f", "app.fixes", "Fixes", show=False),
        Binding("p", "app.plans", "Other plans", show=False),
        Binding("w", "app.why", "Why", show=False),
        Binding("question_mark", "app.guide", "Help", show=False),
        Binding("slash", "app.search", "Search", show=False),
        Binding("y", "app.copy", "Copy", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="_default")
        self._compositor = FrugalCompositor()
        self.step_name = "model"
        self._steps: dict[str, Step] = {}
        self._painted_s = 0.0

    def compose(self) -> ComposeResult:
        yield StepsBar()
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield VerdictStrip(id="strip")
                yield Container(id="steps")
                yield Hint(id="hint")
            yield VerdictPane(id="verdict")
        yield KeyBar()
        yield Static("", id="too-small")

    async def on_mount(self) -> None:
        await self.wizard.begin()

    def _on_timer_update(self) -> None:
        """Paints what has changed, or not yet: in a hurry, or while the link is full, the timer asks again."""
        now = monotonic()
        if (self.wizard.hurried and now < self._painted_s + FRAME_S) or self.wizard.flow.is_full(now):
            return
        self._painted_s = now
        super()._on_timer_update()

    @property
    def wizard(self) -> WizardApp:
        """The app, by its real type."""
        return cast("WizardApp", self.app)

    @property
    def step(self) -> Step | None:
        """The open step, once it is built."""
        return self._steps.get(self.step_name)

    async def open_step(self, name: str) -> Step:
        """Shows the step called `name`, building it if need be, with focus where it was left."""
        old = self.step
        if old is not None and old.id != name:
            focused = self.focused
            if focused is not None and old in focused.ancestors:
                old.last_focus = focused
            old.display = False
        step = self._steps.get(name)
        if step is None:
            step = build_step(name)
            await self.query_one("#steps").mount(step)
            self._steps[name] = step
        self.step_name = name
        step.display = True
        self.place_panes()
        step.show(self.wizard.view)
        target = step.last_focus
        if target is None or not target.focusable:
            target = next((each for each in step.query(step.FIRST) if each.focusable), None)
        self.set_focus(target, scroll_visible=False)
        self.query_one(StepsBar).show(step=name)
        self.explain()
        return step

    def show_view(self) -> None:
        """The panes, after anything has changed."""
        view = self.wizard.view
        self.query_one(VerdictPane).show(view.outlook, searching=self.wizard.searching)
        self.query_one(VerdictStrip).show(view.outlook)
        step = self.step
        if step is not None:
            step.show(view)
        self.show_keys()

    def watch_focused(self, focused: Widget | None) -> None:
        """Hint and keys follow the focus, within the same frame."""
        if self.is_mounted and focused is not None:
            self.explain()

    def explain(self) -> None:
        """Says what the focused control means, and which keys matter now."""
        hint = getattr(self.focused, "hint", "")
        if isinstance(hint, str):
            self.query_one(Hint).show(hint)
        self.show_keys()

    def show_keys(self) -> None:
        """The keys that matter now."""
        of_step = self.step.keys if self.step is not None else ()
        common = common_keys(of_step, self.step_name, self.wizard.view, self.focused)
        if self.wizard.looks.words:
            common = [("Esc", "stop") if key == ("Esc", "back") else key for key in common]
        self.query_one(KeyBar).show(own_keys(self.focused), common)

    def on_resize(self, event: events.Resize) -> None:
        self.place_panes()

    def place_panes(self) -> None:
        """Panel or strip, or the one line of a terminal that is too small."""
        width, height = self.app.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.set_class(height < ROOMY_FROM, "short")
        beside = width >= PANE_FROM and (self.step_name != "export" or width >= WIDE)
        beside = beside and not (self.step is not None and self.step.wants_room(width))
        pane, strip = self.query_one(VerdictPane), self.query_one(VerdictStrip)
        pane.display, strip.display = beside, not beside
        vast = beside and self.step_name != "export" and width >= VAST_FROM
        self.query_one("#left").styles.width = VAST_FROM - MOST_CELLS if vast else "1fr"
        pane.styles.width = "1fr" if vast else 32 if width < 100 else 38 if width < 140 else MOST_CELLS
        notice = self.query_one("#too-small", Static)
        notice.display = small
        if small:
            notice.update(
                f"This terminal is {width}x{height}; the wizard needs {SMALLEST[0]}x{SMALLEST[1]}.\n"
                "Enlarge it, or press Ctrl+Q and use --plain."
            )


def build_step(name: str) -> Step:
    """The step called `name`; its module is loaded when it is first opened."""
    module = import_module(f"wizard.tui.screens.{name}")
    made = getattr(module, f"{name.capitalize()}Step")(id=name)
    assert isinstance(made, Step)
    return made
