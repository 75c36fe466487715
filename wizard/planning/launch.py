"""What vLLM will really run: a `VLLMConfig` after vLLM's own defaulting for version, GPU and model.

Every memory term takes a `Launch`, so that a default is decided in one place only.
Source of the defaults: vLLM 0.33 `engine/arg_utils.py`, `config/*.py` (VersionRules says what was
different before).
"""

from __future__ import annotations

from dataclasses import dataclass

from wizard.models.metadata import ModelMetadata
from wizard.schemas.outputs import GPUInfo, VLLMConfig
from wizard.vllm.versions import VersionRules


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """One engine's resolved settings; sizes are per GPU unless said otherwise."""

    config: VLLMConfig
    metadata: ModelMetadata
    gpu: GPUInfo
    """The smallest GPU of the group: its memory decides."""
    rules: VersionRules
    capability: tuple[int, int]
    """CUDA compute capability, (9, 0) where the GPU doesn't tell."""
    tp: int
    pp: int
    dp: int
    dcp: int
    pcp: int
    ep: bool
    dtype: str
    """float16 | bfloat16 | float32, after vLLM's rules for the capability."""
    dtype_bytes: int
    quantization: str | None
    """Resolved method: of the checkpoint, or the online one asked for."""
    online_quantization: bool
    """True where the checkpoint is not quantised and vLLM quantises while loading."""
    kv_cache_dtype: str
    """Never `auto`: the dtype name stored in the cache (bfloat16, fp8_e4m3, fp8_ds_mla ...)."""
    gpu_memory_utilization: float
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_in_flight_tokens: int
    """max_num_batched_tokens x concurrent batches (async scheduling, PP)."""
    enforce_eager: bool
    prefix_caching: bool
    chunked_prefill: bool
    async_scheduling: bool
    v2_runner: bool
    pooling: bool
    speculative_method: str | None
    num_speculative_tokens: int
    nvlink: bool
    """GPUs of a node reach each other by NVLink/NVSwitch."""
    gpus_per_node: int
