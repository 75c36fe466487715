"""Lines of text in named roles: what every pane is drawn from, before any colour is chosen.

Text from outside enters as plain text only; there is no markup to interpret.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size


class Span(NamedTuple):
    """A run of text and the role that colours it (a key of `theme.ROLES`)."""

    text: str
    role: str = ""


Line = tuple[Span, ...]
Part = str | tuple[str, str] | Span

BLANK: Line = ()


def line(*parts: Part) -> Line:
    """A line of parts: bare strings, or (text, role)."""
    return tuple(Span(part) if isinstance(part, str) else Span(*part) for part in parts)


def width(of: Iterable[Span]) -> int:
    """Cells that a line takes."""
    return sum(cell_len(span.text) for span in of)


def fit(text: str, cells: int) -> str:
    """`text` cut or padded to exactly `cells`; what is cut ends in an ellipsis."""
    if cells <= 0:
        return ""
    if cell_len(text) > cells:
        return set_cell_size(text, cells - 1) + "…"
    return set_cell_size(text, cells)


def fit_middle(text: str, cells: int) -> str:
    """Like `fit`, but keeps both ends: what tells two model names apart is often the tail."""
    if cell_len(text) <= cells or cells < 8:
        return fit(text, cells)
    tail = (cells - 1) * 2 // 5
    head = cells - 1 - tail
    return set_cell_size(text, head) + "…" + text[-tail:] if text.isascii() else fit(text, cells)


def fit_line(of: Line, cells: int) -> Line:
    """A line cut or padded to exactly `cells`."""
    out: list[Span] = []
    left = cells
    for span in of:
        length = cell_len(span.text)
        if length > left:
            out.append(Span(fit(span.text, left), span.role))
            return tuple(out)
        out.append(span)
        left -= length
    if left:
        out.append(Span(" " * left))
    return tuple(out)


def spread(left: Line, right: Line, cells: int) -> Line:
    """`left` and `right` at the two ends of `cells`; the left gives way."""
    room = cells - width(right)
    return (*fit_line(left, max(room, 0)), *right)


def _break(word: str, cells: int) -> int:
    """Where to break a word that is too long: behind a separator of paths and names, where there is one."""
    at = len(word)
    while at > 1 and cell_len(word[:at]) > cells:
        at -= 1
    behind = max(word.rfind(separator, 1, at) for separator in "/\\-_.,:=") + 1
    return behind if behind > 1 else at


def wrap(text: str, cells: int, limit: int) -> list[str]:
    """`text` over at most `limit` lines of `cells`, broken at spaces; an ellipsis marks what is left out."""
    rows: list[str] = []
    row = ""
    for word in text.split():
        candidate = f"{row} {word}" if row else word
        if cell_len(candidate) <= cells:
            row = candidate
            continue
        if row:
            rows.append(row)
        row = word
        while cell_len(row) > cells:
            at = _break(row, cells)
            rows.append(row[:at])
            row = row[at:]
    if row:
        rows.append(row)
    if len(rows) > limit:
        rows = rows[:limit]
        rows[-1] = fit(rows[-1] + " …", cells).rstrip() if cell_len(rows[-1]) + 2 > cells else rows[-1] + " …"
    return rows
