"""Which vLLM is installed, beside us or on the PATH, found without importing or running anything."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

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


def _places_of_command(environment: Mapping[str, str] | None) -> Iterable[Path]:
    """The site-packages that the `vllm` on the PATH runs with, by the interpreter that it names."""
    env = os.environ if environment is None else environment
    command = shutil.which("vllm", path=env.get("PATH", ""))
    if command is None:
        return ()
    script = Path(command).resolve()
    prefixes = [script.parent.parent]
    try:
        with script.open("rb") as file:
            named = _INTERPRETER.search(file.read(SHEBANG_BYTES))
    except OSError:
        named = None
    if named is not None:
        prefixes.insert(0, Path(os.fsdecode(named[1])))
    places = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages")
    return [found for prefix in prefixes for place in places for found in prefix.glob(place)]


def _recorded(places: Iterable[str | Path]) -> str | None:
    for entry in places:
        try:
            records = sorted(path.name for path in Path(entry or ".").glob("vllm-*.dist-info"))
        except OSError:
            continue
        for record in records:
            if (match := _RECORD.fullmatch(record)) is not None:
                return match[1]
    return None
