"""How the plain wizard asks: menus drawn in place, or numbered lines where nothing may move."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from wizard.text import Charset, drawable

Option = tuple[str, str]
"""What an answer stands for, and its words."""


NARROWEST = 40
"""Columns below which wrapping at spaces leaves more gaps than words."""


def moves_cursor(term: str) -> bool:
    """Whether a terminal of that name can put its cursor anywhere, as terminfo says; unknown names can."""
    if term in {"", "dumb", "unknown"}:
        return False
    try:
        import curses
    except ImportError:  # Python can be built without it
        return True
    try:
        curses.setupterm(term, fd=2)
    except curses.error:
        return True
    return curses.tigetstr("cup") is not None


def wrapped(text: str, *, further: int = 0) -> str:
    """`text` broken at spaces to the terminal's width, its further lines as deep as the first and `further` more."""
    columns = max(shutil.get_terminal_size().columns - 1, NARROWEST)
    indent = " " * (len(text) - len(text.lstrip()) + further)
    return textwrap.fill(
        text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


class LeaveError(Exception):
    """The user wants to stop; answers are kept."""


class Asker(Protocol):
    """How questions reach the user. Raises LeaveError when the input ends."""

    def say(self, text: str = "") -> None:
        """One line of words, wrapped where the terminal is narrower."""
        ...

    def quote(self, text: str) -> None:
        """One line of a file, as it is."""
        ...

    def choose(self, title: str, options: Sequence[Option], default: str) -> str:
        """One of `options`, by what it stands for."""
        ...

    def ask(self, title: str, default: str, check: Callable[[str], str | None]) -> str:
        """A line of text; `check` says what is wrong with it, or None."""
        ...


class LineAsker:
    """Numbered lines: nothing moves, everything can be read aloud."""

    def __init__(
        self, letters: Charset, *, read: Callable[[], str] = input, write: Callable[[str], Any] = print
    ) -> None:
        self.letters, self._read, self._write = letters, read, write

    def say(self, text: str = "") -> None:
        for line in wrapped(drawable(text, self.letters)).split("\n"):
            self._write(line)

    def quote(self, text: str) -> None:
        self._write(drawable(text, self.letters))

    def choose(self, title: str, options: Sequence[Option], default: str) -> str:
        self.say(title)
        for number, (key, words) in enumerate(options, 1):
            words += " (default)" if key == default else ""
            option = f"  {number}. {words}"
            for line in wrapped(drawable(option, self.letters), further=3).split("\n"):
                self._write(line)
        while True:
            answer = self._line("Number, or Enter for the default: ")
            if not answer:
                return default
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                return options[int(answer) - 1][0]
            self.say(f"Type a number from 1 to {len(options)}.")

    def ask(self, title: str, default: str, check: Callable[[str], str | None]) -> str:
        while True:
            answer = self._line(f"{title} [{default}]: " if default else f"{title}: ") or default
            trouble = check(answer)
            if trouble is None:
                return answer
            self.say(trouble)

    def _line(self, words: str) -> str:
        self.say(words)
        try:
            return self._read().strip()
        except (EOFError, KeyboardInterrupt) as error:
            raise LeaveError from error


class QuestionaryAsker:
    """Menus with arrow keys, drawn in place."""

    def __init__(self, letters: Charset) -> None:
        self.letters = letters

    def say(self, text: str = "") -> None:
        print(wrapped(drawable(text, self.letters)))  # noqa: T201 - lines are all this front end has

    def quote(self, text: str) -> None:
        print(drawable(text, self.letters))  # noqa: T201

    def choose(self, title: str, options: Sequence[Option], default: str) -> str:
        import questionary

        choices = [
            questionary.Choice(wrapped(f"   {drawable(words, self.letters)}", further=2).lstrip(), value=key)
            for key, words in options
        ]
        first = next((choice for choice in choices if choice.value == default), None)
        pointer = "»" if self.letters == "unicode" else ">"
        asked = questionary.select(
            drawable(title, self.letters),
            choices=choices,
            default=first,
            pointer=pointer,
            qmark="?",
            instruction=" ",
        )
        return str(self._answer(asked))

    def ask(self, title: str, default: str, check: Callable[[str], str | None]) -> str:
        import questionary

        asked = questionary.text(
            drawable(title, self.letters),
            default=default,
            validate=lambda text: check(text.strip()) or True,
            qmark="?",
        )
        return str(self._answer(asked)).strip()

    @staticmethod
    def _answer(asked: Any) -> Any:
        try:
            return asked.unsafe_ask()
        except (EOFError, KeyboardInterrupt) as error:
            raise LeaveError from error
