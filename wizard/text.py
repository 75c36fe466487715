"""Words and numbers as people read them: one place for cleaning, units and plain-ASCII stand-ins.

Everything that comes from outside (model ids, config files, process names, error sentences) passes
through `printable` before it is shown anywhere, so that no terminal ever obeys it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from typing import Literal

GIB = 1 << 30
"""Bytes in a GiB; stated here so that words cost no import of the schemas."""

Charset = Literal["unicode", "console", "ascii"]
"""What the terminal can draw: everything, the Linux console's font, or ASCII alone."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that steer a terminal or reorder its text instead of showing something."""

_LONGEST_RUN_OF_MARKS = 2


def printable(text: object, limit: int = 400) -> str:
    """Text from outside, safe to show: one line, no control or formatting characters, cut at `limit`."""
    shown: list[str] = []
    marks = 0
    for character in str(text)[: limit * 4]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if category in _HIDDEN or marks > _LONGEST_RUN_OF_MARKS:
            if character in "\t\n\r\v\f":
                shown.append(" ")
            continue
        shown.append(" " if category == "Zs" else character)
    line = "".join(shown)
    return line if len(line) <= limit else line[: limit - 1] + "…"


_ASCII = {
    "✓": "+",
    "✗": "x",
    "●": "*",
    "○": ".",
    "▸": ">",
    "━": "=",
    "─": "-",
    "│": "|",
    "█": "#",
    "▓": "K",
    "▒": "a",
    "▚": "g",
    "░": "o",
    "╱": "/",
    "×": "x",
    "–": "-",
    "—": "-",
    "…": "~",
    "·": ".",
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "⇄": "~",
    "±": "~",
    "≤": "<",
    "≥": ">",
    "‹": "<",
    "›": ">",
    "“": '"',
    "”": '"',
    "’": "'",
    "‘": "'",
    "▏": "|",
    "▎": ":",
    "▍": ":",
    "▌": ":",
    "▋": "#",
    "▊": "#",
    "▉": "#",
    "▁": "_",
    "▂": "_",
    "▃": "-",
    "▄": "-",
    "▅": "=",
    "▆": "=",
    "└": "+",
    "▇": "#",
}
_CONSOLE = {
    "✓": "√",
    "✗": "x",
    "○": "·",
    "●": "■",
    "▸": ">",
    "━": "═",
    "▚": "▒",
    "╱": "/",
    "…": "~",
    "–": "-",
    "—": "-",
    "⇄": "~",
    "‹": "<",
    "›": ">",
    "“": '"',
    "”": '"',
    "’": "'",
    "‘": "'",
    "▏": "│",
    "▎": "▌",
    "▍": "▌",
    "▋": "▌",
    "▊": "█",
    "▉": "█",
}
"""The Linux console's built-in font holds code page 437 and Latin-1, and little else."""


def drawable(text: str, charset: Charset) -> str:
    """`text` with every sign that the terminal can't draw replaced by one of the same width."""
    if charset == "unicode" or text.isascii():
        return text
    table = _ASCII if charset == "ascii" else _CONSOLE
    if charset == "ascii":
        text = text.replace(" · ", " - ")
    replaced = "".join(table.get(character, character) for character in text)
    if charset == "ascii":
        return "".join(character if character.isascii() else "?" for character in replaced)
    return replaced


def spelled(text: str, charset: Charset) -> str:
    """Sentences and key names for a terminal that can't draw their signs; unlike `drawable` it may lengthen.

    `^v` would read as Ctrl+V beside `^p`.
    """
    if charset != "ascii":
        return text
    return text.replace("↑↓", "up/dn").replace(" · ", " - ").replace("±", "+/-")


def charset(environment: Mapping[str, str]) -> Charset:
    """What the locale and TERM say that the terminal can draw.

    A locale of plain C or POSIX means ASCII. None at all, as in most containers, says nothing about the
    terminal at the other end, which nowadays draws Unicode.
    """
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    folded = locale.lower().replace("-", "")
    if locale and "utf8" not in folded:
        return "ascii"
    return "console" if environment.get("TERM") == "linux" else "unicode"


def own_environment() -> Mapping[str, str]:
    """The environment as this process was given it.

    Python replaces a C locale in its own environment by a UTF-8 one (PEP 538), which would hide it.
    """
    environment = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib costs every start 4 ms
            given = file.read().split(b"\0")
    except OSError:
        return environment
    if environment.get("LC_CTYPE") and not any(entry.startswith(b"LC_CTYPE=") for entry in given):
        del environment["LC_CTYPE"]
    return environment


def gib(size_bytes: float, digits: int = 1) -> str:
    """Bytes as GiB with a fixed number of digits: `33.0`. The unit is the reader's."""
    shown = f"{size_bytes / GIB:,.{digits}f}"
    return shown.removeprefix("-") if float(shown.replace(",", "")) == 0 else shown


def short_gib(size_bytes: float) -> str:
    """Bytes as GiB to two digits or three: `0.31`, `3.8`, `120`. The unit is the reader's."""
    size_gib = size_bytes / GIB
    return gib(size_bytes, 3 if size_gib < 0.1 else 2 if size_gib < 1 else 1 if size_gib < 100 else 0)


def count(value: float) -> str:
    """`244,304`."""
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """A count in at most five characters: `512`, `8.2k`, `244k`, `1.05M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 0.99995:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 99.5 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}"


def milliseconds(value: float) -> str:
    """A time as a person says it: `26`, `1,150`; the unit is the reader's."""
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def rounded(value: float) -> float:
    """Two significant figures: what a forecast is worth."""
    if value <= 0:
        return 0.0
    digits = len(str(int(value))) - 2
    return round(value, -digits) if digits > 0 else round(value, 1)


def span(low: float, high: float) -> str:
    """A forecast's range: `210–390`."""
    return f"{milliseconds(rounded(low))}–{milliseconds(rounded(high))}"


def short_span(low: float, high: float) -> str:
    """The same in at most eleven characters: `790–1.2k`."""
    return f"{short_count(rounded(low))}–{short_count(rounded(high))}"


def dollars(low: float, high: float) -> str:
    """A range of prices: `$0.12–0.19`, `$15–23`."""
    digits = 2 if high < 10 else 0
    return f"${low:,.{digits}f}–{high:,.{digits}f}"


SECONDS_FROM_MS = 10_000
MINUTES_FROM_MS = 600_000
"""Upper ends from which a range of milliseconds is told in seconds, and in minutes."""


def time_span(low_ms: float, high_ms: float) -> tuple[str, str]:
    """A forecast's range of time and its unit: `210–390` and `ms`, `9.2–41` and `s`, `9.2–68` and `min`."""
    if high_ms >= MINUTES_FROM_MS:
        return span(low_ms / 60_000, high_ms / 60_000), "min"
    if high_ms >= SECONDS_FROM_MS:
        return span(low_ms / 1000, high_ms / 1000), "s"
    return span(low_ms, high_ms), "ms"


def params(value: float | None) -> str:
    """Parameters in billions: `30.5B`, `0.5B`, `1.04T`; `?` where nobody knows."""
    if value is None:
        return "?"
    if value >= 1e12:
        return f"{value / 1e12:.2f}T"
    billions = value / 1e9
    return f"{billions:.0f}B" if billions >= 99.5 else f"{billions:.1f}B"


def plural(number: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
