"""12 versions x 20 plans x every artifact: no unknown flag, no illegal value, no plan lost on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from tests.render.commands_of import commands_of
from tests.render.plans import gpu, plan, request
from tests.vllm.test_flags import TWELVE
from wizard.render.arguments import serve_arguments
from wizard.render.bundle import render
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan, VLLMConfig
from wizard.vllm.flags import flag_table
from wizard.vllm.serve_args import parse_serve_command

PLANS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tensor parallel": {"tensor_parallel_size": 4},
    "pipeline": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
    "data parallel": {"data_parallel_size": 2, "model": "openai/gpt-oss-20b", "architecture": "GptOssForCausalLM"},
    "experts": {
        "model": "Qwen/Qwen3-235B-A22B-FP8", "architecture": "Qwen3MoeForCausalLM",
        "tensor_parallel_size": 8, "enable_expert_parallel": True,
    },
    "two nodes": {"nodes": 2, "nnodes": 2, "tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    "ranks on nodes": {
        "nodes": 2, "nnodes": 2, "tensor_parallel_size": 8, "data_parallel_size": 2, "enable_expert_parallel": True,
        "model": "deepseek-ai/DeepSeek-V3.2", "architecture": "DeepseekV32ForCausalLM", "trust_remote_code": True,
    },
    "replicas": {"replicas": 3, "gpus": tuple(gpu(index) for index in range(8)), "tensor_parallel_size": 2},
    "directory": {"model": "/models/my model", "source": "path", "revision": None},
    "fp8 cache": {"kv_cache_dtype": "fp8_e4m3", "block_size": 32},
    "model's cache": {"kv_cache_dtype": "bfloat16", "dtype": "bfloat16"},
    "eager": {"enforce_eager": True, "enable_prefix_caching": False, "enable_chunked_prefill": False},
    "graphs": {"cudagraph_mode": "PIECEWISE", "max_cudagraph_capture_size": 128, "optimization_level": 0},
    "new switches": {
        "performance_mode": "throughput", "optimization_level": 3, "async_scheduling": True,
        "attention_backend": "FLASHINFER", "max_model_len": -1,
    },
    "vision": {
        "model": "Qwen/Qwen3-VL-32B-Thinking", "architecture": "Qwen3VLForConditionalGeneration",
        "limit_mm_per_prompt": {"image": 2, "video": 0}, "mm_encoder_tp_mode": "data", "skip_mm_profiling": True,
    },
    "text only": {
        "model": "google/gemma-4-E4B-it", "architecture": "Gemma4ForConditionalGeneration", "language_model_only": True,
    },
    "speculation": {
        "model": "zai-org/GLM-4.7", "architecture": "Glm4MoeForCausalLM",
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
    },
    "lora": {"enable_lora": True, "max_loras": 4, "max_lora_rank": 64},
    "embedding": {"model": "BAAI/bge-m3", "architecture": "XLMRobertaModel"},
    "memory by hand": {
        "gpu_memory_utilization": None, "kv_cache_memory_bytes": 20 << 30, "cpu_offload_gb": 4.5, "swap_space": 4.0,
        "hf_overrides": {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "mamba_block_size": 16,
        "extra_args": ("--seed", "7", "--served-model-name", "a", "b"), "decode_context_parallel_size": 1,
        "disable_hybrid_kv_cache_manager": True, "num_gpu_blocks_override": 512,
    },
}  # fmt: skip


def made(name: str, version: str) -> Plan:
    return plan(version=version, **PLANS[name])


@cache
def files_of(name: str, version: str = "0.33.0") -> Mapping[str, str]:
    return render(made(name, version), request(), ["all"])


@pytest.mark.parametrize("version", TWELVE)
def test_every_command_of_every_artifact_is_one_that_vllm_accepts(version: str) -> None:
    table = flag_table(version)
    for name in PLANS:
        files = files_of(name, version)
        commands = {file: commands_of(file, text) for file, text in files.items()}
        assert sum(len(found) for found in commands.values()) >= 2, name
        for file, found in commands.items():
            for words in found:
                parsed = parse_serve_command(words, version=version)
                assert not [warning for warning in parsed.warnings if "short for" in warning], (name, file)
                spelled = [
                    word.partition("=")[0].partition(".")[0] for word in words[3:] if word.startswith("--")
                ]
                assert set(spelled) <= set(table.options), (name, file)
                assert parsed.config.max_num_seqs == 64, (name, file)
        json.loads(files["plan.json"])


@pytest.mark.parametrize("version", TWELVE)
@pytest.mark.parametrize("name", PLANS)
def test_the_written_command_means_the_plan_or_says_what_it_left_out(name: str, version: str) -> None:
    config = made(name, version).config
    written = serve_arguments(config, version)
    found = parse_serve_command(written.words, version=version).config
    table = flag_table(version)
    for field, fallback in ((name, info.default) for name, info in VLLMConfig.model_fields.items()):
        ours, theirs = getattr(config, field), getattr(found, field)
        flag = table.get("--" + field.replace("_", "-"))
        same_as_default = {
            repr(value) for value in (None, fallback, flag.default if flag is not None else None)
        }
        if field in {"extra_args", "explanations", "nnodes", "swap_space"} or ours == theirs:
            continue
        if repr(ours) in same_as_default and repr(theirs) in same_as_default:
            continue
        said = " ".join(written.notes) + str(written.environment) + " ".join(written.words)
        replaced = {
            "attention_backend": "VLLM_ATTENTION_BACKEND",
            "optimization_level": "--enforce-eager",
            "language_model_only": "--limit-mm-per-prompt",
        }
        words = [
            f"--{field.replace('_', '-')} {ours if ours != -1 else 'auto'} is left out",
            replaced.get(field, "-"),
        ]
        assert any(word in said for word in words if word != "-") or (
            field in {"enforce_eager", "limit_mm_per_prompt"} and ours in (None, False)
        ), (field, ours, theirs, said)


def test_revision_is_pinned_and_the_image_is_of_the_version() -> None:
    files = render(made("plain", "0.21.0"), request(), ["all"])
    for name in ("serve.sh", "docker-compose.yaml", "kubernetes.yaml", "vllm.service"):
        assert "--revision" in files[name]
        assert "0e9e39f249a16976918f6564b8830bc894c89659" in files[name]
    assert "vllm/vllm-openai:v0.21.0" in files["docker-run.sh"]
    assert "latest" not in files["docker-compose.yaml"]


@pytest.mark.parametrize("name", PLANS)
def test_every_artifact_states_model_gpus_version_prediction_and_how_to_make_it_again(name: str) -> None:
    original = made(name, "0.33.0")
    for file, text in files_of(name).items():
        if file == "plan.json":
            continue
        assert original.model.id in text, file
        assert "H100" in text, file
        assert "0.33.0" in text, file
        assert "457,104 tokens" in text, file
        assert "export --profile profile.yaml" in text, file


@pytest.mark.parametrize("name", PLANS)
def test_only_the_chosen_address_and_what_was_allowed_is_written(name: str) -> None:
    files = files_of(name)
    for file in ("serve.sh", "node-0.sh", "vllm.service"):
        if file in files:
            assert "--host 127.0.0.1" in files[file]
    assert all("--trust-remote-code" not in text for text in files.values()) == (
        not PLANS[name].get("trust_remote_code", False)
    )


def test_no_secret_of_the_environment_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    monkeypatch.setenv("VLLM_API_KEY", "sk-secretsecret")
    for name in ("plain", "two nodes", "replicas"):
        files = render(made(name, "0.33.0"), request(), ["all"])
        assert not [file for file, text in files.items() if "secretsecret" in text]


def listening(host: str, port: int = 8000) -> PlanRequest:
    """The request with another address."""
    return request().with_value("serving.host", host).with_value("serving.port", port)


def test_the_chosen_address_and_port_reach_every_artifact() -> None:
    files = render(made("plain", "0.33.0"), listening("0.0.0.0", 9000), ["all"])
    assert "--host 0.0.0.0 \\\n  --port 9000" in files["serve.sh"]
    assert "-p 9000:8000" in files["docker-run.sh"]
    assert "- 9000:8000" in files["docker-compose.yaml"]
    assert "http://127.0.0.1:9000" in files["smoke.sh"]
    assert "set `VLLM_API_KEY` and a firewall" in files["README.md"]
    files = render(made("plain", "0.33.0"), listening("::1"), ["docker", "smoke"])
    assert "-p '[::1]:8000:8000'" in files["docker-run.sh"]
    assert "http://[::1]:8000" in files["smoke.sh"]
