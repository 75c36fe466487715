"""vLLM's checks of a launch against the machine: GPUs that it has kernels for, and ranks that GPUs exist for.

Sources: vLLM 0.33 `config/parallel.py`, `config/model.py` (`verify_with_parallel_config`), `engine/arg_utils.py`,
`v1/worker/gpu_worker.py` (`init_device`); sentences in `wizard.vllm.errors`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise, product

from wizard.models.cache_layers import cache_model
from wizard.planning.launch import Launch
from wizard.planning.refusals import Refusal
from wizard.planning.weights import stage_ranges
from wizard.vllm import errors
from wizard.vllm.registry import registry


def compute_capability(launch: Launch) -> Refusal | None:
    """The first kernel that a worker runs is missing for cards older than the wheel was built for."""
    if launch.gpu.vendor != "nvidia" or launch.capability >= launch.rules.oldest_capability:
        return None
    return Refusal("unsupported", errors.NO_KERNEL_IMAGE)


def ranks(launch: Launch) -> Refusal | None:
    """Parallel sizes that the machine, and then the model, can't be divided by."""
    error = _machine(launch)
    if error is not None:
        return Refusal("invalid_config", error, _fitting(launch))
    heads = launch.metadata.num_attention_heads
    if heads and heads % launch.tp:
        error = errors.heads_not_divisible(heads=heads, tensor_parallel_size=launch.tp)
        fitting = next(size for size in range(launch.tp, 0, -1) if heads % size == 0)
        return Refusal("invalid_config", error, (("tensor_parallel_size", fitting),))
    groups = _query_groups(launch)
    if groups is not None:
        return groups
    if launch.ep and not launch.metadata.is_moe:
        return Refusal("invalid_config", errors.NO_EXPERTS, (("enable_expert_parallel", False),))
    if launch.pp > 1 and launch.metadata.architecture in registry().without_pipeline:
        return Refusal("unsupported", errors.NO_PIPELINE, (("pipeline_parallel_size", 1),))
    return _decode_context(launch) or _shared_caches(launch)


def _machine(launch: Launch) -> str | None:
    """vLLM's sentence where the machine has fewer GPUs, or other nodes, than the sizes ask for."""
    world, nnodes, gpus = launch.tp * launch.pp * launch.pcp, launch.config.nnodes, launch.gpus_per_node
    everything = world * launch.dp
    if launch.config.distributed_executor_backend == "ray":
        cluster = gpus * launch.nodes if launch.nodes else everything
        return errors.RAY_GPUS if everything > cluster else None
    if nnodes == 1 and world > gpus:
        return errors.world_size(world=world, gpus=gpus)
    local_engines = _local_engines(launch)
    if local_engines is None and everything % nnodes:
        return errors.nodes_not_divisible(nnodes=nnodes, world=everything)
    here = local_engines or max(1, everything // nnodes // world)
    groups = -(-launch.dp // here)
    if nnodes % groups and local_engines is None:
        return errors.node_groups(nnodes=nnodes, groups=groups, dp=launch.dp, dp_local=here)
    if here * world // max(1, nnodes // groups) > gpus:
        return errors.rank_out_of_bounds(rank=gpus, gpus=gpus)
    if launch.nodes and nnodes > launch.nodes:
        return errors.nodes_missing(there=everything // nnodes * launch.nodes, wanted=everything)
    return None


def _local_engines(launch: Launch) -> int | None:
    """Engines of this node, where the command says how many (`--data-parallel-size-local`)."""
    words = launch.config.extra_args
    for flag, value in pairwise(words):
        if flag == "--data-parallel-size-local" and value.isdecimal():
            return max(1, int(value))
    return None


def _fitting(launch: Launch) -> tuple[tuple[str, int], ...]:
    """The largest sizes, none above those asked for, that the GPUs at hand allow; few fields changed."""
    heads = launch.metadata.num_attention_heads
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    asked = (launch.tp, launch.pp, launch.dp)
    nnodes, gpus = launch.config.nnodes, launch.gpus_per_node * launch.config.nnodes
    best: tuple[tuple[int, int], tuple[tuple[str, int], ...]] | None = None
    for sizes in _within(asked, gpus // launch.pcp):
        tp, pp, dp = sizes
        each, rest = divmod(tp * pp * dp * launch.pcp, nnodes)
        if rest or (heads and heads % tp) or (each % (tp * pp) and (tp * pp) % each):
            continue
        change = tuple(
            (name, size) for name, size, old in zip(names, sizes, asked, strict=True) if size != old
        )
        order = (-len(change), each)
        if change and (best is None or order > best[0]):
            best = (order, change)
    return best[1] if best is not None else ()


def _query_groups(launch: Launch) -> Refusal | None:
    """A checkpoint whose KV heads don't share its query heads evenly: no setting helps."""
    model = cache_model(launch.metadata)
    if model.latent or not model.kv_heads or not any(layer.kind != "state" for layer in model.layers):
        return None
    heads, kv_heads = model.query_heads // launch.tp, max(1, model.kv_heads // launch.tp)
    if model.kv_heads % launch.tp and launch.tp % model.kv_heads:
        return None  # refused as a width that doesn't divide
    if heads % kv_heads == 0:
        return None
    return Refusal("unsupported", errors.groups_not_divisible(heads=heads, kv_heads=kv_heads))


def _shared_caches(launch: Launch) -> Refusal | None:
    """A layer that reads another's cache must be on its pipeline stage."""
    model = cache_model(launch.metadata)
    if launch.pp == 1 or not model.shared:
        return None
    starts = [first for first, _ in stage_ranges(model.num_layers, launch.pp)]
    for layer, target in model.shared:
        if bisect_right(starts, layer) != bisect_right(starts, target):
            error = errors.sharing_across_stages(layer=layer, target=target)
            return Refusal("unsupported", error, (("pipeline_parallel_size", 1),))
    return None


def _decode_context(launch: Launch) -> Refusal | None:
    """--decode-context-parallel-size shares the KV heads that TP would repeat."""
    dcp, tp = launch.dcp, launch.tp
    if dcp == 1:
        return None
    change = (("decode_context_parallel_size", 1),)
    if launch.pcp == 1 and tp % dcp:
        return Refusal("invalid_config", errors.dcp_not_divisor(tensor_parallel_size=tp, dcp=dcp), change)
    model = cache_model(launch.metadata)
    if model.latent:
        return None
    kv_heads = max(1, model.kv_heads)
    if tp <= kv_heads:
        return Refusal(
            "invalid_config", errors.dcp_needs_more_tp(tensor_parallel_size=tp, kv_heads=kv_heads), change
        )
    if dcp > tp // kv_heads:
        error = errors.dcp_too_large(
            dcp=dcp, largest=tp // kv_heads, tensor_parallel_size=tp, kv_heads=kv_heads
        )
        return Refusal("invalid_config", error, (("decode_context_parallel_size", tp // kv_heads),))
    queries = model.query_heads // kv_heads
    if queries % dcp:
        return Refusal("invalid_config", errors.dcp_queries(queries=queries, dcp=dcp), change)
    return None


def _within(most: tuple[int, int, int], gpus: int) -> Iterator[tuple[int, int, int]]:
    """Sizes up to `most` whose product is at most `gpus`: parts of what was asked for, and powers of two."""
    parts = [_parts(min(size, gpus)) | {each for each in _parts(size) if each <= gpus} for size in most]
    for tp, pp, dp in product(*parts):
        if tp * pp * dp <= gpus:
            yield tp, pp, dp


def _parts(size: int) -> set[int]:
    return {each for each in range(1, size + 1) if size % each == 0 or not each & (each - 1)}
