"""What of the machine around the GPU bears on memory: /proc as it stands."""

from __future__ import annotations

from pathlib import Path

from wizard.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """What of the machine around the GPU bears on its memory."""

    memory_total_bytes: int | None
    memory_available_bytes: int | None
    wsl: bool


def read_host(root: Path) -> Host:
    """System memory and whether this is WSL, from /proc."""
    fields: dict[str, int] = {}
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines():
            key, _, rest = line.partition(":")
            number = rest.split()[:1]
            if number and number[0].isdecimal():
                fields[key] = int(number[0]) * 1024
        version = (root / "proc/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        version = ""
    return Host(fields.get("MemTotal"), fields.get("MemAvailable"), "microsoft" in version.lower())
