"""Writes what is ticked: where to, what would be replaced, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wizard.errors import WizardError
from wizard.leaving import next_steps, suggested_directory
from wizard.text import plural, printable
from wizard.ticks import Ticks, Wanted
from wizard.tui.messages import Written

if TYPE_CHECKING:
    from wizard.tui.app import WizardApp


class Writing:
    """The export's own answers, and the steps from 'write' to 'written'."""

    def __init__(self, app: WizardApp) -> None:
        self.app = app
        self.chosen = ""
        """The directory as typed; empty for the suggestion."""
        self.ticks = Ticks()
        self.waiting = False
        """Files are to be written once the search under way is through."""
        self.last_words: tuple[str, ...] = ()
        """What is left on the terminal after the wizard is gone."""

    @property
    def directory(self) -> str:
        """Where the files go: as typed, else named after the model."""
        return self.chosen or suggested_directory(self.app.request)

    @property
    def wanted(self) -> Wanted:
        """The export's own answers."""
        return Wanted(frozenset(self.ticks.unticked), frozenset(self.ticks.ticked), self.chosen)

    @wanted.setter
    def wanted(self, wanted: Wanted) -> None:
        self.ticks, self.chosen = Ticks(wanted.unticked, wanted.ticked), wanted.directory

    def write(self, files: Mapping[str, str]) -> None:
        """Writes the ticked files, asking first where one with other contents would be replaced."""
        if len(self.app.screen_stack) > 1:
            return  # a dialog is open; its answer comes first
        plan = self.app.view.plan
        self.waiting = False
        if plan is None:
            self.app.notice("There is no plan to write yet.")
        elif self.app.searching:
            self.waiting = True  # plan.json holds what the search finds
            self.app.notice("Writing as soon as the search for other plans is through …")
        elif plan.feasibility.verdict == "wont_start":
            self.app.notice("Not written: vLLM would not start like this. f shows what would help.")
        elif not files:
            self.app.notice("No file is ticked; Space ticks the one under the cursor.")
        else:
            self._write_or_ask(self.directory, dict(files))

    def _write_or_ask(self, typed: str, files: dict[str, str]) -> None:
        try:
            directory = Path(typed).expanduser()
            differing = self.app.engine.differences(directory, files)
        except (WizardError, RuntimeError) as error:  # RuntimeError: ~nobody has no home directory
            self.app.notice(printable(error))
            return
        if not differing:
            self._start(directory, files, overwrite=False)
            return
        from wizard.tui.screens.replace import ReplaceDialog

        asked = ReplaceDialog(
            f"Replace {len(differing)} of {plural(len(files), 'file')} in {printable(directory, 200)}?",
            differing,
        )
        self.app.push_screen(
            asked,
            lambda answer: self._start(directory, files, overwrite=True) if answer == "replace" else None,
        )

    def _start(self, directory: Path, files: dict[str, str], *, overwrite: bool) -> None:
        self.app.work(
            "write",
            lambda: self.app.engine.write(directory, files, overwrite=overwrite),
            lambda written: Written(written.directory, tuple(path.name for path in written.files)),
        )

    def written(self, directory: Path, names: tuple[str, ...]) -> None:
        """Files are on disk: says what next, and offers to leave."""
        from wizard.tui.screens.dialogs import AskDialog

        if len(self.app.screen_stack) > 1:
            self.app.notice(f"Written: {plural(len(names), 'file')} in {printable(directory, 300)}.")
            return
        where = f"{plural(len(names), 'file')} in {printable(directory, 300)}"
        lines = next_steps(directory, names, self.app.request)
        self.last_words = (f"{where}: {', '.join(names)}", *lines)
        asked = AskDialog(
            "Written",
            "\n".join((where + ".", "", *lines)),
            (("leave", "Leave; these lines stay on your terminal"), ("stay", "Stay here")),
        )
        self.app.push_screen(asked, lambda answer: self.app.exit(0) if answer == "leave" else None)
