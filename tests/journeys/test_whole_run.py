"""From an empty home to files that start vLLM, with the real planner, by keyboard alone at 80x24."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import Start
from tests.terminal import Terminal
from wizard.vllm.serve_args import parse_serve_command

pytestmark = pytest.mark.journey

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def planned(environment: dict[str, str], profile: Path) -> dict[str, Any]:
    """What `plan --json` says of the exported profile."""
    command = [sys.executable, "-m", "wizard", "plan", "--offline", "--json", "--profile", str(profile)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def served(script: Path) -> list[str]:
    """The words of the `vllm serve` command in serve.sh, as the shell would pass them."""
    shown = re.sub(r"^exec vllm ", "printf '%s\\\\0' vllm ", script.read_text(), flags=re.MULTILINE)
    assert "printf" in shown
    ran = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    return ran.stdout.split("\0")[:-1]


def numbers_on(terminal: Terminal) -> dict[str, str]:
    """The panel's figures by their names."""
    found = {}
    for line in terminal.lines:
        match = re.search(r"(weights|KV cache|tokens in the cache|longest possible)\s+([\d,.]+)$", line)
        if match:
            found[match[1]] = match[2]
    return found


def check_same_numbers(shown: dict[str, str], plan: dict[str, Any]) -> None:
    feasibility = plan["feasibility"]
    assert shown["weights"] == f"{feasibility['per_gpu']['weights_bytes'] / 2**30:,.1f}"
    assert shown["KV cache"] == f"{feasibility['per_gpu']['kv_cache_available_bytes'] / 2**30:,.1f}"
    assert shown["tokens in the cache"] == f"{feasibility['kv_cache']['tokens']:,}"
    assert shown["longest possible"] == f"{feasibility['kv_cache']['estimated_max_model_len']:,}"


def check_files(directory: Path) -> None:
    assert {"serve.sh", "docker-compose.yaml", "profile.yaml", "plan.json"} <= {
        path.name for path in directory.iterdir()
    }
    parse_serve_command(served(directory / "serve.sh"), version="0.33.0")
    assert not list(directory.parent.glob(".*partial*"))


def export(terminal: Terminal) -> None:
    """From any screen to written files, and out."""
    terminal.press("ctrl+s")
    terminal.wait_for("Directory")
    terminal.settle(0.2)
    terminal.press("ctrl+s")
    terminal.wait_for("Leave; these lines stay")
    terminal.press("enter")
    assert terminal.wait_exit() == 0


def to_row(terminal: Terminal, pattern: str) -> None:
    """Moves the cursor down to the row that matches, whether its verdict is already there or not."""
    for _ in range(20):
        terminal.settle(0.2)
        if any("▸" in line and re.search(pattern, line) for line in terminal.lines):
            return
        terminal.press("down")
    raise AssertionError(f"no row {pattern!r}:\n{terminal.text}")


def test_a_catalogue_model_on_a_what_if_machine(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    terminal = start("--fresh", "--offline", module="wizard")
    terminal.wait_for("type to search models")
    terminal.press(*"qwen3 8b")
    terminal.wait_for(lambda text: "Qwen3-8B" in text)
    to_row(terminal, r"Qwen3-8B +8")
    terminal.press("enter")
    terminal.wait_for("Machines")
    terminal.press("tab", *"4090")
    terminal.wait_for(lambda text: "GeForce RTX 4090 " in text)
    terminal.press("enter")
    terminal.wait_for("GeForce RTX 4090\n")
    terminal.press("enter")
    terminal.wait_for("Concurrency")
    terminal.press("tab", "tab", "tab", "right", "right", "tab", *"8k", "enter")
    terminal.wait_for("8,192")
    terminal.wait_for("Qwen3-8B on 1 × GeForce RTX 4090")
    terminal.settle(0.6)
    shown = numbers_on(terminal)
    export(terminal)

    directory = tmp_path / "qwen3-8b"
    check_files(directory)
    command = served(directory / "serve.sh")
    assert command[:3] == ["vllm", "serve", "Qwen/Qwen3-8B"]
    assert command[command.index("--max-model-len") + 1] == "8192"
    check_same_numbers(shown, planned(environment, directory / "profile.yaml"))
    assert b"\x1b[?1049l" in terminal.output
    assert "cd " in terminal.output.rsplit(b"\x1b[?1049l", 1)[1].decode()


def test_a_model_directory(start: Start, environment: dict[str, str], tmp_path: Path) -> None:
    model = tmp_path / "models" / "tiny-llama"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    terminal = start("--fresh", "--offline", module="wizard")
    terminal.wait_for("type to search models")
    terminal.press(*"./models/")
    terminal.wait_for("tiny-llama")
    terminal.settle(0.3)
    terminal.press("enter")
    terminal.wait_for("tiny-llama on 1 ×")
    terminal.settle(0.6)
    shown = numbers_on(terminal)
    export(terminal)
    directory = tmp_path / "tiny-llama"
    check_files(directory)
    check_same_numbers(shown, planned(environment, directory / "profile.yaml"))


def test_what_will_not_start_is_fixed_with_one_key(start: Start, tmp_path: Path) -> None:
    terminal = start(
        *("--offline", "--model", "meta-llama/Llama-3.3-70B-Instruct", "--gpu", "RTX 4090"), module="wizard"
    )
    terminal.wait_for("Won't start")
    terminal.wait_for("f to apply")
    terminal.press("3")
    terminal.wait_for("Concurrency")
    terminal.press("ctrl+s")
    terminal.wait_for("Directory")
    terminal.press("ctrl+s")
    terminal.wait_for("Not written")
    terminal.press("f")
    terminal.wait_for("Enter or a digit applies one")
    terminal.press("1")
    terminal.wait_for(lambda text: "✓ Fits" in text or "! Tight" in text)
    terminal.press("u")
    terminal.wait_for("Won't start")
    terminal.press("ctrl+q")
    assert terminal.wait_exit() == 0
    assert not (tmp_path / "llama-3-3-70b-instruct").exists()


def test_the_plain_wizard_writes_the_same_files(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    options = ("--offline", "--fresh", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S")
    terminal = start(*options, module="wizard", changes={"TERM": "dumb"})
    for _ in range(4):
        terminal.wait_for("Number, or Enter for the default:")
        terminal.screen.reset()
        terminal.press("enter")
    terminal.wait_for("1. Write the files")
    terminal.press("1", "enter")
    assert terminal.wait_exit() == 0
    assert b"\x1b" not in terminal.output
    plain = tmp_path / "qwen3-8b"
    check_files(plain)
    kept = plain.rename(tmp_path / "plain")

    full = start(*options, module="wizard")
    full.wait_for("✓ Fits")
    export(full)
    for path in kept.iterdir():
        assert path.read_bytes() == (plain / path.name).read_bytes(), path.name
