"""Values of flags, read as vLLM's argparse reads them, with one sentence for every refusal.

Source: vLLM 0.33 `utils/argparse_utils.py` (human_readable_int) and `engine/arg_utils.py` (get_kwargs).
"""

from __future__ import annotations

import json
import operator
import re
from typing import Any

from wizard.errors import WizardError
from wizard.vllm.flags import Flag

DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_JSON_SIZE = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')

FOLDED = frozenset({"--moe-backend", "--linear-backend", "--sparse-indexer-topk-backend"})
"""vLLM lower-cases these and turns - into _ before comparing."""

UPPER = frozenset({"--attention-backend", "--mm-encoder-attn-backend"})
"""Enum names; vLLM upper-cases what is given."""

_COMPARE = {
    "gt": (operator.gt, "more than"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "le": (operator.le, "at most"),
}


def parse_size(text: str) -> int:
    """`32k` -> 32000, `32K` -> 32768, `25.6k` -> 25600. Raises ValueError with the reason."""
    text = text.strip()
    match = _SIZE.fullmatch(text)
    if match is None:
        return int(text)
    number, suffix = match.groups()
    if suffix in DECIMAL:
        return int(float(number) * DECIMAL[suffix])
    if "." in number:
        raise ValueError(f"{suffix} is binary and takes whole numbers only; write {number}{suffix.lower()}")
    return int(number) * BINARY[suffix]


def parse_value(flag: Flag, text: str, *, version: str, option: str | None = None) -> Any:
    """One value of `flag` as vLLM `version` would read it.

    Raises WizardError, in one sentence, where vLLM would refuse it.
    """
    shown = option or flag.name
    if flag.optional and text in {"", "None"}:
        return None
    try:
        value = _converted(flag, text)
    except ValueError as error:
        raise WizardError(f"{shown}: {error}.") from None
    if flag.values:
        value = _listed(flag, str(value), version, shown)
        if flag.kind == "int":
            value = int(value)
    for name, limit in flag.bounds:
        compare, words = _COMPARE[name]
        if isinstance(value, int | float) and not compare(value, limit):
            raise WizardError(f"{shown} must be {words} {limit:g}, not {cut(text)}.")
    return value


def _converted(flag: Flag, text: str) -> Any:
    if flag.kind == "int":
        return _number(int, text, "a whole number")
    if flag.kind == "float":
        return _number(float, text, "a number")
    if flag.kind == "size" or (flag.kind == "length" and text.strip().lower() not in {"auto", "-1"}):
        try:
            return parse_size(text)
        except ValueError as error:
            reason = str(error)
            wanted = "a whole number, also like 32k (32000) or 32K (32768)"
            raise ValueError(reason if "binary" in reason else f"{cut(text)} is not {wanted}") from None
    if flag.kind == "length":
        return -1
    if flag.kind == "json":
        return _json(flag, text)
    if flag.kind == "json_or_text":
        return _json(flag, text) if re.match(r"(?s)^\s*{.*}\s*$", text) else text
    return text


def _number(kind: type[int] | type[float], text: str, wanted: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{cut(text)} is not {wanted}") from None


def _json(flag: Flag, text: str) -> Any:
    try:
        value = json.loads(_expanded(text) if flag.json_sizes else text)
    except (ValueError, RecursionError):
        raise ValueError(f"{cut(text)} is not valid JSON; quote it like '{{\"key\": 1}}'") from None
    check_keys(flag, value)
    return value


def check_keys(flag: Flag, value: object) -> None:
    """Raises ValueError where a JSON flag holds something that its config class doesn't know."""
    if not flag.keys:
        return
    if not isinstance(value, dict):
        raise ValueError(f"{cut(json.dumps(value))} is not a JSON object")  # noqa: TRY004 - argparse's own class
    for key in value:
        if key not in flag.keys:
            import difflib

            close = difflib.get_close_matches(key, flag.keys, n=1)
            guess = (
                f" (did you mean {close[0]}?)" if close else f"; it has {', '.join(flag.keys[:8])} and more"
            )
            raise ValueError(f"{cut(key)} is not a key of it{guess}")


def _expanded(text: str) -> str:
    """Sizes inside JSON: `{"cpu_bytes_to_use": 80m}` (arg_utils `_expand_json_human_readable_numbers`)."""
    parts = _QUOTED.split(text)
    parts[::2] = [_JSON_SIZE.sub(lambda match: str(parse_size(match.group())), part) for part in parts[::2]]
    return "".join(parts)


def _listed(flag: Flag, text: str, version: str, shown: str) -> str:
    wanted = text
    if flag.name in FOLDED:
        wanted = text.lower().replace("-", "_")
    elif flag.name in UPPER:
        wanted = text.upper()
    if wanted in flag.values:
        return wanted
    if flag.kind == "int" and wanted.lstrip("-").isdigit():
        raise WizardError(
            f"{shown} {cut(text)} is not known to vLLM {version}; {_nearest(int(wanted), flag)}"
        )
    import difflib

    close = difflib.get_close_matches(wanted, flag.values, n=1)
    listed = ", ".join(flag.values) if len(flag.values) <= 12 else f"{', '.join(flag.values[:10])} ..."
    guess = f"did you mean {close[0]}?" if close else f"choose from {listed}."
    raise WizardError(f"{shown} {cut(text)} is not known to vLLM {version}; {guess}")


def _nearest(number: int, flag: Flag) -> str:
    """The legal numbers on both sides."""
    values = sorted(int(value) for value in flag.values)
    near = [
        *[value for value in values if value < number][-1:],
        *[value for value in values if value > number][:1],
    ]
    return f"the nearest are {' and '.join(str(value) for value in near)}."


def cut(text: str, limit: int = 60) -> str:
    """A value from outside, quoted, printable and short."""
    shown = ascii(text) if not text.isprintable() else f"'{text}'"
    return shown if len(shown) <= limit else shown[: limit - 2] + "…'"
