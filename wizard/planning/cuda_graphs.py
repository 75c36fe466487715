"""CUDA graphs: how many are captured, what they take, and what a version subtracts for them beforehand.

Source: vLLM `config/vllm.py` `_set_cudagraph_sizes`, `v1/worker/gpu_model_runner.py`
`profile_cudagraph_memory` (V1), `v1/worker/gpu/cudagraph_utils.py` (V2), 0.10-0.33.
"""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.planning.kv_cache import kv_layout
from wizard.planning.launch import Launch, per_launch
from wizard.schemas.outputs import GIB, MIB

POOL_BYTES_PER_TOKEN = int(0.19 * GIB) // 512
"""Pool and activations of the first, largest capture: 0.19 GiB at 512 tokens (57 logs of 0.19 on H100), in
proportion at 32-128 tokens (8 logs of 0.12 on RTX 3090, 4090, 5090, A100 and RTX 5000 Ada, within 0.05 GiB)."""

DENSE_LAYER_BYTES = int(0.156 * MIB)
"""Per captured graph and layer (same logs, least squares; PP 1)."""
WIDE_LAYER_BYTES = int(0.280 * MIB)
"""The same with latent attention or MXFP4 experts (DeepSeek-V2-Lite and gpt-oss, 0.19). Other experts take what a
dense layer does: Llama 4 Scout at TP 4 on 0.19 0.17 MiB, Qwen3-30B-A3B on 0.26 0.08."""

FA3_SPLITS = 32
"""FlashAttention 3 keeps 32 split-KV accumulators in fp32 for every token of the largest full graph (SM90)."""

FLASHINFER_WORKSPACE_BYTES = 394 * MIB
FLASHINFER_WRAPPER_BYTES = 8 * MIB
"""FlashInfer's float workspace, made by the first full graph, and the integer workspace of the decode wrapper that
every full graph has of its own (vLLM `v1/attention/backends/flashinfer.py` `_get_decode_wrapper`)."""

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


@per_launch
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


@dataclass(frozen=True, slots=True)
class Captures:
    """How many graphs of which kind are captured."""

    piecewise: int
    full: int
    largest: int
    """Tokens of the largest graph."""
    largest_full: int


def captures(launch: Launch) -> Captures:
    """Piecewise graphs for every size; full ones for decode batches, one token per slot (and draft)."""
    sizes = capture_sizes(launch)
    decode = launch.max_num_seqs * (1 + launch.num_speculative_tokens)
    full = [size for size in sizes if size <= decode] if _captures_full(launch) else []
    return Captures(len(sizes), len(full), max(sizes, default=0), max(full, default=0))


def _captures_full(launch: Launch) -> bool:
    mode = (launch.config.cudagraph_mode or "").upper()
    if mode:
        return "FULL" in mode
    return launch.rules.full_graphs and not launch.pooling and launch.config.optimization_level != 1


@per_launch
def cuda_graphs_bytes(launch: Launch) -> Graphs:
    """What graphs take on one GPU, and how much of it this version subtracts.

    The estimate that a version subtracts is a throw-away capture extrapolated; it scatters about the real
    cost by 0.14 GiB (median) to 0.6 GiB (p95 of 57 logs), with a tail of +1 GiB. The V1 runner's leaves out the
    first piecewise graph, and with it the pool (`profile_cudagraph_memory`: "first-capture" of the full ones and
    a size for each other graph; adds up to the printed total in 7 logs of 0.19 and 0.26).
    """
    taken = captures(launch)
    actual = actual_bytes(launch, taken)
    if launch.v2_runner:
        return Graphs(actual if launch.rules.subtracts_graphs_v2 else 0, actual)
    estimate = actual - pool_bytes(taken)
    return Graphs(estimate if launch.rules.subtracts_graphs_v1 else 0, actual)


def pool_bytes(taken: Captures) -> int:
    """What the first, largest capture sets up for all."""
    return POOL_BYTES_PER_TOKEN * taken.largest


def actual_bytes(launch: Launch, taken: Captures) -> int:
    """What the capture takes: a pool, FlashAttention 3's accumulators, and a little per graph and layer."""
    metadata = launch.metadata
    layers = -(-metadata.num_layers // launch.pp)
    wide = metadata.is_moe and (metadata.is_mla or launch.quantization == "mxfp4")
    per_layer = WIDE_LAYER_BYTES if wide else DENSE_LAYER_BYTES
    accumulators = 0
    if launch.capability[0] == 9 and not metadata.is_mla:
        heads = metadata.num_attention_heads / launch.tp
        accumulators = int(taken.largest_full * FA3_SPLITS * 4 * heads * metadata.head_dim)
    graphs = (taken.piecewise + taken.full) * layers * per_layer
    return pool_bytes(taken) + accumulators + graphs + flashinfer_bytes(launch, taken)


def flashinfer_bytes(launch: Launch, taken: Captures) -> int:
    """What FlashInfer's decode kernels make while full graphs are captured, the estimate's as well.

    0.36 to 0.47 GiB estimated with one to three full graphs where little else is captured (0.20.0 on an RTX 5090
    and a GB10); with 35, 1.29 GiB taken against 0.65 with FlashAttention (Qwen3.5-9B on an L40S, 0.18 and 0.19).
    Drafts keep it from full graphs. On SM100 TensorRT-LLM's kernels decode, whose workspace is counted elsewhere.
    """
    if not taken.full or launch.num_speculative_tokens or launch.gpu.vendor != "nvidia":
        return 0
    if launch.capability[0] == 10:
        return 0
    if kv_layout(launch).backend != "FLASHINFER":
        return 0
    return FLASHINFER_WORKSPACE_BYTES + taken.full * FLASHINFER_WRAPPER_BYTES
