"""Rows of the hub's listings: sizes seen through packed storage, methods by config and tag, nothing believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.models.hub_rows import row


def listed(**entry: Any) -> Any:
    return row({"id": "org/model", **entry})


@pytest.mark.parametrize(
    ("stored", "section", "tags", "method", "params"),
    [
        ({"BF16": 8_030}, {}, [], None, 8_030),
        ({"F8_E4M3": 8_000, "BF16": 30}, {"quant_method": "fp8"}, ["fp8"], "fp8", 8_030),
        ({"I32": 1_000, "F16": 30}, {"quant_method": "awq", "bits": 4}, ["awq", "4-bit"], "awq", 8_030),
        ({"I32": 2_000, "F16": 30}, {"quant_method": "gptq", "bits": 8}, [], "gptq", 8_030),
        ({"U8": 4_000, "F8_E4M3": 500, "BF16": 30}, {"quant_method": "modelopt"}, ["NVFP4"], "nvfp4", 8_030),
        ({"U8": 4_250, "BF16": 30}, {"quant_method": "mxfp4"}, [], "mxfp4", 8_030),
        (
            {"I64": 9, "I32": 1_000, "BF16": 30},
            {"quant_method": "compressed-tensors"},
            [],
            "compressed-tensors",
            8_030,
        ),
        ({}, {}, ["gguf"], "gguf", None),
    ],
)
def test_storage(
    stored: dict[str, int], section: dict[str, Any], tags: list[str], method: str | None, params: int | None
) -> None:
    found = listed(safetensors={"parameters": stored}, config={"quantization_config": section}, tags=tags)
    assert (found.quantization, found.params) == (method, params)


def test_base_licence_and_gate() -> None:
    tags = ["license:llama3.1", "base_model:meta-llama/X", "base_model:quantized:meta-llama/X", 5]
    found = listed(tags=tags, gated="manual", downloads=12)
    assert (found.base, found.license, found.gated, found.downloads) == ("meta-llama/X", "llama3.1", True, 12)
    assert not listed(gated=False).gated


@pytest.mark.parametrize(
    "entry", [None, [], "x", {}, {"id": 5}, {"id": "a/b/c"}, {"id": "a\x1b[2J"}, {"id": ""}]
)
def test_what_names_no_model_is_no_row(entry: object) -> None:
    assert row(entry) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("config", "downloads", "gated", "safetensors", "tags", "cardData"), JSON),
    )
)
def test_any_listing_is_a_row(entry: dict[str, Any]) -> None:
    assert listed(**entry).id == "org/model"
