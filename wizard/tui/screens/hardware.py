"""Step 2: this machine's GPUs, ticked on and off, or a what-if machine from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from wizard.answers import AnswerError, parse
from wizard.questions import Choice, Question, question
from wizard.schemas.outputs import GPUInfo
from wizard.text import count, gib, printable
from wizard.tui.lines import Line, Span, fit, line, wrap
from wizard.tui.outlook import View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.entry import Entry, SearchBox, TextBox
from wizard.tui.widgets.field import Field
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList
from wizard.tui.widgets.slider import Slider

AUTO = "auto"

MACHINE = Question(
    key="hardware.machine",
    step="hardware",
    title="Machine",
    help="Plan for the GPUs found here, or for any others",
    kind="choice",
    option="--gpu",
    default=True,
    choices=(Choice(True, "this machine"), Choice(False, "what if")),
)


class MachineFacts(Painted):
    """Driver and versions of this machine, or why it has no GPU to offer."""

    DEFAULT_CSS = "MachineFacts { height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="machine-facts")
        self.view: View | None = None

    def show(self, view: View) -> None:
        """Shows another view."""
        self.view = view
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        machine = self.view.machine if self.view else None
        if machine is None:
            return [line((" looking for GPUs …", "quiet"))]
        if not machine.gpus:
            sentence = machine.why_none or "No GPU was found on this machine."
            return [line(" ", (row, "quiet")) for row in wrap(printable(sentence), width - 1, 3)]
        versions = f"driver {machine.driver or 'unknown'} · CUDA {machine.cuda or 'unknown'}"
        rows = [line(" ", (fit(printable(versions, 100), width - 1), "quiet"))]
        rows += [
            line(" ", (row, "tight")) for row in wrap(printable(" ".join(machine.warnings)), width - 1, 2)
        ]
        return rows


class HardwareStep(Step):
    """Which GPUs, how many, in how many machines."""

    TITLE = "Hardware"
    FIRST = "#hardware-machine"
    GUIDE = """\
`This machine` lists the GPUs that the driver reports. Space ticks one on or off; what other programs hold is \
taken into account, because vLLM refuses to start when less than its share is free.

`What if` plans for any GPU of the catalogue: type a few letters (4090, h200, mi300), choose with ↑↓ and Enter, \
then say how many. Memory is what CUDA reports for one card; change it for a card of another size.

Several machines need a fast network between them; the plan puts one pipeline stage on each."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.cards: Sequence[GPUInfo] = ()
        self.rows = RowList(id="gpu-rows", empty="no GPU of that name in the catalogue")
        self.rows.can_focus = False
        self.last_card = ""

    def compose(self) -> ComposeResult:
        yield ChoiceField(MACHINE)
        with Vertical(id="here"):
            yield RowList(
                id="detected",
                empty="none found here",
                hint="Space ticks a GPU on or off",
                keys=(("Space", "tick"),),
            )
            yield MachineFacts()
        with Vertical(id="what-if"):
            yield SearchBox(
                self.rows,
                placeholder="type to search GPUs",
                hint=question("hardware.gpu").help,
                spared="?",
                id="gpu-search",
            )
            yield self.rows
            yield Slider(question("hardware.gpus"))
            yield Entry(question("hardware.vram_gb"), placeholder="as the card")
        yield Entry(question("hardware.used_gib"), placeholder="as found")
        yield Slider(question("hardware.nodes"))
        yield ChoiceField(question("hardware.interconnect"))

    def answer(self, field: Field, value: object) -> None:
        if self.showing:
            return
        if field.asked is MACHINE:
            name = AUTO if value else self.last_card or self.wizard.facts.default_card
            self.wizard.choose_all(
                (("hardware.gpu", name), ("hardware.device_ids", None), ("hardware.gpus", None)),
                "this machine" if value else f"what if {name}",
            )
            return
        super().answer(field, value)

    def show_view(self, view: View) -> None:
        hardware = view.request.hardware
        here = hardware.gpu == AUTO
        if not here:
            self.last_card = hardware.gpu
        self.query_one("#hardware-machine", ChoiceField).value = here
        self.query_one("#here").display = here
        self.query_one("#what-if").display = not here
        for field in (*self.query(Slider), self.query_one("#hardware-interconnect", ChoiceField)):
            part, name = field.asked.key.split(".")
            field.value = getattr(getattr(view.request, part), name)
        self.query_one("#hardware-gpus", Slider).follow(len(view.plan.gpus) if view.plan else None)
        for entry in self.query(Entry):
            part, name = entry.asked.key.split(".")
            value = getattr(getattr(view.request, part), name)
            if not entry.box.has_focus:
                entry.box.value = "" if value is None else f"{value:.10g}"
        if here:
            self._show_detected(view)
        else:
            self._show_cards(hardware.gpu)

    def _show_detected(self, view: View) -> None:
        rows = self.query_one("#detected", RowList)
        gpus = view.machine.gpus if view.machine else ()
        ticked = view.request.hardware.device_ids
        rows.show([Row(str(gpu.index), partial(_detected_row, gpu, ticked)) for gpu in gpus])
        rows.styles.height = min(max(len(gpus), 1), 8)
        rows.can_focus = bool(gpus)
        self.query_one(MachineFacts).show(view)

    def _show_cards(self, chosen: str) -> None:
        if not self.cards:
            self._search("")
        if {chosen} != self.rows.chosen and not self.query_one("#gpu-search", SearchBox).value:
            self.rows.show(self.rows.rows, keep=chosen)
        self.rows.choose(chosen)

    def _search(self, text: str) -> None:
        self.cards = self.wizard.engine.gpu_catalogue(text)
        chosen = self.wizard.request.hardware.gpu
        self.rows.show(
            [Row(card.name, partial(_card_row, card)) for card in self.cards], keep=None if text else chosen
        )

    @on(Input.Changed, "#gpu-search")
    def _typed(self, event: Input.Changed) -> None:
        self._search(event.value)

    @on(Input.Submitted, "#gpu-search")
    def _submitted(self) -> None:
        if self.rows.rows:
            self.rows.action_pick()
        else:
            self.wizard.notice("No GPU of that name. Type fewer letters; Esc shows them all.")

    @on(RowList.Picked, "#gpu-rows")
    def _picked(self, event: RowList.Picked) -> None:
        name = str(event.key)
        self.query_one("#gpu-search", SearchBox).value = ""
        self.wizard.choose("hardware.gpu", name)
        self.query_one("#hardware-gpus").focus()

    @on(RowList.Picked, "#detected")
    def _ticked(self, event: RowList.Picked) -> None:
        machine = self.wizard.view.machine
        if machine is None:
            return
        every = [str(gpu.index) for gpu in machine.gpus]
        ticked = list(self.wizard.request.hardware.device_ids or every)
        ticked.remove(str(event.key)) if event.key in ticked else ticked.append(str(event.key))
        if not ticked:
            self.wizard.notice("At least one GPU stays ticked.")
            return
        chosen = None if len(ticked) == len(every) else tuple(sorted(ticked, key=every.index))
        self.wizard.choose_all((("hardware.device_ids", chosen),), "GPUs")

    @on(Input.Submitted)
    @on(Input.Blurred)
    def _entered(self, event: Input.Submitted | Input.Blurred) -> None:
        entry = event.input.parent
        if not isinstance(entry, Entry):
            return
        try:
            value = parse(entry.asked, event.value)
        except AnswerError as error:
            self.wizard.notice(str(error))
            if isinstance(event, Input.Blurred):
                part, name = entry.asked.key.split(".")
                kept = getattr(getattr(self.wizard.request, part), name)
                event.input.value = "" if kept is None else f"{kept:.10g}"
            return
        self.wizard.choose(entry.asked.key, value)
        if isinstance(event, Input.Submitted):
            self.wizard.next()

    def press(self, action: str) -> bool:
        if action == "search":
            if self.query_one("#what-if").display:
                self.query_one("#gpu-search").focus()
                return True
            return False
        if action == "back":
            box = self.query_one("#gpu-search", TextBox)
            if box.has_focus and box.value:
                box.value = ""
                return True
        return False


def _detected_row(gpu: GPUInfo, ticked: Sequence[str] | None, width: int) -> Line:
    on = ticked is None or str(gpu.index) in ticked
    used = f"{gib(gpu.memory_used_bytes)} taken" if gpu.memory_used_bytes else "free"
    tail = f"{gib(gpu.memory_total_bytes):>6} GiB {used:>11}"
    name = printable(gpu.catalogue_name or gpu.name, 100)
    room = width - 6 - len(tail)
    return (
        Span("[x] " if on else "[ ] ", "accent" if on else "rail"),
        Span(f"{gpu.index} ", "quiet"),
        Span(fit(name, room), "" if on else "quiet"),
        Span(tail, "quiet"),
    )


def _card_row(card: GPUInfo, width: int) -> Line:
    speed = f"{count(card.bandwidth_gb_s)} GB/s" if card.bandwidth_gb_s else ""
    tail = f"{gib(card.memory_total_bytes):>7} GiB {speed:>11}"
    return (Span(fit(printable(card.name, 80), width - len(tail))), Span(tail, "quiet"))
