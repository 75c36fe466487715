"""The seed API's four memory functions: single figures on bare numbers, by the same terms as the plan.

Their names and arguments are the seed document's; `wizard.planning.memory` re-exports them.
"""

from __future__ import annotations

import math

from wizard.dataclass import replace
from wizard.models.metadata import ModelMetadata
from wizard.planning.kv_cache import kv_report
from wizard.planning.launch import DTYPE_BYTES, resolve
from wizard.planning.terms import terms, weights_bytes
from wizard.planning.verdicts import EMPTY_KV, RISKS, Failure
from wizard.schemas.outputs import GIB, FeasibilityReport, GPUInfo, MemoryBreakdown, Verdict, VLLMConfig
from wizard.vllm import errors

NAMED_BYTES = {**DTYPE_BYTES, "fp16": 2, "bf16": 2, "half": 2, "fp32": 4, "float": 4}
"""Bytes per parameter by dtype, the seed's short names included."""

QUANTIZED_BITS = {"awq": 4.25, "gptq": 4.25, "int8": 8.0, "fp8": 8.0, "fp8_per_tensor": 8.0, "mxfp4": 4.25}
"""Stored bits per parameter, scales and zero points included (group size 128; MXFP4: 8 bits per 32)."""

REFERENCE_GPU = GPUInfo("H100 SXM5 80GB", int(79.19 * GIB), (9, 0))
"""Stands in where a seed function is asked without a GPU: only capability and tier matter then."""


def compute_weights_memory(
    model: ModelMetadata | float,
    dtype: str = "auto",
    quantization: str | None = None,
    *,
    tensor_parallel_size: int = 1,
    gpu: GPUInfo | None = None,
) -> int:
    """Bytes of weights on one GPU (seed name).

    With a `ModelMetadata` the bytes follow from the architecture, layer by layer. The seed took billions
    of parameters; a bare number still works, at the bytes per parameter of the dtype or method, which
    can't know what a checkpoint leaves in 16 bits.
    """
    if isinstance(model, ModelMetadata):
        config = VLLMConfig(
            model=model.model,
            dtype=dtype,
            quantization=quantization,
            tensor_parallel_size=tensor_parallel_size,
        )
        return weights_bytes(resolve(config, model, gpu or REFERENCE_GPU))
    bits = QUANTIZED_BITS.get(quantization or "none") or 8 * NAMED_BYTES.get(dtype, 2)
    return math.ceil(model * 1e9 * bits / 8 / tensor_parallel_size)


def compute_kv_cache_memory(
    metadata: ModelMetadata,
    context_len: int,
    concurrency: int,
    kv_dtype: str = "auto",
    dtype: str = "auto",
    fragmentation_factor: float = 1.0,
    *,
    tensor_parallel_size: int = 1,
    gpu: GPUInfo | None = None,
) -> int:
    """Bytes of cache on one GPU for `concurrency` requests of `context_len` tokens (seed name).

    In whole blocks of vLLM's groups: windows, states and latents count as what they are. The seed's
    fragmentation factor of 1.15 has no cause in a paged cache; 1.0 adds nothing.
    """
    config = VLLMConfig(
        model=metadata.model,
        dtype=dtype,
        kv_cache_dtype=kv_dtype,
        tensor_parallel_size=tensor_parallel_size,
        max_model_len=min(context_len, metadata.max_position_embeddings),
    )
    launch = resolve(config, metadata, gpu or REFERENCE_GPU)
    return math.ceil(kv_report(launch, 0).needed_bytes * concurrency * fragmentation_factor)


def compute_overhead(
    vram_total_bytes: int,
    tp_size: int = 1,
    fixed_overhead_gb: float | None = None,
    *,
    metadata: ModelMetadata | None = None,
    gpu: GPUInfo | None = None,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
) -> int:
    """Bytes on one GPU beside weights and cache: activation peak, graphs and non-torch (seed name).

    The seed took 2 % of the memory and a quarter GiB per extra GPU; what vLLM takes depends on the
    model, so `metadata` is needed unless `fixed_overhead_gb` gives the answer. `vram_total_bytes` is that
    of one GPU, and decides vLLM's batch tier. Raises ValueError without both.
    """
    if fixed_overhead_gb is not None:
        return int(fixed_overhead_gb * GIB)
    if metadata is None:
        raise ValueError("compute_overhead needs metadata, or a fixed_overhead_gb")
    config = VLLMConfig(
        model=metadata.model,
        tensor_parallel_size=tp_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
    )
    card = replace(gpu or REFERENCE_GPU, memory_total_bytes=vram_total_bytes)
    parts = terms(resolve(config, metadata, card))
    return parts.activation_peak_bytes + parts.non_torch_bytes + parts.graphs_subtracted_bytes


def compute_feasibility(
    weights_bytes: int,
    kv_cache_bytes: int,
    overhead_bytes: int,
    vram_total_bytes: int,
    gpu_memory_utilization: float = 0.92,
    headroom_gb: float = 0.0,
    context_len: int = 4096,
    concurrency: int = 1,
) -> FeasibilityReport:
    """The verdict on bare numbers, all of one GPU (seed name); `evaluate` finds the numbers itself.

    `kv_cache_bytes` is what `concurrency` requests of `context_len` tokens take together. vLLM's own rule
    decides: it starts when one request fits; it fits when all do, with the headroom left.
    """
    requested = math.ceil(vram_total_bytes * gpu_memory_utilization)
    available = requested - weights_bytes - overhead_bytes
    each = max(1, math.ceil(kv_cache_bytes / concurrency))
    headroom = available - kv_cache_bytes - int(headroom_gb * GIB)
    longest = max(0, context_len * available // each)
    failure: Failure | None = None
    if weights_bytes + overhead_bytes > vram_total_bytes:
        failure = Failure(
            "out_of_memory", errors.out_of_memory(total_bytes=vram_total_bytes, free_bytes=vram_total_bytes)
        )
    elif available <= 0:
        failure = Failure("no_kv_memory", errors.no_kv_memory())
    elif each > available:
        failure = Failure(
            "kv_cache_too_small",
            errors.kv_cache_too_small(
                max_model_len=context_len,
                needed_bytes=each,
                available_bytes=available,
                estimated_max_model_len=longest,
            ),
        )
    verdict: Verdict = "wont_start" if failure else "fits" if headroom >= 0 else "tight"
    return FeasibilityReport(
        verdict=verdict,
        cause=failure.cause if failure else None,
        error=failure.error if failure else None,
        fits=failure is None,
        oom_risk=RISKS[verdict],
        per_gpu=MemoryBreakdown(
            total_bytes=vram_total_bytes,
            requested_bytes=requested,
            weights_bytes=weights_bytes,
            activation_peak_bytes=overhead_bytes,
            non_torch_bytes=0,
            cuda_graphs_bytes=0,
            kv_cache_available_bytes=available,
            kv_cache_available_low_bytes=available,
            kv_cache_available_high_bytes=available,
            unused_bytes=vram_total_bytes - requested,
        ),
        kv_cache=replace(
            EMPTY_KV,
            tokens=longest,
            max_concurrency=max(0.0, available / each),
            bytes_per_token=each / context_len,
            estimated_max_model_len=min(context_len, longest),
            needed_bytes=each,
        ),
        max_model_len=context_len,
        max_num_seqs=concurrency,
        max_num_batched_tokens=0,
        concurrency_at_workload=max(0.0, available / each),
        headroom_bytes=headroom,
    )
