"""What a key and a start cost on a real pty, beside bare Textual programs, measured by the shared driver in one run.

The driver and the bare programs lie in the shared facts beside the repository; without them this table is left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.journeys.conftest import REPOSITORY
from tests.terminal import Terminal

TOOLS = REPOSITORY.parent / "shared" / "tools" / "bench"
BEST_WIRING = ("--footer", "bar", "--quiet-focus", "--wire", "watch", "--batch")
"""The fastest of the ways that `sixty.py` can be put together."""

WIZARD = (
    *("-m", "wizard", "--fresh", "--offline", "--no-mouse"),
    *("--model", "Qwen/Qwen3-32B", "--gpu", "H100 SXM5 80GB", "--gpus", "2"),
)
PROGRAMS: Mapping[str, Sequence[str]] = {
    "bare": (str(TOOLS / "apps" / "bare.py"),),
    "sixty": (str(TOOLS / "apps" / "sixty.py"), *BEST_WIRING),
    "wizard": WIZARD,
}
USEFUL_CELLS = 300
"""Visible characters of a first frame that is of use."""

STEPS = "right*15,left*15"
SLIDERS: Mapping[str, str] = {
    "hardware": "2,wait:900,tab*2",
    "workload": "3,wait:900,tab*3",
    "policy": "4,wait:900,tab",
}
"""Keys that lead to a slider of each screen that has one."""

LINK_BYTES_PER_S, DELAY_S = 128_000 // 8, 0.15
HELD_KEYS, KEYS_PER_S = 60, 30


def environment(home: str) -> dict[str, str]:
    """An empty home, a terminal of today, and modules compiled once, as an installed package's are."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
    return kept | {
        "HOME": home,
        "XDG_STATE_HOME": f"{home}/state",
        "XDG_CACHE_HOME": f"{home}/cache",
        "HF_HOME": f"{home}/huggingface",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONPYCACHEPREFIX": f"{home}/compiled",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
    }


def drive(name: str, home: str, keys: str, *options: str) -> dict[str, Any]:
    """One run of the shared driver: its figures, those of each key in `detail`."""
    report = Path(home) / "report.json"
    command = [
        *(sys.executable, str(TOOLS / "ptydrive.py"), "--runs", "1", "--json", str(report)),
        *("--keys", keys, *options, "--", sys.executable, *PROGRAMS[name]),
    ]
    subprocess.run(command, env=environment(home), stdout=subprocess.DEVNULL, check=True, cwd=home)
    found: dict[str, Any] = json.loads(report.read_text().splitlines()[-1])
    return found


def start_rows(rounds: int = 5) -> Iterator[str]:
    """Starts, interleaved: milliseconds to a frame of use, bytes, and what an idle screen costs."""
    with TemporaryDirectory() as home:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in PROGRAMS}
        for _ in range(rounds):
            for name, runs in found.items():
                cells = "10" if name == "bare" else str(USEFUL_CELLS)
                runs.append(
                    drive(
                        name,
                        home,
                        "",
                        "--quiet",
                        "1200",
                        "--min-cells",
                        cells,
                        "--warmup",
                        "0" if runs else "1",
                    )
                )
    base = min(run["first_text_ms"] for run in found["sixty"])
    yield f"{'start, best of ' + str(rounds):<36}{'ms':>9}{'x sixty':>9}{'bytes':>9}{'idle B/s':>10}{'CPU ms/s':>10}"
    for name, runs in found.items():
        best = min(run["first_text_ms"] for run in runs)
        sizes = max(run["start_bytes"] for run in runs)
        idle = max(run["idle_bytes_per_s"] for run in runs)
        work = min(run["idle_cpu_ms_per_s"] for run in runs)
        yield f"{name:<36}{best:9.0f}{best / base:9.2f}{sizes:9.0f}{idle:10.0f}{work:10.1f}"
    yield "must be: at most 1.35 x sixty, 24,000 bytes, idle 0"


def key_rows(size: str, rounds: int = 3) -> Iterator[str]:
    """A step of a slider with all that follows from it, to the last byte, and Tab.

    `sixty.py` is driven before every screen, and the best of its rounds there compared with the screen's best: a
    machine that slows down in between slows both.
    """
    steps: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in ("sixty", *SLIDERS)}
    beside: dict[str, list[float]] = {name: [] for name in SLIDERS}
    tabs: dict[str, list[dict[str, Any]]] = {name: [] for name in steps}
    with TemporaryDirectory() as home:
        for name, way in list(SLIDERS.items()) * rounds:
            for driven, program, keys in (("sixty", "sixty", "wait:600"), (name, "wizard", way)):
                keys = f"{keys},wait:600,{STEPS},wait:1500,tab*5"
                run = drive(program, home, keys, "--size", size, "--idle", "0")
                pressed = run["detail"][0]["keys"]
                steps[driven].append([key for key in pressed[-35:-5] if key["name"] in {"right", "left"}])
                tabs[driven] += pressed[-5:]
            beside[name].append(_median_last(steps["sixty"][-1]))
    yield f"{'a slider step at ' + size:<36}{'ms':>9}{'x sixty':>9}{'bytes':>9}{'frames':>9}{'Tab B':>9}"
    for name, runs in steps.items():
        keys_pressed = [key for run in runs for key in run]
        last, most = min(map(_median_last, runs)), max(key["bytes"] for key in keys_pressed)
        base = min(beside.get(name, [last]))
        frames = statistics.median(key["bursts"] for key in keys_pressed)
        yield (
            f"{name:<36}{last:9.1f}{last / base:9.2f}{most:9.0f}{frames:9.0f}"
            f"{max(key['bytes'] for key in tabs[name]):9.0f}"
        )
    limit = {"80x24": "1,200", "120x40": "2,000"}[size]
    yield f"must be: at most 1.6 x sixty, {limit} bytes, one frame, Tab 600 bytes"


def _median_last(keys: Sequence[Mapping[str, Any]]) -> float:
    """Milliseconds to the last byte of the reaction; a step at an end of the scale has none."""
    return statistics.median(key["last_ms"] for key in keys if key["last_ms"] is not None)


JOURNEY = (
    "2",
    "tab",
    "tab",
    "3",
    "tab",
    "tab",
    "tab",
    *["right"] * 5,
    "4",
    "tab",
    "right",
    "5",
    "?",
    "escape",
    "1",
)


def memory_rows() -> Iterator[str]:
    """Resident memory after a whole journey, beside sixty.py after as many keys."""
    found = {}
    with TemporaryDirectory() as home:
        for name in ("sixty", "wizard") * 2:  # the first time everything is compiled, which costs memory too
            argv = [sys.executable, *PROGRAMS[name]]
            with Terminal(argv, environment=environment(home), directory=home) as terminal:
                terminal.wait_for("Fits" if name == "wizard" else "result 5")
                for key in JOURNEY if name == "wizard" else ("right", "tab") * (len(JOURNEY) // 2):
                    terminal.press(key)
                    terminal.settle(0.25)
                pages = int(Path(f"/proc/{terminal.pid}/statm").read_text().split()[1])
                found[name] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    yield f"{'resident after a journey':<36}{'MiB':>9}{'x sixty':>9}"
    for name, size in found.items():
        yield f"{name:<36}{size:9.1f}{size / found['sixty']:9.2f}"
    yield "must be: at most 1.6 x sixty"


def link_rows() -> Iterator[str]:
    """A key held for two seconds: how far the picture lags on a link of 128 kbit/s with 150 ms each way.

    The program's output is stamped as it comes and put through such a link afterwards.
    """
    with TemporaryDirectory() as home:
        argv = [sys.executable, *PROGRAMS["wizard"]]
        with Terminal(argv, environment=environment(home), directory=home) as terminal:
            terminal.wait_for("Fits")
            terminal.press("3", "tab")
            terminal.settle(1.0)
            chunks, last_key = terminal.hold(["right", "left"] * (HELD_KEYS // 2), KEYS_PER_S)
    free = 0.0
    for when, size in chunks:
        free = max(free, when) + size / LINK_BYTES_PER_S
    lag = free + 2 * DELAY_S - last_key
    total = sum(size for _, size in chunks)
    yield f"{HELD_KEYS} keys at {KEYS_PER_S} a second, 128 kbit/s, 150 ms each way"
    yield f"{'last picture after the last key':<36}{lag * 1e3:9.0f} ms (the way there and back alone: 300)"
    yield f"{'bytes a second':<36}{total / last_key:9.0f} of {LINK_BYTES_PER_S}"


def report() -> Iterator[str]:
    """All tables, or why there are none."""
    if not TOOLS.is_dir():
        yield "terminal costs are left out: the driver of the shared facts is not at hand"
        return
    yield from start_rows()
    for size in ("80x24", "120x40"):
        yield ""
        yield from key_rows(size)
    yield ""
    yield from memory_rows()
    yield ""
    yield from link_rows()
