"""Where the files go, and what to do once they are there: the same words in both front ends."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from wizard.schemas.inputs import PlanRequest
from wizard.wording import request_words

LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})

BUNDLE_FILES = ("profile.yaml", "plan.json", "serve.sh")
"""A directory with one of these and no model in it is an earlier export."""

MOST_NAMES = 99

STARTERS = (
    ("serve.sh", "./serve.sh"),
    ("docker-compose.yaml", "docker compose up"),
    ("docker-run.sh", "./docker-run.sh"),
    (
        "node-0.sh",
        "HEAD_ADDRESS=ADDRESS_OF_NODE_0 ./node-0.sh    # on node 0; ./node-1.sh on the next, and so on",
    ),
    (
        "ray-node-0.sh",
        "HEAD_ADDRESS=ADDRESS_OF_NODE_0 ./ray-node-0.sh    # on node 0; ./ray-node-1.sh on the next",
    ),
    ("vllm.service", "less vllm.service    # its first lines install it"),
    ("vllm-0.service", "less vllm-0.service    # its first lines install it"),
    ("kubernetes.yaml", "kubectl apply -f kubernetes.yaml"),
    ("lws.yaml", "kubectl apply -f lws.yaml"),
    ("kuberay.yaml", "kubectl apply -f kuberay.yaml"),
    ("production-stack-values.yaml", "less production-stack-values.yaml    # its first lines install it"),
    ("llm-d-values.yaml", "less llm-d-values.yaml    # its first lines install it"),
    ("vllm-config.yaml", "vllm serve --config vllm-config.yaml"),
)
"""How to start what was written, by file, the simplest way first."""

IN_CLUSTER = frozenset(
    {"kubernetes.yaml", "lws.yaml", "kuberay.yaml", "production-stack-values.yaml", "llm-d-values.yaml"}
)


def suggested_directory(request: PlanRequest) -> str:
    """Where the files go unless somebody says otherwise: here, named after the model.

    Never the model's own directory, and never one that holds anything but an earlier export: reads the disk.
    """
    name = request_words(request).lower()
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)
    base = "./" + ("-".join(filter(None, safe.split("-")))[:60] or "vllm")
    others = (f"{base}-vllm" + (f"-{number}" if number > 1 else "") for number in range(1, MOST_NAMES))
    return next(
        (each for each in (base, *others) if _may_hold_a_bundle(Path(each), request.model.model)), base
    )


def _may_hold_a_bundle(directory: Path, model: str) -> bool:
    try:
        if directory.resolve() == Path(model).expanduser().resolve() or (directory / "config.json").exists():
            return False
        if not directory.is_symlink() and not directory.exists():
            return True
        return any((directory / name).exists() for name in BUNDLE_FILES) or not any(directory.iterdir())
    except (OSError, RuntimeError):
        return False


def next_steps(directory: Path, names: Sequence[str], request: PlanRequest) -> tuple[str, str, str]:
    """Three lines for the moment after writing: start it, see that it answers, measure it or come back."""
    where = str(directory)
    there = f"cd {shlex.quote('./' + where if where.startswith('-') else where)}"
    started = next(((name, command) for name, command in STARTERS if name in names), ("", ""))
    if "serve.sh" in names and "nginx.conf" in names:
        started = ("serve.sh", "./serve.sh 0    # then 1, 2 ... beside it, and nginx in front: README.md")
    name, command = started
    up = (
        "./smoke.sh    # in another terminal: waits until it answers"
        if "smoke.sh" in names
        else _ask(request)
    )
    if name in IN_CLUSTER:
        up = f"kubectl get pods --watch    # once ready, the first lines of {name} say how to reach it"
    elif name in {"node-0.sh", "ray-node-0.sh"} and "smoke.sh" in names:
        up = "./smoke.sh    # on node 0: waits until it answers"
    if request.serving.host not in LOCAL and name not in IN_CLUSTER and ".env.example" in names:
        key = f"(umask 077; cp -n .env.example .env)    # set VLLM_API_KEY in it: {request.serving.host} is open"
        return (f"{there} && {key}", command or up, up if command else _after(names))
    return (f"{there} && {command}" if command else there, up, _after(names))


def _after(names: Sequence[str]) -> str:
    if "bench.sh" in names:
        return "./bench.sh    # measures the forecast"
    return "vllm-wizard-tui --profile profile.yaml    # reopens it"


def _ask(request: PlanRequest) -> str:
    host = request.serving.host
    shown = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    key = "" if host in LOCAL else ' -H "Authorization: Bearer $VLLM_API_KEY"'
    return f"curl -s{key} http://{shown}:{request.serving.port}/v1/models    # is it up?"
