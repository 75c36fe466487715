"""Which vLLM is installed, beside us or on the PATH, found without importing or running anything."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RECORD = re.compile(r"vllm-(\d+\.\d+(?:\.\d+)?)[^-]*\.dist-info")


_INTERPRETER = re.compile(rb"(/[^\n\"' ]+)/bin/python[\d.]*")

SHEBANG_BYTES = 512
"""A script names its interpreter in its first line, or, where the path is long, in its second."""


def installed_vllm_version(environment: Mapping[str, str] | None = None) -> str | None:
    """X.Y.Z of the vLLM that a user would start, without its local part (`+cu129`); `None` without one.

    Looks for the installer's record on `sys.path`, which is what importlib.metadata does, at a tenth of its
    price (every cold start pays it); then in the environment of the `vllm` on the PATH.
    """
    return _recorded(sys.path) or _recorded(_places_of_command(environment))


def _places_of_command(environment: Mapping[str, str] | None) -> Iterator[str]:
    """The site-packages that the `vllm` on the PATH runs with, by the interpreter that it names."""
    env = os.environ if environment is None else environment
    names = (f"{folder}/vllm" for folder in env.get("PATH", "").split(os.pathsep) if folder)
    command = next((name for name in names if os.access(name, os.X_OK) and not os.path.isdir(name)), None)  # noqa: PTH112
    if command is None:
        return
    script = os.path.realpath(command)
    prefixes = [os.path.dirname(os.path.dirname(script))]  # noqa: PTH120
    try:
        with open(script, "rb") as file:  # noqa: PTH123 - no pathlib: every cold start comes by here
            named = _INTERPRETER.search(file.read(SHEBANG_BYTES))
    except OSError:
        named = None
    if named is not None:
        prefixes.insert(0, os.fsdecode(named[1]))
    for prefix in prefixes:
        try:
            versions = sorted(name for name in os.listdir(f"{prefix}/lib") if name.startswith("python3"))  # noqa: PTH208
        except OSError:
            continue
        yield from (
            f"{prefix}/lib/{each}/{kind}" for each in versions for kind in ("site-packages", "dist-packages")
        )


def _recorded(places: Iterable[str]) -> str | None:
    for entry in places:
        try:
            records = sorted(name for name in os.listdir(entry or ".") if name.startswith("vllm-"))  # noqa: PTH208 - no pathlib
        except OSError:
            continue
        for record in records:
            if (match := _RECORD.fullmatch(record)) is not None:
                return match[1]
    return None
