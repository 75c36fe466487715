"""A scriptable NVML under the unmodified pynvml, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ZYGOTE = """
import dataclasses, json, os, sys
from pathlib import Path
from wizard.hardware.detect import detect

for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    asked = json.loads(line)
    os.environ.update(asked["env"])
    machine = detect(timeout_s=asked["timeout_s"], root=Path(asked["root"]))
    print(json.dumps(dataclasses.asdict(machine)), flush=True)
    os._exit(0)
"""
"""Imports once and forks for every scenario: a fresh pynvml each time at a tenth of a new interpreter's cost."""

Detected = dict[str, Any]
Detect = Callable[..., Detected]


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 that answers from a scenario file."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the fake NVML")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(folder / "libnvidia-ml.so.1"), str(source)],
        check=True,
    )
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, so that /proc and /sys of the machine that runs the tests stay out of it."""
    folder = tmp_path / "root"
    (folder / "proc").mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def zygote(fake_nvml: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that detects, started where the fake library is the only one to find."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_VISIBLE_DEVICES")}
    with subprocess.Popen(
        [sys.executable, "-c", ZYGOTE],
        env={**clean, "LD_LIBRARY_PATH": str(fake_nvml), "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def detect_with(zygote: subprocess.Popen[str], root: Path, tmp_path: Path) -> Detect:
    """Detection as a user's process would do it, on a machine that the scenario describes."""

    def detect(scenario: str, env: Mapping[str, str] | None = None, timeout_s: float = 5.0) -> Detected:
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        script = tmp_path / "scenario.txt"
        script.write_text(scenario, encoding="utf-8")
        asked = {"env": {"FAKE_NVML": str(script), **(env or {})}, "timeout_s": timeout_s, "root": str(root)}
        zygote.stdin.write(json.dumps(asked) + "\n")
        zygote.stdin.flush()
        answer: Detected = json.loads(zygote.stdout.readline())
        return answer

    return detect
