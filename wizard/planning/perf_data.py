"""`data/perf.json`: fitted constants, the ranges around their forecasts, and what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from wizard.data import read_text
from wizard.dataclass import dataclass

FIGURES = ("tpot_ms", "ttft_ms", "output_tok_s")

HALF_KNOWN, UNKNOWN = 1.25, 1.6
"""Powers to which a range is widened where the GPU or the model family, or both, were not measured: leaving
whole models or whole GPUs out of the fit widened the ranges of the held-out runs by that much at most."""

LIGHT_LOAD, HEAVY_LOAD = 64, 256
"""Sequences in one engine up to which runs scatter little, and from which they scatter more: host work and queues
weigh in. Between the two a range passes from one to the other, so that one user more never makes it jump."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which measured runs a forecast may lean on."""

    basis: str
    widening: float


@lru_cache(maxsize=1)
def constants() -> Mapping[str, float]:
    """The constants of the roofline by name; units and sources stand beside them in the file."""
    return {name: float(entry["value"]) for name, entry in perf_file()["constants"].items()}


@lru_cache(maxsize=1)
def perf_file() -> Mapping[str, Any]:
    """The whole file."""
    text = read_text("perf.json")
    data: Mapping[str, Any] = json.loads(text)
    return data


def load(running: float, clients: float) -> float:
    """How heavily an engine is loaded, 0 to 1: by the sequences that run, and by those that wait for them."""
    busy = math.log(max(running, 1.0) / LIGHT_LOAD) / math.log(HEAVY_LOAD / LIGHT_LOAD)
    waiting = clients / max(running, 1.0) - 1
    return min(1.0, max(0.0, busy, waiting))


def band(
    figure: str,
    family: str,
    *,
    heavy: float,
    widening: float = 1.0,
    gpu: str | None = None,
    model_family: str | None = None,
) -> tuple[float, float]:
    """Factors on the middle figure that 8 of 10 held-out runs lie between.

    `heavy` is a `load`. Measured GPUs (catalogue name) and model families whose runs scatter more than their
    class have ranges of their own, which the range never falls short of.
    """
    bands = perf_file()["bands"][figure]
    light, full = bands[band_key(family, heavy=False)], bands[band_key(family, heavy=True)]
    low, high = (
        math.exp((1 - heavy) * math.log(light[end]) + heavy * math.log(full[end])) ** widening
        for end in (0, 1)
    )
    slices = perf_file()["scattered"][figure]
    for name in (f"gpu {gpu}", f"family {model_family}"):
        if name in slices:
            low, high = min(low, slices[name][0]), max(high, slices[name][1])
    return low, high


def band_key(family: str, *, heavy: bool) -> str:
    """Data-centre cards and others scatter differently, and so do light and heavy loads."""
    klass = "datacenter" if family in {"hopper", "blackwell", "ampere", "amd_hbm"} else "card"
    return f"{klass}.{'heavy' if heavy else 'light'}"


@lru_cache(maxsize=512)
def neighbours(gpu: str, family: str) -> Neighbours:
    """What was measured of this GPU (catalogue name) and model family (config's model type)."""
    measured = perf_file()["measured"]
    both = sum(count for name, kind, count in measured if name == gpu and kind == family)
    if both:
        return Neighbours(f"measured neighbours: {_runs(both)} of {family} models on {gpu}", 1.0)
    of_gpu = _runs(sum(count for name, _, count in measured if name == gpu))
    of_family = _runs(sum(count for _, kind, count in measured if kind == family))
    if of_gpu and of_family:
        text = (
            f"measured neighbours: {of_gpu} of other models on {gpu}, {of_family} of {family} on other GPUs"
        )
        return Neighbours(text, 1.0)
    if of_gpu:
        return Neighbours(f"measured neighbours: {of_gpu} of other models on {gpu}", HALF_KNOWN)
    if of_family:
        return Neighbours(f"measured neighbours: {of_family} of {family} models on other GPUs", HALF_KNOWN)
    return Neighbours("no measured neighbours: the roofline alone, in a wider range", UNKNOWN)


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}" if count else ""
