"""Parsers and limits by model family: what the table says is legal in every version it is used for."""

from __future__ import annotations

import json
import re

import pytest

from wizard.data import read_text
from wizard.render.families import family_flags
from wizard.vllm.flags import flag_table, known_versions

TABLE = json.loads(read_text("parsers.json"))


@pytest.mark.parametrize(
    ("architecture", "model", "tool", "reasoning"),
    [
        ("LlamaForCausalLM", "meta-llama/Llama-3.3-70B-Instruct", "llama3_json", None),
        ("LlamaForCausalLM", "meta-llama/Llama-3.1-8B", None, None),
        ("LlamaForCausalLM", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", None, "deepseek_r1"),
        ("Qwen3ForCausalLM", "Qwen/Qwen3-8B", "hermes", "qwen3"),
        ("Qwen3MoeForCausalLM", "Qwen/Qwen3-30B-A3B-Instruct-2507", "hermes", None),
        ("Qwen3MoeForCausalLM", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_xml", None),
        ("Qwen3ForCausalLM", "Qwen/Qwen3-Embedding-4B", None, None),
        ("Qwen2ForCausalLM", "/models/Qwen2.5-7B-Instruct/", "hermes", None),
        ("GptOssForCausalLM", "openai/gpt-oss-120b", "openai", "openai_gptoss"),
        ("DeepseekV3ForCausalLM", "deepseek-ai/DeepSeek-V3.1", "deepseek_v31", "deepseek_v3"),
        ("DeepseekV3ForCausalLM", "deepseek-ai/DeepSeek-R1", "deepseek_v3", "deepseek_r1"),
        ("Glm4MoeForCausalLM", "zai-org/GLM-4.5-Air", "glm45", "glm45"),
        ("MistralForCausalLM", "mistralai/Mistral-7B-Instruct-v0.3", "mistral", None),
        ("MistralForCausalLM", "mistralai/Mistral-7B-v0.1", None, None),
        ("BertModel", "BAAI/bge-large-en", None, None),
    ],
)
def test_families_get_their_parsers(
    architecture: str, model: str, tool: str | None, reasoning: str | None
) -> None:
    arguments = {each.flag: each.values for each in family_flags(architecture, model, "0.33.0").arguments}
    assert arguments.get("--tool-call-parser") == ((tool,) if tool else None)
    assert arguments.get("--reasoning-parser") == ((reasoning,) if reasoning else None)
    assert ("--enable-auto-tool-choice" in arguments) == (tool is not None)


def test_an_older_version_gets_the_parser_it_has_or_none_with_a_note() -> None:
    old = family_flags("Qwen3MoeForCausalLM", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "0.10.2")
    assert ("--tool-call-parser", "qwen3_coder") in [each.words for each in old.arguments]
    none = family_flags("MiniMaxM2ForCausalLM", "MiniMaxAI/MiniMax-M2", "0.10.2")
    assert none.arguments == ()
    assert "no tool-call parser for MiniMax-M2" in none.notes[0]


def test_a_family_s_own_chat_format_is_chosen_where_the_version_has_it() -> None:
    for version, expected in (("0.12.0", False), ("0.17.1", True), ("0.33.0", True)):
        found = family_flags("DeepseekV32ForCausalLM", "deepseek-ai/DeepSeek-V3.2", version)
        assert (("--tokenizer-mode", "deepseek_v32") in [each.words for each in found.arguments]) is expected


def test_how_to_switch_thinking_depends_on_the_version() -> None:
    new = family_flags("Qwen3ForCausalLM", "Qwen/Qwen3-8B", "0.33.0").notes
    old = family_flags("Qwen3ForCausalLM", "Qwen/Qwen3-8B", "0.12.0").notes
    assert any("--default-chat-template-kwargs '{\"enable_thinking\": false}'" in note for note in new)
    assert any("with each request" in note for note in old)


def test_multimodal_limits_yield_to_the_plan_s_own() -> None:
    found = family_flags(
        "Llama4ForConditionalGeneration", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "0.33.0"
    )
    assert any(each.flag == "--limit-mm-per-prompt" for each in found.arguments)
    found = family_flags(
        "Llama4ForConditionalGeneration",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "0.33.0",
        limit_multimodal=False,
    )
    assert not any(each.flag == "--limit-mm-per-prompt" for each in found.arguments)


@pytest.mark.parametrize("row", TABLE["families"], ids=lambda row: row["family"])
def test_every_row_is_well_formed_has_sources_and_names_parsers_that_exist(row: dict[str, object]) -> None:
    allowed = {
        "family",
        "architectures",
        "name",
        "unless",
        "tool",
        "reasoning",
        "flags",
        "limits",
        "thinking",
        "note",
        "sources",
    }
    assert set(row) <= allowed
    assert row["sources"]
    for source in row["sources"]:  # type: ignore[attr-defined]
        assert source in TABLE["sources"] or source.startswith("https://")
    for key in ("name", "unless"):
        re.compile(str(row.get(key, "")))
    for key, flag in (("tool", "--tool-call-parser"), ("reasoning", "--reasoning-parser")):
        known = {value for version in known_versions() for value in flag_table(version).flags[flag].values}
        assert set(row.get(key, ())) <= known  # type: ignore[call-overload]
