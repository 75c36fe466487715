"""Files of this machine that flags name: a container sees them only where they are mounted.

Which flags take paths: vLLM's cli_args.py and config/*.py (0.10.2-0.33.0).
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator

from wizard.dataclass import dataclass
from wizard.render.draft import Argument

PATH_FLAGS = frozenset(
    {
        "--allowed-local-media-path", "--chat-template", "--hf-config-path", "--io-processor-plugin", "--lora-modules",
        "--log-config-file", "--mm-encoder-fp8-scale-path", "--reasoning-parser-plugin", "--speculative-config",
        "--ssl-ca-certs", "--ssl-certfile", "--ssl-keyfile", "--tokenizer", "--tool-parser-plugin",
    }
)  # fmt: skip
"""Their values are read, so that a read-only mount at the same place is enough."""

FILE_ENDINGS = frozenset(
    {".jinja", ".jinja2", ".json", ".pem", ".py", ".crt", ".key", ".yaml", ".safetensors"}
)
"""What tells a relative path from the name of a model or a template's own text."""


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Paths in a command."""

    mounted: tuple[str, ...]
    """Absolute ones, each once, none inside another."""
    relative: tuple[str, ...]
    """Those that no container can find."""


def host_paths(arguments: Iterable[Argument]) -> HostPaths:
    """The paths that `arguments` name."""
    found = [
        path
        for argument in arguments
        if argument.flag in PATH_FLAGS
        for value in argument.values
        for path in _paths(value)
    ]
    absolute = sorted({path for path in found if path.startswith("/")})
    outer = [path for path in absolute if not any(_inside(path, other) for other in absolute)]
    relative = dict.fromkeys(path for path in found if not path.startswith("/") and _is_file(path))
    return HostPaths(tuple(outer), tuple(relative))


def _inside(path: str, other: str) -> bool:
    return path != other and path.startswith(other.rstrip("/") + "/")


def _is_file(text: str) -> bool:
    one_line = "\n" not in text and "{" not in text
    return one_line and (text.startswith(("./", "../", "~")) or posixpath.splitext(text)[1] in FILE_ENDINGS)


def _paths(value: str) -> Iterator[str]:
    """`path`, `name=path`, or the texts inside a JSON object."""
    if value.lstrip().startswith("{"):
        try:
            document = json.loads(value)
        except ValueError:
            return
        yield from (item for item in document.values() if isinstance(item, str))
        return
    name, equals, path = value.partition("=")
    yield path if equals and "/" not in name else value
