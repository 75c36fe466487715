"""Safetensors headers: what they tell, and what no header may claim."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.errors import ConfigError
from wizard.models.metadata import TensorInfo
from wizard.models.tensor_headers import header_length, parse_header, stored_dtype

GOOD = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]}


def test_a_header() -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "a": GOOD,
        "half": {"dtype": "F4", "shape": [5], "data_offsets": [0, 3]},
        "new": {"dtype": "F5_FUTURE", "shape": [7], "data_offsets": [16, 18]},
    }
    assert parse_header(json.dumps(entries).encode(), "x") == {
        "a": TensorInfo("BF16", (2, 3), 12),
        "half": TensorInfo("F4", (5,), 3),
        "new": TensorInfo("F5_FUTURE", (7,), 2),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [4, 15]},
        {"data_offsets": [16, 4]},
        {"data_offsets": [4]},
        {"data_offsets": "16"},
        {"shape": [2, -3]},
        {"shape": [2, 3.0]},
        {"shape": [True, 6]},
        {"shape": None},
        {"dtype": None},
        {"dtype": ["BF16"]},
    ],
)
def test_what_disagrees_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="malformed"):
        parse_header(json.dumps({"a": {**GOOD, **change}}).encode(), "x")


@given(st.binary(max_size=60))
def test_any_bytes_are_tensors_or_one_sentence(data: bytes) -> None:
    try:
        length = header_length(data, "x")
        parse_header(data[8 : 8 + length], "x")
    except ConfigError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("length", [0, 1, (100 << 20) + 1, (1 << 64) - 1])
def test_lengths_out_of_range(length: int) -> None:
    with pytest.raises(ConfigError):
        header_length(struct.pack("<Q", length), "x")


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["BF16", "F32"], "float32"),
        (["BF16", "I64"], "bfloat16"),
        (["F16"], "float16"),
        (["F8_E4M3"], None),
        ([], None),
    ],
)
def test_dtype_of_what_is_stored(dtypes: list[str], expected: str | None) -> None:
    assert stored_dtype(TensorInfo(dtype, (1,), 1) for dtype in dtypes) == expected
