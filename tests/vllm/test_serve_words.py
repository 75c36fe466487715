"""What stands before the flags: variables, programs that aren't vLLM, versions that aren't known."""

from __future__ import annotations

import pytest

from wizard.errors import WizardError
from wizard.vllm.serve_args import parse_serve_command
from wizard.vllm.serve_words import calls_vllm


def warnings(line: str, version: str = "0.33.0") -> list[str]:
    return list(parse_serve_command(line.split(), version=version).warnings)


def test_variables_before_the_command_are_no_part_of_it() -> None:
    command = parse_serve_command(["HF_HOME=/data", "CUDA_VISIBLE_DEVICES=0", "vllm", "serve", "m"])
    assert command.model == "m"
    assert command.warnings == ()


def test_a_variable_that_is_gone_is_named_with_what_took_its_place() -> None:
    found = warnings("VLLM_ATTENTION_BACKEND=FLASHINFER VLLM_USE_V1=1 vllm serve m")
    assert "has no VLLM_ATTENTION_BACKEND, so it has no effect; use --attention-backend." in found[0]
    assert "has no VLLM_USE_V1, so it has no effect; leave it out." in found[1]


def test_a_variable_counts_where_the_version_still_reads_it() -> None:
    line = "VLLM_ATTENTION_BACKEND=flashinfer vllm serve m"
    command = parse_serve_command(line.split(), version="0.10.2")
    assert command.config.attention_backend == "FLASHINFER"
    assert command.warnings == ()


def test_a_variable_that_the_prediction_ignores_is_said() -> None:
    assert "doesn't follow VLLM_MLA_DISABLE" in warnings("VLLM_MLA_DISABLE=1 vllm serve m")[0]


def test_a_command_quoted_as_one_word_is_read() -> None:
    assert parse_serve_command(["vllm serve m --dtype half"]).config.dtype == "half"


@pytest.mark.parametrize("words", [["ls", "-la"], ["docker", "run", "x"], ["m"], ["vllm' serve m"], []])
def test_only_vllms_own_command_counts_as_one(words: list[str]) -> None:
    try:
        assert not calls_vllm(words)
    except WizardError as error:
        assert "Only a `vllm serve MODEL [flags]` command" in str(error)


def test_model_as_a_flag_is_accepted_and_called_deprecated() -> None:
    assert "--model is deprecated" in warnings("vllm serve --model m")[0]
    assert warnings("python3 -m vllm.entrypoints.openai.api_server --model m") == []


@pytest.mark.parametrize(
    ("version", "side", "used"), [("0.8.1", "older", "0.10.2"), ("0.99.0", "newer", "0.33.0")]
)
def test_a_version_that_was_never_read_is_said(version: str, side: str, used: str) -> None:
    (sentence,) = warnings("vllm serve m", version)
    assert side in sentence
    assert f"its flags are taken from {used}" in sentence
