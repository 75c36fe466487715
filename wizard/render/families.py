"""Which tool-call and reasoning parsers a model family needs, and how many images a prompt may hold.

The table is `data/parsers.json`, each row with its sources; which parser a version knows is in the flag table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from wizard.data import read_text
from wizard.dataclass import dataclass
from wizard.render.draft import Argument
from wizard.vllm.flags import FlagTable, flag_table

TEMPLATE_FLAG = "--default-chat-template-kwargs"


@dataclass(frozen=True, slots=True)
class FamilyFlags:
    """What a family asks for on one version."""

    family: str | None
    arguments: tuple[Argument, ...] = ()
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def _families() -> Sequence[dict[str, Any]]:
    families: Sequence[dict[str, Any]] = json.loads(read_text("parsers.json"))["families"]
    return families


def family_flags(
    architecture: str, model: str, version: str, *, limit_multimodal: bool = True
) -> FamilyFlags:
    """Parsers and limits for a model; nothing where no family of the table matches.

    `limit_multimodal=False` leaves multimodal limits alone, because the plan has set its own.
    """
    row = _match(architecture, model)
    if row is None:
        return FamilyFlags(None)
    table = flag_table(version)
    arguments: list[Argument] = []
    notes: list[str] = []
    tool = _known("--tool-call-parser", row.get("tool", ()), table)
    if tool is not None:
        why = f"tool calls of {row['family']}"
        arguments += [Argument("--enable-auto-tool-choice"), Argument("--tool-call-parser", (tool,), why)]
    elif row.get("tool"):
        notes.append(f"vLLM {version} has no tool-call parser for {row['family']}.")
    reasoning = _known("--reasoning-parser", row.get("reasoning", ()), table)
    if reasoning is not None:
        why = f"keeps the reasoning of {row['family']} apart from the answer"
        arguments.append(Argument("--reasoning-parser", (reasoning,), why))
    elif row.get("reasoning"):
        notes.append(f"vLLM {version} has no reasoning parser for {row['family']}.")
    for flag, values in row.get("flags", {}).items():
        value = _known(flag, values, table)
        if value is not None:
            arguments.append(Argument(flag, (value,), f"the chat format of {row['family']}"))
    if limit_multimodal and "limits" in row:
        why = f"what {row['family']} was tested with"
        arguments.append(Argument("--limit-mm-per-prompt", (json.dumps(row["limits"]),), why))
    if "thinking" in row:
        notes.append(_thinking(row["thinking"], table))
    if tool is not None and "note" in row:
        notes.append(f"{row['family']}: {row['note']}.")
    return FamilyFlags(row["family"], tuple(arguments), tuple(notes))


def _match(architecture: str, model: str) -> dict[str, Any] | None:
    name = model.rstrip("/").rpartition("/")[2]
    for row in _families():
        if architecture not in row["architectures"]:
            continue
        if not re.search(row.get("name", ""), name, re.IGNORECASE):
            continue
        if "unless" in row and re.search(row["unless"], name, re.IGNORECASE):
            continue
        return row
    return None


def _known(flag: str, parsers: Sequence[str], table: FlagTable) -> str | None:
    return next((parser for parser in parsers if parser in table.flags[flag].values), None)


def _thinking(thinking: dict[str, Any], table: FlagTable) -> str:
    """How to switch reasoning the other way: a server flag since 0.14, in the request before."""
    wanted = "off" if thinking["default"] == "on" else "on"
    kwargs = json.dumps(thinking[wanted])
    how = (
        f"add {TEMPLATE_FLAG} '{kwargs}'"
        if TEMPLATE_FLAG in table
        else f'send "chat_template_kwargs": {kwargs} with each request'
    )
    return f"Thinking is {thinking['default']} by default; to turn it {wanted}, {how}."
