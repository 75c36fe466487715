"""The `vllm serve` commands inside artifacts, read as the artifact's own consumer would read them.

Nothing of `wizard.render` is used here: bash words by shlex, systemd's quoting, Compose's and Kubernetes'
dollar rules and YAML are each undone on their own.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml

HEAD = "10.0.0.1"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def commands_of(name: str, text: str) -> list[list[str]]:
    """Every `vllm serve` command of one file, as words from `vllm` on; none for files without one."""
    if name.endswith(".sh"):
        return _bash(text)
    if name.endswith(".service"):
        return [_systemd(text)]
    if name == "docker-compose.yaml":
        return [
            [*service["entrypoint"], *(word.replace("$$", "$") for word in service["command"])]
            for service in load(text)["services"].values()
            if "command" in service
        ]
    if name == "vllm-config.yaml":
        return [["vllm", "serve", *_config_words(load(text))]]
    if name in {"kubernetes.yaml", "lws.yaml", "kuberay.yaml"}:
        return _pods(text)
    if name == "production-stack-values.yaml":
        spec = load(text)["servingEngineSpec"]["modelSpec"][0]
        return [
            [
                "vllm",
                "serve",
                spec["modelURL"],
                "--enable-prefix-caching"
                if spec["vllmConfig"]["enablePrefixCaching"]
                else "--no-enable-prefix-caching",
                *("--tensor-parallel-size", str(spec["vllmConfig"]["tensorParallelSize"])),
                *(_unescaped(word) for word in spec["vllmConfig"]["extraArgs"]),
            ]
        ]
    if name == "llm-d-values.yaml":
        values = load(text)
        model = values["modelArtifacts"]["uri"].removeprefix("hf://")
        args = values["decode"]["containers"][0]["args"]
        return [["vllm", "serve", model, *(_unescaped(word) for word in args)]]
    return []


def load(text: str) -> Any:
    """One YAML document."""
    return yaml.load(text, Loader=LOADER)


def _bash(text: str) -> list[list[str]]:
    joined = text.replace("\\\n", " ")
    found: list[list[str]] = []
    for line in joined.splitlines():
        stripped = line.strip()
        if not stripped.startswith(("exec vllm serve", "exec docker run", "exec /usr")):
            continue
        plain = re.sub(r'"\$\{?(HEAD_ADDRESS)\}?"', HEAD, stripped)
        plain = re.sub(r'"\$\{(?:MASTER_PORT|RPC_PORT):-(\d+)\}"', r"\1", plain).replace('"$port"', "8001")
        words = shlex.split(plain)[1:]
        if words[0] == "docker":
            words = ["vllm", *words[words.index("serve") :]]
        found.append(words)
    return found


def _systemd(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    line = next(line for line in joined.splitlines() if line.startswith("ExecStart="))
    words = systemd_words(line.removeprefix("ExecStart="))
    assert words[0] == "/usr/bin/env"
    return words[words.index("vllm") :]


def systemd_words(line: str) -> list[str]:
    """systemd.syntax(7) and systemd.service(5): words, double quotes, C escapes, %% and $$."""
    words: list[str] = []
    position = 0
    while position < len(line):
        if line[position] == " ":
            position += 1
            continue
        word, quoted = "", False
        while position < len(line) and (quoted or line[position] != " "):
            character = line[position]
            if character == '"':
                quoted = not quoted
            elif character == "\\":
                position += 1
                digits = {"x": 2, "u": 4, "U": 8}.get(line[position], 0)
                if digits:
                    word += chr(int(line[position + 1 : position + 1 + digits], 16))
                    position += digits
                else:
                    word += {"n": "\n", "t": "\t"}.get(line[position], line[position])
            else:
                assert quoted or character != "'", "single quotes are not used"
                word += character
            position += 1
        assert "%" not in word.replace("%%", ""), word
        assert "$" not in word.replace("$$", ""), word
        words.append(word.replace("%%", "%").replace("$$", "$"))
        position += 1
    return words


def _config_words(document: dict[str, Any]) -> list[str]:
    words = [document.pop("model")]
    for key, value in document.items():
        if value is True:
            words.append(f"--{key}")
        elif isinstance(value, list):
            words += [f"--{key}", *(str(item) for item in value)]
        else:
            assert isinstance(value, str | int | float), key
            assert value is not False, "false is silently dropped by many versions"
            words += [f"--{key}", str(value)]
    return words


def _pods(text: str) -> list[list[str]]:
    found: list[list[str]] = []
    for document in yaml.load_all(text, Loader=LOADER):
        for container in containers(document):
            args = [_unescaped(word) for word in container["args"]]
            command = [_unescaped(word) for word in container["command"]]
            if command[3:] == ["bash", "vllm", "serve"]:
                more = command[2].removeprefix('exec "$@" ').replace("$((LWS_WORKER_INDEX * ", "")
                found.append(["vllm", "serve", *args, *shlex.split(more.replace("))", ""))])
            elif container["command"] == ["vllm", "serve"]:
                found.append([*container["command"], *args])
            else:
                found += _bash(args[0])
    return found


def containers(node: Any) -> list[dict[str, Any]]:
    """Every container anywhere in a manifest."""
    if isinstance(node, list):
        return [found for item in node for found in containers(item)]
    if not isinstance(node, dict):
        return []
    own = [item for item in node.get("containers", []) if isinstance(item, dict)]
    return own + [found for value in node.values() for found in containers(value) if found not in own]


def _unescaped(text: str) -> str:
    """Kubernetes: $$ is $, $(LWS_...) the injected variables."""
    known = {"LWS_LEADER_ADDRESS": HEAD, "LWS_WORKER_INDEX": "1"}
    pattern = re.compile(r"\$\$|\$\((\w+)\)")
    return pattern.sub(lambda match: "$" if match[0] == "$$" else known[match[1]], text)
