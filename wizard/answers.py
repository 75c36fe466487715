"""Answers as text: read from a person, shown to one."""

from __future__ import annotations

import re
from typing import Any

from wizard.questions import Question, Value
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
            return count(value) if asked.whole and asked.unit else f"{value:.10g}"


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
