"""The sentences are vLLM's, number by number, and as each version words them."""

from __future__ import annotations

from wizard.schemas.outputs import GIB
from wizard.vllm import errors


def test_free_memory_as_logged() -> None:
    assert errors.free_memory(
        free_bytes=int(21.5 * GIB),
        total_bytes=int(23.53 * GIB),
        utilization=0.92,
        requested_bytes=int(21.65 * GIB),
    ) == (
        "Free memory on device cuda:0 (21.5/23.53 GiB) on startup is less than desired GPU memory utilization "
        "(0.92, 21.65 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
    )


def test_too_small_a_cache_names_the_estimate_only_where_there_is_one() -> None:
    some = errors.kv_cache_too_small(
        max_model_len=131072, needed_bytes=16 * GIB, available_bytes=4 * GIB, estimated_max_model_len=32752
    )
    assert some.startswith(
        "To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which "
        "is larger than the available KV cache memory (4.0 GiB). Based on the available memory, the estimated "
        "maximum model length is 32752. Try increasing `gpu_memory_utilization` (which also controls CPU memory"
    )
    none = errors.kv_cache_too_small(
        max_model_len=131072, needed_bytes=16 * GIB, available_bytes=1, estimated_max_model_len=0
    )
    assert "estimated" not in none


def test_older_versions_say_less() -> None:
    lengths = [len(errors.no_kv_memory(number=number)) for number in ((0, 12, 0), (0, 19, 1), (0, 33, 0))]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3
    assert "CPU" not in errors.no_kv_memory(number=(0, 19, 1))


def test_context_too_long_prints_what_vllm_prints() -> None:
    text = errors.context_too_long(
        max_model_len=8192, derived=4096.0, key="max_position_embeddings", model_max_length=None
    )
    assert text.startswith(
        "User-specified max_model_len (8192) is greater than the derived max_model_len "
        "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json)."
    )
