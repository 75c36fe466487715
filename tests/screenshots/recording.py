"""A journey as an asciinema recording: five screens, from a model's name to written files.

Played on a real pty and kept as what its screen came to after every key, at a pace that is written down here:
how the wizard's bytes fell into frames depends on the machine, what they drew doesn't.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyte
from pyte.screens import Char

from tests.terminal import Terminal

SIZE = (80, 24)
PROGRAM = ("-m", "wizard", "--fresh", "--offline", "--no-mouse", "--gpu", "H100 SXM5 80GB", "--gpus", "2")

JOURNEY: Sequence[tuple[float, Sequence[str]]] = (
    (1.5, [*"qwen3 32b"]),
    (1.2, ["enter"]),
    (1.8, ["enter"]),
    (1.2, ["tab", "tab", "tab", *["right"] * 6]),
    (1.2, ["tab", *["left"] * 2]),
    (1.5, ["enter"]),
    (1.5, ["right", "right"]),
    (1.5, ["left", "left", "enter"]),
    (2.0, ["ctrl+s"]),
)
"""Seconds to look, then keys; Enter goes on to the next screen. At the end another leaves."""
LAST_LOOK_S = 2.5
KEY_S = 0.12


def recorded(home: str) -> Iterator[list[object]]:
    """Events of an asciinema v2 file: when, "o", what the terminal was sent."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "XDG_STATE_HOME": f"{home}/state",
        "XDG_CACHE_HOME": f"{home}/cache",
        "HF_HOME": f"{home}/huggingface",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
    }
    with Terminal([sys.executable, *PROGRAM], size=SIZE, environment=environment, directory=home) as terminal:
        terminal.wait_for("type to search models")
        terminal.rest()
        at, shown = 0.0, cells(pyte.Screen(*SIZE))
        yield [at, "o", BEGIN + difference(shown, shown := cells(terminal.screen))]
        for look_s, keys in JOURNEY:
            at += look_s
            for key in keys:
                terminal.press(key)
                terminal.rest()
                if text := difference(shown, shown := cells(terminal.screen)):
                    yield [round(at, 2), "o", text]
                at += KEY_S
        terminal.press("enter")
        assert terminal.wait_exit() == 0, terminal.text
        last_words = terminal.output.rpartition(LEAVE.encode())[2].decode("utf-8", "replace")
        yield [round(at + LAST_LOOK_S, 2), "o", END + SEQUENCES.sub("", last_words)]


Cells = Sequence[Sequence[Char]]

LEAVE = "\x1b[?1049l"
BEGIN, END = "\x1b[?1049h\x1b[?25l", f"\x1b[0m{LEAVE}\x1b[?25h"
"""A screen of its own, without a cursor; and back."""

SEQUENCES = re.compile(r"\x1b\[[0-9;<>?=]*[a-zA-Z]|\x1b\][^\x07]*\x07")
"""What the wizard tells the terminal as it leaves; its words remain."""


def cells(screen: pyte.Screen) -> Cells:
    """Every cell of the screen as it looks: of a blank one only the ground is seen."""
    return [[_seen(screen.buffer[y][x]) for x in range(screen.columns)] for y in range(screen.lines)]


def _seen(cell: Char) -> Char:
    blank = cell.data == " " and not (cell.reverse or cell.underscore)
    return Char(" ", bg=cell.bg) if blank else cell


def difference(before: Cells, after: Cells) -> str:
    """What turns one screen into another: a move, a style and the cells, for every run that differs."""
    written, place, style = "", (-1, -1), None
    for y, (old, new) in enumerate(zip(before, after, strict=True)):
        for x, cell in enumerate(new):
            if cell == old[x]:
                continue
            if place != (y, x):
                written += f"\x1b[{y + 1};{x + 1}H"
            if style != (style := look(cell)):
                written += f"\x1b[{style}m"
            written += cell.data
            place = (y, x + 1)
    return written


COLORS: Mapping[str, int] = {
    name: at
    for at, name in enumerate(("black", "red", "green", "brown", "blue", "magenta", "cyan", "white"), 30)
}


def look(cell: Char) -> str:
    """How a cell looks, as the numbers of an SGR sequence."""
    numbers = ["0"]
    numbers += ["1"] * cell.bold + ["4"] * cell.underscore + ["7"] * cell.reverse
    for color, ground in ((cell.fg, 0), (cell.bg, 10)):
        if color in COLORS:
            numbers.append(str(COLORS[color] + ground))
        elif color != "default":
            red, green, blue = bytes.fromhex(color)
            numbers.append(f"{38 + ground};2;{red};{green};{blue}")
    return ";".join(numbers)


def record(path: Path) -> None:
    """Plays the journey in an empty home and writes the recording."""
    with TemporaryDirectory() as home:
        events = list(recorded(home))
    header = {"version": 2, "width": SIZE[0], "height": SIZE[1], "title": "vllm-wizard-tui"}
    lines = [json.dumps(header), *(json.dumps(event, ensure_ascii=True) for event in events)]
    path.write_text("\n".join(lines).replace(home, "~") + "\n", encoding="utf-8")
