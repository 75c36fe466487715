"""What GPUs this machine has: NVML first, then AMD's tools; bounded in time, never raising."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from wizard.dataclass import dataclass, replace
from wizard.hardware import accelerators, nvml, topology, visible
from wizard.hardware.catalogue import Vendor, get_gpu_by_name
from wizard.hardware.readings import NoDevicesError, Reading
from wizard.hardware.topology import NOTHING_LINKED, Topology
from wizard.schemas.outputs import MIB, GPUInfo

__all__ = ["Machine", "detect", "detect_gpus", "get_gpu_by_name", "recommend_tensor_parallel"]

TIMEOUT_S = 10.0
"""Seconds until a silent driver library counts as hung: `nvmlInit` wakes sleeping GPUs one by one, 1-2 s each
where nvidia-persistenced doesn't run."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found on this machine. `gpus` is empty exactly when `why_none` says why."""

    gpus: tuple[GPUInfo, ...] = ()
    vendor: Vendor | None = None
    driver: str | None = None
    cuda: str | None = None
    """CUDA (or ROCm) version that the driver supports."""
    why_none: str | None = None
    """One sentence with the next step."""
    topology: Topology = NOTHING_LINKED
    warnings: tuple[str, ...] = ()
    peer_access: bool | None = None
    """Whether every GPU reads every other's memory directly, over PCIe too; without it NCCL goes through RAM."""
    trouble: bool = False
    """A GPU or a driver is here and can't be used: `why_none` is news, even to who plans for another machine."""

    def differs(self, other: Machine) -> bool:
        """Whether there is anything new to show: what others hold counts from `NOTICED_BYTES` on."""
        return _without_use(self) != _without_use(other) or any(
            abs(one.memory_used_bytes - two.memory_used_bytes) >= NOTICED_BYTES
            for one, two in zip(self.gpus, other.gpus, strict=True)
        )


NOTICED_BYTES = 64 * MIB
"""A driver's own use of memory moves by less, and 0.1 GiB is the finest figure shown."""


def _without_use(machine: Machine) -> object:
    gpus = tuple(
        replace(
            gpu,
            memory_used_bytes=0,
            processes=tuple(replace(process, used_bytes=None) for process in gpu.processes),
        )
        for gpu in machine.gpus
    )
    return replace(machine, gpus=gpus)


class _SilentError(Exception):
    """The library did not answer in time, or with something that can't be read."""


_stuck: dict[str, threading.Thread] = {}


def _bounded(name: str, work: Callable[[], Answer], timeout_s: float) -> Answer:
    """Run `work` in a daemon thread and give up after `timeout_s`; while one is stuck no other is started.

    A C library that hangs can't be interrupted; ctypes releases the GIL, so the wizard goes on meanwhile.
    """
    earlier = _stuck.get(name)
    if earlier is not None and earlier.is_alive():
        raise _SilentError(name)
    answers: SimpleQueue[Answer | NoDevicesError | None] = SimpleQueue()

    def run() -> None:
        answer: Answer | NoDevicesError | None = None
        try:
            answer = work()
        except NoDevicesError as error:
            answer = error
        finally:
            answers.put(answer)

    thread = threading.Thread(target=run, name=f"detect-{name}", daemon=True)
    thread.start()
    try:
        answer = answers.get(timeout=timeout_s)
    except Empty:
        _stuck[name] = thread
        answer = None
    if answer is None:
        raise _SilentError(name)
    if isinstance(answer, NoDevicesError):
        raise answer
    return answer


def detect(
    *,
    timeout_s: float = TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> Machine:
    """This machine's GPUs as CUDA_VISIBLE_DEVICES leaves them; never raises.

    `root` is where /proc and /sys are looked up.
    """
    env = os.environ if environment is None else environment
    present = accelerators.on_pci(root)
    reasons: list[str] = []
    absent = False
    try:
        return _machine("nvidia", _bounded("nvml", lambda: nvml.read(root), timeout_s), env)
    except NoDevicesError as error:
        reasons.append(str(error))
        absent = error.absent
    except _SilentError:
        return Machine(
            trouble=True,
            why_none="The NVIDIA driver does not answer (NVML hangs); check `dmesg | grep -i xid`, reboot, "
            "or plan with --gpu NAME meanwhile.",
        )
    from wizard.hardware import amd

    try:
        return _machine(
            "amd", _bounded("amd", lambda: amd.read(present, timeout_s, root, env), timeout_s), env
        )
    except NoDevicesError as error:
        if accelerators.AMD in present:
            reasons.insert(0, str(error))
    except _SilentError:
        return Machine(
            trouble=True,
            why_none="AMD's tools do not answer; check `dmesg | grep amdgpu`, reboot, "
            "or plan with --gpu NAME meanwhile.",
        )
    return Machine(why_none=accelerators.explain(present, reasons[0]), trouble=bool(present) or not absent)


def _machine(vendor: Vendor, reading: Reading, env: Mapping[str, str]) -> Machine:
    chosen = visible.select(reading.gpus, vendor, env)
    devices = reading.devices or len(reading.gpus)
    kept = tuple(replace(reading.gpus[position], machine_devices=devices) for position in chosen.positions)
    whole = topology.read(reading.links)
    warnings = list(reading.warnings)
    if chosen.warning is not None:
        warnings.append(chosen.warning)
    why_none = None
    if not kept:
        why_none = chosen.warning or "The driver runs, but shows no GPU; check `nvidia-smi -L`."
    elif len(kept) > 1 and any(gpu.mig_profile for gpu in kept):
        warnings.append(
            "MIG instances serve alone, NCCL joins none of them: a plan takes the whole GPUs, "
            "else the instance with most room, unless another is chosen."
        )
    elif (mixed := topology.smallest(kept)[1]) is not None:
        warnings.append(mixed)
    return Machine(
        gpus=kept,
        vendor=vendor,
        driver=reading.driver,
        cuda=reading.cuda,
        why_none=why_none,
        trouble=not kept,
        peer_access=reading.peer_access if len(kept) > 1 else None,
        topology=topology.subset(whole, chosen.positions),
        warnings=tuple(warnings),
    )


def detect_gpus() -> list[GPUInfo]:
    """The GPUs of this machine, none when there is no driver (seed name); never raises."""
    return list(detect().gpus)


def recommend_tensor_parallel(gpus: Sequence[GPUInfo]) -> int:
    """The largest power of two that is at most the number of GPUs, at least 1 (seed name and rule)."""
    return 1 << (max(len(gpus), 1).bit_length() - 1)
