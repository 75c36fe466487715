"""The kernels that vLLM picks, by GPU and kind of layer, and their blocks."""

from __future__ import annotations

import pytest

from wizard.vllm.attention_backends import choose, flash_version, largest_block_within, preferred_block
from wizard.vllm.attention_needs import AttentionNeed

HOPPER, BLACKWELL, ADA, AMPERE, TURING, CONSUMER = (9, 0), (10, 0), (8, 9), (8, 0), (7, 5), (12, 0)


def need(
    capability: tuple[int, int], kv_dtype: str = "auto", head_dim: int = 128, **more: object
) -> AttentionNeed:
    return AttentionNeed(
        capability=capability, dtype="bfloat16", kv_dtype=kv_dtype, head_dim=head_dim, **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (need(HOPPER), "FLASH_ATTN"),
        (need(ADA), "FLASH_ATTN"),
        (need(BLACKWELL), "FLASHINFER"),
        (need(CONSUMER), "FLASH_ATTN"),
        (need(HOPPER, "fp8"), "FLASH_ATTN"),
        (need(ADA, "fp8"), "FLASHINFER"),
        (need(ADA, "fp8", 96), "TRITON_ATTN"),
        (need(HOPPER, "fp8_e5m2"), "FLASHINFER"),
        (need(HOPPER, "int8_per_token_head"), "TRITON_ATTN"),
        (need(HOPPER, "turboquant_3bit_nc"), "TURBOQUANT"),
        (need(BLACKWELL, "nvfp4"), "FLASHINFER"),
        (need(ADA, sinks=True), "TRITON_ATTN"),
        (need(HOPPER, sinks=True), "FLASH_ATTN"),
        (need(HOPPER, head_dim=256, image_prefix=True), "TRITON_FLASH_ATTN"),
        (need(ADA, head_dim=256, image_prefix=True), "TRITON_ATTN"),
        (need(HOPPER, head_dim=576, latent=True), "FLASH_ATTN_MLA"),
        (need(HOPPER, "fp8", 576, latent=True), "FLASHMLA"),
        (need(ADA, head_dim=576, latent=True), "TRITON_MLA"),
        (need(BLACKWELL, head_dim=576, latent=True, nope_dim=128), "FLASHINFER_MLA"),
        (need(BLACKWELL, head_dim=576, latent=True, nope_dim=100), "CUTLASS_MLA"),
        (need(HOPPER, head_dim=576, latent=True, sparse=True), "FLASH_ATTN_MLA_SPARSE"),
        (need(HOPPER, "fp8", 576, latent=True, sparse=True), "FLASHMLA_SPARSE"),
        (need(CONSUMER, head_dim=576, latent=True, sparse=True), "FLASHINFER_MLA_SPARSE_SM120"),
    ],
)
def test_the_first_that_serves(wanted: AttentionNeed, name: str) -> None:
    backend = choose(wanted).backend
    assert backend is not None
    assert backend.name == name


@pytest.mark.parametrize(
    "wanted",
    [
        need(ADA, head_dim=576, latent=True, sparse=True),
        need(HOPPER, "fp8_e4m3", 576, latent=True, sparse=True),
        need(HOPPER, "nvfp4_4over6"),
        need(HOPPER, "turboquant_3bit_nc", window=True),
    ],
)
def test_where_there_is_none_every_one_says_why(wanted: AttentionNeed) -> None:
    found = choose(wanted)
    assert found.backend is None
    assert all(reason for _, reason in found.reasons)


def test_turing_lands_on_triton() -> None:
    turing = AttentionNeed(capability=TURING, dtype="float16", kv_dtype="auto", head_dim=128)
    backend = choose(turing).backend
    assert backend is not None
    assert backend.name == "TRITON_ATTN"


def test_a_forced_backend_is_that_or_none() -> None:
    assert choose(need(HOPPER), "TRITON_ATTN").backend is not None
    refused = choose(need(AMPERE), "FLASHMLA")
    assert refused.backend is None
    assert refused.reasons[0][0] == "FLASHMLA"


def test_flash_attention_versions() -> None:
    assert [flash_version(need(cap)) for cap in (AMPERE, HOPPER, BLACKWELL, CONSUMER)] == [2, 3, 4, 2]
    assert flash_version(need(HOPPER, head_dim=512)) == 4
    assert flash_version(need(BLACKWELL, head_dim=256, sinks=True)) == 2


def test_blocks_follow_the_backend() -> None:
    latent = need(HOPPER, "fp8", 576, latent=True)
    backend = choose(latent).backend
    assert backend is not None
    assert preferred_block(backend, latent) == 64
    plain = need(HOPPER)
    flash = choose(plain).backend
    assert flash is not None
    assert (preferred_block(flash, plain), largest_block_within(flash, plain, 1000)) == (16, 992)


def test_a_users_block_size_excludes_what_cannot_take_it() -> None:
    backend = choose(need(BLACKWELL, head_dim=576, latent=True, nope_dim=128, block_size=16)).backend
    assert backend is not None
    assert backend.name == "TRITON_MLA"
