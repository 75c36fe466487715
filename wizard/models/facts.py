"""Typed reading of a config section: every value is checked before it becomes a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wizard.errors import ConfigError
from wizard.models.metadata import LARGEST_DIMENSION, integer, section, short

LARGEST_LAYER_COUNT = 4096
"""No model has so many layers; a longer one is a broken file, and would take long to describe."""


Whole = int
"""`int` where a method of that name hides it."""


class Facts:
    """A config section with the defaults that transformers' config class fills in for absent keys."""

    __slots__ = ("defaults", "values")

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        self.values = values
        self.defaults = defaults or {}

    def get(self, name: str) -> Any:
        """The raw value: the file's, else the default; `None` for neither."""
        value = self.values.get(name)
        return self.defaults.get(name) if value is None else value

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def int(self, *names: str, default: int | None = None, low: int = 0) -> int:
        """The first of `names` that is present, as a whole number >= `low`. Raises ConfigError."""
        for name in names:
            value = self.get(name)
            if type(value) is int and low <= value <= LARGEST_DIMENSION:
                return value
            if value is not None:
                return integer({name: value}, name, low=low)
        return integer({}, names[0], default=default, low=low)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True where any of `names` is set; `default` where none is present."""
        present = [self.get(name) for name in names if self.has(name)]
        return any(bool(value) for value in present) if present else default

    def text(self, name: str, default: str = "") -> str:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"config.json: {name} must be text, not {short(value)}.")
        return value

    def list(self, name: str) -> Sequence[Any] | None:
        """A list of a sensible length; `None` where absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise ConfigError(f"config.json: {name} must be a list, not {short(value)}.")
        if len(value) > LARGEST_LAYER_COUNT:
            raise ConfigError(f"config.json: {name} has {len(value)} entries, out of any model's range.")
        return value

    def item(self, name: str, index: Whole, default: Whole | None = None) -> Whole:
        """A whole number given once, or as a list with one per layer."""
        value = self.get(name)
        if isinstance(value, list | tuple):
            if index >= len(value):
                raise ConfigError(f"config.json: {name} has {len(value)} entries, fewer than the layers.")
            return integer({name: value[index]}, name)
        return self.int(name, default=default)

    def number(self, name: str, default: float) -> float:
        value = self.get(name)
        if value is None:
            return default
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) <= LARGEST_DIMENSION
        ):
            raise ConfigError(f"config.json: {name} must be a number, not {short(value)}.")
        return float(value)

    def part(self, *names: str, defaults: Mapping[str, Any] | None = None) -> Facts | None:
        """A nested section; `None` where absent. Raises ConfigError when it is not an object."""
        values = section(self.values, *names)
        if values is None:
            return None
        return Facts(values, defaults)

    @property
    def layers(self) -> Whole:
        """Decoder layers; ConfigError above any model's number."""
        kinds = self.list("layers_block_type")
        default = len(kinds) if kinds else None
        count = self.int("num_hidden_layers", "n_layer", "n_layers", "num_layers", default=default, low=1)
        if count > LARGEST_LAYER_COUNT:
            raise ConfigError(f"config.json: {count} layers are out of any model's range.")
        return count
