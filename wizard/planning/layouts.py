"""Ways to spread one model over the GPUs at hand that vLLM would accept."""

from __future__ import annotations

from dataclasses import dataclass

from wizard.models.metadata import ModelMetadata
from wizard.schemas.inputs import HardwareInput


@dataclass(frozen=True, slots=True)
class Layout:
    """Tensor, pipeline and data parallel sizes; together at most the GPUs there are."""

    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1

    @property
    def gpus(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size


def divides_heads(metadata: ModelMetadata, tp: int) -> bool:
    """Whether vLLM shards this model's attention over `tp` GPUs.

    Query heads must divide; KV heads must divide or be divided (QKVParallelLinear replicates them).
    A latent cache (MLA) has no KV heads to shard.
    """
    heads, kv_heads = metadata.num_attention_heads, metadata.num_key_value_heads
    if heads == 0:
        return True
    if heads % tp:
        return False
    if metadata.is_mla or kv_heads == 0:
        return True
    return kv_heads % tp == 0 or tp % kv_heads == 0


def tensor_parallel_sizes(metadata: ModelMetadata, gpus_per_node: int) -> list[int]:
    """Sizes within a node that divide the heads, and the padded vocabulary, ascending."""
    padded_vocabulary = -(-metadata.vocab_size // 64) * 64
    return [
        tp
        for tp in range(1, gpus_per_node + 1)
        if divides_heads(metadata, tp) and padded_vocabulary % tp == 0
    ]


def layouts(metadata: ModelMetadata, gpus_per_node: int, hardware: HardwareInput) -> list[Layout]:
    """Layouts worth evaluating, each using as many GPUs as it can; the user's own sizes stand.

    Pipeline stages come in for several nodes (one stage a node, vLLM's own advice) and for GPU counts
    that no tensor-parallel size uses up.
    """
    total = gpus_per_node * hardware.nodes
    sizes = (
        [hardware.tensor_parallel_size]
        if hardware.tensor_parallel_size
        else tensor_parallel_sizes(metadata, gpus_per_node) or [1]
    )
    found: dict[Layout, None] = {}
    for tp in sizes:
        stages = (
            [hardware.pipeline_parallel_size]
            if hardware.pipeline_parallel_size
            else sorted({1, hardware.nodes, max(1, total // tp)})
        )
        for pp in stages:
            if pp > metadata.num_layers:
                continue
            replicas = hardware.data_parallel_size or _replicas(metadata, total, tp * pp)
            layout = Layout(tp, pp, replicas)
            if layout.gpus <= total or hardware.tensor_parallel_size or hardware.pipeline_parallel_size:
                found[layout] = None
    return list(found)


def _replicas(metadata: ModelMetadata, total: int, gpus_each: int) -> int:
    """Dense replicas are independent engines; a MoE's would share experts, which changes the plan."""
    return 1 if metadata.is_moe else max(1, total // gpus_each)
