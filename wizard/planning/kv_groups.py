"""Layers in groups that share a block table, over one pool of equal blocks.

Source: vLLM 0.33 `v1/core/kv_cache_planning.py` (`get_kv_cache_groups`); the group size rule by version.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from wizard.dataclass import dataclass, replace
from wizard.planning.kv_pages import WHOLE_SEQUENCE, Family, Horizon, Page, ceil_div, round_up


@dataclass(frozen=True, slots=True)
class PagedLayer:
    """One cache of one decoder layer."""

    index: int
    """Decoder layer, for pipeline stages."""
    page: Page


@dataclass(frozen=True)
class Group:
    """Layers whose blocks are handed out together."""

    layers: tuple[PagedLayer, ...]

    @property
    def first(self) -> Page:
        return self.layers[0].page

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """The different pages of the group's layers."""
        return tuple(dict.fromkeys(layer.page for layer in self.layers))

    def blocks(self, horizon: Horizon) -> int:
        """Blocks that one request holds, as the capacity line counts them: by the first layer."""
        return self.first.blocks(horizon)

    def most_blocks(self, horizon: Horizon) -> int:
        """The same as the start-up check counts them: by the hungriest layer."""
        return max(page.blocks(horizon) for page in self.pages)

    def bytes_on(self, first: int, last: int, *, packed: bool) -> int:
        """Bytes of one block for the layers [first, last) of a pipeline stage."""
        return sum(
            layer.page.bytes if packed else layer.page.stride_bytes
            for layer in self.layers
            if first <= layer.index < last
        )


def group_layers(
    layers: Sequence[PagedLayer], *, packed: bool, hybrid_manager: bool, size_ratio: float
) -> tuple[Group, ...]:
    """The groups of a model's layers; none for a model that keeps nothing.

    `packed`: blocks hold all layers side by side (block-outermost layout); `size_ratio`: a group is as
    large as the largest kind where that has fewer than `size_ratio` times the layers of the smallest.
    """
    if not layers:
        return ()
    if not hybrid_manager:
        layers = promoted(layers)
    pages = list(dict.fromkeys(layer.page for layer in layers))
    if len(pages) == 1 or all(pages[0].uniform_with(page) for page in pages[1:]):
        return (Group(tuple(layers)),)
    if packed and len({page.bytes for page in pages}) > 1:
        return _packed_groups(layers)
    unified = _unified(layers, pages)
    if unified is None:
        return (Group(tuple(promoted(layers))),)
    return _equal_groups(unified, size_ratio)


def promoted(layers: Sequence[PagedLayer]) -> list[PagedLayer]:
    """Windows and chunks kept like full attention, beside a model's full-attention layers.

    Source: `_promote_local_kv_cache_specs` (--disable-hybrid-kv-cache-manager).
    """
    pages = {layer.page for layer in layers}
    full = {page for page in pages if page.family in WHOLE_SEQUENCE}
    if not full or len(pages) == 1:
        return list(layers)
    sizes = {page.block_size for page in full}
    common = next(iter(sizes)) if len(sizes) == 1 else None
    families: dict[Family, Family] = {"sliding": "full", "chunked": "full", "sliding_latent": "latent"}
    result = []
    for layer in layers:
        page = layer.page
        family = families.get(page.family)
        if family is not None:
            block = common or page.block_size
            raw = page.raw_bytes * block // page.block_size
            page = replace(
                page,
                family=family,
                block_size=block,
                raw_bytes=raw,
                window=0,
                padded_bytes=max(page.padded_bytes, raw) if page.padded_bytes else 0,
            )
        result.append(PagedLayer(layer.index, page))
    return result


def _unified(layers: Sequence[PagedLayer], pages: Sequence[Page]) -> list[PagedLayer] | None:
    """All pages brought to the size of the largest; `None` where a latent page can't be."""
    largest = max(page.bytes for page in pages)
    changed: dict[Page, Page] = {}
    for page in pages:
        if page.bytes == largest:
            changed[page] = page
        elif page.family == "state":
            changed[page] = page.padded_to(largest)
        elif largest % page.bytes == 0:
            changed[page] = page.scaled(largest // page.bytes)
        elif page.family != "latent":
            changed[page] = page.padded_to(largest)
        else:
            return None
    return [PagedLayer(layer.index, changed[layer.page]) for layer in layers]


def _equal_groups(layers: Sequence[PagedLayer], size_ratio: float) -> tuple[Group, ...]:
    """Layers of a kind split into groups of one common size, the last ones padded."""
    kinds: dict[Page, list[PagedLayer]] = {}
    for layer in layers:
        kinds.setdefault(layer.page, []).append(layer)
    counts = [len(members) for members in kinds.values()]
    size = max(counts) if max(counts) < min(counts) * size_ratio else min(counts)
    groups = []
    for members in kinds.values():
        number = ceil_div(len(members), size)
        groups += [Group(tuple(members[start::number])) for start in range(number)]
    return tuple(groups)


def _packed_groups(layers: Sequence[PagedLayer]) -> tuple[Group, ...]:
    """Groups for blocks that hold pages of several sizes side by side (`_get_packed_kv_cache_groups`)."""
    buckets: list[list[PagedLayer]] = []
    for layer in layers:
        for bucket in buckets:
            if bucket[0].page.uniform_with(layer.page):
                bucket.append(layer)
                break
        else:
            buckets.append([layer])
    counted = [(bucket, Counter(layer.page.bytes for layer in bucket)) for bucket in buckets]
    balanced = [len(set(sizes.values())) == 1 for _, sizes in counted]
    least = max(
        (
            max(sizes.values())
            for (_, sizes), even in zip(counted, balanced, strict=True)
            if even and len(sizes) > 1
        ),
        default=0,
    )
    repeats = None
    if least:
        repeats = _approximate_divisor(
            [max(sizes.values()) for (_, sizes), even in zip(counted, balanced, strict=True) if even], least
        )

    def number_of(sizes: Counter[int], even: bool) -> int:
        return ceil_div(max(sizes.values()), repeats) if even and repeats else 1

    def is_state(bucket: list[PagedLayer]) -> bool:
        family = bucket[0].page.family
        return family == "state" or (repeats is None and family == "sliding")

    anchor = max(
        sum(
            ceil_div(count, len(bucket) if is_state(bucket) else number_of(sizes, even)) * size
            for size, count in sizes.items()
        )
        for (bucket, sizes), even in zip(counted, balanced, strict=True)
    )
    groups: list[Group] = []
    for (bucket, sizes), even in zip(counted, balanced, strict=True):
        number = number_of(sizes, even)
        if is_state(bucket):
            number = max(number, ceil_div(len(bucket), max(anchor // bucket[0].page.bytes, 1)))
        by_size: dict[int, list[PagedLayer]] = {}
        for layer in bucket:
            by_size.setdefault(layer.page.bytes, []).append(layer)
        patterns = list(zip(*by_size.values(), strict=False)) if number > 1 else []
        if number == 1:
            groups.append(Group(tuple(bucket)))
        for start in range(number if number > 1 else 0):
            groups.append(Group(tuple(layer for row in patterns[start::number] for layer in row)))
    return tuple(groups)


def _approximate_divisor(values: Sequence[int], least: int) -> int:
    """The chunk size >= `least` that pads `values` upward the least; the larger of equals."""
    return min(
        range(least, max(*values, least) + 1),
        key=lambda size: (sum(-value % size for value in values), -size),
    )


def stage_bytes(groups: Sequence[Group], first: int, last: int, *, packed: bool) -> int:
    """Bytes of one block of the pool on the pipeline stage that holds layers [first, last)."""
    if not groups:
        return 0
    widest = max(group.bytes_on(first, last, packed=packed) for group in groups)
    if not packed:
        return widest
    alignments = {page.alignment for group in groups for page in group.pages}
    return round_up(widest, math.lcm(*alignments))
