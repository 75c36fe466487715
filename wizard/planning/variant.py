"""One change to a request that leads to a plan of another kind, before it is planned."""

from __future__ import annotations

from collections.abc import Callable

from wizard.dataclass import dataclass, field
from wizard.planning.changes import Changes
from wizard.planning.layouts import Layout
from wizard.planning.situation import Situation
from wizard.schemas.outputs import VLLMConfig


@dataclass(frozen=True, slots=True)
class Variant:
    """A change to the request, not yet planned."""

    kind: str
    title: str
    changes: Changes
    why: str
    """What is done, as the head of a sentence."""
    most: int = 1
    """Of this kind, as many are shown."""
    said: str = ""
    """The setting that `why` tells already, in the words of `tradeoffs`."""
    titled: Callable[[VLLMConfig, Layout], str] | None = field(default=None, compare=False)
    """The title, where it tells what planning then comes to."""
    told: Callable[[Layout], tuple[str, str]] | None = field(default=None, compare=False)
    """Kind and `why`, where they follow from the layout that planning came to."""

    settles: str = ""
    """Once a variant with this word fits and keeps its promise, later ones with the same word need no planning."""

    def named(self, config: VLLMConfig, layout: Layout) -> str:
        return self.titled(config, layout) if self.titled is not None else self.title


def sizes_released(of: Situation) -> Changes:
    """Parallel sizes that were chosen for this machine, left to the planner."""
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    hardware = of.request.hardware
    return tuple((f"hardware.{name}", None) for name in names if getattr(hardware, name) is not None)
