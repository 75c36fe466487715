"""Other ways to spread the same model over the same GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from wizard.planning.changes import Changes
from wizard.planning.layouts import Layout, tensor_parallel_sizes
from wizard.planning.recommend import Choice
from wizard.planning.situation import Situation
from wizard.planning.variant import Variant
from wizard.schemas.outputs import VLLMConfig


def spreads(of: Situation, best: Choice) -> Iterator[Variant]:
    """Smaller or larger engines, pipeline stages, and experts whole or sliced."""
    if len(of.gpus) * of.request.hardware.nodes == 1:
        return
    told = partial(_told, best.layout)
    hardware = of.request.hardware
    if hardware.tensor_parallel_size is None:
        chosen = best.layout.tensor_parallel_size
        for tp in tensor_parallel_sizes(of.metadata, len(of.gpus)):
            if tp != chosen:
                changes: Changes = (("hardware.tensor_parallel_size", tp),)
                yield Variant("spread", "", changes, "", titled=_title, told=told)
        for tp in tensor_parallel_sizes(of.metadata, len(of.gpus) // 2):
            if hardware.pipeline_parallel_size is None and 2 * tp == len(of.gpus):
                changes = (("hardware.tensor_parallel_size", tp), ("hardware.pipeline_parallel_size", 2))
                yield Variant("spread", "", changes, "", titled=_title, told=told)
    if of.metadata.is_moe and "enable_expert_parallel" not in of.fields:
        flag = "--no-enable-expert-parallel" if best.layout.expert_parallel else "--enable-expert-parallel"
        changes = (("policy.extra_args", (*of.request.policy.extra_args, flag)),)
        yield Variant("spread", "", changes, "", titled=_title, told=told)


def _title(config: VLLMConfig, layout: Layout) -> str:
    words = layout.words
    return words[0].upper() + words[1:] if words[0].isalpha() else words


def _told(before: Layout, layout: Layout) -> tuple[str, str]:
    """What the planned spread differs in most, as a kind, and in words."""
    if layout.copies > before.copies:
        return "replicas", "More, smaller engines"
    if layout.pipeline_parallel_size > before.pipeline_parallel_size:
        return "stages", "Each stage keeps a part of the layers"
    if layout.expert_parallel is not before.expert_parallel:
        whole = (
            "Experts stay whole on a GPU"
            if layout.expert_parallel
            else "Each GPU has a slice of every expert"
        )
        return "experts", whole
    if layout.tensor_parallel_size > before.tensor_parallel_size:
        return "sharded", "More GPUs share every layer"
    return "smaller engine", "Fewer GPUs share every layer"
