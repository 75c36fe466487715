"""The vLLM version of a launch, from whatever its source wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wizard.vllm.versions import NEWEST_KNOWN

_NUMBER = r"\d+\.\d+(?:\.(?:\d+|x))?"
_STATED = re.compile(rf"^v?({_NUMBER}(?:rc\d+)?(?:\.dev\d+)?)(?![\d])")
_GUESSED = (
    re.compile(rf"=>\s*[~≥>=]*\s*v?({_NUMBER})"),
    re.compile(rf"[~≥]\s*v?({_NUMBER})"),
    re.compile(rf">=\s*v?({_NUMBER})"),
    re.compile(rf"\(\s*v?({_NUMBER})\+"),
)

_FOUR_DECIMALS = "4-decimal"
"""`Model loading took` was printed with four decimals through 0.13."""

RELEASED = (
    ("2024-11", "0.6.4"),
    ("2024-12", "0.6.6"),
    ("2025-01", "0.7.0"),
    ("2025-02", "0.7.3"),
    ("2025-03", "0.8.2"),
    ("2025-04", "0.8.5"),
    ("2025-06", "0.9.1"),
    ("2025-07", "0.9.2"),
    ("2025-08", "0.10.1"),
    ("2025-09", "0.10.2"),
    ("2025-10", "0.11.0"),
    ("2025-12", "0.12.0"),
    ("2026-01", "0.14.0"),
    ("2026-02", "0.15.1"),
    ("2026-03", "0.17.1"),
    ("2026-04", "0.19.0"),
    ("2026-05", "0.20.2"),
    ("2026-06", "0.23.0"),
    ("2026-07", "0.25.1"),
    ("2026-08", "0.27.1"),
    ("2026-09", "0.29.0"),
    ("2026-10", "0.31.0"),
    ("2026-11", "0.33.0"),
)
"""Month and the version most used then, read off the dated launches whose version is known."""


@dataclass(frozen=True, slots=True)
class LaunchVersion:
    """Which rules to judge a launch by, and how sure that is."""

    number: str
    basis: Literal["stated", "inferred", "month"]
    """Said so; deduced by the source from log lines; or nothing better than the month of the launch."""


def launch_version(text: str | None, date: str | None) -> LaunchVersion:
    """The stated version; else the one the note infers; else the one of the launch's month.

    `0.1.dev20073+gabc` is a build without tags: it tells nothing but its date.
    """
    text = (text or "").strip()
    stated = _STATED.match(text)
    if stated and not text.startswith("0.1.dev"):
        sure = "unsure" not in text and ".x" not in stated.group(1)
        return LaunchVersion(_patch(stated.group(1)), "stated" if sure else "inferred")
    for pattern in _GUESSED:
        guessed = pattern.search(text)
        if guessed:
            return LaunchVersion(_patch(guessed.group(1)), "inferred")
    if _FOUR_DECIMALS in text:
        return LaunchVersion("0.11.0", "inferred")
    return LaunchVersion(_by_month(date), "month")


def _patch(number: str) -> str:
    return number.replace(".x", ".0")


def _by_month(date: str | None) -> str:
    month = (date or "")[:7]
    if re.fullmatch(r"\d{4}", month):
        month += "-06"
    if not re.fullmatch(r"\d{4}-\d{2}", month):
        return NEWEST_KNOWN
    earlier = [version for released, version in RELEASED if released <= month]
    return earlier[-1] if earlier else RELEASED[0][1]
