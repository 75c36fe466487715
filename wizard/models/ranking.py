"""Which of the models that match come first: what was typed, what is here, what its makers published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from wizard.models.found import FoundModel

Rank: TypeAlias = tuple[object, ...]

_NUMBER = re.compile(r"(\d+)")
_WORD_ENDS = r"(?![a-z0-9]|\.\d)"
"""`qwen3` is a word of `Qwen3-8B`, and only the beginning of one in `Qwen3.5-9B`."""


def ranked(found: Sequence[FoundModel], text: str) -> list[FoundModel]:
    """`found` with the most likely first; as it is for an empty text.

    The exact name; then what is on this disk; then the maker's own before what others made of it; then by how
    well the words match, whole models before their quantised forms, and by name, its numbers as numbers.
    """
    words = text.lower().replace("/", " ").split()
    return sorted(found, key=lambda row: _rank(row, text.strip().lower(), words)) if words else list(found)


def _rank(row: FoundModel, text: str, words: Sequence[str]) -> Rank:
    owner, _, name = row.id.lower().rpartition("/")
    return (
        text not in {row.id.lower(), name},
        row.source != "cache",
        row.base is not None and row.base.lower().rpartition("/")[0] != owner,
        max(_looseness(word, row.id.lower()) for word in words),
        not name.startswith(words[0]),
        row.base is not None,
        [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)],
    )


def _looseness(word: str, name: str) -> int:
    """0 where `word` is a whole word of `name`, 1 where one begins with it, 2 where it is inside one."""
    begins = r"(?<![a-z0-9])" + re.escape(word)
    return 0 if re.search(begins + _WORD_ENDS, name) else 1 if re.search(begins, name) else 2
