"""Step 2: this machine's GPUs, ticked on and off, or a what-if machine from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from wizard.answers import AnswerError, parse
from wizard.hardware.visible import position_of
from wizard.questions import Choice, Question, question
from wizard.schemas.outputs import GPUInfo
from wizard.text import count, gib, printable
from wizard.tui.lines import Line, Span, fit, fit_middle
from wizard.tui.messages import Checked, Detected
from wizard.tui.outlook import View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.choice import ChoiceField
from wizard.tui.widgets.entry import Entry, SearchBox, TextBox
from wizard.tui.widgets.field import Field
from wizard.tui.widgets.machine_facts import MachineFacts, Preflight
from wizard.tui.widgets.rows import Row, RowList
from wizard.tui.widgets.slider import Slider

AUTO = "auto"

REFRESH_S = 3.0
"""Between two looks at the GPUs while they are in sight."""

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
        self.checked: object = None
        """For what the pre-flight list was made."""
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
                hint="Space or Enter ticks a GPU on or off",
                keys=(("Space Enter", "tick"),),
            )
        yield MachineFacts()
        with Vertical(id="what-if"):
            yield SearchBox(
                self.rows,
                placeholder="type to search GPUs",
                hint=question("hardware.gpu").help,
                reserved="?/",
                goes_on=False,
                id="gpu-search",
            )
            yield self.rows
        yield Slider(question("hardware.gpus"))
        yield Entry(question("hardware.vram_gb"), placeholder="as the card")
        yield Entry(question("hardware.used_gib"), placeholder="as found")
        yield Slider(question("hardware.nodes"))
        yield ChoiceField(question("hardware.interconnect"))
        yield Preflight()

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(REFRESH_S, self.look_again)

    def on_show(self) -> None:
        """The screen is opened again: what was looked at may have changed."""
        self.checked = None
        if self.here:
            self._check(self.wizard.view)

    @property
    def here(self) -> bool:
        """Whether the plan is for this machine, and that is in sight."""
        return self.display and self.wizard.request.hardware.gpu == AUTO

    def look_again(self) -> None:
        """Reads the GPUs anew while they are in sight; others' memory comes and goes."""
        engine, machine = self.wizard.engine, self.wizard.facts.machine
        if not self.here or machine is None or not machine.gpus or len(self.app.screen_stack) > 1:
            return

        def look() -> None:
            found = engine.detect()
            if found.gpus and found.differs(machine):
                self.wizard.post_message(Detected(found))

        self.run_worker(look, thread=True, exclusive=True, group="refresh", exit_on_error=False)

    def _check(self, view: View) -> None:
        """Makes the pre-flight list, once for each machine and model."""
        machine, metadata, plan = view.machine, view.metadata, view.plan
        if machine is None or metadata is None or plan is None:
            return
        wanted = (machine.gpus and machine.gpus[0].name, len(machine.gpus), id(metadata), plan.vllm_version)
        if self.checked == wanted:
            return
        self.checked, engine = wanted, self.wizard.engine

        def check() -> None:
            self.post_message(Checked(wanted, tuple(engine.preflight(machine, metadata, plan))))

        self.run_worker(check, thread=True, exclusive=True, group="preflight", exit_on_error=False)

    @on(Checked)
    def _were_checked(self, event: Checked) -> None:
        if event.wanted == self.checked:
            self.query_one(Preflight).show(event.checks)

    @on(RowList.Moved, "#detected")
    def _moved_here(self) -> None:
        self._show_facts(self.wizard.view)

    def _show_facts(self, view: View) -> None:
        gpus = view.machine.gpus if view.machine else ()
        at = self.query_one("#detected", RowList).cursor
        self.query_one(MachineFacts).show(view, gpus[at] if self.here and at < len(gpus) else None)

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
        self.query_one(Preflight).display = here
        troubled = view.machine is not None and view.machine.trouble
        self.query_one(MachineFacts).display = here or troubled
        self._show_facts(view)
        for field in (*self.query(Slider), self.query_one("#hardware-interconnect", ChoiceField)):
            part, name = field.asked.key.split(".")
            field.value = getattr(getattr(view.request, part), name)
        self.query_one("#hardware-gpus", Slider).follow(len(view.plan.gpus) if view.plan else None)
        for entry in self.query(Entry):
            part, name = entry.asked.key.split(".")
            entry.display = name != "vram_gb" or not here
            value = getattr(getattr(view.request, part), name)
            if not entry.box.has_focus:
                entry.box.value = "" if value is None else f"{value:.10g}"
        if here:
            self._show_detected(view)
            self._check(view)
        else:
            self._show_cards(hardware.gpu)

    def _show_detected(self, view: View) -> None:
        rows = self.query_one("#detected", RowList)
        gpus = view.machine.gpus if view.machine else ()
        ticked = self._ticked_devices()
        rows.show([Row(device(gpu), partial(_detected_row, gpu, device(gpu) in ticked)) for gpu in gpus])
        rows.styles.height = min(max(len(gpus), 1), 8)
        rows.can_focus = bool(gpus)
        self._show_facts(view)

    def _ticked_devices(self) -> list[str]:
        """The devices that the plan may use: those chosen, else what `this machine` comes to."""
        chosen = self.wizard.request.hardware.device_ids
        machine = self.wizard.view.machine
        if machine is None:
            return []
        every = [device(gpu) for gpu in machine.gpus]
        if chosen is not None:
            named = (position_of(machine.gpus, entry.strip()) for entry in chosen)
            return [every[position] for position in named if position is not None]
        return [device(gpu) for gpu in self.wizard.facts.gpus] or every

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
        if event.value:
            self._tell(self.rows.current)

    @on(RowList.Moved, "#gpu-rows")
    def _moved(self, event: RowList.Moved) -> None:
        self._tell(event.key)

    def _tell(self, name: object) -> None:
        """The card under the cursor in full: two may differ in what a narrow row cuts."""
        card = next((card for card in self.cards if card.name == name), None)
        if card is not None:
            self.wizard.show_hint(_card_words(card))

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
        gpus = {device(gpu): gpu for gpu in machine.gpus}
        every, name, ticked = list(gpus), str(event.key), self._ticked_devices()
        if name in ticked:
            ticked.remove(name)
        elif any(gpus[each].mig_profile for each in (*ticked, name)):
            ticked = [name]
            self.wizard.notice("A MIG instance serves alone: it takes the place of what was ticked.")
        else:
            ticked.append(name)
        if not ticked:
            self.wizard.notice("At least one GPU stays ticked.")
            return
        chosen = None if len(ticked) == len(every) else tuple(sorted(ticked, key=every.index))
        self.wizard.choose_all((("hardware.device_ids", chosen), ("hardware.gpus", None)), "GPUs")

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


def device(gpu: GPUInfo) -> str:
    """What names a GPU of this machine in the request: MIG instances of one card share its index."""
    return gpu.device_id or gpu.uuid or str(gpu.index)


def _detected_row(gpu: GPUInfo, on: bool, width: int) -> Line:
    used = gib(gpu.memory_used_bytes)
    used = "free" if used == "0.0" else f"{used} taken"
    tail = f"{gib(gpu.memory_total_bytes):>6} GiB {used:>11}"
    name = printable(f"{gpu.mig_profile} {gpu.uuid or ''}" if gpu.mig_profile else gpu.label, 100)
    room = width - 6 - len(tail)
    return (
        Span("[x] " if on else "[ ] ", "accent" if on else "rail"),
        Span(f"{gpu.index} ", "quiet"),
        Span(fit(name, room), "" if on else "quiet"),
        Span(tail, "quiet"),
    )


def _card_row(card: GPUInfo, width: int) -> Line:
    speed = f"{count(card.bandwidth_gb_s)} GB/s" if card.bandwidth_gb_s else ""
    size = f"{gib(card.memory_total_bytes):>7} GiB"
    name = printable(card.name, 80)
    tail = f"{size} {speed:>11}"
    if len(name) > width - len(tail):
        tail = size  # the speed stands in the hint; names tell cards apart
    return (Span(fit_middle(name, width - len(tail))), Span(tail, "quiet"))


def _card_words(card: GPUInfo) -> str:
    """A card of the catalogue in one line."""
    speed = f", {count(card.bandwidth_gb_s)} GB/s" if card.bandwidth_gb_s else ""
    return f"{printable(card.name, 80)}: {gib(card.memory_total_bytes)} GiB{speed} · Enter chooses it"
