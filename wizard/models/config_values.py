"""Reading values of a hostile config file: checked for type and range, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wizard.errors import ConfigError

LARGEST_DIMENSION = 1 << 28
"""No width, count or length of a real model reaches this; a larger number is a broken file."""


def integer(config: Mapping[str, Any], *names: str, default: int | None = None, low: int = 0) -> int:
    """The first of `names` that is present and not null, as an int in [low, LARGEST_DIMENSION].

    Raises ConfigError when it is not a whole number, out of range, or missing without a default.
    """
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise ConfigError(f"config.json: {name} must be a whole number, not {short(value)}.")
        if not low <= value <= LARGEST_DIMENSION:
            raise ConfigError(f"config.json: {name} is {short(value)}, out of any model's range.")
        if value != int(value):
            raise ConfigError(f"config.json: {name} must be a whole number, not {short(value)}.")
        return int(value)
    if default is None:
        raise ConfigError(
            f"config.json has no {names[0]}; give a directory or model id whose config is complete."
        )
    return default


def section(config: Mapping[str, Any], *names: str) -> Mapping[str, Any] | None:
    """The first of `names` that holds an object; ConfigError when it holds something else."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"config.json: {name} must be an object, not {short(value)}.")
        return value
    return None


def short(value: object, limit: int = 40) -> str:
    """A value from a hostile file, cut and made printable for an error sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
