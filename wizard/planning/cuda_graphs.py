"""CUDA graphs: how many are captured, what they take, and what a version subtracts for them beforehand.

Source: vLLM `config/vllm.py` `_set_cudagraph_sizes`, `v1/worker/gpu_model_runner.py`
`profile_cudagraph_memory` (V1), `v1/worker/gpu/cudagraph_utils.py` (V2), 0.10-0.33.
"""

from __future__ import annotations

from dataclasses import dataclass

from wizard.planning.launch import Launch
from wizard.schemas.outputs import GIB, MIB

POOL_BYTES = int(0.19 * GIB)
"""First capture: the pool and its largest activations (57 logs of 0.19 on H100)."""

DENSE_LAYER_BYTES = int(0.156 * MIB)
"""Per captured graph and layer (same logs, least squares; PP 1)."""
MOE_LAYER_BYTES = int(0.280 * MIB)
"""Per captured graph and layer of a MoE model (5 logs)."""

FA3_SPLITS = 32
FA3_BATCH = 512
"""FlashAttention 3 keeps 32 split-KV accumulators in fp32 for the largest full graph (SM90)."""

V2_SEGMENT_BYTES = 20 * MIB
"""The V2 estimate multiplies its second sample, which catches one 20 MiB allocator segment
(`_extrapolate_full_graph_memory`; logs of 0.29 and 0.31 on L40S and A100: 1.2-1.7 GiB)."""

LARGEST_CAPTURE = 512
LARGEST_CAPTURE_BLACKWELL = 1024
LARGEST_CAPTURE_MXFP4 = 1024
"""gpt-oss captures up to 1024 whatever the card (model_executor/models/config.py)."""


@dataclass(frozen=True, slots=True)
class Graphs:
    """CUDA graphs of one GPU, in bytes."""

    subtracted_bytes: int
    """What the version takes off the budget before it sizes the cache."""
    actual_bytes: int
    """What the real capture then takes."""


def capture_sizes(launch: Launch) -> tuple[int, ...]:
    """Batch sizes that are captured, ascending; empty where graphs are off."""
    if launch.enforce_eager or (launch.config.cudagraph_mode or "").upper() == "NONE":
        return ()
    rules = launch.rules
    largest = LARGEST_CAPTURE
    if rules.wide_captures_blackwell and launch.capability[0] == 10:
        largest = LARGEST_CAPTURE_BLACKWELL
    if rules.captures_follow_seqs:
        largest = min(largest, 2 * launch.max_num_seqs * (1 + launch.num_speculative_tokens))
    if launch.metadata.architecture == "GptOssForCausalLM":
        largest = LARGEST_CAPTURE_MXFP4
    largest = min(launch.config.max_cudagraph_capture_size or largest, launch.max_num_batched_tokens)
    step = 16 if rules.fine_capture_steps else 8
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, step)]
    return tuple(size for size in sizes if size <= largest)


def captured_graphs(launch: Launch) -> tuple[int, int]:
    """How many piecewise and full graphs are captured. Full graphs serve decode batches of whole slots."""
    sizes = capture_sizes(launch)
    if not sizes or not _captures_full(launch):
        return len(sizes), 0
    decode = launch.max_num_seqs * (1 + launch.num_speculative_tokens)
    return len(sizes), sum(size <= decode for size in sizes)


def _captures_full(launch: Launch) -> bool:
    mode = (launch.config.cudagraph_mode or "").upper()
    level = launch.config.optimization_level
    if mode:
        return "FULL" in mode
    return launch.rules.full_graphs and not launch.pooling and level != 1


def cuda_graphs_bytes(launch: Launch) -> Graphs:
    """What graphs take on one GPU, and how much of it this version subtracts."""
    piecewise, full = captured_graphs(launch)
    if not piecewise:
        return Graphs(0, 0)
    actual = actual_bytes(launch, piecewise + full, full > 0)
    if launch.v2_runner:
        estimate = actual + max(0, full - 1) * V2_SEGMENT_BYTES if launch.rules.subtracts_graphs_v2 else 0
    else:
        estimate = actual if launch.rules.subtracts_graphs_v1 else 0
    return Graphs(estimate, actual)


def actual_bytes(launch: Launch, graphs: int, full: bool) -> int:
    """What the capture takes: a pool, FlashAttention 3's accumulators, and a little per graph and layer."""
    metadata = launch.metadata
    layers = -(-metadata.num_layers // launch.pp)
    per_layer = MOE_LAYER_BYTES if metadata.is_moe else DENSE_LAYER_BYTES
    accumulators = 0
    if full and launch.capability[0] == 9 and not metadata.is_mla:
        heads = metadata.num_attention_heads / launch.tp
        accumulators = int(FA3_BATCH * FA3_SPLITS * 4 * heads * metadata.head_dim)
    return POOL_BYTES + accumulators + graphs * layers * per_layer
