"""Which container image carries a vLLM version, by GPU vendor and driver.

Sources: vLLM docs deployment/docker and getting_started/installation/gpu; release notes of 0.20.0 (the
default image is CUDA 13.0 since then, `-cu129` tags carry CUDA 12.9).
"""

from __future__ import annotations

import re

from wizard.dataclass import dataclass
from wizard.vllm.versions import NEWEST_KNOWN, parse_version

CUDA_13_DRIVER = 580
"""NVIDIA driver branch that CUDA 13 needs (CUDA 13.0 release notes)."""

CUDA_13_SINCE = (0, 20, 0)
ROCM_IMAGE_SINCE = (0, 14, 0)
"""`vllm/vllm-openai-rocm` tags follow the releases since then; before, AMD published `rocm/vllm`."""


AMD_IMAGES = {
    (0, 10): "rocm/vllm:rocm7.0.0_vllm_0.10.2_20251006",
    (0, 11): "rocm/vllm:rocm7.0.0_vllm_0.11.2_20251210",
}
"""AMD's own builds by minor version, as its guides pin them (rocm.docs.amd.com, vLLM inference): the newest of each."""


@dataclass(frozen=True, slots=True)
class Image:
    """A pinned image, and what to know about the choice."""

    name: str
    note: str


def release(version: str) -> str:
    """The release that a version string belongs to: `0.33.0+cu129` -> `0.33.0`."""
    return ".".join(str(part) for part in parse_version(version))


def vllm_image(version: str, *, vendor: str = "nvidia", driver: str | None = None) -> Image:
    """The image of `version` for a GPU vendor and driver; an unknown driver takes the default image."""
    tag = f"v{release(version)}"
    image = _image(version, tag, vendor, driver)
    if parse_version(version)[:2] > parse_version(NEWEST_KNOWN)[:2]:
        return Image(
            image.name, f"{image.note}; newer than any version known here, so check that the tag exists"
        )
    return image


def _image(version: str, tag: str, vendor: str, driver: str | None) -> Image:
    if vendor == "amd":
        if parse_version(version) >= ROCM_IMAGE_SINCE:
            return Image(f"vllm/vllm-openai-rocm:{tag}", "ROCm build")
        minor = parse_version(version)[:2]
        name = AMD_IMAGES[max((each for each in AMD_IMAGES if each <= minor), default=min(AMD_IMAGES))]
        held = name.split("_vllm_")[1].partition("_")[0]
        other = "" if parse_version(held)[:2] == minor else f"; none is known for {release(version)}"
        return Image(name, f"AMD's own build of vLLM {held}{other}")
    if parse_version(version) < CUDA_13_SINCE:
        return Image(f"vllm/vllm-openai:{tag}", "CUDA 12 build")
    branch = driver_branch(driver)
    if branch is not None and branch < CUDA_13_DRIVER:
        return Image(
            f"vllm/vllm-openai:{tag}-cu129",
            f"CUDA 12.9 build, because driver {branch} is older than CUDA 13 needs",
        )
    note = "CUDA 13 build; it needs driver 580 or newer"
    if branch is None:
        note += f" (older drivers: {tag}-cu129)"
    return Image(f"vllm/vllm-openai:{tag}", note)


def driver_branch(driver: str | None) -> int | None:
    """`570.133.20` -> 570; None where it can't be read."""
    match = re.match(r"(\d{3,4})\.", driver or "")
    return int(match[1]) if match else None
