"""Step 5: which files, what is in them, and where they go."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from wizard.answers import AnswerError, parse
from wizard.errors import WizardError
from wizard.questions import Question, question
from wizard.text import plural, printable
from wizard.tui.keyhints import KeyHint
from wizard.tui.lines import Line, Span, fit, fit_middle, line
from wizard.tui.outlook import View
from wizard.tui.screens.step import Step
from wizard.tui.widgets.entry import Entry, TextBox
from wizard.tui.widgets.painted import Painted
from wizard.tui.widgets.rows import Row, RowList

DIRECTORY = Question(
    key="export.directory",
    step="export",
    title="Directory",
    help="Where the files go; made if it isn't there. Nothing is replaced without asking",
    kind="text",
    option="--output",
    default=None,
)

_TOKEN = re.compile(
    r"(?P<comment>^\s*#.*|\s#\s.*)"
    r"|(?P<key>(?<![\w-])--[a-z][\w-]*|^\s*(?:- )?[\w./-]+(?=:(?:\s|$))|\"[\w./-]+\"(?=\s*:))"
    r"|(?P<text>\"[^\"]*\"|'[^']*')|(?P<number>\b\d[\d.]*\b)"
)
_ROLES = {"comment": "code-comment", "key": "code-key", "text": "code-text", "number": "code-number"}


def highlighted(text: str) -> Line:
    """One line of shell, YAML or JSON in the roles of its parts."""
    spans: list[Span] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if match.start() > end:
            spans.append(Span(text[end : match.start()]))
        spans.append(Span(match[0], _ROLES[match.lastgroup or "text"]))
        end = match.end()
    if end < len(text):
        spans.append(Span(text[end:]))
    return tuple(spans)


class Preview(Painted, can_focus=True):
    """One file, read with ↑↓ and the page keys; ←→ reach long lines."""

    DEFAULT_CSS = "Preview { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_by(-1)", "Up", show=False),
        Binding("down", "scroll_by(1)", "Down", show=False),
        Binding("pageup", "scroll_by(-10)", "Page up", show=False),
        Binding("pagedown,space", "scroll_by(10)", "Page down", show=False),
        Binding("home", "scroll_by(-100000)", "Top", show=False),
        Binding("end", "scroll_by(100000)", "End", show=False),
        Binding("left", "shift(-8)", "Left", show=False),
        Binding("right", "shift(8)", "Right", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="preview")
        self.text: Sequence[str] = ()
        self.name_shown = ""
        self.top = 0
        self.left = 0

    keys = (("↑↓", "read"),)
    hint = "↑↓ and the page keys read the file, ←→ reach long lines, y copies it"

    def show(self, name: str, text: str) -> None:
        """Shows a file; another file from its top."""
        if name != self.name_shown:
            self.top = self.left = 0
        self.name_shown = name
        self.text = [printable(row.expandtabs(4), 400) for row in text.splitlines()]
        self.top = min(self.top, max(0, len(self.text) - 1))
        self.repaint()

    def action_scroll_by(self, rows: int) -> None:
        most = max(0, len(self.text) - self.size.height + 1)
        self.top = min(max(self.top + rows, 0), most)
        self.repaint()

    def action_shift(self, cells: int) -> None:
        longest = max(map(len, self.text), default=0)
        self.left = min(max(self.left + cells, 0), max(0, longest - self.size.width + 4))
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        place = f"{self.top + 1}–{min(self.top + self.size.height - 1, len(self.text))} of {len(self.text)}"
        title = line(
            ("▸" if self.has_focus else " ", "here"),
            (fit(printable(self.name_shown, 80), width - len(place) - 3), "strong"),
            (place, "quiet"),
        )
        rows = [
            (Span("│ ", "rail"), *_from_cell(highlighted(row), self.left))
            for row in self.text[self.top : self.top + self.size.height - 1]
        ]
        return [title, *rows]


def _from_cell(row: Line, cells: int) -> Line:
    """A line without its first cells."""
    spans: list[Span] = []
    for span in row:
        if cells >= len(span.text):
            cells -= len(span.text)
            continue
        spans.append(Span(span.text[cells:], span.role))
        cells = 0
    return tuple(spans)


class ExportStep(Step):
    """Ticked files, the one under the cursor in full, and the directory."""

    TITLE = "Export"
    FIRST = "#files"
    GUIDE = """\
Every file starts the same plan in another way; tick those you want (Space). The one under the cursor is shown \
on the right exactly as it will be written: Tab goes there to read it, y copies it to the clipboard of your own \
terminal, over SSH too where the terminal allows that (OSC 52).

^s writes the ticked files into the directory. Each file appears whole or not at all, and a file with other \
contents is never replaced before you have seen what would change.

`Listen on` is the address that vLLM takes requests on. 127.0.0.1 can be reached from this machine alone; 0.0.0.0 \
means every address it has: set VLLM_API_KEY then, or anyone who reaches the port may use the model.

A plan that won't start is not written: apply a fix first (f)."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.artifacts: Mapping[str, str] = {}
        self.usual: Collection[str] = ()
        self.trouble = ""
        """Why there are no files, in one sentence."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="files-and-preview"):
            with Vertical(id="files-column"):
                yield RowList(
                    id="files",
                    empty="nothing to write yet",
                    hint="Space ticks a file, ↑↓ shows it",
                    keys=(("Space", "tick"),),
                )
            yield Preview()
        yield Entry(question("serving.host"))
        yield Entry(question("serving.port"))
        yield Entry(DIRECTORY)

    @property
    def keys(self) -> Sequence[KeyHint]:
        return (("^s", "write"), ("y", "copy"))

    @property
    def files(self) -> RowList:
        """The list of files."""
        return self.query_one("#files", RowList)

    def show_view(self, view: View) -> None:
        self._make(view)
        self.files.show([Row(name, partial(self._row, name)) for name in self.artifacts])
        for entry in self.query(Entry):
            if entry.asked is not DIRECTORY and not entry.box.has_focus:
                entry.box.value = self._answer(entry.asked)
        box = self.query_one("#export-directory", TextBox)
        if not box.has_focus or box.value.strip() != self.wizard.writing.chosen:
            box.value = self.wizard.writing.directory
        self.show_preview()

    def _make(self, view: View) -> None:
        """Every file that fits the plan; README.md among them speaks of the ticked ones."""
        plan, engine, ticks = view.plan, self.wizard.engine, self.wizard.writing.ticks
        self.artifacts, self.usual, self.trouble = {}, (), ""
        if plan is None:
            return
        try:
            self.usual = engine.usual(plan, view.request)
            listed = [*(set(self.usual) - ticks.unticked), *ticks.ticked]
            self.artifacts = engine.render(plan, view.request, listed)
        except WizardError as error:  # a flag or a port that no file can carry
            self.trouble = printable(error)

    def _answer(self, asked: Question) -> str:
        part, name = asked.key.split(".")
        return str(getattr(getattr(self.wizard.request, part), name))

    def ticked(self) -> dict[str, str]:
        """The files that are wanted, by name."""
        wanted = self.wizard.writing.ticks.wanted(self.artifacts, self.usual)
        return {name: self.artifacts[name] for name in wanted}

    def _row(self, name: str, width: int) -> Line:
        on = self.wizard.writing.ticks.on(name, self.usual)
        box = Span("[x] " if on else "[ ] ", "accent" if on else "rail")
        return (box, Span(fit_middle(printable(name, 60), width - 4), "" if on else "quiet"))

    def show_preview(self) -> None:
        """The file under the cursor."""
        name = str(self.files.current or "")
        text = "\n".join(textwrap.wrap(self.trouble, 48)) if self.trouble else self.artifacts.get(name, "")
        self.query_one(Preview).show(name, text)

    @on(RowList.Moved, "#files")
    def _moved(self) -> None:
        self.show_preview()

    @on(RowList.Picked, "#files")
    def _picked(self, event: RowList.Picked) -> None:
        self.wizard.tick(str(event.key), self.usual)
        number = len(self.wizard.writing.ticks.wanted(self.artifacts, self.usual))
        self.wizard.notice(f"{plural(number, 'file')} ticked; ^s writes them.")

    @on(Input.Changed, "#export-directory")
    def _directory(self, event: Input.Changed) -> None:
        typed = event.value.strip()
        if event.input.has_focus and typed != self.wizard.writing.directory:
            self.wizard.write_to(typed)

    @on(Input.Submitted, "#export-directory")
    def _submitted(self) -> None:
        self.wizard.writing.write(self.ticked())

    @on(Input.Submitted)
    @on(Input.Blurred)
    def _entered(self, event: Input.Submitted | Input.Blurred) -> None:
        entry = event.input.parent
        if not isinstance(entry, Entry) or entry.asked is DIRECTORY:
            return
        try:
            self.wizard.choose(entry.asked.key, parse(entry.asked, event.value))
        except AnswerError as error:
            self.wizard.notice(str(error))
        if isinstance(event, Input.Blurred):
            event.input.value = self._answer(entry.asked)  # what was refused isn't left standing

    def press(self, action: str) -> bool:
        if action == "write":
            self.wizard.writing.write(self.ticked())
            return True
        if action == "copy":
            name = str(self.files.current or "")
            if name in self.artifacts:
                self.app.copy_to_clipboard(self.artifacts[name])
                self.wizard.notice(f"{name} is on its way to your terminal's clipboard (OSC 52).")
            return True
        return False
