"""How a typed GPU name is compared with a catalogue row: by words, not by spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable

NOISE = frozenset(
    re.findall(
        r"\w+",
        "nvidia geforce tesla quadro amd radeon instinct intel gpu graphics generation edition card the",
    )
)
"""Words that tell nothing apart: `4090`, `RTX 4090` and `NVIDIA GeForce RTX 4090` mean one card."""

VARIANTS = frozenset(
    ["ti", "super", "d", "v2", "laptop", "max", "q", "nvl", "sff", "xt", "xtx", "modded", "3e"]
)
"""Words that make another product of a name; a row with one that wasn't asked for loses to a row without."""

MEMORY = re.compile(r"^\d+gb$")


LITERAL = re.compile(r"\^?(?:\([^()|]*\)\?)?([\w /-]+)(?![?*+{])[^|]*")
"""A pattern that begins with an optional part and a text that any match holds."""

SPELLED = ("gb", "laptop", "sxm")
"""Words that a row may answer to without holding them: memory, `mobile`, `sxm5`."""


def may_match(pattern: str, text: str) -> bool:
    """False where `pattern` can't be found in `text`; compiling a hundred and fifty patterns takes 15 ms."""
    literal = LITERAL.fullmatch(pattern)
    return literal is None or literal[1] in text


def may_cover(wanted: frozenset[str], names: Iterable[str]) -> bool:
    """False where a row of these names can't cover `wanted`, which is dear to find out word by word."""
    spelled = " ".join(names).casefold()
    return all(word in spelled or any(part in word for part in SPELLED) for word in wanted)


def words(text: str) -> frozenset[str]:
    """The telling words of a name, lower case: `RTX4090ti 24 GB` -> {rtx, 4090, ti, 24gb}."""
    flat = re.sub(r"[^a-z0-9]+", " ", text.casefold())
    flat = re.sub(r"\b(rtx|gtx|rx|pro)(?=[a-z]?\d)", r"\1 ", flat)
    flat = re.sub(r"\b(\d{4})(ti|super|d|xt|xtx|laptop)(?=super\b|\b)", r"\1 \2 ", flat)
    flat = re.sub(r"\b(\d+) ?(?:gib|gb|g)\b", r"\1gb", flat)
    flat = re.sub(r"\bmobile\b", "laptop", flat)
    return frozenset(flat.split()) - NOISE


def row_words(name: str, aliases: tuple[str, ...], memory_gb: float) -> frozenset[str]:
    """The words a catalogue row answers to, its memory among them."""
    found = words(name) | {f"{memory_gb:g}gb"}
    for alias in aliases:
        found |= words(alias)
    return found


def covers(wanted: frozenset[str], row: frozenset[str]) -> bool:
    """Every wanted word is one of the row's; `sxm` answers for `sxm5`."""
    return all(word in row or (word == "sxm" and any(w.startswith("sxm") for w in row)) for word in wanted)


def completes(wanted: frozenset[str], row: frozenset[str]) -> bool:
    """Every wanted word begins one of the row's: for lists that narrow while one types."""
    return all(any(w.startswith(word) for w in row) for word in wanted)


def unasked_variants(wanted: frozenset[str], row: frozenset[str]) -> int:
    """How many variant words the row has that were not asked for."""
    return len((row - wanted) & VARIANTS)


def sized(name: str) -> bool:
    """Whether the name itself says how much memory."""
    return any(MEMORY.match(word) for word in words(name))


def nearest(text: str, names: list[str]) -> list[str]:
    """Up to three catalogue names that look like `text`."""
    import difflib

    plain = {" ".join(sorted(words(name))): name for name in names}
    asked = " ".join(sorted(words(text[:80])))
    return [plain[hit] for hit in difflib.get_close_matches(asked, plain, n=3, cutoff=0.5)]
