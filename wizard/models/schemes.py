"""A model's modules with the form in which each is stored, ready to be sized for any rank."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, replace
from wizard.models.matching import Names
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import (
    Block,
    CacheScales,
    Experts,
    Linear,
    Module,
    ModuleTree,
    Rotary,
    Tensor,
    Vocabulary,
)
from wizard.models.quantization import quantization_of
from wizard.models.quantized import Quantization, Role
from wizard.models.storage import PLAIN, Scheme
from wizard.models.tree import module_tree


@dataclass(frozen=True, slots=True)
class Group:
    """Equal modules stored the same way, and the layers they stand in."""

    module: Module
    scheme: Scheme
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SchemedModel:
    """A module tree with the storage scheme of every module, for any rank."""

    tree: ModuleTree
    quantization: Quantization | None
    groups: tuple[Group, ...]
    first: tuple[Group, ...]
    towers: tuple[Group, ...]
    """Encoder layers and what belongs to them, on the first stage."""
    encoder_everywhere: tuple[Group, ...]
    last: tuple[Group, ...]
    every: tuple[Group, ...]
    tied: tuple[Group, ...]


_models: WeakKeyDictionary[ModelMetadata, dict[str | None, SchemedModel]] = WeakKeyDictionary()


def schemed_model(metadata: ModelMetadata, online: str | None) -> SchemedModel:
    known = _models.setdefault(metadata, {})
    model = known.get(online)
    if model is None:
        tree = module_tree(metadata)
        quantization = quantization_of(metadata, online)
        if quantization is not None and tree.renames:
            quantization = quantization.renamed(tree.renames)
        model = known[online] = SchemedModel(
            tree=tree,
            quantization=quantization,
            groups=grouped(tree.blocks, quantization),
            first=_ungrouped(tree.first, quantization),
            towers=(*grouped(tree.towers, quantization), *_ungrouped(tree.encoder, quantization)),
            encoder_everywhere=_ungrouped(tree.encoder_everywhere, quantization),
            last=_ungrouped(tree.last, quantization),
            every=_ungrouped(tree.every, quantization),
            tied=_ungrouped(tree.tied, quantization),
        )
    return model


def stored_modules(metadata: ModelMetadata, online: str | None) -> Iterator[tuple[Module, Scheme, int]]:
    """What a forward pass of the decoder reads: each module, how it is stored, and in how many layers.

    The embedding look-up is left out; an embedding that serves as the head comes as the head.
    """
    model = schemed_model(metadata, online)
    for group in (*model.groups, *model.last, *model.every):
        yield group.module, group.scheme, len(group.indices)
    for group in model.tied:
        if isinstance(group.module, Vocabulary):
            yield replace(group.module, head=True), group.scheme, 1


def grouped(blocks: tuple[Block, ...], quantization: Quantization | None) -> tuple[Group, ...]:
    groups: dict[tuple[Module, Scheme], list[int]] = {}
    for block in blocks:
        for module in block.modules:
            if quantization is None or isinstance(module, Tensor | Rotary | CacheScales):
                groups.setdefault((module, PLAIN), []).extend(block.indices)
                continue
            for index in block.indices:
                scheme = _scheme(module, block.prefix.format(index) + ".", quantization)
                groups.setdefault((module, scheme), []).append(index)
    return tuple(Group(module, scheme, tuple(sorted(found))) for (module, scheme), found in groups.items())


def _ungrouped(modules: tuple[Module, ...], quantization: Quantization | None) -> tuple[Group, ...]:
    return tuple(Group(module, _scheme(module, "", quantization), (0,)) for module in modules)


def _scheme(module: Module, prefix: str, quantization: Quantization | None) -> Scheme:
    if quantization is None or isinstance(module, Tensor | Rotary | CacheScales) or not module.quantised:
        return PLAIN
    name = prefix + module.name
    parts: tuple[str, ...] = ()
    role: Role = "linear"
    if isinstance(module, Linear):
        parent = name.rpartition(".")[0]
        parts = tuple(f"{parent}.{part}" for part in module.parts)
    elif isinstance(module, Experts):
        role = "experts"
        parts = tuple(f"{name}.0.{part}" for part in module.parts)
    else:
        role = "head" if module.head else "embedding"
    return quantization.scheme(Names(name, parts), role)
