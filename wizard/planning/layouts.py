"""Ways to spread one model over the GPUs at hand that vLLM would accept."""

from __future__ import annotations

from collections.abc import Iterator

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata
from wizard.schemas.inputs import HardwareInput


@dataclass(frozen=True, slots=True)
class Layout:
    """How many GPUs share what; together at most the GPUs there are."""

    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    expert_parallel: bool = False
    """Whole experts on each GPU instead of a slice of every expert."""
    replicas: int = 1
    """Separate servers behind a router."""

    @property
    def engine_gpus(self) -> int:
        """GPUs of one server."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus(self) -> int:
        return self.engine_gpus * self.replicas

    @property
    def copies(self) -> int:
        """Engines with a cache of their own."""
        return self.data_parallel_size * self.replicas

    @property
    def words(self) -> str:
        """`8 GPUs`, `2 stages of 8 GPUs`, `2 engines of 4 GPUs that share the experts`, `4 servers of 2 GPUs`."""
        found = f"{self.tensor_parallel_size} GPUs" if self.tensor_parallel_size > 1 else "one GPU"
        if self.pipeline_parallel_size > 1:
            found = f"{self.pipeline_parallel_size} stages of {found}"
        if self.data_parallel_size > 1:
            shared = " that share the experts" if self.expert_parallel else ""
            found = f"{self.data_parallel_size} engines of {found}{shared}"
        elif self.expert_parallel:
            found += " with whole experts"
        return f"{self.replicas} servers of {found}" if self.replicas > 1 else found


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


def layouts(
    metadata: ModelMetadata,
    gpus_per_node: int,
    hardware: HardwareInput,
    *,
    expert_parallel: bool | None = None,
    engines: int = 1 << 20,
) -> list[Layout]:
    """Layouts that use as many GPUs as they can, the user's own sizes kept, the plainest first.

    Empty where the user's own sizes leave none that the machine has GPUs for.

    Rules, each vLLM's own advice (docs, serving/parallelism_scaling and data_parallel_deployment):
    - tensor parallelism stays within a node; pipeline stages join nodes, and use up GPU counts that no
      tensor-parallel size divides;
    - copies of a dense model are data-parallel engines behind one address; under data parallelism a MoE's
      engines share the experts and step together, so that its independent copies are separate servers;
    - more engines than `engines` (the requests at once) would idle.
    `expert_parallel` given: only such layouts. None of the rest is judged here: memory decides.
    """
    nodes = hardware.nodes
    total = gpus_per_node * nodes
    sizes = (
        [hardware.tensor_parallel_size]
        if hardware.tensor_parallel_size
        else tensor_parallel_sizes(metadata, gpus_per_node) or [1]
    )
    across = hardware.tensor_parallel_size is not None
    found: dict[Layout, None] = {}
    for tp in sizes:
        stages = (
            [hardware.pipeline_parallel_size]
            if hardware.pipeline_parallel_size
            else sorted({1, nodes, max(1, gpus_per_node // tp), max(1, total // tp)})
        )
        for pp in stages:
            if pp > metadata.num_layers and not hardware.pipeline_parallel_size:
                continue
            for room in sorted({total, gpus_per_node}, reverse=True):
                for layout in _copies(metadata, room, tp, pp, hardware, engines):
                    if expert_parallel is not None and layout.expert_parallel is not expert_parallel:
                        continue
                    if _fits_nodes(layout, gpus_per_node, nodes, across=across):
                        found[layout] = None
    return sorted(found, key=_plainness)


def _copies(
    metadata: ModelMetadata, gpus: int, tp: int, pp: int, hardware: HardwareInput, engines: int
) -> Iterator[Layout]:
    """One engine of `tp` x `pp` GPUs, and as many as `gpus` allow."""
    most = min(max(1, gpus // (tp * pp)), max(1, engines))
    dp = hardware.data_parallel_size
    if not metadata.is_moe:
        yield Layout(tp, pp, dp or most)
        return
    if dp is not None:
        yield Layout(tp, pp, dp)
        if tp * dp > 1:
            yield Layout(tp, pp, dp, expert_parallel=True)
        return
    yield Layout(tp, pp, replicas=most if hardware.nodes == 1 else 1)
    if most > 1 and pp == 1:
        yield Layout(tp, pp, most, expert_parallel=True)
    elif most == 1 and tp > 1:
        yield Layout(tp, pp, expert_parallel=True)


def _fits_nodes(layout: Layout, gpus_per_node: int, nodes: int, *, across: bool) -> bool:
    """vLLM spreads ranks evenly over nodes; an engine is on one node or on whole nodes.

    A tensor-parallel group stays within a node, unless the user chose its size (`across`).
    """
    if layout.gpus <= gpus_per_node:
        return True
    each, rest = divmod(layout.engine_gpus, nodes)
    if nodes == 1 or rest or each > gpus_per_node:
        return False
    engine = layout.tensor_parallel_size * layout.pipeline_parallel_size
    return (each % engine == 0 or engine % each == 0) and (across or each % layout.tensor_parallel_size == 0)


def _plainness(layout: Layout) -> tuple[bool, bool, int, int]:
    """Simple first: no stages, no expert parallelism, few copies, few GPUs."""
    copies = layout.data_parallel_size * layout.replicas
    return layout.pipeline_parallel_size > 1, layout.expert_parallel, copies, -layout.gpus
