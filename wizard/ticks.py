"""Which files are to be written: the usual ones, less those ticked off, and more that were ticked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from wizard.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """The export's own answers, as undo keeps them."""

    unticked: frozenset[str] = frozenset()
    """Usual files that are not wanted."""
    ticked: frozenset[str] = frozenset()
    """Other files that are."""
    directory: str = ""
    """Where to, as typed; empty for the suggestion."""


class Ticks:
    """What the user changed about the usual choice; kept by name, so that it outlives a change of plan."""

    def __init__(self, unticked: Iterable[str] = (), ticked: Iterable[str] = ()) -> None:
        self.unticked, self.ticked = set(unticked), set(ticked)

    def on(self, name: str, usual: Collection[str]) -> bool:
        """Whether a file is wanted."""
        return name not in self.unticked if name in usual else name in self.ticked

    def toggle(self, name: str, usual: Collection[str]) -> None:
        """Ticks a file, or ticks it off."""
        (self.unticked if name in usual else self.ticked).symmetric_difference_update({name})

    def wanted(self, names: Iterable[str], usual: Collection[str]) -> list[str]:
        """The names that are ticked, in the order given."""
        return [name for name in names if self.on(name, usual)]
