"""Every question is declared once, and agrees with the request it fills."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.answers import AnswerError, parse, shown
from wizard.questions import PRESETS, QUESTIONS, STEPS, Question, preset, question
from wizard.wording import first_request

BY_KEY = {asked.key: asked for asked in QUESTIONS}


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.key)
def test_a_question_has_the_requests_default(asked: Question) -> None:
    if asked.key == "model.model":
        return
    part, name = asked.key.split(".")
    default = getattr(getattr(first_request(), part), name)
    assert (default.value if isinstance(default, Enum) else default) == asked.default


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.key)
def test_every_answer_it_offers_is_valid(asked: Question) -> None:
    offered = [choice.value for choice in asked.choices] + list(asked.stops)
    if asked.none:
        offered.append(None)
    for value in offered:
        first_request().with_value(asked.key, value)


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.key)
def test_it_says_what_it_means_in_one_line(asked: Question) -> None:
    assert asked.title
    assert len(asked.title) <= 12
    assert 10 < len(asked.help) < 94
    assert "\n" not in asked.help
    assert asked.option.startswith("--")


def test_keys_and_options_are_unique() -> None:
    assert len(BY_KEY) == len(QUESTIONS)
    options = [option for asked in QUESTIONS for option in (asked.option, *asked.aliases)]
    assert len(set(options)) == len(options)


def test_every_step_asks_something() -> None:
    assert {asked.step for asked in QUESTIONS} == {name for name, _ in STEPS}


def test_stops_ascend() -> None:
    for asked in QUESTIONS:
        assert list(asked.stops) == sorted(set(asked.stops))


@pytest.mark.parametrize("asked", [each for each in QUESTIONS if each.stops], ids=lambda asked: asked.key)
def test_what_is_shown_can_be_typed_back(asked: Question) -> None:
    for stop in asked.stops:
        assert parse(asked, shown(asked, stop)) == pytest.approx(
            stop, abs=5e-3 if asked.unit == "share" else 1e-9
        )


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("workload.prompt_tokens", "16k", 16384),
        ("workload.prompt_tokens", " 2,048 ", 2048),
        ("workload.prompt_tokens", "2048 tokens", 2048),
        ("workload.prefix_share", "20 %", 0.2),
        ("workload.prefix_share", "20", 0.2),
        ("workload.prefix_share", "0.2", 0.2),
        ("policy.gpu_memory_utilization", ".9", 0.9),
        ("policy.gpu_memory_utilization", "92%", 0.92),
        ("policy.gpu_memory_utilization", "", None),
        ("policy.max_ttft_ms", "no limit", None),
        ("policy.max_ttft_ms", "500 ms", 500.0),
        ("policy.allow_quantized", "no", False),
        ("policy.allow_quantized", "Y", True),
        ("workload.batching_mode", "Latency", "latency"),
        ("model.quantization", "as stored", None),
        ("model.kv_cache_dtype", "fp8_e5m2", "fp8_e5m2"),
        ("policy.vllm_version", "0.19.1", "0.19.1"),
    ],
)
def test_answers_as_people_type_them(key: str, typed: str, value: object) -> None:
    assert parse(question(key), typed) == value


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("workload.concurrency", "0"),
        ("workload.concurrency", "-4"),
        ("workload.concurrency", "1.5"),
        ("workload.concurrency", "many"),
        ("workload.concurrency", ""),
        ("workload.concurrency", "9" * 400),
        ("policy.gpu_memory_utilization", "1.2"),
        ("policy.allow_quantized", "perhaps"),
        ("workload.batching_mode", "fast"),
        ("hardware.vram_gb", "nan"),
        ("hardware.vram_gb", "1e3"),
    ],
)
def test_what_is_not_taken_is_said_in_one_sentence(key: str, typed: str) -> None:
    with pytest.raises(AnswerError) as refused:
        parse(question(key), typed)
    assert str(refused.value).startswith(question(key).title + ":")
    assert str(refused.value).endswith(".")


@given(st.sampled_from(QUESTIONS), st.text(max_size=40))
def test_no_answer_crashes(asked: Question, typed: str) -> None:
    try:
        parse(asked, typed)
    except AnswerError as error:
        assert "\n" not in str(error)


def test_presets_are_valid_and_differ() -> None:
    answers = []
    for each in PRESETS:
        request = first_request()
        for key, value in preset(each.name).answers.items():
            request = request.with_value(key, value)
        answers.append(request.workload)
    assert len(set(answers)) == len(PRESETS)


def test_an_unknown_preset_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        preset("nothing")


def test_declaring_questions_loads_no_interface_and_no_pydantic() -> None:
    program = (
        "import sys, wizard.questions, wizard.answers\n"
        "print([name for name in ('pydantic', 'textual', 'questionary', 'rich') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
