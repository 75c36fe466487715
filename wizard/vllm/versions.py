"""Which memory rule holds in which vLLM version.

Sources: vLLM's wheels 0.10.0-0.33.0 read side by side (`gpu_worker.py`, `kv_cache_utils.py`,
`arg_utils.py`, `config/vllm.py` of each) and public start-up logs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from wizard.dataclass import dataclass

NEWEST_KNOWN = "0.33.0"
OLDEST_KNOWN = "0.10.0"

NEXT_RELEASE_COMMITS = 100
"""Commits after a tag from which a development build has the next release's rules: 0.19.2rc1.dev134 logged
0.20's graph subtraction, 0.18.1rc1.dev147 and 0.26.1rc1.dev156 the accounting of 0.19 and 0.27."""

_VERSION = re.compile(
    r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:\.?(?:rc|a|b|post)\d+)*(?:\.?dev(\d{1,6}))?(?:\+[0-9A-Za-z.]+)?$"
)


def parse_version(version: str) -> tuple[int, int, int]:
    """`0.19.1` -> (0, 19, 1); a missing patch is 0, a leading `v` is dropped.

    Builds of the main branch are numbered after the last tag, not after the release they lead to:
    `0.19.2rc1.dev134+gabc` is 134 commits past 0.19.1 and counts as (0, 20, 0). Release candidates count
    as their release. Raises ValueError for anything else.
    """
    match = _VERSION.match(version.strip())
    if match is None:
        raise ValueError(f"{version!r} is not a vLLM version; write it like {NEWEST_KNOWN}")
    major, minor, patch = (int(part or 0) for part in match.groups()[:3])
    commits = int(match.group(4) or 0)
    if patch > 0 and commits >= NEXT_RELEASE_COMMITS:
        return (major, minor + 1, 0)
    return (major, minor, patch)


@dataclass(frozen=True, slots=True)
class VersionRules:
    """What a planner must know of one version; every field names the change that set it."""

    version: str
    number: tuple[int, int, int]
    known: bool
    """False when the version is newer than any read; the newest rules are used then."""
    default_gpu_memory_utilization: float
    """0.9 through 0.19, 0.92 since 0.20 (config/cache.py)."""
    subtracts_graphs_v1: bool
    """V1 runner subtracts the CUDA-graph estimate since 0.20."""
    subtracts_graphs_v2: bool
    """V2 runner since 0.29; a stub returning 0 before."""
    consumed_by_free_memory: bool
    """KV formula uses the free-memory difference since 0.27."""
    nccl_before_baseline: bool
    """Since 0.11.0 the baseline snapshot is taken after NCCL init."""
    sampler_bytes_v1: int
    """Bytes per row and vocabulary entry at the sampler's peak, V1 runner: 38 while top-k/top-p sorted
    (2 logits + 4 fp32 + 4 sorted + 8 index + scratch), 14 with an in-place kernel since 0.17."""
    sampler_bytes_v2: int
    """V2 runner: 6 (2 + an fp32 copy) through 0.25 and in 0.27; 2 in 0.26, which works in place (12 launches on
    an H100: the same peak for 256 and 1,024 rows), and since 0.28, which copies only where a request needs it; 14
    since 0.33, whose profile turns every sampling feature on."""
    triton_sampler: bool
    """The in-place kernel keeps one row of scratch per multiprocessor, 0.17-0.20 (FlashInfer's since 0.21)."""
    moe_workspace_manager: bool
    """Fused-MoE buffers are kept by a workspace manager since 0.13, and so add to the sampler's peak."""
    modular_quantized_experts: bool
    """4-bit experts use it too since 0.20."""
    moe_chunk_tokens: int
    """Most tokens that the fused-MoE kernel takes at once (VLLM_FUSED_MOE_CHUNK_SIZE): 32 Ki through 0.11, 16 Ki
    through 0.17; 0: all of them, since 0.18 dropped the chunks."""
    embedding_benchmarks: int
    """Copies of the embedding table that compiling makes: none seen through 0.17, one since 0.18 (gpt-oss-20b on an
    A100 with 0.19.0, Qwen2.5-14B-AWQ on an A10G with 0.19.1, Qwen2.5-7B with 0.22.0; 0.26 on an H100: Qwen3-8B takes
    1.29 GiB compiled, 0.84 eager), two in 0.27.1, one again since 0.28."""
    allreduce_fusion: Literal["none", "multicast", "exact"]
    """Workspace of FlashInfer's fused all-reduce, at TP > 1: none through 0.16; `multicast`: its three buffers
    rounded up to multicast granules of 512 MiB (FlashInfer 0.6.6-0.6.14); `exact` since 0.27 (0.6.16)."""
    fusion_needs_pp1: bool
    """The fusion is off with pipeline stages in 0.17-0.20 and 0.23 (config/vllm.py)."""
    large_modules: bool
    """Kernels loaded after the baseline doubled on SM90 in 0.18."""
    full_graphs: bool
    """FULL_AND_PIECEWISE by default since 0.11.0."""
    fine_capture_steps: bool
    """Captured sizes step 8 below 256 and 16 above since 0.11.1 (51 up to 512); 8 throughout before (67)."""
    wide_captures_blackwell: bool
    """Up to 1024 on data-centre Blackwell since 0.28."""
    captures_follow_seqs: bool
    """The largest captured batch is twice max_num_seqs (at most 512) since 0.10.2."""
    tokens_from_concurrency: bool
    """Reported tokens = concurrency x max_model_len since 0.20.1; the blocks of one group before."""
    in_flight_windows: bool
    """Sliding-window pages count all in-flight tokens since 0.26."""
    async_scheduling: bool
    """On by default since 0.14."""
    hybrid_prefix_caching: bool
    """On by default for Mamba/GDN hybrids since 0.28."""
    trtllm_plain_experts: bool
    """16-bit experts on Blackwell data-centre GPUs are padded for TRT-LLM's kernel: read in 0.33; 0.26 pads none."""
    blocks_by_stage: bool
    """Workers align a hybrid's blocks, each for its own layers, since 0.20 (pull request 37467 of March 2026; read
    in 0.26 and 0.33); the engine did it for the whole model before."""
    null_block_in_check: bool
    """The one-request gate reserves the null block since 0.29."""
    large_tier: bool
    """>= 160 GiB cards get max_num_batched_tokens 16384 since 0.28."""
    a100_small_tier: bool
    """An A100 of 80 GB falls into the small tier since 0.9, by name."""
    oldest_capability: tuple[int, int]
    """Oldest compute capability that the wheel holds kernels for: 7.0 (Volta) through 0.19; 7.5 since 0.20, whose
    default wheel is built with CUDA 13, which dropped Volta (vLLM's pull request 39878; 0.33's binaries)."""
    wide_mrope: bool
    """M-RoPE keeps four rows per position for every model through 0.31; since 0.32 a model may pass
    `positions_factor=1` (layers/rotary_embedding/mrope.py)."""
    encoder_outputs_padded: Literal["to_budget", "to_item", "no"]
    """The profile run keeps each dummy output of an encoder padded: to the whole encoder budget in 0.11, to the
    largest item of its kind in 0.12, not at all before and since (v1/worker/gpu_model_runner.py `profile_run`)."""
    group_size_ratio: float
    """Group size is the largest bucket if max < ratio x min; 1.0: never (<= 0.11)."""


@lru_cache(maxsize=64)
def rules(version: str = NEWEST_KNOWN) -> VersionRules:
    """The rules of `version`; newer than known takes the newest rules with `known=False`."""
    number = parse_version(version)

    def at(*since: int) -> bool:
        return number >= since

    return VersionRules(
        version=version,
        number=number,
        known=number[:2] <= parse_version(NEWEST_KNOWN)[:2],
        default_gpu_memory_utilization=0.92 if at(0, 20) else 0.9,
        subtracts_graphs_v1=at(0, 20),
        subtracts_graphs_v2=at(0, 29),
        consumed_by_free_memory=at(0, 27),
        nccl_before_baseline=at(0, 11),
        sampler_bytes_v1=14 if at(0, 17) else 38,
        sampler_bytes_v2=14 if at(0, 33) else 2 if at(0, 28) or number[:2] == (0, 26) else 6,
        triton_sampler=at(0, 17) and not at(0, 21),
        moe_workspace_manager=at(0, 13),
        modular_quantized_experts=at(0, 20),
        moe_chunk_tokens=0 if at(0, 18) else 16384 if at(0, 12) else 32768,
        embedding_benchmarks=2 if at(0, 27, 1) and not at(0, 28) else 1 if at(0, 18) else 0,
        allreduce_fusion="exact" if at(0, 27) else "multicast" if at(0, 17) else "none",
        fusion_needs_pp1=not at(0, 21) or number[:2] == (0, 23),
        large_modules=at(0, 18),
        full_graphs=at(0, 11),
        fine_capture_steps=at(0, 11, 1),
        wide_captures_blackwell=at(0, 28),
        captures_follow_seqs=at(0, 10, 2),
        tokens_from_concurrency=at(0, 20, 1),
        in_flight_windows=at(0, 26),
        async_scheduling=at(0, 14),
        hybrid_prefix_caching=at(0, 28),
        trtllm_plain_experts=at(0, 33),
        blocks_by_stage=at(0, 20),
        null_block_in_check=at(0, 29),
        large_tier=at(0, 28),
        a100_small_tier=at(0, 9),
        oldest_capability=(7, 5) if at(0, 20) else (7, 0),
        wide_mrope=not at(0, 32),
        encoder_outputs_padded="no"
        if at(0, 13) or not at(0, 11)
        else "to_item"
        if at(0, 12)
        else "to_budget",
        group_size_ratio=1.5 if at(0, 18) else 1.25 if at(0, 12) else 1.0,
    )
