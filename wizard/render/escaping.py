"""Text from outside, made literal in the format that it is written into.

Model names, paths and error sentences may hold quotes, `$(...)`, newlines or control characters; every
renderer passes them through the function of its format, and never builds a quoted string itself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from wizard.text import printable

COMMENT_WIDTH = 110
"""Characters of a comment line before it is wrapped."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def shell_word(text: str) -> str:
    """One word of bash, whatever `text` holds.

    What can't be seen (controls, line separators, direction marks) is written as the bytes `$'\\x..'`, so
    that a newline in a name doesn't break the script's layout and a reader sees what is there.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_ansi_c(character) for character in text) + "'"


def _ansi_c(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def shell_words(words: Iterable[str]) -> str:
    """A command line of bash."""
    return " ".join(shell_word(word) for word in words)


def shell_lines(first: Sequence[str], groups: Iterable[Sequence[str]], indent: str = "  ") -> str:
    """A long command, one flag per line, joined by backslashes."""
    lines = [shell_words(first), *(indent + shell_words(group) for group in groups)]
    return " \\\n".join(lines)


def systemd_word(text: str) -> str:
    """One word of a systemd command line (systemd.service(5), COMMAND LINES): % and $ doubled, C escapes."""
    text = text.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(text.replace("$$", "")):
        return text
    return '"' + "".join(_c_escape(character) for character in text) + '"'


def _c_escape(character: str) -> str:
    if character in '\\"':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def systemd_value(text: str) -> str:
    """A value outside command lines, such as a description or a path: specifiers doubled, one line."""
    return printable(text).replace("%", "%%")


def compose_text(value: Any) -> Any:
    """Every `$` doubled, because Compose substitutes variables in values (Compose spec, interpolation)."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [compose_text(item) for item in value]
    if isinstance(value, dict):
        return {key: compose_text(item) for key, item in value.items()}
    return value


def kubernetes_argument(text: str) -> str:
    """Every `$` doubled: Kubernetes expands $(NAME) and turns $$ into $ in commands, arguments and variables."""
    return text.replace("$", "$$")


def csv_field(text: str) -> str:
    """One field of docker's --mount and --gpus values, which are read as CSV (RFC 4180)."""
    if any(character in text for character in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def comment(text: str, prefix: str = "# ") -> str:
    """A comment of any length: printable, wrapped, every line prefixed. Nothing in it can end the comment."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        words = printable(paragraph, limit=2000).split(" ")
        line = ""
        for word in words:
            if line and len(line) + 1 + len(word) > COMMENT_WIDTH - len(prefix):
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return "\n".join((prefix + line).rstrip() for line in lines)


def markdown_code(text: str) -> str:
    """An inline code span that the text can't leave (CommonMark 6.1)."""
    shown = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def markdown_text(text: str) -> str:
    """A sentence whose signs Markdown doesn't read (CommonMark 2.4)."""
    return re.sub(r"([\\`*_<\[\]])", r"\\\1", printable(text))


def to_yaml(document: Any) -> str:
    """A YAML document, keys in the order given, without anchors. yaml is imported late: JSON needs none of it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            return super().increase_indent(flow, False)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        seen = value.replace("\n", "").isprintable()
        style = '"' if not seen else "|" if value.count("\n") > 1 else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    plain = _all_printable(document)
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=plain, width=110)


def _all_printable(value: Any) -> bool:
    """Whether every text in a document can be seen; where one can't, YAML escapes all that isn't ASCII."""
    if isinstance(value, str):
        return value.replace("\n", "").isprintable()
    if isinstance(value, dict):
        return all(_all_printable(item) for pair in value.items() for item in pair)
    return all(_all_printable(item) for item in value) if isinstance(value, list) else True


def to_json(document: Any) -> str:
    """Strict, readable JSON, ASCII only, so that any terminal and any parser takes it."""
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def kubernetes_name(text: str, limit: int = 50) -> str:
    """An RFC 1123 label made of `text`, never `vllm` alone: Kubernetes would set VLLM_PORT for such a Service."""
    label = re.sub(r"[^a-z0-9]+", "-", text.rpartition("/")[2].lower()).strip("-")[:limit].strip("-")
    return f"vllm-{label}" if label else "vllm-server"
