"""Which memory rule holds in which vLLM version.

Sources: vLLM's wheels 0.10.0-0.33.0 read side by side (`gpu_worker.py`, `kv_cache_utils.py`,
`arg_utils.py`, `config/vllm.py` of each) and public start-up logs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

NEWEST_KNOWN = "0.33.0"
OLDEST_KNOWN = "0.10.0"

_VERSION = re.compile(
    r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:\.?(?:rc|a|b|post|dev)\d+)*(?:\+[0-9A-Za-z.]+)?$"
)


def parse_version(version: str) -> tuple[int, int, int]:
    """`0.19.1` -> (0, 19, 1); a missing patch is 0.

    A development or release-candidate build counts as the release it leads to
    (`0.19.2rc1.dev134+gabc` -> (0, 19, 2)); a leading `v` is dropped. Raises ValueError for anything else.
    """
    match = _VERSION.match(version.strip())
    if match is None:
        raise ValueError(f"{version!r} is not a vLLM version; write it like {NEWEST_KNOWN}")
    major, minor, patch = match.groups()
    return (int(major), int(minor), int(patch or 0))


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
    full_graphs: bool
    """FULL_AND_PIECEWISE by default since 0.11.0."""
    tokens_from_concurrency: bool
    """Reported tokens = concurrency x max_model_len since 0.20."""
    in_flight_windows: bool
    """Sliding-window pages count all in-flight tokens since 0.26."""
    async_scheduling: bool
    """On by default since 0.14."""
    hybrid_prefix_caching: bool
    """On by default for Mamba/GDN hybrids since 0.28."""
    null_block_in_check: bool
    """The one-request gate reserves the null block since 0.29."""
    large_tier: bool
    """>= 160 GiB cards get max_num_batched_tokens 16384 since 0.28."""
    a100_small_tier: bool
    """An A100 of 80 GB falls into the small tier since 0.9, by name."""
    gb10_small_tier: bool
    """GB10 falls into the small tier since 0.33."""
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
        full_graphs=at(0, 11),
        tokens_from_concurrency=at(0, 20),
        in_flight_windows=at(0, 26),
        async_scheduling=at(0, 14),
        hybrid_prefix_caching=at(0, 28),
        null_block_in_check=at(0, 29),
        large_tier=at(0, 28),
        a100_small_tier=at(0, 9),
        gb10_small_tier=at(0, 33),
        group_size_ratio=1.5 if at(0, 18) else 1.25 if at(0, 12) else 1.0,
    )
