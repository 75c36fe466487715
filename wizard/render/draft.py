"""One flag with its values, and a command while it is being put together."""

from __future__ import annotations

import json

from wizard.dataclass import dataclass, field
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.flags import FlagTable


@dataclass(frozen=True, slots=True)
class Argument:
    """One flag with its values."""

    flag: str
    values: tuple[str, ...] = ()
    why: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """As typed on a command line: a value that looks like a flag is attached with `=`."""
        if len(self.values) == 1 and self.values[0].startswith("-"):
            return (f"{self.flag}={self.values[0]}",)
        return (self.flag, *self.values)


@dataclass(slots=True)
class Draft:
    """Arguments, variables and notes of one config on one version, in the order they are decided."""

    config: VLLMConfig
    table: FlagTable
    arguments: dict[str, Argument] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, flag: str, *values: object, why: str = "") -> None:
        """Writes a flag."""
        self.arguments[flag] = Argument(flag, tuple(text_of(value) for value in values), why)

    def leave_out(self, flag: str, value: object, reason: str) -> None:
        """Says why a flag isn't written."""
        self.notes.append(f"{flag} {text_of(value)} is left out: {reason}.")


def text_of(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)
