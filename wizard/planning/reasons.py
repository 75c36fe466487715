"""Why a layout was chosen, in words: what it was compared with, and what the seed's rule of thumb would be."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.planning.layouts import Layout, divides_heads
from wizard.planning.ranking import Ranked
from wizard.planning.situation import Situation
from wizard.planning.values import _recommend_tensor_parallel
from wizard.planning.what_changes import told
from wizard.schemas.inputs import BatchingMode
from wizard.schemas.outputs import VLLMConfig

GOALS = {
    BatchingMode.THROUGHPUT: "the most tokens/s",
    BatchingMode.LATENCY: "the fastest answers",
    BatchingMode.BALANCED: "the most tokens/s for the wait",
}
"""What each mode compares plans by."""


def explained(of: Situation, best: Ranked, others: Sequence[Ranked]) -> VLLMConfig:
    """The config with the reasons of its layout: what it was compared with, and the seed's rule of thumb."""
    layout, config = best.attempt.layout, best.attempt.config
    why = {"tensor_parallel_size": _why_layout(of, best, others) + _rule_of_thumb(of, layout)}
    if layout.pipeline_parallel_size > 1:
        why["pipeline_parallel_size"] = _why_stages(of, layout)
    if layout.data_parallel_size > 1:
        each = -(-of.request.workload.concurrency // layout.data_parallel_size)
        why["data_parallel_size"] = (
            f"{layout.data_parallel_size} engines behind one address, each with {each:,} of the "
            f"{of.request.workload.concurrency:,} requests at once."
        )
    if layout.expert_parallel:
        why["enable_expert_parallel"] = (
            "Experts stay whole on a GPU and tokens travel to them, so that every engine keeps its own cache."
            if layout.data_parallel_size > 1
            else "Experts stay whole on a GPU: a slice of each on every GPU would be too thin."
        )
    whole = told(of, best.attempt, {**why, **config.explanations})
    return config.model_copy(update={"explanations": whole})


def _why_layout(of: Situation, best: Ranked, others: Sequence[Ranked]) -> str:
    hardware = of.request.hardware
    layout = best.attempt.layout
    if hardware.tensor_parallel_size is not None:
        return f"You chose {layout.tensor_parallel_size}."
    gpus = len(of.gpus) * hardware.nodes
    if gpus == 1:
        return "One GPU needs no sharding."
    words = layout.words[0].upper() + layout.words[1:]
    if layout.gpus < gpus:
        free = gpus - layout.gpus
        words += f" ({free} of {gpus} GPUs {'stays' if free == 1 else 'stay'} free)"
    if not best.attempt.starts:
        return f"{words}: the closest of the ways to spread the model that vLLM takes."
    rivals = [each for each in others if each.met[:4] == best.met[:4] and each.merit > 0]
    if rivals:
        rival = max(rivals, key=lambda each: each.merit)
        share = rival.merit / best.merit - 1
        other = rival.attempt.layout.words
        if share >= 0.005:
            return f"{words}: {other} would score {share:.0%} higher, too little for the trouble."
        goal = GOALS[of.request.workload.batching_mode]
        behind = f"{-share:.0%} lower" if share <= -0.005 else "as fast"
        return f"{words}: {goal}; next comes {other}, {behind}."
    if others:
        return f"{words}: no other way to spread the model meets as much of the request."
    return f"{words}: no other way that vLLM takes here could hold the model."


def _why_stages(of: Situation, layout: Layout) -> str:
    nodes = of.request.hardware.nodes
    if layout.pipeline_parallel_size == nodes:
        return "One stage a node: stages pass on little, which a network carries."
    if not of.nvlink:
        return "Stages pass on little, which PCIe carries better than tensor parallelism's sums."
    return "Stages hold different layers, so that weights and cache use every GPU."


def _rule_of_thumb(of: Situation, layout: Layout) -> str:
    """The seed's choice of tensor parallel size, where the comparison chose another."""
    hardware = of.request.hardware
    if hardware.tensor_parallel_size is not None or len(of.gpus) == 1:
        return ""
    seed, why = _recommend_tensor_parallel(
        len(of.gpus),
        of.weighs(Layout(1)),
        of.gpu.memory_total_bytes,
        divides=lambda tp: divides_heads(of.metadata, tp),
    )
    if seed == layout.tensor_parallel_size:
        return ""
    return f" The rule of thumb would be {seed} ({why[0].lower()}{why[1:].rstrip('.')})."
