"""What around the GPU can spoil a start: memory, processors, disk, /dev/shm, docker, vLLM itself, the port."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

from wizard.dataclass import dataclass
from wizard.hardware.detect import Machine
from wizard.hardware.host import read_host
from wizard.hardware.installed import installed_vllm_version
from wizard.hub_cache import cache_folder
from wizard.schemas.outputs import GIB, MIB

State = Literal["ok", "warn", "fail"]

Subject = tuple[str, str]
"""Key and title of a check."""

PATIENCE_S = 3.0
"""For the whole list: a dead network mount answers never."""

WORKER_RAM_BYTES = 3 * GIB
"""Resident memory of one vLLM process with torch and CUDA loaded: 2 to 3 GiB is usual (estimate, rounded up)."""

ENGINE_PROCESSES = 2
"""API server and engine core, beside one worker per GPU (vLLM 0.33, docs/design/arch_overview.md)."""

BROADCAST_BYTES = 160 * MIB
"""Shared-memory ring from the engine to its workers: VLLM_MQ_MAX_CHUNK_BYTES_MB (16) x 10 chunks (vLLM 0.33,
`v1/executor/multiproc_executor.py`, `shm_broadcast.py`)."""

NCCL_SHM_BYTES = 33 * MIB
"""What NCCL maps in /dev/shm per GPU pair when peer access is off; its own errors name 33030528 bytes."""


CUDA13_SINCE = (0, 20)
"""vLLM's default wheel and image are built for CUDA 13.0 since 0.20.0, for 12.9 before."""

CUDA13_DRIVER = "580"
"""The first driver branch for CUDA 13 (NVIDIA CUDA 13.0 release notes)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at before the start."""

    key: str
    title: str
    state: State
    found: str
    """What was found, one sentence."""
    advice: str = ""
    """What to do about it; empty when all is well."""


def checks(
    machine: Machine,
    model_bytes: int,
    port: int = 8000,
    *,
    download_bytes: int | None = None,
    vllm_version: str | None = None,
    environment: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> list[Check]:
    """The pre-flight list for serving on `machine` here.

    `model_bytes` is what is to be loaded, `download_bytes` what of it is not on this disk yet (None: all);
    `root` is where /proc, /dev/shm and /etc are looked up. `vllm_version` is the targeted one (`None`: the
    newest). Touches disk and a socket, so it belongs in a worker.
    """
    env = os.environ if environment is None else environment
    wanted = model_bytes if download_bytes is None else download_bytes
    looks = _looks(machine, model_bytes, wanted, port, vllm_version, env, root)
    return [check for look in looks.values() if (check := look()) is not None]


def checks_in_time(
    machine: Machine,
    model_bytes: int = 0,
    port: int = 8000,
    *,
    download_bytes: int | None = None,
    vllm_version: str | None = None,
    patience_s: float = PATIENCE_S,
    environment: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> list[Check]:
    """The same list, where a look that hangs (a network mount that is gone) becomes a warning."""
    env = os.environ if environment is None else environment
    wanted = model_bytes if download_bytes is None else download_bytes
    looks = _looks(machine, model_bytes, wanted, port, vllm_version, env, root)
    answers: SimpleQueue[tuple[Subject, Check | None]] = SimpleQueue()

    def run(subject: Subject) -> None:
        answers.put((subject, looks[subject]()))

    for subject in looks:
        threading.Thread(target=run, args=(subject,), daemon=True).start()
    found: dict[Subject, Check | None] = {}
    end = time.monotonic() + patience_s
    while len(found) < len(looks):
        try:
            subject, check = answers.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[subject] = check
    listed = (found[subject] if subject in found else _silent(subject, patience_s) for subject in looks)
    return [check for check in listed if check is not None]


def _silent(subject: Subject, patience_s: float) -> Check:
    return Check(
        *subject,
        "warn",
        f"The look at it did not end within {patience_s:g} s.",
        "A mount may hang: `df` and `dmesg | tail` show which.",
    )


def _looks(
    machine: Machine,
    model_bytes: int,
    download_bytes: int,
    port: int,
    vllm_version: str | None,
    env: Mapping[str, str],
    root: Path,
) -> dict[Subject, Callable[[], Check | None]]:
    return {
        ("driver", "Driver"): lambda: _driver(machine, vllm_version),
        ("ram", "RAM"): lambda: _ram(machine, model_bytes, root),
        ("cpus", "CPU cores"): lambda: _cpus(machine, root),
        ("disk", "Disk"): lambda: _disk(download_bytes, env),
        ("shm", "/dev/shm"): lambda: _shared_memory(machine, root),
        ("docker", "Docker"): lambda: _docker(machine, env, root),
        ("vllm", "vLLM"): lambda: _vllm(env),
        ("port", f"Port {port}"): lambda: _port(port),
    }


def _driver(machine: Machine, vllm_version: str | None) -> Check | None:
    if machine.vendor != "nvidia" or machine.cuda is None:
        return None
    found = f"Driver {machine.driver or '?'} serves CUDA up to {machine.cuda}."
    supported = tuple(int(part) for part in machine.cuda.split("."))
    wanted = tuple(int(part) for part in (vllm_version or "999").split("."))
    if wanted >= CUDA13_SINCE and supported < (13, 0):
        return Check(
            "driver",
            "Driver",
            "warn",
            found,
            f"vLLM's default wheel and image need CUDA 13: update to driver {CUDA13_DRIVER} or later, "
            "or take the cu129 wheel or image.",
        )
    return Check("driver", "Driver", "ok", found)


def _ram(machine: Machine, model_bytes: int, root: Path) -> Check | None:
    around = read_host(root)
    if around.memory_total_bytes is None or around.memory_available_bytes is None:
        return None
    free = around.memory_available_bytes
    found = f"{free / GIB:.0f} of {around.memory_total_bytes / GIB:.0f} GiB of RAM are free."
    if machine.gpus and machine.gpus[0].unified_memory:
        return Check("ram", "RAM", "ok", f"{found} The GPU shares them.")
    processes = ENGINE_PROCESSES + max(len(machine.gpus), 1)
    needed = processes * WORKER_RAM_BYTES
    if free < needed:
        return Check(
            "ram",
            "RAM",
            "warn",
            found,
            f"vLLM's {processes} processes take about {needed / GIB:.0f} GiB; close what holds memory.",
        )
    if free < model_bytes:
        return Check(
            "ram",
            "RAM",
            "warn",
            found,
            f"The {model_bytes / GIB:.0f} GiB of weights don't stay in the page cache: loading reads the disk "
            "once per GPU, so the first start is slow.",
        )
    return Check("ram", "RAM", "ok", found)


def _cpus(machine: Machine, root: Path) -> Check:
    try:
        count: float = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    quota = _cpu_quota(root)
    if quota is not None:
        count = min(count, quota)
    needed = ENGINE_PROCESSES + max(len(machine.gpus), 1)
    found = f"{count:g} CPU cores may be used."
    if count < needed:
        return Check(
            "cpus",
            "CPU cores",
            "warn",
            found,
            f"vLLM keeps {needed} processes busy; fewer cores slow every token, so allow at least {needed}.",
        )
    return Check("cpus", "CPU cores", "ok", found)


def _cpu_quota(root: Path) -> float | None:
    """Cores that the container's control group allows; `None` without a limit."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _disk(download_bytes: int, environment: Mapping[str, str]) -> Check | None:
    folder = cache_folder(environment)
    place = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    if place is None:
        return None
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return None
    found = f"{free / GIB:.0f} GiB are free at {folder}."
    if free < download_bytes:
        return Check(
            "disk",
            "Disk",
            "fail",
            found,
            f"The download needs {download_bytes / GIB:.0f} GiB; free some, or set HF_HOME to a larger disk.",
        )
    if not os.access(place, os.W_OK):
        return Check(
            "disk", "Disk", "fail", found, f"{place} can't be written; set HF_HOME to a folder that can."
        )
    if free < 1.1 * download_bytes:
        return Check("disk", "Disk", "warn", found, "The download leaves the disk nearly full.")
    return Check("disk", "Disk", "ok", found)


def _shared_memory(machine: Machine, root: Path) -> Check | None:
    try:
        shm = os.statvfs(root / "dev/shm")
    except OSError:
        return None
    free = shm.f_bavail * shm.f_frsize
    found = f"{free / MIB:,.0f} MiB are free in /dev/shm."
    count = len(machine.gpus)
    needed = 0 if count < 2 else BROADCAST_BYTES + count * NCCL_SHM_BYTES
    if free < needed:
        return Check(
            "shm",
            "/dev/shm",
            "fail",
            found,
            f"{count} GPUs need {needed // MIB} MiB; start the container with --ipc=host or --shm-size 1g.",
        )
    return Check("shm", "/dev/shm", "ok", found)


def _docker(machine: Machine, environment: Mapping[str, str], root: Path) -> Check:
    path = environment.get("PATH", "")
    if shutil.which("docker", path=path) is None:
        return Check(
            "docker",
            "Docker",
            "warn",
            "docker is not on the PATH.",
            "serve.sh runs without it; the docker files need it.",
        )
    if machine.vendor == "nvidia" and not _container_toolkit(path, root):
        return Check(
            "docker",
            "Docker",
            "warn",
            "docker is here, nvidia-container-toolkit is not.",
            "Install nvidia-container-toolkit, else containers see no GPU.",
        )
    return Check("docker", "Docker", "ok", "docker can hand GPUs to containers.")


def _container_toolkit(path: str, root: Path) -> bool:
    tools = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-cli")
    specs = (root / "etc/cdi/nvidia.yaml", root / "var/run/cdi/nvidia.yaml")
    return any(shutil.which(tool, path=path) for tool in tools) or any(spec.exists() for spec in specs)


def _vllm(environment: Mapping[str, str]) -> Check:
    installed = installed_vllm_version(environment)
    if installed is None:
        return Check(
            "vllm",
            "vLLM",
            "warn",
            "vLLM is neither beside this program nor on the PATH.",
            "The docker files bring it; for serve.sh run `uv pip install vllm` in the environment that serves.",
        )
    return Check("vllm", "vLLM", "ok", f"vLLM {installed} is installed.")


def _port(port: int) -> Check:
    title = f"Port {port}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return Check(
                "port",
                title,
                "fail",
                f"Port {port} is taken." if taken else f"Port {port} may not be opened by this user.",
                "Stop what listens there, or serve with another --port.",
            )
    return Check("port", title, "ok", f"Port {port} is free.")
