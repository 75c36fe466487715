"""Which machine: detected GPUs (NVML, AMD's tools) or a what-if machine from the catalogue."""

from __future__ import annotations

from wizard.hardware.resolve import resolve_hardware, what_if

__all__ = ["resolve_hardware", "what_if"]
