"""What every verdict is made of: the seed's risk words, the empty cache, a failure in vLLM's words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wizard.dataclass import dataclass
from wizard.schemas.outputs import Cause, KVCacheReport, Risk, Verdict

RISKS: Mapping[Verdict, Risk] = MappingProxyType({"fits": "low", "tight": "medium", "wont_start": "high"})
"""The seed's word for each verdict."""

EMPTY_KV = KVCacheReport(
    block_size=16,
    bytes_per_block=0,
    num_gpu_blocks=0,
    tokens=0,
    max_concurrency=0.0,
    bytes_per_token=0.0,
    estimated_max_model_len=0,
)
"""The cache of a launch that never gets as far as having one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why vLLM would stop, in its own words."""

    cause: Cause
    error: str
