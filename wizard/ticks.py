"""Which files are to be written: the usual ones, less those ticked off, and more that were ticked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

Sets = tuple[frozenset[str], frozenset[str]]
"""Usual files that are not wanted, and others that are."""


class Ticks:
    """What the user changed about the usual choice; kept by name, so that it outlives a change of plan."""

    def __init__(self, unticked: Iterable[str] = (), ticked: Iterable[str] = ()) -> None:
        self.unticked, self.ticked = set(unticked), set(ticked)

    @property
    def sets(self) -> Sets:
        """All there is to keep of them."""
        return frozenset(self.unticked), frozenset(self.ticked)

    def on(self, name: str, usual: Collection[str]) -> bool:
        """Whether a file is wanted."""
        return name not in self.unticked if name in usual else name in self.ticked

    def toggle(self, name: str, usual: Collection[str]) -> None:
        """Ticks a file, or ticks it off."""
        (self.unticked if name in usual else self.ticked).symmetric_difference_update({name})

    def wanted(self, names: Iterable[str], usual: Collection[str]) -> list[str]:
        """The names that are ticked, in the order given."""
        return [name for name in names if self.on(name, usual)]
