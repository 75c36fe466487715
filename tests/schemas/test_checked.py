"""Checked values: right by construction, frozen, and refused in pydantic's words, which the plain ones never need."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wizard.schemas.checked import Checked, plainly, why_not
from wizard.schemas.documents import validated
from wizard.schemas.inputs import (
    DType,
    HardwareInput,
    ModelInput,
    PlanRequest,
    PolicyInput,
    WorkloadInput,
)
from wizard.schemas.outputs import VLLMConfig

REQUEST = PlanRequest(model=ModelInput(model="org/name"), hardware=HardwareInput(gpu="L40S", gpus=2))

FIELDS = [
    (kind, name)
    for kind in (ModelInput, HardwareInput, WorkloadInput, PolicyInput, VLLMConfig)
    for name in kind.model_fields
]

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 5000)
    | st.sampled_from(
        [1 << 20, 1 << 27, (1 << 27) + 1, 10**30, 0.0, 1.0, 1.5, -0.1, float("nan"), float("inf")]
    )
    | st.floats(-1, 3)
    | st.sampled_from(["", " ", " a", "a", "8", "1.5", "true", "fp16", "half", "fp8_e4m3fn", "latency"])
    | st.sampled_from(["0.11", "0.11.2", "0.11\n", "٠.١", "é", "\udc80", "x" * 4097])
    | st.sampled_from([DType.HALF, (), ("a",), ["a", "b"], [1], {}, {"a": 1}, {"a": "b"}, {1: "b"}, b"a"])
)


@given(st.sampled_from(FIELDS), VALUES)
def test_what_is_taken_plainly_is_what_pydantic_makes_of_it(
    field: tuple[type[Checked], str], value: object
) -> None:
    kind, name = field
    given_values = {"model": "m", name: value}
    if "model" not in kind.model_fields:
        del given_values["model"]
    read = plainly(kind, given_values)
    if read is not None:
        made = validated(kind, given_values)
        assert read == vars(made)
        assert {each: type(read[each]) for each in read} == {each: type(vars(made)[each]) for each in read}


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (ModelInput, {}, "model"),
        (ModelInput, {"model": "m", "modle": "m"}, "modle"),
        (ModelInput, {"model": "  "}, "model"),
        (HardwareInput, {"gpus": 0}, "gpus"),
        (HardwareInput, {"nodes": 513}, "nodes"),
        (HardwareInput, {"device_ids": ("1", 2)}, "device_ids"),
        (WorkloadInput, {"prefix_share": 1.01}, "prefix_share"),
        (WorkloadInput, {"batching_mode": "fast"}, "batching_mode"),
        (PolicyInput, {"gpu_memory_utilization": 0.0}, "gpu_memory_utilization"),
        (PolicyInput, {"vllm_version": "new"}, "vllm_version"),
        (VLLMConfig, {"model": "m", "block_size": "big"}, "block_size"),
    ],
)
def test_what_is_wrong_is_refused_by_name(kind: Any, values: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as refused:
        kind(**values)
    assert refused.value.errors()[0]["loc"][0] == where
    assert why_not(refused.value) == refused.value.errors()[0]["msg"]


def test_a_document_is_read_part_by_part_and_refused_with_the_whole_path() -> None:
    document = {
        "model": {"model": " org/name "},
        "workload": {"concurrency": "8", "batching_mode": "latency"},
    }
    request = PlanRequest.model_validate(document)
    assert (request.model.model, request.workload.concurrency) == ("org/name", 8)
    assert PlanRequest.model_validate_json(json.dumps(document)) == request
    document["hardware"] = {"gpus": 0}
    with pytest.raises(ValidationError) as refused:
        PlanRequest.model_validate(document)
    assert refused.value.errors()[0]["loc"] == ("hardware", "gpus")


def test_values_are_converted_as_before_and_other_spellings_taken() -> None:
    made = ModelInput(model="m", dtype="bf16", kv_cache_dtype="fp8_e4m3fn", max_model_len="4096")
    assert (made.dtype, made.kv_cache_dtype, made.max_model_len) == (DType.BFLOAT16, "fp8_e4m3", 4096)
    assert type(PolicyInput(headroom_gb=2).headroom_gb) is float


def test_they_are_frozen() -> None:
    config: Any = VLLMConfig(model="m")
    with pytest.raises(AttributeError):
        config.model = "n"
    with pytest.raises(AttributeError):
        del config.model
    with pytest.raises(AttributeError):
        config.modle = "n"


def test_equality_hash_copies_and_pickles() -> None:
    again = PlanRequest(model=ModelInput(model="org/name"), hardware=HardwareInput(gpu="L40S", gpus=2))
    assert again == REQUEST and hash(again) == hash(REQUEST)
    assert again != again.with_value("workload.concurrency", 9)
    for copied in (copy.copy(REQUEST), copy.deepcopy(REQUEST), pickle.loads(pickle.dumps(REQUEST))):
        assert copied == REQUEST and copied.model_fields_set == {"model", "hardware"}


def test_defaults_are_not_shared_and_choices_are_remembered() -> None:
    one, two = VLLMConfig(model="m", max_num_seqs=None), VLLMConfig(model="m")
    assert one == two and one.explanations is not two.explanations
    assert one.model_fields_set == {"model", "max_num_seqs"}
    changed = two.model_copy(update={"block_size": 16})
    assert changed.model_fields_set == {"model", "block_size"} and two.block_size is None


def test_dumps() -> None:
    request = REQUEST.with_value("policy.extra_args", ("--seed", "1")).with_value("model.dtype", "half")
    assert request.model_dump(exclude_defaults=True)["policy"] == {"extra_args": ("--seed", "1")}
    plain = request.model_dump(mode="json", exclude_none=True)
    assert json.loads(request.model_dump_json())["policy"]["extra_args"] == ["--seed", "1"]
    assert plain["model"]["dtype"] == "half" and type(plain["model"]["dtype"]) is str
    assert "revision" not in plain["model"] and PlanRequest.model_validate(plain) == request
    assert set(request.model_dump(exclude={"model", "explain"})) == {
        "hardware",
        "workload",
        "policy",
        "serving",
    }


def test_pydantic_is_loaded_only_where_there_is_something_to_decide() -> None:
    code = (
        "import sys; from wizard.schemas.inputs import HardwareInput, PlanRequest\n"
        "PlanRequest(model={'model': 'm'}, hardware=HardwareInput(gpus=2)).with_value('workload.concurrency', 9)\n"
        "print('pydantic' in sys.modules)\n"
        "HardwareInput(gpus='2'); print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
