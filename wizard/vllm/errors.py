"""The sentences vLLM stops with, as templates; later versions word some of them differently.

Sources: vLLM 0.33 `v1/worker/utils.py` (`request_memory`), `v1/core/kv_cache_planning.py`, `config/model.py`,
`config/scheduler.py`, `config/parallel.py`, `platforms/cuda.py`, `v1/attention/selector.py`; 0.19.1 beside it.
The memory sentences keep vLLM's numbers and rounding, so that they can be compared with a log line by line.
"""

from __future__ import annotations

from wizard.schemas.outputs import GIB

CONSERVING_MEMORY = "https://docs.vllm.ai/en/latest/configuration/conserving_memory/"


def _gib(size_bytes: float) -> str:
    """vLLM's `format_gib`: two decimals, trailing zeros kept as Python's `round` leaves them."""
    return str(round(size_bytes / GIB, 2))


def free_memory(
    *, free_bytes: int, total_bytes: int, utilization: float, requested_bytes: int, device: str = "cuda:0"
) -> str:
    """`v1/worker/utils.py` `request_memory`: less is free at start than the utilisation asks for."""
    return (
        f"Free memory on device {device} ({_gib(free_bytes)}/{_gib(total_bytes)} GiB) on startup is less than "
        f"desired GPU memory utilization ({utilization}, {_gib(requested_bytes)} GiB). Decrease GPU memory "
        "utilization or reduce GPU memory used by other processes."
    )


def out_of_memory(*, total_bytes: int, free_bytes: int, device: int = 0) -> str:
    """PyTorch's allocator error, as far as it is known before the launch."""
    return (
        f"CUDA out of memory. GPU {device} has a total capacity of {_gib(total_bytes)} GiB "
        f"of which {_gib(max(0, free_bytes))} GiB is free."
    )


def no_kv_memory(*, number: tuple[int, int, int] = (0, 33, 0)) -> str:
    """Weights and activations leave nothing for the cache."""
    start = (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
        "the engine"
    )
    if number < (0, 13, 0):
        return start + "."
    aside = " (this flag also controls CPU memory reservation on the CPU backend, despite its name)"
    return f"{start}{aside if number >= (0, 22, 0) else ''}. See {CONSERVING_MEMORY} for more details."


def kv_cache_too_small(
    *,
    max_model_len: int,
    needed_bytes: int,
    available_bytes: int,
    estimated_max_model_len: int,
    number: tuple[int, int, int] = (0, 33, 0),
) -> str:
    """One request of max_model_len doesn't fit; the estimate is left out where not even one token does."""
    estimate = (
        f"Based on the available memory, the estimated maximum model length is {estimated_max_model_len}. "
        if estimated_max_model_len > 0
        else ""
    )
    aside = " (which also controls CPU memory on the CPU backend)" if number >= (0, 22, 0) else ""
    see = f" See {CONSERVING_MEMORY} for more details." if number >= (0, 13, 0) else ""
    return (
        f"To serve at least one request with the model's max seq len ({max_model_len}), "
        f"({_gib(needed_bytes)} GiB KV cache is needed, which is larger than the available KV cache memory "
        f"({_gib(available_bytes)} GiB). {estimate}Try increasing `gpu_memory_utilization`{aside} or decreasing "
        f"`max_model_len` when initializing the engine.{see}"
    )


def context_too_long(
    *, max_model_len: int, derived: float, key: str | None, model_max_length: int | None
) -> str:
    """`config/model.py` `_get_and_verify_max_len`; vLLM prints the derived length as a float where it scaled it."""
    return (
        f"User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len "
        f"({key}={derived} or model_max_length={model_max_length} in model's config.json). To allow overriding "
        "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be "
        "used with extreme caution. If the model uses relative position encoding (RoPE), positions exceeding "
        "derived_max_model_len lead to nan. If the model uses absolute position encoding, positions exceeding "
        "derived_max_model_len will cause a CUDA array out-of-bounds error."
    )


def heads_not_divisible(*, heads: int, tensor_parallel_size: int) -> str:
    return (
        f"Total number of attention heads ({heads}) must be divisible by tensor parallel size "
        f"({tensor_parallel_size})."
    )


def not_divisible(numerator: int, denominator: int) -> str:
    """`distributed/utils.py` `ensure_divisibility`: an assertion while the model is built."""
    return f"{numerator} is not divisible by {denominator}"
