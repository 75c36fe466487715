"""Launch records as sources write them, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.accuracy.__main__ import main
from tests.accuracy.figures import spread
from tests.accuracy.judge import judge
from tests.accuracy.machines import machine
from tests.accuracy.models import Models
from tests.accuracy.records import Record, Skipped, record
from tests.accuracy.versions import launch_version
from wizard.schemas.outputs import GIB, MIB

CONFIG = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
"vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16"}"""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    folder = tmp_path / "org" / "Base-8B"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    quantised = tmp_path / "org" / "Base-8B-AWQ"
    quantised.mkdir()
    method = ', "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}'
    (quantised / "config.json").write_text(CONFIG.rstrip("}") + method)
    return Models(tmp_path)


def launch(models: Models, args: dict[str, Any], **facts: Any) -> Record:
    raw = {
        "id": "x",
        "model": "org/Base-8B",
        "gpu": "RTX 3090",
        "vllm_version": "0.19.0",
        "outcome": "started",
    }
    found = record(raw | {"args": args} | facts, models)
    assert isinstance(found, Record), found
    return found


def test_arguments_in_every_spelling(models: Models) -> None:
    short = launch(models, {"tp": 2, "max_model_len": 8192})
    long = launch(models, {"tensor_parallel_size": 2, "max_model_len": 8192})
    resolved = launch(models, {"engine_config": {"tensor_parallel_size": "2", "max_seq_len": "8192"}})
    chosen = launch(models, {"tp": 1, "non_default": {"tensor_parallel_size": 2, "max_model_len": 8192}})
    assert short.config == long.config == resolved.config == chosen.config


def test_notes_are_no_choices(models: Models) -> None:
    found = launch(models, {"gpu_memory_utilization": "default 0.9", "max_num_seqs": "study baseline 128"})
    assert found.config.gpu_memory_utilization is None
    assert found.config.max_num_seqs is None
    assert not found.incomplete
    assert launch(models, {"gpu_memory_utilization": "not shown"}).incomplete == "utilisation not stated"


def test_what_the_engine_resolved_is_not_taken_for_a_choice(models: Models) -> None:
    args = {
        "quantization": "awq_marlin",
        "engine_config": {"enforce_eager": "False", "quantization": "awq_marlin"},
    }
    found = launch(models, args, model="org/Base-8B-AWQ")
    assert found.config.quantization is None
    assert found.config.enforce_eager is None
    assert launch(models, {"quantization": "fp8"}).config.quantization == "fp8"


def test_a_small_capture_size_tells_the_slots(models: Models) -> None:
    assert launch(models, {"cudagraph_max_capture": 16}).config.max_num_seqs == 8
    assert launch(models, {"cudagraph_max_capture": 512}).config.max_num_seqs is None


def test_offline_engines_take_the_larger_batch(models: Models) -> None:
    assert launch(models, {"usage": "LLM class"}).config.max_num_batched_tokens == 8192


def test_speculation_in_words_and_in_objects(models: Models) -> None:
    words = launch(
        models, {"speculative_config": "SpeculativeConfig(method='mtp', model='m', num_spec_tokens=3)"}
    )
    loose = launch(models, {"speculative_config": "eagle3 MTP=3"})
    assert words.config.speculative_config == {"method": "mtp", "num_speculative_tokens": 3, "model": "m"}
    assert loose.config.speculative_config == {"method": "eagle3", "num_speculative_tokens": 3}


def test_memory_of_others_is_stated_or_follows_from_what_was_free(models: Models) -> None:
    stated = launch(models, {"other_process_mib": 4902})
    assert stated.machine.gpu.memory_used_bytes == 4902 * MIB
    free = launch(models, {}, gpu_total_gib=23.56, measured={"free_at_start_gib": 12.18})
    assert free.machine.gpu.memory_used_bytes == pytest.approx(11.38 * GIB, rel=1e-3)
    own = launch(models, {}, gpu_total_gib=23.56, measured={"free_at_start_gib": 23.2})
    assert own.machine.gpu.memory_used_bytes == 0


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"model": "nobody/knows"}, "model not identified"),
        ({"model": "org/Base-8B (exact id unknown)"}, "model not identified"),
        ({"gpu": "unknown (~16 GB class)"}, "GPU not identified"),
        ({"gpu": "A100-80GB vGPU slice ~24 GB (30%)"}, "GPU not identified"),
        ({"gpu": None}, "no GPU named"),
        ({"vllm_version": "fork with --moe-cpu-offload"}, "a fork of vLLM with rules of its own"),
        ({"args": {"tp": -1}}, "arguments not understood: ('tensor_parallel_size',)"),
    ],
)
def test_what_cannot_be_judged_is_skipped_with_a_reason(
    models: Models, facts: dict[str, Any], reason: str
) -> None:
    raw = {"id": "x", "model": "org/Base-8B", "gpu": "L4", "vllm_version": "0.19.0", "outcome": "started"}
    assert record(raw | facts, models) == Skipped("x", reason)


def test_siblings_of_the_same_shapes_stand_in(models: Models) -> None:
    found = models.find("org/Base-8B-Instruct")
    assert found is not None
    assert not found.exact


@pytest.mark.parametrize(
    ("text", "date", "number", "basis"),
    [
        ("0.19.0", "2026-04", "0.19.0", "stated"),
        ("0.18.1rc1.dev147+g290809456", "2026-03", "0.18.1rc1.dev147", "stated"),
        ("0.11.0 (pod spec; unsure)", "2026-01", "0.11.0", "inferred"),
        ("unknown (~0.11)", "2025-10", "0.11", "inferred"),
        ("unknown (>=0.17 line numbers, kv_cache_utils.py:1708 => ~0.20)", "2026", "0.20", "inferred"),
        ("unknown (older; 4-decimal weights)", "2026", "0.11.0", "inferred"),
        ("0.1.dev20073+g8e685d198", "2026-08", "0.27.1", "month"),
        (None, "2025-11", "0.11.0", "month"),
        (None, None, "0.33.0", "month"),
    ],
)
def test_versions_as_sources_write_them(text: str | None, date: str | None, number: str, basis: str) -> None:
    found = launch_version(text, date)
    assert (found.number, found.basis) == (number, basis)


@pytest.mark.parametrize(
    ("text", "total", "name", "gib"),
    [
        ("H100 80GB", None, "H100 SXM5 80GB", 79.19),
        ("L40S 48GB (g6e.xlarge, 46068 MiB)", None, "NVIDIA L40S", 44.39),
        ("unknown 80 GB (79.19 GiB; H100-class by defaults)", 79.19, "H100 SXM5 80GB", 79.19),
        (
            "12 GB card (12288 MiB, 380 MiB reserved; 'srv2', likely RTX 3060)",
            11.63,
            "GeForce RTX 3060",
            11.63,
        ),
        ("RTX 4090 (WSL2)", None, "GeForce RTX 4090", 23.99),
    ],
)
def test_gpus_as_sources_write_them(text: str, total: float | None, name: str, gib: float) -> None:
    found = machine(text, total)
    assert found is not None
    assert found.gpu.name == name
    assert found.gpu.memory_total_bytes / GIB == pytest.approx(gib, abs=0.01)


def test_a_launch_is_judged_term_by_term(models: Models) -> None:
    measured = {
        "weights_gib": 14.99,
        "kv_available_gib": 58.11,
        "activation_gib": 1.89,
        "non_torch_gib": 0.25,
        "kv_tokens": 476032,
        "max_concurrency": 58.11,
    }
    args = {"max_model_len": 8192, "gpu_memory_utilization": 0.95}
    found = judge(launch(models, args, gpu="H100 80GB", gpu_total_gib=79.19, measured=measured))
    assert not isinstance(found, str)
    assert found.report.verdict == "fits"
    assert found.kv is not None
    assert abs(found.kv.error) < 0.1
    assert found.covered
    assert {term.name for term in found.terms} == {"weights", "activation", "non-torch"}
    assert all(abs(term.error) < 0.05 for term in found.terms)
    assert found.given_equal == (True, True)


def test_quantiles_are_linear_between_neighbours() -> None:
    found = spread([-3.0, 1.0, 2.0, 4.0])
    assert found is not None
    assert (found.count, found.median, found.largest, found.bias) == (4, 2.5, 4.0, 1.0)
    assert spread([]) is None


def test_the_command_runs_on_any_file_of_the_same_form(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launches = tmp_path / "launches.jsonl"
    launches.write_text(
        '{"id": "a", "model": "org/Base-8B", "gpu": "H100 80GB", "gpu_total_gib": 79.19, "n_gpus": 1, '
        '"vllm_version": "0.19.0", "outcome": "started", "args": {"max_model_len": 8192, '
        '"gpu_memory_utilization": 0.95}, "measured": {"kv_available_gib": 58.11, "weights_gib": 14.99}}\n'
        '{"id": "b", "model": "nobody/knows", "gpu": "L4", "vllm_version": null, "outcome": "started"}\n'
    )
    written = tmp_path / "out.json"
    main(["--launches", str(launches), "--configs", str(tmp_path), "--json", str(written)])
    printed = capsys.readouterr().out
    assert "1 launches judged, 1 skipped" in printed
    assert "model not identified" in printed
    assert '"kv_error_percent_of_gpu"' in written.read_text()


def test_the_command_says_where_launches_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--launches", str(tmp_path / "none.jsonl")]) == 2
    assert "--launches" in capsys.readouterr().err
