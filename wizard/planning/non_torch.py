"""Memory that isn't torch's: inside the budget, before the baseline, and on top of the budget.

Source: `v1/worker/gpu_worker.py` (`init_device`, `determine_available_memory`), `utils/mem_utils.py` of
vLLM 0.10-0.33; FlashInfer `comm/mnnvl.py`, `comm/trtllm_ar.py` 0.6.6-0.7.2. Constants were measured on
public start-up logs; each says on which.
"""

from __future__ import annotations

from wizard.models.metadata import integer
from wizard.planning.activations import activation_peak_bytes, penalty_state_bytes
from wizard.planning.cuda_graphs import cuda_graphs_bytes
from wizard.planning.launch import Launch, per_launch
from wizard.planning.weights import RankWeights, rank_weights
from wizard.schemas.outputs import GIB, MIB, GPUInfo

OLD_SINGLE_GPU_BYTES = 60 * MIB
"""Modules, JIT and handles that appear after the baseline on one GPU, before 0.11: 0.05-0.07 GiB (2 logs)."""
SINGLE_GPU_BYTES = 133 * MIB
"""The same since 0.11: 0.13 GiB (9 logs on H100 of 0.11-0.17; A100 with 0.31)."""
WORKSTATION_SINGLE_GPU_BYTES = 82 * MIB
"""And on cards of capability 8.6, 8.9 and 12.0: 0.08 GiB, from 0.01 to 0.16 (16 logs on RTX 3090, 4090, 5090)."""
HOPPER_SINGLE_GPU_BYTES = 256 * MIB
"""And on SM90 since 0.18: 0.25 GiB (0.24-0.26 on 35 logs of 0.19): FlashAttention 3's modules."""

PIPELINE_BYTES = 72 * MIB
"""The same with PP > 1 and TP 1: 0.07 GiB, since NCCL's start loads most of it before the baseline (4 logs)."""

TENSOR_PARALLEL_BYTES = 543 * MIB
"""TP >= 2 over NVLink: 0.53 GiB, mostly a second NCCL communicator made by the first gather of logits (17 logs,
0.11-0.19). Over PCIe no more than one GPU takes (RTX PRO 6000, 0.27)."""

TENSOR_PARALLEL_HIDDEN_BYTES = 43 * MIB
"""And 0.04 GiB per rank for a hidden size of 8192 (same logs)."""

WORKSTATION_CAPABILITIES = frozenset({(8, 6), (8, 9), (12, 0)})

UNALIGNED_VOCABULARY_BYTES = 215 * MIB
"""0.21 GiB more on SM90 where the vocabulary isn't a multiple of 16 (three Granite logs of 0.19, 49155 tokens):
Triton can't specialise its sampler's row length then; that the spilled registers take the memory is inferred."""
TRITON_ALIGNMENT = 16

FUSION_BUFFERS = 3
"""Data, flags and a triple data buffer of FlashInfer's fused all-reduce (trtllm_ar.py)."""
MULTICAST_GRANULE_BYTES = 512 * MIB
"""What each was rounded up to through FlashInfer 0.6.14: the multicast granularity that H100s recommend."""
FUSION_MAX_BYTES = {9: {2: 64 * MIB, 4: 2 * MIB, 8: MIB}, 10: {2: 64 * MIB, 4: 32 * MIB, 8: MIB}}
"""Largest message that the fused kernel takes, by major capability and TP (allreduce_rms_fusion.py)."""
FUSION_DATA_COPIES = 4
"""One data buffer and a triple one, each TP x the largest message."""

NCCL_BYTES = {2: int(1.02 * GIB), 4: int(1.04 * GIB), 8: int(1.1 * GIB)}
"""NCCL groups, custom all-reduce and symmetric memory by TP, on H100 (17 logs of 0.19; 8: extrapolated)."""
CONTEXT_BYTES = {(8, 0): int(0.41 * GIB), (9, 0): int(0.51 * GIB), (10, 0): int(0.51 * GIB)}
"""Context and cuBLAS handles of one data-centre GPU (A100 0.41; H100 0.51-0.53, 36 logs)."""
SMALL_CONTEXT_BYTES = int(0.2 * GIB)
"""One GPU of another kind: 0.07-0.23 GiB (A10, L4, RTX 3060, GTX 1660 logs)."""
PCIE_NCCL_BYTES = 120 * MIB
"""Without NVLink the channels are few (0.25 GiB in all with context on two RTX 4090, 0.7)."""
PIPELINE_NCCL_BYTES = int(0.94 * GIB)
"""PP > 1 with TP 1 (2 logs)."""

BLOCK_TABLE_ENTRY_BYTES = 4
MLA_CHUNK_TOKENS = 65536
FLASHINFER_WORKSPACE_BYTES = 394 * MIB
FLASHINFER_BYTES_PER_CHANNEL = 16
SAFETY_BYTES = 150 * MIB
"""vLLM's own safety buffer when it proposes --kv-cache-memory (gpu_worker.py)."""
FRAGMENTED_SHARE = 0.5
"""Of the activation peak: the profile's blocks come back in other sizes, so that the sampler's warm-up needs more
than was measured (1.78 GiB reserved but unallocated against a peak of 2.87 in the two gpt-oss failures)."""
DESKTOP_BYTES = int(1.25 * GIB)
"""A desktop's share, kept clear: of an RTX 3090 1.47 GiB were taken that nvidia-smi named nobody for, where a
launch at 0.90 failed in the sampler's warm-up and one at 0.86 started."""
DESKTOP_CLASSES = frozenset({"consumer", "laptop"})

UNIFIED_HOST_BYTES = 4 * GIB
"""What the engine itself holds in the system's memory, where that is the GPU's: free memory falls by it during the
profile run (GB10, 0.18-0.27: 17 logs had 1.3-6.9 GiB less than without, 4.5 in the middle)."""

ROCM_SHARE = 0.03
"""Of the card, on ROCm: hipBLASLt and scratch memory grow with the compute units, as cards do (10 logs of R9700,
RX 9070 XT and MI300X took 0-10 %): not calibrated, the band is wide."""


def non_torch_bytes(launch: Launch) -> int:
    """Bytes taken outside torch between the baseline and the end of the profile run, on one GPU."""
    if launch.gpu.vendor == "amd":
        return int(ROCM_SHARE * launch.gpu.memory_total_bytes)
    if launch.tp > 1 and launch.nvlink:
        hidden = launch.metadata.hidden_size * launch.tp / 8192
        found = TENSOR_PARALLEL_BYTES + int(TENSOR_PARALLEL_HIDDEN_BYTES * hidden) + fusion_bytes(launch)
    else:
        found = PIPELINE_BYTES if launch.pp > 1 and launch.nvlink else single_gpu_bytes(launch)
    if not launch.rules.nccl_before_baseline:
        found += nccl_bytes(launch)
    return found + (UNIFIED_HOST_BYTES if launch.gpu.unified_memory else 0)


def single_gpu_bytes(launch: Launch) -> int:
    """The part that one GPU alone has, by version and generation."""
    if not launch.rules.nccl_before_baseline:
        return OLD_SINGLE_GPU_BYTES
    if launch.capability in WORKSTATION_CAPABILITIES:
        return WORKSTATION_SINGLE_GPU_BYTES
    if not launch.rules.large_modules or launch.capability[0] != 9:
        return SINGLE_GPU_BYTES
    unaligned = launch.rules.triton_sampler and launch.metadata.vocab_size % TRITON_ALIGNMENT
    return HOPPER_SINGLE_GPU_BYTES + (UNALIGNED_VOCABULARY_BYTES if unaligned else 0)


def fusion_bytes(launch: Launch) -> int:
    """Workspace of FlashInfer's fused all-reduce and RMSNorm, where vLLM turns it on."""
    rules = launch.rules
    sizes = FUSION_MAX_BYTES.get(launch.capability[0], {})
    if (
        rules.allreduce_fusion == "none"
        or launch.tp not in sizes
        or not launch.nvlink
        or launch.enforce_eager
    ):
        return 0
    if launch.pp > 1 and rules.fusion_needs_pp1:
        return 0
    if rules.allreduce_fusion == "multicast":
        return FUSION_BUFFERS * MULTICAST_GRANULE_BYTES
    return FUSION_DATA_COPIES * launch.tp * sizes[launch.tp] + 2 * MIB


def context_bytes(launch: Launch) -> int:
    """CUDA context, cuBLAS and NCCL that are there before the baseline: only the free-memory check sees them.

    Before 0.11 the baseline was taken before NCCL, which therefore counts against the cache.
    """
    single = CONTEXT_BYTES.get(launch.capability, SMALL_CONTEXT_BYTES)
    return single + (nccl_bytes(launch) if launch.rules.nccl_before_baseline else 0)


def nccl_bytes(launch: Launch) -> int:
    """NCCL's groups and the custom all-reduce's buffers; 0 for one GPU."""
    if launch.tp * launch.pp == 1:
        return 0
    if not launch.nvlink:
        return PCIE_NCCL_BYTES
    if launch.tp == 1:
        return PIPELINE_NCCL_BYTES
    return NCCL_BYTES[min(8, 1 << (launch.tp - 1).bit_length())]


def block_table_bytes(launch: Launch) -> int:
    """GPU block tables, made with the real cache: two per slot, one entry per block of the longest request."""
    blocks = -(-launch.max_model_len // 16)
    return 2 * launch.max_num_seqs * blocks * BLOCK_TABLE_ENTRY_BYTES


def attention_workspace_bytes(launch: Launch) -> int:
    """Buffers that an attention backend makes once the cache exists, by the backend the card takes first.

    FlashInfer on data-centre Blackwell: 394 MiB, or 16 B per token, head and channel; MLA: latents of a chunk
    of context. Source: `v1/attention/backends/flashinfer.py`, `v1/attention/backends/mla/common.py`.
    """
    metadata = launch.metadata
    if metadata.is_mla:
        latent = integer(metadata.text, "kv_lora_rank") + integer(metadata.text, "qk_rope_head_dim")
        tokens = min(max(8 * launch.max_model_len, 64 * launch.max_num_seqs), MLA_CHUNK_TOKENS)
        return tokens * latent * 2
    if launch.capability[0] != 10:
        return 0
    heads = metadata.num_attention_heads / launch.tp
    per_token = int(heads * metadata.head_dim * FLASHINFER_BYTES_PER_CHANNEL)
    return max(FLASHINFER_WORKSPACE_BYTES, launch.max_num_batched_tokens * per_token)


@per_launch
def outside_budget_bytes(launch: Launch) -> int:
    """Bytes that come on top of util x total after the cache is sized: graphs that weren't subtracted, block
    tables, attention workspaces, sampler state that wasn't counted, fragmentation."""
    graphs = cuda_graphs_bytes(launch)
    penalties = 0 if launch.rules.consumed_by_free_memory else penalty_state_bytes(launch)
    uncounted = max(0, graphs.actual_bytes - graphs.subtracted_bytes)
    buffers = block_table_bytes(launch) + attention_workspace_bytes(launch)
    fragmented = int(FRAGMENTED_SHARE * activation_peak_bytes(launch))
    return uncounted + buffers + penalties + fragmented + SAFETY_BYTES


def unseen_tenants_bytes(gpu: GPUInfo) -> int:
    """What a desktop may yet take of a consumer card that wasn't looked at (no index: a what-if card).

    A start-up risk, never part of a term.
    """
    if gpu.index is not None or gpu.klass not in DESKTOP_CLASSES:
        return 0
    return max(0, DESKTOP_BYTES - gpu.memory_used_bytes)


def load_transient_bytes(launch: Launch, weights: RankWeights | None = None) -> int:
    """Bytes held on top of the weights while loading: one layer twice, where a kernel repacks it."""
    if launch.quantization is None:
        return 0
    return (weights or rank_weights(launch)).largest_layer_bytes
