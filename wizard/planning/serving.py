"""From step times to what clients see: time to first token, time per output token, tokens per second."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wizard.planning.roofline import Engine


@dataclass(frozen=True, slots=True)
class Requests:
    """The mean request, and what the engine may run at once."""

    prompt: float
    output: float
    max_seqs: float
    chunk: float
    kv_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Served:
    ttft: float
    tpot: float
    output_rate: float
    saturated: bool = False
    batch: float = 0.0


def cap_of(req: Requests, concurrency: float) -> float:
    cap = min(concurrency, req.max_seqs)
    if req.kv_tokens:
        cap = min(cap, req.kv_tokens / (req.prompt + 0.6 * req.output))
    return max(1.0, cap)


def prefill_cost(engine: Engine, req: Requests, batch: float) -> tuple[float, float, float]:
    """(marginal seconds beside `batch` decoding, seconds beside them in all, decode step)"""
    ctx = req.prompt + req.output / 2
    chunk = max(256.0, req.chunk - batch)
    n = max(1, math.ceil(req.prompt / chunk))
    each = req.prompt / n
    att = req.prompt / 2
    base = engine.step(batch, ctx)
    with_pre = engine.step(batch, ctx, each, att)
    return n * (with_pre - base), n * with_pre, base


def closed_loop(engine: Engine, req: Requests, concurrency: float) -> Served:
    c = engine.constants
    cap = cap_of(req, concurrency)
    osl = max(req.output, 1.0)
    b = cap
    tpot = 0.0
    for _ in range(8):
        marginal, alone, dec = prefill_cost(engine, req, max(1.0, b))
        ttft_run = c["ttft_s"] + alone
        # T = ttft + (osl-1)*tpot ; tpot = dec/(1-rho), rho = pi*(cap-1)*marginal/T  ->  solve by iteration
        T = ttft_run + (osl - 1) * max(tpot, dec)
        for _ in range(6):
            rho = min(0.98, c["prefill_overlap"] * (cap - 1) * marginal / T)
            tpot = dec / (1 - rho)
            T = ttft_run + tpot / 2 + (osl - 1) * tpot
        nb = cap * (osl - 1) * tpot / T if osl > 1 else 1.0
        if abs(nb - b) < 0.01 * b:
            b = nb
            break
        b = 0.5 * (b + nb)
    ttft = c["ttft_s"] + alone * (1 + rho / 2) + tpot / 2 + c["burst_wait"] * cap * marginal
    T = ttft + (osl - 1) * tpot
    out = cap * osl / T
    if concurrency > cap:
        ttft += (concurrency - cap) * T / cap
    return Served(ttft, tpot, out, concurrency > cap, b)


def open_loop(engine: Engine, req: Requests, rate: float) -> Served:
    c = engine.constants
    osl = max(req.output, 1.0)
    b = 1.0
    tpot = engine.step(1.0, req.prompt + osl / 2)
    cap = cap_of(req, 1e9)
    for _ in range(20):
        marginal, alone, dec = prefill_cost(engine, req, max(b, 1.0))
        rho = rate * marginal
        if rho >= 0.98 or b >= cap:
            return Served(math.inf, tpot, 0.0, True, b)
        tpot = dec / (1 - rho)
        nb = min(rate * (osl - 1) * tpot, cap)
        if abs(nb - b) < 0.01 * max(b, 1.0):
            b = nb
            break
        b = 0.5 * (b + nb)
    ttft = c["ttft_s"] + alone * (1 + rho / 2) + tpot / 2
    return Served(ttft, tpot, rate * osl, False, b)


def burst(engine: Engine, req: Requests, n: float, *, spread: bool) -> Served:
    """All `n` at once."""
    c = engine.constants
    osl = max(req.output, 1.0)
    cap = cap_of(req, n)
    marginal, alone, dec = prefill_cost(engine, req, max(1.0, cap * 0.7))
    dec_full = engine.step(cap, req.prompt + osl / 2)
    waves = n / cap
    # prefill of everyone, interleaved with the decoding of those already running
    total_prefill = n * marginal
    if waves > 1.0001:
        T = osl * dec_full + cap * marginal
        drain = (1.0 if spread else 0.0) * osl * engine.step(cap * 0.3, req.prompt + osl / 2)
        time = waves * T + drain * 0.5
    else:
        decode = osl * dec_full
        if spread:
            # exponential lengths: batch drains; H_n-like tail
            decode = 0.0
            frac = 1.0
            steps = 12
            tail = osl * math.log(max(n, 2.0)) if spread else osl
            tail = min(tail, 4 * osl)
            for i in range(steps):
                x = (i + 0.5) / steps * tail
                alive = n * math.exp(-x / osl)
                decode += tail / steps * engine.step(max(alive, 1.0), req.prompt + x)
        time = total_prefill + decode
    tpot = dec_full + c["prefill_overlap"] * cap * marginal / osl / 2
    if waves > 1:
        tpot = dec_full + c["prefill_overlap"] * cap * marginal / osl
    ttft = c["ttft_s"] + (cap * marginal / 2 if waves <= 1 else time / 2 * (1 - 1 / waves) + cap * marginal / 2)
    return Served(ttft, tpot, n * osl / time, waves > 1, cap)


def static(engine: Engine, req: Requests, batch: float) -> Served:
    osl = max(req.output, 1.0)
    cap = cap_of(req, batch)
    waves = batch / cap
    chunk = max(req.chunk, req.prompt)
    per_step = max(1, int(chunk // max(req.prompt, 1)))
    n = math.ceil(cap / per_step)
    pre = n * engine.step(0, 0, cap * req.prompt / n, req.prompt / 2)
    dec = engine.step(cap, req.prompt + osl / 2)
    T = pre + (osl - 1) * dec
    return Served(pre, dec, batch * osl / (T * waves), waves > 1, cap)
