"""Profiles: saved whole, read back the same, every broken file answered in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.render.plans import request
from wizard.errors import WizardError
from wizard.render.profile import load_profile, profile_to_request, request_to_profile, save_profile
from wizard.schemas.inputs import (
    BatchingMode,
    HardwareInput,
    ModelInput,
    PlanRequest,
    PolicyInput,
    WorkloadInput,
)

FULL = PlanRequest(
    model=ModelInput(
        model="org/model", revision="abc", tokenizer="org/tokenizer", trust_remote_code=True, dtype="fp16",
        quantization="fp8", kv_cache_dtype="fp8_e4m3", max_model_len=8192, params_b=7.5,
    ),
    hardware=HardwareInput(
        gpu="RTX 4090", gpus=2, nodes=2, device_ids=("0", "GPU-abc"), vram_gb=23.5, used_gib=1.0,
        interconnect="pcie", tensor_parallel_size=2, price_per_hour=0.4,
    ),
    workload=WorkloadInput(
        prompt_tokens=1, gen_tokens=2, concurrency=3, prefix_share=0.5, batching_mode="latency", streaming=False,
        target_latency_ms=100.0,
    ),
    policy=PolicyInput(
        gpu_memory_utilization=0.8, headroom_gb=2.0, overhead_gb=1.0, fragmentation_factor=1.1, allow_quantized=False,
        allow_fp8_kv=False, max_ttft_ms=500.0, max_tpot_ms=20.0, vllm_version="0.21.0", enforce_eager=True,
        max_num_seqs=8, max_num_batched_tokens=4096, extra_args=("--seed", "1"),
    ),
    explain=False,
)  # fmt: skip


@pytest.mark.parametrize("asked", [FULL, request(), PlanRequest(model=ModelInput(model="m"))])
def test_a_request_comes_back_the_same(asked: PlanRequest, tmp_path: Path) -> None:
    path = tmp_path / "new" / "profile.yaml"
    save_profile(asked, path)
    assert load_profile(path) == asked
    assert load_profile(str(path)) == asked
    assert profile_to_request(request_to_profile(asked)) == asked
    assert [entry.name for entry in path.parent.iterdir()] == ["profile.yaml"]


def test_every_field_that_was_chosen_is_in_the_file() -> None:
    """The ancestor dropped trust_remote_code, tokenizer and target_latency_ms."""
    data = request_to_profile(FULL)
    assert data["model"]["trust_remote_code"] is True
    assert data["model"]["tokenizer"] == "org/tokenizer"
    assert data["workload"]["target_latency_ms"] == 100.0
    assert data["hardware"]["device_ids"] == ["0", "GPU-abc"]


def test_a_profile_of_the_ancestor_is_read() -> None:
    old = {
        "profile_version": 1,
        "model": {
            "id": "org/model",
            "dtype": "bf16",
            "quantization": "none",
            "kv_cache_dtype": "auto",
            "revision": None,
        },
        "hardware": {
            "gpu_name": "A100 80GB",
            "gpus": 2,
            "tp_size": 2,
            "interconnect": "nvlink",
            "vram_gb": None,
        },
        "workload": {"prompt_tokens": 512, "gen_tokens": 256, "concurrency": 1, "mode": "throughput"},
        "policy": {"gpu_memory_utilization": 0.9, "fragmentation_factor": 1.15, "headroom_gb": 1.0},
        "outputs": {"emit": ["command"], "vllm_args": {}},
    }
    found = profile_to_request(old)
    assert found.model.model == "org/model"
    assert found.model.dtype == "bfloat16"
    assert found.model.quantization is None
    assert found.hardware.tensor_parallel_size == 2
    assert found.workload.batching_mode is BatchingMode.THROUGHPUT
    assert found.policy == PolicyInput()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "not valid YAML in line"),
        ("- a\n- b", "is no profile"),
        ("just text", "is no profile"),
        ("", "is no profile"),
        ("1: 2", "is no profile"),
        ("model: {}", "model.model"),
        ("model: {model: m, colour: red}", "model.colour"),
        ("hardware: {gpus: 1}", "model"),
        ("model: {model: m}\nworkload: {concurrency: many}", "workload.concurrency"),
        ("profile_version: 9\nmodel: {model: m}", "version '9'"),
        ("a: !!python/object/apply:os.system ['touch pwned']", "not valid YAML"),
        ("x: &x [1]\nmodel: {model: *x}", "model.model"),
        ("m: \x00", "not valid YAML"),
    ],
)
def test_a_broken_profile_is_answered_in_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(WizardError) as caught:
        load_profile(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/pwned"))


def test_files_that_are_no_text_or_too_large_or_missing_are_refused(tmp_path: Path) -> None:
    for content, words in (
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"a" * (1 << 20) + b"a", "larger than 1 MiB"),
    ):
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(WizardError, match=words):
            load_profile(tmp_path / "p")
    with pytest.raises(WizardError, match="can't be read"):
        load_profile(tmp_path / "missing")
    with pytest.raises(WizardError, match="can't be read"):
        load_profile(tmp_path)


def test_nested_aliases_cost_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "p").write_text("\n".join([*lines, "model: {model: *a11}"]))
    with pytest.raises(WizardError):
        load_profile(tmp_path / "p")


def test_a_profile_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WizardError, match="can't be written"):
        save_profile(FULL, tmp_path / "file" / "profile.yaml")


def test_the_text_is_plain_yaml() -> None:
    assert yaml.safe_load(yaml.safe_dump(request_to_profile(FULL))) == request_to_profile(FULL)
