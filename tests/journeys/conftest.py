"""A wizard on a pty of its own, with an empty home."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.terminal import Terminal

REPOSITORY = Path(__file__).resolve().parents[2]
Start = Callable[..., Terminal]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the developer's own machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m module arguments` on a pty; every one is ended with the test."""
    with ExitStack() as stack:

        def begin(
            *arguments: str,
            module: str = "tests.tui.fake_wizard",
            size: tuple[int, int] = (80, 24),
            changes: Mapping[str, str] | None = None,
        ) -> Terminal:
            argv = [sys.executable, "-m", module, *arguments]
            terminal = Terminal(
                argv, size=size, environment=environment | dict(changes or {}), directory=tmp_path
            )
            return stack.enter_context(terminal)

        yield begin
