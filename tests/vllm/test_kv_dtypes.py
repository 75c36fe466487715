"""What each cache format stores, and what a checkpoint asks for."""

from __future__ import annotations

from typing import Any

import pytest

from wizard.vllm.kv_dtypes import checkpoint_kv_dtype, head_bytes, index_bytes, latent_bytes


@pytest.mark.parametrize(
    ("kv_dtype", "size"),
    [
        ("auto", 512),
        ("fp8", 256),
        ("fp8_e5m2", 256),
        ("int8_per_token_head", 264),
        ("int4_per_token_head", 136),
        ("nvfp4", 144),
        ("turboquant_k8v4", 128 + 64 + 4),
        ("turboquant_4bit_nc", 134),
        ("turboquant_k3v4_nc", 118),
        ("turboquant_3bit_nc", 102),
    ],
)
def test_bytes_per_head_of_128(kv_dtype: str, size: int) -> None:
    assert head_bytes(kv_dtype, "bfloat16", 128, 128) == size


def test_auto_stores_the_models_own_dtype() -> None:
    assert head_bytes("auto", "float32", 64, 64) == 512


@pytest.mark.parametrize(
    ("kv_dtype", "size"), [("auto", 1152), ("fp8", 576), ("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352)]
)
def test_bytes_of_a_latent(kv_dtype: str, size: int) -> None:
    assert latent_bytes(kv_dtype, "bfloat16", 576) == size


def test_the_index_carries_its_scale() -> None:
    assert index_bytes(128) == 132


@pytest.mark.parametrize(
    ("quantization", "latent", "stored"),
    [
        (None, False, "auto"),
        ({"quant_method": "fp8"}, False, "auto"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, False, "fp8_e4m3"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "NVFP4"}, False, "nvfp4"),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "odd"}, False, "auto"),
        (
            {
                "quant_method": "modelopt",
                "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False},
            },
            True,
            "fp8_e4m3",
        ),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, False, "fp8"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, True, "auto"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, False, "auto"),
    ],
)
def test_what_a_checkpoint_asks_for(quantization: dict[str, Any] | None, latent: bool, stored: str) -> None:
    assert checkpoint_kv_dtype(quantization, latent=latent) == stored
