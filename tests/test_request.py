"""What a request refuses: secrets, addresses that are none."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wizard.schemas.inputs import PolicyInput, ServingInput


@pytest.mark.parametrize(
    "words",
    [
        ("--api-key", "sk-1"),
        ("--api_key=sk-1",),
        ("--api-k", "sk-1"),
        ("--apikey", "sk-1"),
        ("--hf-token", "hf_x"),
        ("--hf-tok=hf_x",),
        ("--model-loader-extra-config", '{"token": "hf_' + "a" * 34 + '"}'),
    ],
)
def test_a_key_or_a_token_is_no_extra_flag(words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        PolicyInput(extra_args=words)
    sentence = caught.value.errors()[0]["msg"]
    assert "VLLM_API_KEY or HF_TOKEN in the environment" in sentence
    assert "sk-1" not in sentence


def test_flags_that_only_look_alike_are_let_through() -> None:
    words = ("--api-server-count", "2", "--hf-config-path", "x", "--hf-overrides", "{}")
    assert PolicyInput(extra_args=words).extra_args == words


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "gpu-7.example.org", "localhost"])
def test_addresses_and_names_are_hosts(host: str) -> None:
    assert ServingInput(host=host).host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0; rm -rf /", "", "1.2.3", "300.1.1.1", "a b", "-x", "$(id)", "fe80::1%eth0", "x" * 300]
)
def test_anything_else_is_no_host(host: str) -> None:
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1"):
        ServingInput(host=host)


@pytest.mark.parametrize("port", [0, -1, 65536, 99999])
def test_a_port_is_one_that_can_be_bound(port: int) -> None:
    with pytest.raises(ValidationError):
        ServingInput(port=port)
