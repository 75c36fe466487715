"""A journey as an asciinema recording: five screens, from a model's name to written files.

Played on a real pty; the pace is written down here, so that a slow machine makes the same recording.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

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
    (2.5, ["enter"]),
)
"""Seconds to look, then keys; Enter goes on to the next screen."""
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
        at, sent = 0.0, 0
        for look_s, keys in JOURNEY:
            terminal.rest()
            for key in (None, *keys):
                if key is not None:
                    terminal.press(key)
                    terminal.settle(0.25)
                text = terminal.output[sent:].decode("utf-8", "replace")
                sent = len(terminal.output)
                if text:
                    yield [round(at, 2), "o", text]
                at += KEY_S if key is not None else look_s
        assert terminal.wait_exit() == 0, terminal.text


def record(path: Path) -> None:
    """Plays the journey in an empty home and writes the recording."""
    with TemporaryDirectory() as home:
        events = list(recorded(home))
    header = {"version": 2, "width": SIZE[0], "height": SIZE[1], "title": "vllm-wizard-tui"}
    lines = [json.dumps(header), *(json.dumps(event, ensure_ascii=True) for event in events)]
    path.write_text("\n".join(lines).replace(home, "~") + "\n", encoding="utf-8")
