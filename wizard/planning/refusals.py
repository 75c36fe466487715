"""A launch that vLLM stops before it counts memory."""

from __future__ import annotations

from typing import Any, Literal

from wizard.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why vLLM won't start, before any memory is counted."""

    cause: Literal["invalid_config", "unsupported"]
    error: str
    """vLLM's sentence."""
    change: tuple[tuple[str, Any], ...] = ()
    """Fields of `VLLMConfig` and the values that would pass: the smallest change; empty: there is none."""
