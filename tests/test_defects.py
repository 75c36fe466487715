"""The eighteen defects that were found in the program the seed document describes, each shown gone."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from wizard.cli import main
from wizard.errors import HardwareError
from wizard.hardware.catalogue import get_gpu_by_name
from wizard.hardware.resolve import resolve_hardware
from wizard.models import catalogue
from wizard.models.local import load_directory
from wizard.models.tree import parameter_count
from wizard.planning.memory import compute_kv_cache_memory, compute_overhead, evaluate
from wizard.planning.planner import plan, run_plan
from wizard.render.bundle import render
from wizard.render.profile import load_profile, save_profile
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
from wizard.schemas.outputs import GIB, Plan, VLLMConfig
from wizard.vllm.serve_args import parse_serve_command


def planned(name: str, gpu: str, gpus: int = 1, **parts: Any) -> tuple[Plan, PlanRequest]:
    hardware = HardwareInput(gpu=gpu, gpus=gpus, **parts.pop("hardware", {}))
    request = PlanRequest(model=ModelInput(model=name, **parts.pop("model", {})), hardware=hardware, **parts)
    return run_plan(request, offline=True), request


def serve_words(script: str) -> list[str]:
    """The `vllm serve` command of a shell script, as the shell reads it."""
    joined = script.replace("\\\n", " ")
    line = next(
        line for line in joined.splitlines() if "vllm serve" in line and not line.lstrip().startswith("#")
    )
    words = shlex.split(line, comments=True)
    return words[words.index("vllm") :]


def test_01_json_is_json_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    main(["plan", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "RTX 4090", "--offline", "--json"])
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1


def test_02_every_value_is_one_that_vllm_takes() -> None:
    """Under cache pressure the recommended dtype is in vLLM's list: the whole command parses."""
    result, request = planned(
        "meta-llama/Llama-3.1-8B-Instruct",
        "RTX 4090",
        workload=WorkloadInput(prompt_tokens=8000, gen_tokens=1000, concurrency=12),
    )
    assert result.config.kv_cache_dtype == "fp8"
    words = serve_words(render(result, request)["serve.sh"])
    assert parse_serve_command(words, version=result.vllm_version).config.kv_cache_dtype == "fp8"


def test_02_the_ancestors_names_are_understood() -> None:
    model = ModelInput(model="m", dtype="bf16", kv_cache_dtype="fp8_e4m3fn")  # type: ignore[arg-type]
    assert (model.dtype.value, model.kv_cache_dtype) == ("bfloat16", "fp8_e4m3")


@pytest.mark.parametrize(
    ("gpu", "gpus"), [("RTX 4090", 1), ("A100 SXM4 80GB", 1), ("H100 SXM5 80GB", 1), ("T4", 4)]
)
def test_03_no_awq_flag_on_a_checkpoint_that_is_not_awq(gpu: str, gpus: int) -> None:
    result, _ = planned("meta-llama/Llama-3.3-70B-Instruct", gpu, gpus)
    assert result.config.quantization not in {"awq", "gptq"}


def test_04_no_negative_lengths() -> None:
    result, _ = planned("meta-llama/Llama-3.3-70B-Instruct", "RTX 4090")
    assert result.feasibility.verdict == "wont_start"
    assert (result.config.max_model_len or 0) > 0


def test_05_tensor_parallel_is_checked_against_the_gpus() -> None:
    gpus = resolve_hardware(HardwareInput(gpu="RTX 4090"))
    metadata = catalogue.load("Qwen/Qwen3-8B")
    assert metadata is not None
    report = evaluate(VLLMConfig(model="m", tensor_parallel_size=16), metadata, gpus)
    assert (report.verdict, report.cause) == ("wont_start", "invalid_config")
    assert "World size" in (report.error or "")


def test_05_three_gpus_and_64_heads() -> None:
    result, _ = planned("meta-llama/Llama-3.3-70B-Instruct", "H100 SXM5 80GB", 3)
    assert 64 % result.config.tensor_parallel_size == 0


def test_06_every_figure_is_of_one_gpu() -> None:
    result, _ = planned("meta-llama/Llama-3.3-70B-Instruct", "A100 SXM4 80GB", 4)
    part = result.feasibility.per_gpu
    terms = (
        part.weights_bytes
        + part.activation_peak_bytes
        + part.non_torch_bytes
        + part.cuda_graphs_bytes
        + part.kv_cache_available_bytes
    )
    assert terms == part.requested_bytes <= part.total_bytes < 81 * GIB


def test_07_verdict_and_recommendation_use_the_same_settings() -> None:
    result, request = planned("Qwen/Qwen3-8B", "RTX 4090", policy=PolicyInput(gpu_memory_utilization=0.6))
    assert result.config.gpu_memory_utilization == 0.6
    part = result.feasibility.per_gpu
    assert part.requested_bytes == pytest.approx(0.6 * part.total_bytes, abs=2)
    metadata = catalogue.load("Qwen/Qwen3-8B")
    assert metadata is not None
    again = evaluate(
        result.config,
        metadata,
        result.gpus,
        workload=request.workload,
        policy=request.policy,
        version=result.vllm_version,
    )
    assert again == result.feasibility


def test_08_the_verdict_is_vllms_own_rule() -> None:
    """8B at 8,192 tokens starts on a 4090: vLLM asks for one request, not for all at full length."""
    gpus = resolve_hardware(HardwareInput(gpu="RTX 4090"))
    metadata = catalogue.load("meta-llama/Llama-3.1-8B-Instruct")
    assert metadata is not None
    config = VLLMConfig(model="m", max_model_len=8192, max_num_seqs=256, gpu_memory_utilization=0.88)
    report = evaluate(config, metadata, gpus)
    assert report.verdict == "fits"
    assert 3 < report.kv_cache.max_concurrency < 16


def test_09_the_config_decides_not_the_name(tmp_path: Path) -> None:
    directory = tmp_path / "llama-70b"
    directory.mkdir()
    entry = catalogue.models()["qwen/qwen3-1.7b"]
    (directory / "config.json").write_text(json.dumps(entry.config))
    assert parameter_count(load_directory(directory)) < 3e9


@pytest.mark.parametrize(
    ("model", "kv_heads", "context"),
    [("meta-llama/Llama-2-7b-hf", 32, 4096), ("meta-llama/Llama-3.1-8B-Instruct", 8, 131072)],
)
def test_09_geometry_is_the_models_own(model: str, kv_heads: int, context: int) -> None:
    metadata = catalogue.load(model)
    assert metadata is not None
    assert (metadata.num_key_value_heads, metadata.max_position_embeddings) == (kv_heads, context)


@pytest.mark.parametrize(
    ("model", "billions", "bytes_per_token"),
    [
        ("Qwen/Qwen3-30B-A3B", 30.5, 98304),
        ("deepseek-ai/DeepSeek-V2-Lite", 15.7, 31104),
        ("meta-llama/Llama-3.3-70B-Instruct", 70.6, 327680),
    ],
)
def test_10_parameters_and_cache_follow_the_architecture(
    model: str, billions: float, bytes_per_token: int
) -> None:
    metadata = catalogue.load(model)
    assert metadata is not None
    assert parameter_count(metadata) / 1e9 == pytest.approx(billions, rel=0.005)
    assert compute_kv_cache_memory(metadata, 4096, 1) == 4096 * bytes_per_token


def test_11_a_revision_and_remote_code_reach_the_command() -> None:
    result, request = planned("Qwen/Qwen3-8B", "L40S", model={"trust_remote_code": True})
    words = serve_words(render(result, request)["serve.sh"])
    assert "--trust-remote-code" in words


@pytest.mark.parametrize("name", ["B200", "RTX 5090", "RTX 6000 Ada", "MI300X"])
def test_12_todays_gpus_are_known(name: str) -> None:
    assert get_gpu_by_name(name).memory_total_bytes > 20 * GIB


def test_12_gpu_names_are_not_guessed_from_parts() -> None:
    assert get_gpu_by_name("NVIDIA A100-SXM4-80GB").memory_total_bytes > 79 * GIB
    with pytest.raises(HardwareError):
        get_gpu_by_name("a1")
    assert get_gpu_by_name("L4").memory_total_bytes < 23 * GIB


def test_13_memory_of_others_enters_the_plan() -> None:
    gpus = resolve_hardware(HardwareInput(gpu="H100 SXM5 80GB", used_gib=30))
    metadata = catalogue.load("Qwen/Qwen3-8B")
    assert metadata is not None
    report = evaluate(VLLMConfig(model="m"), metadata, gpus)
    assert (report.verdict, report.cause) == ("wont_start", "free_memory")


def test_14_a_profile_keeps_every_answer(tmp_path: Path) -> None:
    request = PlanRequest(
        model=ModelInput(model="Qwen/Qwen3-8B", trust_remote_code=True, tokenizer="other/tokenizer"),
        workload=WorkloadInput(target_latency_ms=250.0),
    )
    save_profile(request, tmp_path / "profile.yaml")
    assert load_profile(tmp_path / "profile.yaml") == request


def test_14_a_profile_needs_no_model_on_the_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    request = PlanRequest(model=ModelInput(model="Qwen/Qwen3-8B"), hardware=HardwareInput(gpu="L40S"))
    save_profile(request, tmp_path / "profile.yaml")
    assert main(["plan", "--profile", str(tmp_path / "profile.yaml"), "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["id"] == "Qwen/Qwen3-8B"


def test_15_hostile_names_stay_words(tmp_path: Path) -> None:
    directory = tmp_path / "model; touch pwned #$(touch pwned)"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(catalogue.models()["qwen/qwen3-1.7b"].config))
    result, request = planned(str(directory), "L40S")
    artifacts = render(result, request)
    assert serve_words(artifacts["serve.sh"])[2] == str(directory)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "vllm").write_text('#!/bin/sh\nprintf "%s\\n" "$2"\n')
    (bin_folder / "vllm").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", artifacts["serve.sh"]],
        env={"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(directory) in done.stdout
    assert not (tmp_path / "pwned").exists()


def test_15_compose_is_pinned_and_has_no_version_key() -> None:
    result, request = planned("Qwen/Qwen3-8B", "L40S")
    compose = yaml.safe_load(render(result, request)["docker-compose.yaml"])
    assert "version" not in compose
    (service,) = compose["services"].values()
    assert service["image"].endswith(":v0.33.0")
    command = service["command"]
    assert all(" " not in str(word) for word in command if str(word).startswith("--"))


def test_16_overhead_follows_model_and_batch() -> None:
    metadata = catalogue.load("Qwen/Qwen3-8B")
    assert metadata is not None
    small = compute_overhead(80 * GIB, metadata=metadata, max_num_batched_tokens=2048, max_num_seqs=16)
    large = compute_overhead(80 * GIB, metadata=metadata, max_num_batched_tokens=16384, max_num_seqs=1024)
    assert large > small + GIB // 2


def test_17_swap_space_is_a_name_only() -> None:
    result, request = planned("Qwen/Qwen3-8B", "L40S")
    assert "swap_space" in VLLMConfig.model_fields
    assert "swap" not in render(result, request)["serve.sh"]


def test_18_speed_depends_on_concurrency_and_active_parameters() -> None:
    one, _ = planned("Qwen/Qwen3-8B", "H100 SXM5 80GB", workload=WorkloadInput(concurrency=1))
    many, _ = planned("Qwen/Qwen3-8B", "H100 SXM5 80GB", workload=WorkloadInput(concurrency=32))
    assert one.performance is not None
    assert many.performance is not None
    assert many.performance.output_tokens_per_s.mid > 4 * one.performance.output_tokens_per_s.mid
    sparse, _ = planned("Qwen/Qwen3-30B-A3B", "H100 SXM5 80GB", workload=WorkloadInput(concurrency=1))
    dense, _ = planned("Qwen/Qwen3-32B", "H100 SXM5 80GB", workload=WorkloadInput(concurrency=1))
    assert sparse.performance is not None
    assert dense.performance is not None
    assert sparse.performance.tpot_ms.mid < dense.performance.tpot_ms.mid / 2


def test_18_sixteen_gpus_are_not_thirteen_times_one() -> None:
    metadata = catalogue.load("Qwen/Qwen3-8B")
    assert metadata is not None
    requests = [
        PlanRequest(
            model=ModelInput(model="Qwen/Qwen3-8B"),
            hardware=HardwareInput(gpu="H100 SXM5 80GB", gpus=gpus, tensor_parallel_size=gpus),
            workload=WorkloadInput(concurrency=1),
        )
        for gpus in (1, 8)
    ]
    one, eight = (plan(request, metadata, resolve_hardware(request.hardware)) for request in requests)
    assert one.performance is not None
    assert eight.performance is not None
    assert eight.performance.output_tokens_per_s.mid < 6 * one.performance.output_tokens_per_s.mid
