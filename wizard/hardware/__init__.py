"""Which machine: detected GPUs (NVML, AMD's tools) or a what-if machine from the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wizard.hardware.resolve import resolve_hardware, what_if

__all__ = ["resolve_hardware", "what_if"]


def __getattr__(name: str) -> Any:
    """Import late: the catalogue alone needs neither detection nor its tools."""
    if name in __all__:
        from wizard.hardware import resolve

        return getattr(resolve, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
