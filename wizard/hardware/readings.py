"""What a driver library told, before CUDA_VISIBLE_DEVICES picks from it."""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.hardware.topology import Links
from wizard.schemas.outputs import GPUInfo


class NoDevicesError(Exception):
    """No usable GPU through this library; the message is one sentence with the next step."""

    def __init__(self, sentence: str, *, absent: bool = False) -> None:
        super().__init__(sentence)
        self.absent = absent
        """The library itself is not here: most likely nobody expects a GPU."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All devices of one library; MIG instances stand in for their GPU."""

    gpus: tuple[GPUInfo, ...]
    links: Links
    driver: str | None = None
    cuda: str | None = None
    warnings: tuple[str, ...] = ()
    peer_access: bool | None = None
    """Whether every GPU reads every other's memory directly; None: one GPU, or not known."""
    devices: int | None = None
    """All that the library lists, those left out of `gpus` too; None: as many as `gpus`."""
