"""The flag table: what it holds, what it says about flags that a version lacks, how it is read off a source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wizard.data import read_text
from wizard.data.refresh_flags import read_table
from wizard.data.vllm_source import Source
from wizard.errors import WizardError
from wizard.vllm.flag_codec import FACTS, decode, encode
from wizard.vllm.flag_values import parse_size, parse_value
from wizard.vllm.flags import flag_table, known_versions, nearest

TWELVE = (
    "0.10.2",
    "0.11.2",
    "0.12.0",
    "0.15.1",
    "0.17.1",
    "0.19.1",
    "0.21.0",
    "0.23.0",
    "0.26.0",
    "0.28.0",
    "0.31.0",
    "0.33.0",
)


def test_every_minor_from_0_10_to_0_33_was_read() -> None:
    assert [version.split(".")[1] for version in known_versions()] == [str(minor) for minor in range(10, 34)]


@pytest.mark.parametrize("version", TWELVE)
def test_table_agrees_with_flags_gathered_independently(version: str, shared: Path) -> None:
    gathered = json.loads((shared / "vllm" / "flags" / f"{version}.json").read_text())
    theirs = {flag["name"]: flag for flag in gathered["flags"] if flag["name"].startswith("--")}
    ours = flag_table(version)
    assert set(ours.flags) == set(theirs)
    for name, flag in theirs.items():
        mine = ours.flags[name]
        assert (mine.kind == "bool") == (flag["type"] == "bool"), name
        assert (mine.kind == "switch") == (flag["type"] == "flag"), name
        assert set(mine.aliases) == set(flag["aliases"]), name
        if (
            flag["type"] == "choice"
            and name != "--mm-processor-device"
            and flag["choices"][0] not in {"RAW_LOGITS"}
        ):
            expected = {str(choice).lower() for choice in flag["choices"]}
            assert {value.lower() for value in mine.values} - {"auto"} == expected - {
                "auto"
            } or name.endswith(("optimization-level", "logprobs-mode", "model-impl")), name
        if version == "0.33.0" and mine.kind == "bool":
            assert set(mine.negations) == set(flag["negations"]), name


def test_defaults_and_bounds_of_the_flags_that_plans_rely_on() -> None:
    new, old = flag_table("0.33.0").flags, flag_table("0.10.2").flags
    assert new["--gpu-memory-utilization"].default == 0.92
    assert old["--gpu-memory-utilization"].default == 0.9
    assert dict(new["--gpu-memory-utilization"].bounds) == {"gt": 0, "le": 1}
    assert new["--max-model-len"].kind == "length"
    assert old["--max-model-len"].kind == "size"
    assert new["--max-num-seqs"].kind == "int"
    assert new["--max-num-batched-tokens"].kind == "size"
    assert "fp8_e4m3" in new["--kv-cache-dtype"].values
    assert "bfloat16" not in old["--kv-cache-dtype"].values
    assert new["--tensor-parallel-size"].aliases == ("-tp",)


def test_enable_and_disable_are_a_pair_only_where_vllm_made_them_one() -> None:
    new, old = flag_table("0.33.0"), flag_table("0.31.0")
    assert new.options["--disable-prefix-caching"] == (new.flags["--enable-prefix-caching"], False)
    assert new.options["--enable-hybrid-kv-cache-manager"][1] is False
    assert "--disable-prefix-caching" not in old.options
    assert old.options["--no-enable-prefix-caching"][1] is False


@pytest.mark.parametrize(
    ("version", "option", "words"),
    [
        ("0.33.0", "--swap-space", ["V1 engine has no CPU swap", "use --kv-offloading-size"]),
        ("0.33.0", "--rope-scaling", ["use --hf-overrides"]),
        ("0.33.0", "--task", ["use --runner pooling"]),
        ("0.33.0", "--guided-decoding-backend", ["use --structured-outputs-config.backend"]),
        ("0.33.0", "--device", ["detected", "leave it out"]),
        ("0.33.0", "--cuda-graph-sizes", ["use --cudagraph-capture-sizes"]),
        ("0.33.0", "--max-modle-len", ["did you mean --max-model-len?"]),
        ("0.12.0", "--performance-mode", ["came with 0.17"]),
        ("0.10.2", "--nnodes", ["came with 0.11"]),
        ("0.33.0", "--enable-bf16x3-router-gemm", ["kernel is chosen automatically"]),
        ("0.33.0", "--zzz", ["vllm serve --help=all"]),
    ],
)
def test_an_unknown_flag_is_answered_with_the_way_out(version: str, option: str, words: list[str]) -> None:
    sentence = flag_table(version).unknown(option)
    assert sentence.startswith(f"vLLM {version} has no {option}")
    assert all(word in sentence for word in words), sentence
    assert sentence.count("\n") == 0


def test_every_replacement_named_for_a_removed_flag_exists_in_the_newest_version() -> None:
    replaced = json.loads(read_text("flags/removed.json"))["replaced"]
    table = flag_table(known_versions()[-1])
    for name, entry in replaced.items():
        use = entry.get("use")
        assert use is None or use.split(".")[0] in table.options, name
        if use and "." in use:
            flag = table.flags[use.split(".")[0]]
            assert use.split(".")[1] in flag.keys, name
        assert use or entry.get("why"), name


def test_every_flag_that_vanished_has_something_to_say() -> None:
    document = json.loads(read_text("flags/serve.json"))
    replaced = json.loads(read_text("flags/removed.json"))["replaced"]
    newest = flag_table(known_versions()[-1])
    assert [name for name in document["flags"] if name not in newest.options and name not in replaced] == []


def test_versions_between_and_beyond_the_read_ones_take_the_nearest() -> None:
    assert nearest("0.19.0") == "0.19.1"
    assert nearest("0.34.0") == "0.33.0"
    assert nearest("0.10.0") == "0.10.2"
    assert flag_table("0.19.0").exact
    assert not flag_table("0.34.0").exact


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8192", 8192),
        ("32k", 32000),
        ("32K", 32768),
        ("25.6k", 25600),
        ("1M", 1 << 20),
        ("2g", 2 * 10**9),
        (" 1T ", 1 << 40),
    ],
)
def test_human_sizes(text: str, number: int) -> None:
    assert parse_size(text) == number


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--max-model-len", "1.5K", "write 1.5k"),
        ("--max-model-len", "many", "32k (32000) or 32K (32768)"),
        ("--max-num-seqs", "1k", "not a whole number"),
        ("--gpu-memory-utilization", "1.01", "at most 1"),
        ("--gpu-memory-utilization", "0", "more than 0"),
        ("--kv-cache-dtype", "fp8_e4m3fn", "did you mean fp8_e4m3?"),
        ("--dtype", "fp16", "choose from auto"),
        ("--tool-call-parser", "hermes2", "did you mean hermes?"),
        ("--compilation-config", '{"level": 3}', "not a key"),
        ("--compilation-config", "{level: 3}", "not valid JSON"),
        ("--compilation-config", "[1]", "not a JSON object"),
        ("--quantization", "int8", "not known to vLLM 0.33.0"),
    ],
)
def test_illegal_values_are_refused_in_one_sentence(flag: str, value: str, words: str) -> None:
    with pytest.raises(WizardError) as caught:
        parse_value(flag_table("0.33.0").flags[flag], value, version="0.33.0")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_read_as_vllm_folds_them() -> None:
    flags = flag_table("0.33.0").flags
    assert parse_value(flags["--attention-backend"], "flash_attn", version="0.33.0") == "FLASH_ATTN"
    assert parse_value(flags["--moe-backend"], "Flashinfer-TRTLLM", version="0.33.0") == "flashinfer_trtllm"
    assert parse_value(flags["--max-model-len"], "auto", version="0.33.0") == -1
    text = '{"kv_connector_extra_config": {"cpu_bytes_to_use": 80m, "name": "80m"}}'
    config = parse_value(flags["--kv-transfer-config"], text, version="0.33.0")
    assert config == {"kv_connector_extra_config": {"cpu_bytes_to_use": 80_000_000, "name": "80m"}}


def test_the_file_decodes_to_what_it_was_encoded_from() -> None:
    text = read_text("flags/serve.json")
    document = json.loads(text)
    tables = {version: decode(document, version) for version in document["versions"]}
    assert encode(tables) == text
    assert set(FACTS) <= set(tables["0.33.0"])


ENGINE = """
from vllm.config import CacheConfig, ModelConfig
def _compute_kwargs(cls):
    for field in fields(cls):
        if name == "max_model_len": kwargs["type"] = human_readable_int_or_auto
        elif name in {"kv_bytes", "tokens"}: kwargs["type"] = human_readable_int
class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        model_kwargs = get_kwargs(ModelConfig)
        group = parser.add_argument_group(title="ModelConfig")
        group.add_argument("--dtype", **model_kwargs["dtype"])
        group.add_argument("--max-model-len", **model_kwargs["max_model_len"])
        cache_kwargs = get_kwargs(CacheConfig)
        group.add_argument("--kv-bytes", "-kb", **cache_kwargs["kv_bytes"])
        group.add_argument("--fraction", **{**cache_kwargs["fraction"], "default": None})
        group.add_argument("--quantization", **model_kwargs["quantization"])
        group.add_argument("--load-format", **model_kwargs["load_format"])
        group.add_argument("--reasoning-parser", **model_kwargs["reasoning_parser"])
        parser.add_argument("--old", action="store_true", deprecated=True)
class AsyncEngineArgs(EngineArgs):
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--log", action=argparse.BooleanOptionalAction, default=False)
"""
CONFIG = """
from typing import Literal
from pydantic import Field
DType = Literal["auto", "half"]
LARGE = 4 * 1024
@config
class ModelConfig:
    dtype: DType = "auto"
    max_model_len: int | None = None
    quantization: str | None = None
    load_format: str = "auto"
    reasoning_parser: str = ""
class CacheBase:
    fraction: float = Field(default=0.9, gt=0, le=1)
@config
class CacheConfig(CacheBase):
    kv_bytes: int = LARGE
"""
CLI = """
from vllm.config import LARGE
class FrontendArgs:
    port: int = 8000
    names: list[str] | None = None
    allowed_origins: list[str] = field(default_factory=lambda: ["*"])
    tool_call_parser: str | None = None
def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--headless", action="store_true", default=False)
"""


def test_a_source_tree_is_read_without_importing_it(tmp_path: Path) -> None:
    files = {
        "vllm/_version.py": "__version__ = version = '0.99.1'\nraise SystemExit('imported')",
        "vllm/engine/arg_utils.py": ENGINE,
        "vllm/config/__init__.py": CONFIG,
        "vllm/entrypoints/common/cli_args.py": CLI,
        "vllm/tool_parsers/__init__.py": '_TOOLS = {"hermes": ("m", "C")}',
        "vllm/reasoning/qwen.py": '@Manager.register_module(["qwen3"])\nclass P: pass',
        "vllm/model_executor/layers/quantization/__init__.py": 'QuantizationMethods = Literal["awq", "fp8"]',
        "vllm/utils/argparse_utils.py": "class EnableDisableAction: pass",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    version, table = read_table(Source(tmp_path))
    flags = table["flags"]
    assert version == "0.99.1"
    assert table["enable_disable_pairs"] is True
    assert table["yaml_false_negates"] is False
    assert flags["--dtype"] == {"kind": "text", "choices": ["auto", "half"], "default": "auto"}
    assert flags["--max-model-len"] == {"kind": "length", "optional": True}
    assert flags["--kv-bytes"] == {"kind": "size", "default": 4096, "aliases": ["-kb"]}
    assert flags["--fraction"] == {"kind": "float", "gt": 0, "le": 1}
    assert flags["--quantization"]["known"] == ["awq", "fp8"]
    assert flags["--tool-call-parser"]["known"] == ["hermes"]
    assert flags["--reasoning-parser"]["known"] == ["qwen3"]
    assert flags["--names"] == {"kind": "text", "many": True, "optional": True}
    assert flags["--allowed-origins"] == {"kind": "json", "default": ["*"]}
    assert flags["--headless"] == {"kind": "switch", "default": False}
    assert flags["--log"] == {"kind": "bool", "default": False}
    assert flags["--old"] == {"kind": "switch", "deprecated": True}
    assert "model_tag" not in flags


def test_a_directory_that_is_no_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="vLLM wheel"):
        read_table(Source(tmp_path))
