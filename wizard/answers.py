"""Answers as text: read from a person, shown to one, taken from the command line."""

from __future__ import annotations

import argparse
import re
from typing import Any

from wizard.questions import QUESTIONS, STEPS, Question, Value, preset, preset_names
from wizard.text import count


class AnswerError(ValueError):
    """An answer that a question doesn't take; the message says which it takes."""


def shown(asked: Question, value: Any) -> str:
    """An answer as people read it: `16,384`, `20 %`, `0.92`, `500 ms`, `no limit`."""
    if value is None:
        return asked.none or "not chosen"
    if asked.kind == "switch":
        return "yes" if value else "no"
    for choice in asked.choices:
        if choice.value == value:
            return choice.label
    if isinstance(value, str | bool):
        return str(value)
    match asked.unit:
        case "share":
            return f"{value * 100:.0f} %"
        case "GiB" | "ms" | "B":
            return f"{value:,.10g} {asked.unit}"
        case _:
            return count(value) if asked.whole else f"{value:.10g}"


KEYS = frozenset(asked.key for asked in QUESTIONS)

_NUMBER = re.compile(r"(?P<number>\d[\d,_ ]*(?:\.\d+)?|\.\d+)\s*(?P<suffix>[a-z%]*)", re.IGNORECASE)
_SUFFIXES = {"": 1.0, "k": 1024.0, "m": 1024.0**2, "%": 0.01}


def parse(asked: Question, text: str) -> Value:
    """The answer that `text` stands for. Numbers take `16k`, `2,048`, `20 %`, and their unit.

    Raises AnswerError, in one sentence, for what the question doesn't take.
    """
    answer = text.strip()
    if asked.none and answer.lower() in {"", "none", asked.none.lower()}:
        return None
    if asked.kind == "switch":
        return _yes_or_no(asked, answer)
    if asked.kind == "choice":
        return _one_of(asked, answer)
    if asked.kind in {"search", "text"}:
        if not answer:
            raise AnswerError(f"{asked.title}: type a name.")
        return answer
    return _number(asked, answer)


def _yes_or_no(asked: Question, answer: str) -> bool:
    if answer.lower() in {"y", "yes", "on", "true", "1"}:
        return True
    if answer.lower() in {"n", "no", "off", "false", "0"}:
        return False
    raise AnswerError(f"{asked.title}: answer yes or no.")


def _one_of(asked: Question, answer: str) -> Value:
    for choice in asked.choices:
        if answer.lower() in {choice.label.lower(), str(choice.value).lower()}:
            return choice.value
    if asked.key in {"model.quantization", "model.dtype", "model.kv_cache_dtype", "policy.vllm_version"}:
        return answer  # vLLM knows more values than the wizard offers; the request's own check decides
    raise AnswerError(f"{asked.title}: one of {', '.join(choice.label for choice in asked.choices)}.")


def _number(asked: Question, answer: str) -> int | float:
    match = _NUMBER.fullmatch(answer)
    unit = (match["suffix"] if match else "").lower()
    if match is None or unit not in {*_SUFFIXES, asked.unit.lower()}:
        raise AnswerError(f"{asked.title}: type a number{_range(asked)}.")
    value = float(re.sub(r"[,_ ]", "", match["number"])) * _SUFFIXES.get(unit, 1.0)
    if asked.unit == "share" and unit == "" and value > 1:
        value /= 100
    low, high = asked.bounds
    if (low is not None and value < low) or (high is not None and value > high):
        raise AnswerError(f"{asked.title}: type a number{_range(asked)}.")
    if not asked.whole:
        return round(value, 6)
    if value != int(value):
        raise AnswerError(f"{asked.title}: type a whole number{_range(asked)}.")
    return int(value)


def _range(asked: Question) -> str:
    low, high = asked.bounds
    if low is None or high is None:
        return ""
    return f" between {shown(asked, low)} and {shown(asked, high)}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every question as an option of `parser`, grouped by step; unanswered ones stay absent.

    `answers` reads them back.
    """
    for step, title in STEPS:
        asked_here = [asked for asked in QUESTIONS if asked.step == step]
        if not asked_here:
            continue
        group = parser.add_argument_group(title.lower())
        if step == "workload":
            group.add_argument(
                "--preset",
                choices=preset_names(),
                default=argparse.SUPPRESS,
                help="a typical workload by name",
            )
        for asked in asked_here:
            add_option(group, asked)


def add_option(group: argparse._ActionsContainer, asked: Question) -> None:
    """One question as an option; its value is absent from the namespace until it is given."""
    described = asked.help.replace("%", "%%")
    if asked.kind == "switch":
        group.add_argument(
            asked.option,
            dest=asked.key,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=described,
        )
        return

    def answer(text: str) -> Value:
        try:
            return parse(asked, text)
        except AnswerError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    group.add_argument(
        asked.option,
        *asked.aliases,
        dest=asked.key,
        type=answer,
        default=argparse.SUPPRESS,
        metavar=asked.unit.upper() or asked.option.lstrip("-").split("-")[-1].upper(),
        help=described,
    )


def answers(namespace: argparse.Namespace) -> dict[str, Value]:
    """The answers given on the command line, by key; a preset's first, single options over it."""
    given: dict[str, Value] = {}
    name = getattr(namespace, "preset", None)
    if name is not None:
        given.update(preset(name).answers)
    given.update({key: value for key, value in vars(namespace).items() if key in KEYS})
    return given
