"""The pre-flight list: each check on a machine made of a few files."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from wizard.hardware import preflight
from wizard.hardware.detect import Machine
from wizard.hardware.preflight import Check, checks, checks_in_time
from wizard.hub_cache import cache_folder
from wizard.schemas.outputs import GIB, MIB, GPUInfo

CARD = GPUInfo(name="NVIDIA L4", memory_total_bytes=22 * GIB)

Look = Callable[..., dict[str, Check]]


def machine(count: int = 1, **facts: object) -> Machine:
    return Machine(gpus=(CARD,) * count, vendor="nvidia", **facts)  # type: ignore[arg-type]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Checks by key on a machine with so much memory, disk and shared memory, and only the named tools."""

    def run(
        on: Machine,
        model_gib: float = 15,
        *,
        ram_gib: int = 256,
        disk_gib: float = 1000,
        shm_mib: int = 64 * 1024,
        tools: tuple[str, ...] = (),
        cpu_max: str = "max 100000",
        port: int = 0,
        vllm: str | None = None,
        download_gib: float | None = None,
    ) -> dict[str, Check]:
        root = tmp_path / "root"
        for folder in ("proc", "dev/shm", "sys/fs/cgroup"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        kib = ram_gib * GIB // 1024
        (root / "proc/meminfo").write_text(f"MemTotal: {kib} kB\nMemAvailable: {kib} kB\n")
        (root / "sys/fs/cgroup/cpu.max").write_text(cpu_max + "\n")
        bin_folder = tmp_path / "bin"
        bin_folder.mkdir(exist_ok=True)
        for tool in tools:
            (bin_folder / tool).write_text("#!/bin/sh\n")
            (bin_folder / tool).chmod(0o755)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=int(disk_gib * GIB)))
        monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=shm_mib, f_frsize=MIB))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)
        found = checks(
            on,
            int(model_gib * GIB),
            port,
            download_bytes=None if download_gib is None else int(download_gib * GIB),
            vllm_version=vllm,
            environment={"PATH": str(bin_folder), "HF_HOME": str(tmp_path)},
            root=root,
        )
        return {check.key: check for check in found}

    return run


def test_a_roomy_machine_has_nothing_to_say(look: Look) -> None:
    found = look(machine(8), tools=("docker", "nvidia-ctk"))
    assert {key for key, check in found.items() if check.state != "ok"} <= {"vllm"}
    assert all(check.found.endswith(".") for check in found.values())


@pytest.mark.parametrize(
    ("disk_gib", "state"), [(1000, "ok"), (140, "warn"), (131, "warn"), (129, "fail"), (0.5, "fail")]
)
def test_disk_against_the_download(look: Look, disk_gib: float, state: str) -> None:
    check = look(machine(), model_gib=130, disk_gib=disk_gib)["disk"]
    assert check.state == state
    assert ("HF_HOME" in check.advice) == (state == "fail")


@pytest.mark.parametrize(
    ("ram_gib", "state", "words"), [(8, "warn", "processes"), (100, "warn", "page cache")]
)
def test_little_ram(look: Look, ram_gib: int, state: str, words: str) -> None:
    check = look(machine(2), model_gib=130, ram_gib=ram_gib)["ram"]
    assert check.state == state
    assert words in check.advice


def test_shared_memory_matters_with_several_gpus_only(look: Look) -> None:
    assert look(machine(1), shm_mib=64)["shm"].state == "ok"
    check = look(machine(2), shm_mib=64)["shm"]
    assert check.state == "fail"
    assert "--ipc=host" in check.advice


def test_a_container_s_cpu_quota_counts(look: Look) -> None:
    check = look(machine(4), cpu_max="200000 100000")["cpus"]
    assert check.state == "warn"
    assert "2 CPU cores" in check.found


@pytest.mark.parametrize(
    ("tools", "state", "words"),
    [
        ((), "warn", "serve.sh"),
        (("docker",), "warn", "nvidia-container-toolkit"),
        (("docker", "nvidia-container-runtime"), "ok", ""),
    ],
)
def test_docker_and_its_toolkit(look: Look, tools: tuple[str, ...], state: str, words: str) -> None:
    check = look(machine(), tools=tools)["docker"]
    assert check.state == state
    assert words in check.advice


def test_a_taken_port(look: Look) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check = look(machine(), port=taken.getsockname()[1])["port"]
    assert check.state == "fail"
    assert "--port" in check.advice


@pytest.mark.parametrize(
    ("cuda", "vllm", "state"),
    [("12.8", None, "warn"), ("12.8", "0.20.0", "warn"), ("12.8", "0.19.1", "ok"), ("13.0", None, "ok")],
)
def test_a_driver_older_than_vllm_s_cuda(look: Look, cuda: str, vllm: str | None, state: str) -> None:
    assert look(machine(cuda=cuda, driver="570.86"), vllm=vllm)["driver"].state == state


def test_no_vllm_installed_is_said_with_a_next_step(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "installed_vllm_version", lambda _=None: None)
    check = look(machine())["vllm"]
    assert check.state == "warn"
    assert "uv pip install vllm" in check.advice


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a/b", "HF_HOME": "/c"}, "/a/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/e"}, "/e"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_client_keeps_it(environment: dict[str, str], folder: str) -> None:
    assert cache_folder(environment) == Path(folder)


def test_variables_in_the_cache_s_name_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIG_DISK", "/mnt/big")
    assert cache_folder({"HF_HOME": "$BIG_DISK/hf"}) == Path("/mnt/big/hf/hub")


def test_what_is_on_this_disk_needs_no_room_for_a_download(look: Look) -> None:
    assert look(machine(), 15, disk_gib=10)["disk"].state == "fail"
    here = look(machine(), 15, disk_gib=10, download_gib=0)
    assert here["disk"].state == "ok"


def test_a_look_that_hangs_becomes_a_warning(tmp_path: Path) -> None:
    fifo = tmp_path / "proc" / "meminfo"
    fifo.parent.mkdir()
    os.mkfifo(fifo)  # opening it waits for a writer that never comes, as a dead mount would
    found = {
        check.key: check
        for check in checks_in_time(
            Machine(), patience_s=0.2, environment={"HF_HOME": str(tmp_path)}, root=tmp_path
        )
    }
    fifo_end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)  # lets the thread go
    os.close(fifo_end)
    assert found["ram"].state == "warn"
    assert "did not end" in found["ram"].found
    assert found["disk"].state == "ok"
