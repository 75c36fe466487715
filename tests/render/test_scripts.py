"""smoke.sh and bench.sh run as they are, against a small OpenAI-compatible server."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.render.openai_server import State, serving
from tests.render.plans import plan, request, without_forecast
from tests.vllm.test_flags import TWELVE
from wizard.render.bundle import render
from wizard.render.writer import write_bundle
from wizard.schemas.outputs import Plan

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def bundle(tmp_path: Path, served: Plan | None = None) -> Path:
    write_bundle(tmp_path / "bundle", render(served or plan(), request()))
    return tmp_path / "bundle"


def run(script: Path, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "PATH": os.environ["PATH"],
        "BASE_URL": url,
        "TIMEOUT": "3",
        "HOME": str(script.parent),
        **environment,
    }
    return subprocess.run(["bash", str(script)], env=variables, capture_output=True, text=True, check=False)


def test_smoke_waits_for_health_asks_once_and_prints_the_speed(tmp_path: Path) -> None:
    state = State(unhealthy=1, model="meta-llama/Llama-3.1-8B-Instruct")
    with serving(state) as url:
        done = run(bundle(tmp_path) / "smoke.sh", url)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^64 tokens in \d+\.\d\d s: \d+\.\d tokens/s$", done.stdout, re.MULTILINE)
    assert [path for path, _ in state.requests] == ["/v1/chat/completions"]


def test_smoke_completes_text_where_a_base_model_has_no_chat_template(tmp_path: Path) -> None:
    state = State()
    state.no_chat = True
    with serving(state) as url:
        done = run(bundle(tmp_path) / "smoke.sh", url)
    assert done.returncode == 0, done.stderr
    assert [path for path, _ in state.requests] == ["/v1/completions"]


@pytest.mark.parametrize(
    ("model", "architecture", "path"),
    [
        ("BAAI/bge-m3", "XLMRobertaModel", "/v1/embeddings"),
        ("BAAI/bge-reranker-v2-m3", "XLMRobertaForSequenceClassification", "/classify"),
    ],
)
def test_smoke_asks_an_encoder_for_what_it_does(
    model: str, architecture: str, path: str, tmp_path: Path
) -> None:
    state = State(model=model)
    with serving(state) as url:
        done = run(bundle(tmp_path, plan(model=model, architecture=architecture)) / "smoke.sh", url)
    assert done.returncode == 0, done.stderr
    assert [asked for asked, _ in state.requests] == [path]
    assert "7 tokens in" in done.stdout


def test_the_key_comes_from_the_env_file_and_shows_in_no_process_list(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    (folder / ".env").write_text("VLLM_API_KEY=sk-test\n")
    with serving(State(key="sk-test")) as url:
        done = run(folder / "smoke.sh", url)
    assert done.returncode == 0, done.stderr
    assert '--header "Authorization' not in (folder / "smoke.sh").read_text()
    with serving(State(key="another")) as url:
        done = run(folder / "smoke.sh", url)
    assert done.returncode == 1
    assert "answered 401" in done.stderr


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("VLLM_API_KEY='a$b c'", "a$b c"),
        ("VLLM_API_KEY=a$b c", "a$b c"),
        ('VLLM_API_KEY=k"ey\\x', 'k"ey\\x'),
        ("VLLM_API_KEY='$(touch pwned)`id`'", "$(touch pwned)`id`"),
        ('VLLM_API_KEY="quoted"', "quoted"),
        ("VLLM_API_KEY=with-return\r", "with-return"),
    ],
)
def test_a_key_of_any_letters_arrives_as_it_is(line: str, key: str, tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    (folder / ".env").write_text(f"# a comment\n\n{line}\n")
    with serving(State(key=key)) as url:
        done = run(folder / "smoke.sh", url)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("pwned"))


def test_smoke_asks_for_a_model_whose_name_is_hostile(tmp_path: Path) -> None:
    name = '/models/it\'s $(touch pwned) "x" 模型'
    state = State(model='it\'s $(touch pwned) "x" 模型')
    folder = bundle(tmp_path, plan(model=name, source="path", revision=None))
    with serving(state) as url:
        assert run(folder / "smoke.sh", url).returncode == 0
        assert run(folder / "bench.sh", url).returncode == 0
    assert len(state.requests) == 17
    assert not list(tmp_path.rglob("pwned"))


def test_a_server_that_never_comes_up_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = run(bundle(tmp_path) / "smoke.sh", "http://127.0.0.1:9", TIMEOUT="0")
    assert done.returncode == 1
    assert "did not answer within 0 s" in done.stderr


def test_bench_by_curl_sends_the_workload_and_says_what_to_expect(tmp_path: Path) -> None:
    state = State()
    with serving(state) as url:
        done = run(bundle(tmp_path) / "bench.sh", url)
    assert done.returncode == 0, done.stderr
    assert len(state.requests) == 16
    assert state.most_at_once <= 4
    path, body = state.requests[0]
    assert path == "/v1/completions"
    assert body["max_tokens"] == 256
    assert len(body["prompt"].split()) == 2048
    assert re.search(r"16 requests \(0 failed\), 4096 tokens in", done.stdout)
    assert "Expected: TTFT 40–90 ms" in done.stdout


def test_bench_counts_failures(tmp_path: Path) -> None:
    with serving(State(model="another")) as url:
        done = run(bundle(tmp_path, without_forecast(plan())) / "bench.sh", url)
    assert done.returncode == 1
    assert "16 failed" in done.stdout
    assert "Expected" not in done.stdout


def test_bench_prefers_vllm_where_it_is_installed(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    fake = tmp_path / "bin" / "vllm"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    with serving(State()) as url:
        done = run(folder / "bench.sh", url, PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    options = done.stdout.split("\n")
    assert options[:2] == ["bench", "serve"]
    given = dict(itertools.pairwise(options))
    assert given["--random-input-len"] == "1536"
    assert given["--random-prefix-len"] == "512"
    assert given["--random-output-len"] == "256"
    assert given["--max-concurrency"] == "4"
    assert given["--base-url"] == url


BENCH_OPTIONS = {
    "--backend", "--endpoint", "--model", "--dataset-name", "--random-input-len", "--random-prefix-len",
    "--random-output-len", "--ignore-eos", "--num-prompts", "--max-concurrency", "--percentile-metrics",
    "--served-model-name", "--tokenizer", "--trust-remote-code", "--base-url",
}  # fmt: skip
"""Options of `vllm bench serve` that benchmarks/serve.py and datasets of every one of the 12 versions have."""


@pytest.mark.parametrize("version", TWELVE)
def test_bench_uses_only_options_that_every_version_has(version: str) -> None:
    for served in (
        plan(version=version, trust_remote_code=True, tokenizer="x/y"),
        plan(version=version, model="/m/x", source="path"),
        plan(version=version, model="BAAI/bge-m3", architecture="XLMRobertaModel"),
    ):
        text = render(served, request(), ["bench"])["bench.sh"]
        command = text[text.index("vllm bench serve") :].split("\nelse\n")[0]
        extra = {"--endpoint-type"} if version == "0.10.2" else set()
        assert set(re.findall(r"(?<=\s)--[a-z-]+", command)) <= BENCH_OPTIONS | extra
