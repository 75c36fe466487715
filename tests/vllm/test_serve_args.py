"""`vllm serve` commands read as vLLM reads them, and every refusal in one sentence."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from wizard.errors import WizardError
from wizard.vllm.flags import flag_table, known_versions
from wizard.vllm.serve_args import ServeCommand, arguments, parse_serve_command, validate_extra_args


def read(line: str, version: str = "0.33.0", **options: Any) -> ServeCommand:
    return parse_serve_command(shlex.split(line), version=version, **options)


@pytest.mark.parametrize(
    ("line", "version", "expected"),
    [
        ("vllm serve m", "0.33.0", {}),
        ("m --max-model-len 8192", "0.33.0", {"max_model_len": 8192}),
        ("vllm serve m --max_model_len=32k", "0.33.0", {"max_model_len": 32000}),
        ("vllm serve m --max-model-len 32K", "0.33.0", {"max_model_len": 32768}),
        ("vllm serve m --max-model-len auto", "0.33.0", {"max_model_len": -1}),
        ("vllm serve m --max-model-len -1", "0.33.0", {"max_model_len": -1}),
        ("vllm serve m -tp 2 -pp=3 -dp 4", "0.33.0", {
            "tensor_parallel_size": 2, "pipeline_parallel_size": 3, "data_parallel_size": 4}),
        ("vllm serve m -q fp8", "0.33.0", {"quantization": "fp8"}),
        ("vllm serve m -n 2", "0.33.0", {"nnodes": 2}),
        ("vllm serve m --no-enable-prefix-caching", "0.33.0", {"enable_prefix_caching": False}),
        ("vllm serve m --disable-prefix-caching", "0.33.0", {"enable_prefix_caching": False}),
        ("vllm serve m --enable-prefix-caching --no-enable-prefix-caching", "0.33.0", {"enable_prefix_caching": False}),
        ("vllm serve m -O2", "0.33.0", {"optimization_level": 2}),
        ("vllm serve m -O 0", "0.33.0", {"optimization_level": 0}),
        ("vllm serve m -O=1", "0.33.0", {"optimization_level": 1}),
        ("vllm serve m -O0", "0.10.2", {"optimization_level": 0}),
        ("vllm serve m -cc.cudagraph_mode=none", "0.33.0", {"cudagraph_mode": "NONE"}),
        ("""vllm serve m --compilation-config '{"cudagraph_mode": "PIECEWISE", "max_cudagraph_capture_size": 64}'""",
         "0.33.0", {"cudagraph_mode": "PIECEWISE", "max_cudagraph_capture_size": 64}),
        ("vllm serve m --cuda-graph-sizes 64", "0.10.2", {"max_cudagraph_capture_size": 64}),
        ("vllm serve m --cudagraph-capture-sizes 1 2 96", "0.33.0", {"max_cudagraph_capture_size": 96}),
        ("vllm serve m --spec-method mtp --spec-tokens 2", "0.33.0", {
            "speculative_config": {"method": "mtp", "num_speculative_tokens": 2}}),
        ("vllm serve m --speculative-config.method ngram --speculative-config.num_speculative_tokens 3", "0.33.0", {
            "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}),
        ("vllm serve m --attention-config.backend FLASHINFER", "0.33.0", {"attention_backend": "FLASHINFER"}),
        ("vllm serve m --attention-backend flashinfer", "0.33.0", {"attention_backend": "FLASHINFER"}),
        ("vllm serve m --attention-backend auto", "0.33.0", {}),
        ("vllm serve m --device-memory-utilization 0.5", "0.33.0", {"gpu_memory_utilization": 0.5}),
        ("vllm serve m --kv-cache-memory-bytes 20G", "0.33.0", {"kv_cache_memory_bytes": 20 << 30}),
        ("vllm serve m --limit-mm-per-prompt.image 2", "0.33.0", {"limit_mm_per_prompt": {"image": 2}}),
        ("""vllm serve m --hf-overrides '{"a": 1}'""", "0.33.0", {"hf_overrides": {"a": 1}}),
        ("vllm serve m --enable-multimodal-encoder-data-parallel", "0.10.2", {"mm_encoder_tp_mode": "data"}),
        ("vllm serve m --disable-hybrid-kv-cache-manager", "0.33.0", {"disable_hybrid_kv_cache_manager": True}),
        ("vllm serve m --swap-space 4", "0.17.1", {"swap_space": 4.0}),
        ("vllm serve m --quantization None", "0.33.0", {}),
        ("python3 -m vllm.entrypoints.openai.api_server --model m --dtype half", "0.33.0", {"dtype": "half"}),
        ("vllm serve --dtype half m", "0.33.0", {"dtype": "half"}),
        ("vllm serve --model m --dtype half", "0.33.0", {"dtype": "half"}),
        ("vllm serve m --download_dir='a b' --dtype half", "0.33.0", {"dtype": "half"}),
    ],
)  # fmt: skip
def test_flags_that_move_memory_become_fields(line: str, version: str, expected: dict[str, Any]) -> None:
    config = read(line, version).config
    found = config.model_dump(exclude_defaults=True, exclude={"extra_args"})
    assert found == {"model": "m", **expected}


def test_other_flags_are_kept_as_arguments() -> None:
    command = read(
        "vllm serve m --served-model-name a b --host :: --port 9000 --api-key k --load-format dummy "
        "--compilation-config.mode 3 --middleware x.y --middleware z --enable-log-requests -O3"
    )
    assert command.config.extra_args == (
        "--served-model-name", "a", "b", "--host", "::", "--port", "9000",
        "--load-format", "dummy", "--middleware", "x.y", "--middleware", "z", "--enable-log-requests",
        "--compilation-config", '{"mode": 3}',
    )  # fmt: skip
    assert (command.host, command.port) == ("::", 9000)
    assert [warning for warning in command.warnings if "set VLLM_API_KEY" in warning]
    assert command.config.optimization_level == 3


def test_prefixes_and_deprecated_flags_are_accepted_with_a_warning() -> None:
    command = read("vllm serve m --kv-cache-memory 1G --disable-cascade-attn")
    assert command.config.kv_cache_memory_bytes == 1 << 30
    assert any("short for --kv-cache-memory-bytes" in warning for warning in command.warnings)
    assert any("--disable-cascade-attn is deprecated" in warning for warning in command.warnings)


@pytest.mark.parametrize(
    ("line", "version", "words"),
    [
        ("vllm serve m --swap-space 4", "0.33.0", "use --kv-offloading-size"),
        ("vllm serve m --max-modle-len 4", "0.33.0", "did you mean --max-model-len?"),
        ("vllm serve m --performance-mode throughput", "0.10.2", "came with 0.17"),
        ("vllm serve m --disable-prefix-caching", "0.31.0", "has no --disable-prefix-caching"),
        ("vllm serve m --kv-cache-dtype fp8_e4m3fn", "0.33.0", "did you mean fp8_e4m3?"),
        ("vllm serve m --enable-chunked-prefill=True", "0.33.0", "takes no value"),
        ("vllm serve m --max-num-seqs 1k", "0.33.0", "not a whole number"),
        ("vllm serve m --max-model-len", "0.33.0", "--max-model-len needs a value"),
        ("vllm serve m --max-model-len --enforce-eager", "0.33.0", "needs a value"),
        ("vllm serve m --enable", "0.33.0", "ambiguous"),
        ("vllm serve m -tp2", "0.33.0", "has no -tp2"),
        ("vllm serve", "0.33.0", "The model is missing"),
        ("vllm serve --dtype half", "0.33.0", "The model is missing"),
        ("vllm serve m n", "0.33.0", "Only one model"),
        ("vllm serve m --model n", "0.33.0", "given twice"),
        ("vllm serve --model m", "0.10.2", "right after `serve`"),
        ("vllm bench serve", "0.33.0", "Only a `vllm serve"),
        ("vllm serve m --enable-auto-tool-choice", "0.33.0", "add --tool-call-parser"),
        ("vllm serve m --enable-log-outputs", "0.33.0", "needs --enable-log-requests"),
        ("vllm serve m --compilation-config.levle 3", "0.33.0", "not a key"),
        ("vllm serve m --dtype.x half", "0.33.0", "not a JSON flag"),
        ("vllm serve m -cc.a.b 1 -cc.a 2 -cc.a.c 3", "0.33.0", "already given"),
        ("vllm serve m --config x.yaml", "0.33.0", "can't be followed"),
        ("vllm serve m --tensor-parallel-size 0", "0.33.0", "at least 1"),
        ("vllm serve m --num-gpu-blocks-override 0", "0.33.0", "--num-gpu-blocks-override"),
        ("vllm serve m --hf-overrides '{'", "0.33.0", "not a JSON object"),
        ("vllm serve m --device cuda", "0.33.0", "the platform is detected"),
        ("vllm serve m --max-num 3", "0.33.0", "--max-num-scheduled-tokens, --max-num-seqs; write"),
        ("vllm serve m --max-lora-rank 20", "0.33.0", "the nearest are 16 and 32"),
        ("vllm serve m --max-lora-rank 1000", "0.33.0", "the nearest are 512"),
        ("vllm serve m --port 99999999", "0.33.0", "between 0 and 65535"),
    ],
)  # fmt: skip
def test_what_vllm_refuses_is_refused_in_one_sentence(line: str, version: str, words: str) -> None:
    with pytest.raises(WizardError) as caught:
        read(line, version)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


CONFIG = (
    "model: m\nmax-model-len: 8192\nenable-prefix-caching: false\nno-async-scheduling: true\nport: 9000\n"
)


@pytest.mark.parametrize(
    ("program", "version", "negated"),
    [
        ("vllm serve", "0.27.0", None),
        ("vllm serve", "0.33.0", None),
        ("python3 -m vllm.entrypoints.openai.api_server", "0.27.0", None),
        ("python3 -m vllm.entrypoints.openai.api_server", "0.33.0", False),
    ],
)
def test_a_config_file_counts_as_that_version_counts_it(
    program: str, version: str, negated: bool | None
) -> None:
    command = read(f"{program} --config c.yaml --port 9001", version, read_config=lambda _: CONFIG)
    assert command.model == "m"
    assert command.port == 9001
    assert command.config.max_model_len == 8192
    assert command.config.async_scheduling is False
    assert command.config.enable_prefix_caching is negated
    dropped = [warning for warning in command.warnings if "silently drops" in warning]
    assert bool(dropped) == (negated is None)


def test_the_model_on_the_command_line_wins_over_the_config_file() -> None:
    assert read("vllm serve other --config c.yaml", read_config=lambda _: CONFIG).model == "other"


@pytest.mark.parametrize("text", ["a: [", "- a", "3", "a: !!python/object:os.system {}"])
def test_a_broken_config_file_is_one_sentence(text: str) -> None:
    with pytest.raises(WizardError, match=r"--config file"):
        read("vllm serve m --config c.yaml", read_config=lambda _: text)


def test_extra_flags_are_spelled_out_and_checked() -> None:
    assert validate_extra_args(["--max_log_len=5", "-O1"], version="0.33.0") == (
        "--max-log-len", "5", "--optimization-level", "1",
    )  # fmt: skip
    with pytest.raises(WizardError, match="did you mean --seed"):
        validate_extra_args(["--sead", "1"], version="0.33.0")
    with pytest.raises(WizardError, match="is not a flag"):
        validate_extra_args(["model"], version="0.33.0")


@pytest.mark.parametrize("version", known_versions())
def test_every_boolean_flag_reads_back_from_what_it_is_written_as(version: str) -> None:
    table = flag_table(version)
    for flag in table.flags.values():
        if flag.kind != "bool" or flag.deprecated:
            continue
        for value in (True, False):
            words = arguments({flag.name: value}, table)
            assert (
                parse_serve_command(["m", *words, *_companions(flag.name)], version=version).values[flag.name]
                is value
            )


def _companions(flag: str) -> list[str]:
    return {
        "--enable-auto-tool-choice": ["--tool-call-parser", "hermes"],
        "--enable-log-outputs": ["--enable-log-requests"],
    }.get(flag, [])


def test_a_value_that_begins_with_a_dash_is_attached() -> None:
    table = flag_table("0.33.0")
    words = arguments({"--chat-template": "-x", "--served-model-name": ["a"]}, table)
    assert words == ["--chat-template=-x", "--served-model-name", "a"]
    assert parse_serve_command(["m", *words]).values["--chat-template"] == "-x"


@pytest.mark.parametrize(("version", "value"), [("0.19.1", "8k"), ("0.33.0", 8000)])
def test_sizes_inside_dotted_keys_are_numbers_since_0_20(version: str, value: object) -> None:
    command = read("m --speculative-config.max_model_len 8k --speculative-config.method mtp", version)
    assert command.config.speculative_config == {"max_model_len": value, "method": "mtp"}
