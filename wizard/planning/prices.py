"""What a machine costs an hour: the instances that clouds sell, or the price that somebody named."""

from __future__ import annotations

from wizard.schemas.outputs import GPUInfo


def hourly_usd(gpu: GPUInfo, count: int, nodes: int = 1) -> float | None:
    """Dollars an hour of `nodes` machines with at least `count` such GPUs each; None where no price is known.

    The cheapest instance that holds them: eight where nobody sells fewer. A price that the user named is
    for each GPU.
    """
    if gpu.offers:
        sold = [price for gpus, price in gpu.offers if gpus >= count]
        return min(sold) * nodes if sold else None
    return None if gpu.usd_per_hour is None else gpu.usd_per_hour * count * nodes


def cheapness(gpu: GPUInfo, count: int, nodes: int = 1) -> tuple[bool, float]:
    """What machines are put in order by: those with a known price by it, then the rest by their memory."""
    price = hourly_usd(gpu, count, nodes)
    return (True, gpu.vram_gib * count * nodes) if price is None else (False, price)


def price_words(gpu: GPUInfo, count: int, nodes: int = 1) -> str:
    """`$6.88 an hour (list price of 2026-10-01)`, or that none is known."""
    price = hourly_usd(gpu, count, nodes)
    if price is None:
        return "price not known"
    sizes = [(usd, gpus) for gpus, usd in gpu.offers if gpus >= count]
    sold = min(sizes)[1] if sizes else count
    whole = f", sold by the {sold}" if sold > count else ""
    dated = f" (list price of {gpu.priced_on}{whole})" if gpu.priced_on else ""
    return f"${price:,.2f} an hour{dated}"
