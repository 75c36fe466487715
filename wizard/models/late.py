"""Builders of model families by name: a family's module is loaded when a model of that family is described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar

Builder = TypeVar("Builder")


class Late(Mapping[str, Builder], Generic[Builder]):
    """Functions by name. `elsewhere` says `module.function`, both below `wizard.models`, for those to be loaded."""

    def __init__(self, elsewhere: Mapping[str, str], **here: Builder) -> None:
        self._elsewhere = elsewhere
        self._found: dict[str, Builder] = dict(here)

    def __getitem__(self, name: str) -> Builder:
        found = self._found.get(name)
        if found is None:
            module, _, function = self._elsewhere[name].partition(".")
            found = self._found[name] = getattr(import_module(f"wizard.models.{module}"), function)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter({**self._found, **self._elsewhere})

    def __len__(self) -> int:
        return len({**self._found, **self._elsewhere})
