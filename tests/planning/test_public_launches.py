"""Launches from public logs that the rules were not first written on, on cards from the T4 to the H200.

They corrected `embedding_benchmarks`, `moe_chunk_tokens`, `wide_mrope` and what an encoder adds; so they show that
the rules still hold, not how far off a launch may be that nobody has seen.
"""

from __future__ import annotations

import pytest

from tests.accuracy import PUBLIC_LAUNCHES
from tests.accuracy.__main__ import measure
from tests.accuracy.report import Report

NOT_IN_THE_CATALOGUE = {
    "16g-wsl-dotsocr",
    "24gx2-minicpm-v45-v0",
    "4090x2-qwen3-30b-w4a16",
    "48g-qwen25-coder-14b",
    "48g-r1-distill-qwen-7b",
    "8g-qwen25-3b-awq-eager",
    "a100-40g-gemma4-e4b",
    "a100-40g-qwen25-7b-bnb4",
    "a100-40g-qwen25-coder-15b",
    "a100-40g-qwen25-coder-32b-awq",
    "a100-80gx2-qwen36-27b",
    "a800x4-llama3-8b-tp4",
    "h100-qwen36-27b-fp8-textonly",
    "h100x2-qwen3vl-30b",
    "h20x8-qwen3coder-480b-fp8-dp8",
    "h20x8-qwen3coder-480b-fp8-dp8-u095",
    "l40s-r1-qwen32b-fp8-half",
    "t4-qwen3vl-emb-2b-fp16",
}

WARM_STARTS = {"a100-40g-qwen3-8b-warm", "t4-qwen25-15b-fp16", "a6000-llama32-1b-4k"}
"""Their logs load compiled graphs from a cache, so that no copy of the embedding table is made."""

SMALL_CARDS = {"16g-wsl-qwen2vl-2b"}
"""A quarter of a GiB, which the dummy image of Qwen2-VL takes more than predicted, is above one percent of 16."""


@pytest.fixture(scope="module")
def measured() -> Report:
    return measure(PUBLIC_LAUNCHES, None)


def test_every_launch_of_a_known_model_is_judged(measured: Report) -> None:
    assert {skipped.id for skipped in measured.skipped} == NOT_IN_THE_CATALOGUE
    assert len(measured.judged) == 31


def test_a_first_start_is_within_one_percent_of_the_gpu(measured: Report) -> None:
    errors = {j.record.id: j.kv_percent for j in measured.judged if j.kv_percent is not None}
    assert {name for name, error in errors.items() if error > 1.0} <= WARM_STARTS | SMALL_CARDS
    assert len(errors) == 24


def test_a_warm_start_has_more_memory_than_predicted(measured: Report) -> None:
    found = [j.kv for j in measured.judged if j.record.id in WARM_STARTS]
    assert len(found) == len(WARM_STARTS)
    assert all(kv is not None and kv.logged > kv.predicted for kv in found)


def test_every_figure_is_inside_its_band_and_no_verdict_is_wrong(measured: Report) -> None:
    assert [j.record.id for j in measured.judged if j.covered is False] == []
    assert [j.record.id for j in measured.judged if j.wrong] == []


def test_tokens_follow_from_the_logged_memory(measured: Report) -> None:
    assert [j.record.id for j in measured.judged if not all(j.given_equal)] == []
