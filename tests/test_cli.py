"""The command line as scripts see it: JSON, exit statuses, one sentence for every mistake."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wizard.cli import main

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and the one JSON document on stdout."""
    status, out, _ = run(capsys, *arguments, "--json") if "--" not in arguments else run(capsys, *arguments)
    return status, json.loads(out)


def check(
    capsys: pytest.CaptureFixture[str], options: list[str], serve: list[str]
) -> tuple[int, dict[str, Any]]:
    return document(capsys, "check", *options, "--offline", "--json", "--", "vllm", "serve", *serve)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory with a config and one safetensors file (header and zeros)."""
    directory = tmp_path / "a model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    return directory


class TestCheck:
    def test_8b_on_an_h100(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, answer = check(
            capsys,
            ["--gpu", "H100 SXM5 80GB", "--gpus", "1"],
            ["meta-llama/Llama-3.1-8B-Instruct", "--max-model-len", "8192"],
        )
        feasibility = answer["feasibility"]
        assert status == 0
        assert feasibility["verdict"] == "fits"
        assert 14.96 <= feasibility["per_gpu"]["weights_bytes"] / 2**30 <= 15.0
        assert feasibility["kv_cache"]["bytes_per_token"] == 131072

    def test_70b_on_a_4090_names_fixes_that_fit(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, answer = check(capsys, ["--gpu", "GeForce RTX 4090"], ["meta-llama/Llama-3.3-70B-Instruct"])
        feasibility = answer["feasibility"]
        assert status == 1
        assert feasibility["verdict"] == "wont_start"
        assert feasibility["cause"] in {"no_kv_memory", "out_of_memory"}
        assert feasibility["error"]
        fitting = [fix for fix in answer["fixes"] if fix["verdict_after"] == "fits"]
        assert len(fitting) >= 2

    def test_needs_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, error = run(capsys, "check", "--gpu", "L40S")
        assert (status, out) == (2, "")
        assert "vllm serve" in error

    def test_tensor_parallel_must_divide_the_heads(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, answer = check(capsys, ["--gpu", "L40S"], ["Qwen/Qwen3-8B", "-tp", "3"])
        assert status == 1
        assert answer["feasibility"]["cause"] == "invalid_config"
        assert "divisible" in answer["feasibility"]["error"]


class TestPlan:
    def test_json_is_one_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, answer = document(capsys, "plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline")
        assert status == 0
        assert answer["schema_version"] == 1
        assert set(answer) >= {
            "vllm_version",
            "model",
            "hardware",
            "config",
            "feasibility",
            "performance",
            "alternatives",
            "fixes",
        }

    def test_directory_on_disk(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        status, answer = document(capsys, "plan", "--model", str(model), "--gpu", "T4", "--offline")
        assert status == 0
        assert answer["model"]["source"] == "path"
        assert answer["config"]["dtype"] == "auto"

    def test_text_names_the_verdict(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline")
        assert status == 0
        assert "FITS" in out
        assert "vLLM will log" in out

    def test_typed_number_beats_the_preset(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["plan", "--model", "Qwen/Qwen3-8B", "--gpu", "H100 SXM5 80GB", "--offline"]
        _, preset = document(capsys, *arguments, "--preset", "batch")
        _, typed = document(capsys, *arguments, "--preset", "batch", "--concurrency", "2")
        assert preset["config"]["max_num_seqs"] > typed["config"]["max_num_seqs"]


class TestWhatNeverComes:
    """A plan that won't start shows what is short or unknown, never figures of a start."""

    def test_refused_settings_have_no_terms(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, answer = check(capsys, ["--gpu", "L40S"], ["Qwen/Qwen3-8B", "--max-model-len", "999999"])
        feasibility = answer["feasibility"]
        assert feasibility["cause"] == "invalid_config"
        assert feasibility["per_gpu"]["total_bytes"] > 0
        assert feasibility["per_gpu"]["weights_bytes"] is None
        assert feasibility["weights_gb"] is None
        assert set(feasibility["kv_cache"].values()) == {None}

    def test_refused_settings_in_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ("--gpu", "L40S", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B", "-tp", "3")
        _, out, _ = run(capsys, "check", *arguments)
        assert "not counted" in out
        assert not re.search(r"^  (weights|KV cache) ", out, re.MULTILINE)
        assert "9 starts of 10" not in out

    def test_no_room_for_a_cache(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ("--model", "meta-llama/Llama-3.3-70B-Instruct", "--gpu", "GeForce RTX 4090", "--offline")
        _, out, _ = run(capsys, "plan", *arguments)
        assert "more than the budget is needed before the first token of cache" in out
        assert not re.search(r"\s-\d|vLLM will log|9 starts of 10", out)

    def test_vllms_sentence_is_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ("--gpu", "L40S", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B")
        _, out, _ = run(capsys, "check", *arguments, "--max-model-len", "999999")
        assert "out-of-bounds error." in out
        assert all(len(row) <= 110 for row in out.splitlines())


class TestResolved:
    def test_what_a_bare_command_comes_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The flags stay as given; what vLLM makes of them stands beside."""
        _, answer = check(capsys, ["--gpu", "H100 SXM5 80GB"], ["meta-llama/Llama-3.1-8B-Instruct"])
        assert answer["config"]["gpu_memory_utilization"] is None
        assert answer["resolved"]["gpu_memory_utilization"] == 0.92
        assert answer["resolved"]["max_model_len"] == 131072
        assert answer["resolved"]["max_num_seqs"] == 1024
        assert answer["resolved"]["max_num_batched_tokens"] == 8192
        assert answer["resolved"]["kv_cache_dtype"] == "bfloat16"
        assert answer["resolved"]["block_size"] == 16

    def test_a_version_too_old_says_whose_rules_are_used(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ("--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", "--vllm-version")
        assert "rules of 0.10.0" in run(capsys, "plan", *arguments, "0.1")[1]
        assert "rules of" not in run(capsys, "plan", *arguments, "0.10.2")[1]


class TestExport:
    def test_writes_what_it_says(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        target = tmp_path / "out"
        status, out, _ = run(
            capsys, "export", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", "-o", str(target)
        )
        assert status == 0
        assert (target / "serve.sh").read_text().startswith("#!")
        assert {Path(line).name for line in out.split("\n") if line} == {
            path.name for path in target.rglob("*") if path.is_file()
        }

    def test_nothing_is_written_for_what_will_not_start(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        target = tmp_path / "out"
        status, _, error = run(
            capsys,
            "export",
            "--model",
            "deepseek-ai/DeepSeek-V3",
            "--gpu",
            "T4",
            "--offline",
            "-o",
            str(target),
        )
        assert status == 1
        assert not target.exists()
        assert "nothing is written" in error

    def test_what_would_be_replaced_is_shown_and_kept_unless_allowed(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        arguments = ["export", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", "-o", str(tmp_path)]
        (tmp_path / "serve.sh").write_text("mine\n")
        status, out, error = run(capsys, *arguments, "--emit", "serve,env")
        assert (status, out) == (2, "")
        assert "\n-mine\n" in error
        assert "--overwrite" in error
        assert (tmp_path / "serve.sh").read_text() == "mine\n"
        assert not (tmp_path / ".env.example").exists()
        status, _, error = run(capsys, *arguments, "--emit", "serve,env", "--overwrite")
        assert status == 0
        assert "\n-mine\n" in error
        assert (tmp_path / "serve.sh").read_text() != "mine\n"

    def test_a_secret_is_refused_and_not_repeated(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        status, out, error = run(
            capsys, "plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", "--json",
            "--extra-args=--api-key sk-secret",
        )  # fmt: skip
        assert (status, out) == (2, "")
        assert "VLLM_API_KEY" in error
        assert "sk-secret" not in error

    def test_a_checked_commands_secret_is_not_repeated(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, error = run(
            capsys, "check", "--gpu", "L40S", "--offline", "--json", "--",
            "vllm", "serve", "Qwen/Qwen3-8B", "--api-key", "sk-secret", "--hf-token", "hf_secret",
        )  # fmt: skip
        assert status == 0
        assert "secret" not in out + error

    def test_extra_flags_without_an_equals_sign_are_explained(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, _, error = run(capsys, "plan", "--model", "m", "--extra-args", "--trust-remote-code")
        assert status == 2
        assert "--extra-args='--trust-remote-code'" in error


BAD_CONFIGS: dict[str, bytes] = {
    "truncated": json.dumps(CONFIG).encode()[:100],
    "not JSON": b"hello",
    "not text": b"\xff\xfe\x00\x01",
    "a list": b"[1, 2, 3]",
    "strings for numbers": json.dumps(CONFIG | {"num_hidden_layers": "eight"}).encode(),
    "negative": json.dumps(CONFIG | {"hidden_size": -1024}).encode(),
    "zero layers": json.dumps(CONFIG | {"num_hidden_layers": 0}).encode(),
    "deeply nested": b'{"a":' * 20000 + b"1" + b"}" * 20000,
}


class TestBadInput:
    """One sentence on stderr, nothing on stdout, the contract's exit status, no traceback."""

    def refused(self, capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
        got, out, error = run(capsys, *arguments)
        assert (got, out) == (status, "")
        assert "Traceback" not in error
        assert error.count("\n") == 1
        return error

    @pytest.mark.parametrize("name", BAD_CONFIGS)
    def test_config(self, capsys: pytest.CaptureFixture[str], model: Path, name: str) -> None:
        (model / "config.json").write_bytes(BAD_CONFIGS[name])
        self.refused(capsys, 2, "plan", "--model", str(model), "--gpu", "L40S", "--offline")

    @pytest.mark.parametrize("arguments", [("plan", "--model"), ("check", "--", "vllm", "serve")])
    def test_an_architecture_that_vllm_does_not_serve(
        self, capsys: pytest.CaptureFixture[str], model: Path, arguments: tuple[str, ...]
    ) -> None:
        """Nothing here can size it, and nothing needs to: vLLM stops before."""
        config = CONFIG | {"architectures": ["NobodyKnowsThisModel"]}
        (model / "config.json").write_text(json.dumps(config))
        name, *rest = arguments
        status, out, error = run(capsys, name, "--gpu", "L40S", "--offline", "--json", *rest, str(model))
        answer = json.loads(out)
        assert (status, error) == (1, "")
        assert answer["feasibility"]["cause"] == "unsupported"
        assert "['NobodyKnowsThisModel'] are not supported" in answer["feasibility"]["error"]
        assert answer["model"]["params"] is None

    def test_a_model_that_vllm_serves_and_nothing_sizes(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        """vLLM's facts of torchao are its own business: the model's facts could not be had."""
        config = CONFIG | {"quantization_config": {"quant_method": "torchao"}}
        (model / "config.json").write_text(json.dumps(config))
        error = self.refused(capsys, 3, "plan", "--model", str(model), "--gpu", "L40S", "--offline")
        assert "torchao" in error

    def test_huge_config(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        with (model / "config.json").open("wb") as file:
            file.truncate(50 << 20)
        error = self.refused(capsys, 2, "plan", "--model", str(model), "--gpu", "L40S", "--offline")
        assert "50 MB" in error

    def test_no_config(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        (model / "config.json").unlink()
        self.refused(capsys, 3, "plan", "--model", str(model), "--gpu", "L40S", "--offline")

    def test_no_directory(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        self.refused(capsys, 3, "plan", "--model", str(tmp_path / "none"), "--gpu", "L40S", "--offline")

    def test_truncated_weights_are_said(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        header = json.dumps({"w": {"dtype": "BF16", "shape": [64, 64], "data_offsets": [0, 8192]}}).encode()
        (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        status, out, _ = run(capsys, "plan", "--model", str(model), "--gpu", "L40S", "--offline")
        assert status == 0
        assert "TIGHT" in out
        assert out.count("shorter than its header says") == 1

    def test_a_directory_without_weights_is_planned_and_says_so(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        status, out, _ = run(capsys, "plan", "--model", str(model), "--gpu", "L40S", "--offline")
        assert status == 0
        assert "FITS" in out
        assert "no weights in this directory" in out

    @pytest.mark.parametrize("name", ["A100", "RTX 9999", "\x1b[31mred", ""])
    def test_gpu_name(self, capsys: pytest.CaptureFixture[str], name: str) -> None:
        error = self.refused(capsys, 2, "plan", "--model", "Qwen/Qwen3-8B", "--gpu", name, "--offline")
        assert "\x1b" not in error

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--gpus", "0"),
            ("--gpus", "-2"),
            ("--gpus", "many"),
            ("--concurrency", "0"),
            ("--max-model-len", "-5"),
            ("--gpu-memory-utilization", "1.5"),
            ("--prefix-share", "-1"),
            ("--prefix-share", "half"),
            ("--prefix-share", "1.5"),
            ("--prefix-share", "2"),
            ("--extra-args", '"x'),
            ("--extra-args", "--nonsense 3"),
            ("--vllm-version", "0.33.0rc1"),
            ("--vllm-version", "next"),
            ("--dtype", "int3"),
            ("--policy", "fastest"),
        ],
    )
    def test_values(self, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
        self.refused(
            capsys, 2, "plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", option, value
        )

    def test_no_machinery_shows_through(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Neither regular expressions nor pydantic's words, on the line or in a profile."""
        profile = tmp_path / "profile.yaml"
        profile.write_text("model: 3\n")
        errors = [
            self.refused(capsys, 2, "plan", "--profile", str(profile)),
            self.refused(capsys, 2, "plan", "--model", "Qwen/Qwen3-8B", "--vllm-version", "0.33.0rc1"),
        ]
        for error in errors:
            assert not re.search(r"pattern|instance|dictionary|ModelInput|\^", error)

    def test_a_full_disk_behind_stdout(self) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "wizard", "gpus"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "can't be written" in done.stderr

    def test_unknown_model_offline(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = self.refused(capsys, 3, "plan", "--model", "nobody/nothing-1B", "--gpu", "L40S", "--offline")
        assert "nobody/nothing-1B" in error

    def test_no_gpu_here(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        error = self.refused(capsys, 2, "plan", "--model", "Qwen/Qwen3-8B", "--offline")
        assert "--gpu NAME" in error

    def test_no_terminal_names_the_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = self.refused(capsys, 2)
        assert "plan" in error
        assert "export" in error

    def test_unknown_flag_of_vllm_is_corrected(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = self.refused(
            capsys, 2, "check", "--gpu", "L40S", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B",
            "--max-model-length", "8192",
        )  # fmt: skip
        assert "--max-model-len" in error


class TestArtifacts:
    """`plan --json` carries the commands that `export` would write; `export --json` and Python every file."""

    def test_the_files_are_in_the_document(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        arguments = ["--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline"]
        _, found = document(capsys, "plan", *arguments)
        run(capsys, "export", *arguments, "-o", str(tmp_path / "out"))
        written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
        assert found["artifacts"] == {name: written[name] for name in ("serve.sh", "docker-run.sh")}
        assert json.loads(written["plan.json"])["artifacts"] == {}

    def test_nothing_is_made_for_what_will_not_start(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, found = document(capsys, "plan", "--model", "deepseek-ai/DeepSeek-V3", "--gpu", "T4", "--offline")
        assert found["artifacts"] == {}

    def test_python_gets_them_too(self) -> None:
        from wizard import HardwareInput, ModelInput, PlanRequest, run_plan

        asked = PlanRequest(model=ModelInput(model="Qwen/Qwen3-8B"), hardware=HardwareInput(gpu="L40S"))
        assert run_plan(asked, offline=True).artifacts["serve.sh"].startswith("#!")
