"""How wide one decoder layer gets per token: the intermediate tensors of its matrix pairs.

Read off the module tree, so that MLA, Mamba mixers, dense layers of a MoE and shared experts count as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass
from wizard.errors import ConfigError
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import Linear, Module
from wizard.models.tree import module_tree

GATED_WIDTHS = 3
"""Where the architecture isn't known: gate and up side by side, and their product."""


@dataclass(frozen=True, slots=True)
class Width:
    """Elements per token between the input and the output of a pair of matrices."""

    split: int
    """Cut by tensor parallelism."""
    whole: int
    """On every rank."""

    def elements(self, tp: int) -> float:
        return self.split / tp + self.whole


_widths: WeakKeyDictionary[ModelMetadata, tuple[Width, ...]] = WeakKeyDictionary()


def widest_pair(metadata: ModelMetadata, tp: int) -> float:
    """Elements per token that the widest part of any layer holds on one rank, routed experts apart."""
    widths = _widths.get(metadata)
    if widths is None:
        widths = _widths[metadata] = _of(metadata)
    return max(width.elements(tp) for width in widths)


def _of(metadata: ModelMetadata) -> tuple[Width, ...]:
    try:
        blocks = module_tree(metadata).blocks
    except ConfigError:
        dense = 0 if metadata.is_moe else GATED_WIDTHS * metadata.intermediate_size
        return (Width(dense, 0),)
    found = {width for block in blocks for width in _pairs(block.modules)}
    return tuple(found) or (Width(0, 0),)


def _pairs(modules: Sequence[Module]) -> Iterator[Width]:
    """Outputs of the matrices before a row-parallel one, plus what goes into that one."""
    split = whole = 0
    for module in modules:
        if not isinstance(module, Linear):
            continue
        if module.split == "row":
            yield Width(split + module.inputs, whole)
            split = whole = 0
        elif module.split == "column":
            split += sum(module.outputs)
            whole += module.whole_outputs
        else:
            whole += sum(module.outputs)
    if split or whole:
        yield Width(split, whole)
