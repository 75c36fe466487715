"""Paths as people type them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def expanded(path: str | Path) -> Path:
    """`~` replaced by a home directory; kept as it is where there is no such user."""
    from pathlib import Path

    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
