"""Other machines for the same model: cheaper ones, faster ones, and any where nothing starts here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wizard.planning.launch import resolve
from wizard.planning.options import other_machines
from wizard.planning.prices import hourly_usd, price_words
from wizard.planning.recommend import Choice
from wizard.planning.situation import Situation
from wizard.planning.terms import weights_bytes
from wizard.planning.variant import Variant
from wizard.schemas.outputs import GPUInfo, VLLMConfig

TRIED = 8
"""Machines planned of each kind, until one settles it."""

TRIED_WHERE_NOTHING_STARTS = 24

SHOWN_WHERE_NOTHING_STARTS = 5


def elsewhere(of: Situation, best: Choice, machines: Sequence[GPUInfo]) -> Iterator[Variant]:
    """Machines of the catalogue, those with a known price first and by it, then the rest by their memory."""
    starts = best.report.verdict != "wont_start"
    here = _here_usd(of)
    refused = best.report.cause in {"invalid_config", "unsupported"}
    quantization = None if refused else best.config.quantization
    cards = {machine.name: machine for machine in machines}

    def least_bytes(gpu: GPUInfo) -> float:
        bare = VLLMConfig(
            model=of.metadata.model, dtype=of.request.model.dtype.value, quantization=quantization
        )
        return weights_bytes(resolve(bare, of.metadata, gpu, version=of.version))

    tried: dict[str, int] = {}
    for option in other_machines(machines, of.request.hardware, least_bytes, besides=of.gpu.catalogue_name):
        values = dict(option.changes)
        card, count = cards[values["hardware.gpu"]], values["hardware.gpus"]
        nodes = values.get("hardware.nodes", 1)
        if starts and nodes > of.request.hardware.nodes:
            continue
        price = hourly_usd(card, count, nodes)
        if not starts:
            kind, why, most = "machine", "Another machine", SHOWN_WHERE_NOTHING_STARTS
        elif price is not None and here is not None and price < here:
            kind, why, most = "cheaper", "A cheaper machine", 1
        elif _bandwidth(card) * count * nodes > _bandwidth(of.gpu) * best.layout.gpus:
            kind, why, most = "faster", "A faster machine", 1
        elif price is not None and here is None:
            kind, why, most = "rented", "A machine to rent", 1
        else:
            continue
        tried[kind] = tried.get(kind, 0) + 1
        if tried[kind] <= (TRIED if starts else TRIED_WHERE_NOTHING_STARTS):
            told = f"{why}, {price_words(card, count, nodes)}"
            if kind == "cheaper":
                told = f"{why} by list prices of {card.priced_on}"  # what it saves is told with the figures
            settles = kind if starts else card.name
            yield Variant(kind, option.title, option.changes, told, most, settles=settles)


def _here_usd(of: Situation) -> float | None:
    return hourly_usd(of.gpu, len(of.gpus), of.request.hardware.nodes)


def _bandwidth(gpu: GPUInfo) -> float:
    return gpu.bandwidth_gb_s or 0.0
