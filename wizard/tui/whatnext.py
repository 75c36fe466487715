"""Three lines for the moment after writing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

STARTERS = (
    ("serve.sh", "./serve.sh"),
    ("docker-compose.yaml", "docker compose up"),
    ("compose.yaml", "docker compose up"),
    ("docker-run.sh", "./docker-run.sh"),
    ("docker.sh", "./docker.sh"),
)


def next_steps(directory: Path, names: Sequence[str]) -> tuple[str, ...]:
    """How to start what was written, how to see that it runs, and how to measure it."""
    start = next((command for name, command in STARTERS if name in names), "")
    lines = [f"cd {shlex.quote(str(directory))}" + (f" && {start}" if start else "")]
    lines.append("curl -s http://127.0.0.1:8000/v1/models    answers once vLLM is up")
    if "bench.sh" in names:
        lines.append("./bench.sh    measures what was forecast")
    else:
        lines.append("vllm-wizard-tui --profile profile.yaml    opens this plan again")
    return tuple(lines)
