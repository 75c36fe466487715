"""What benchmarks send besides a closed loop: Poisson arrivals, everything at once, one static batch."""

from __future__ import annotations

import math

from wizard.planning.roofline import Engine
from wizard.planning.serving import Requests, Served, capacity, cycle

LONGEST_OUTPUT = 2.5
"""The last answers of a ShareGPT run of some hundred requests are so many times longer than the mean."""

BUSIEST = 0.95
"""Share of the engine's time in prompts above which arrivals are taken as more than it can serve."""


def open_loop(engine: Engine, requests: Requests, rate: float, count: float, last: float) -> Served:
    """`count` requests arriving at `rate` per second; `last`: output tokens of the ones that end the run."""
    constants = engine.constants
    steps = max(requests.output - 1, 1.0)
    context = requests.prompt + requests.output / 2
    limit = capacity(requests, count)
    decoding, tpot, prompt_s, busy = 1.0, 0.0, 0.0, 0.0
    for _ in range(25):
        batch = max(decoding, 1.0)
        tpot = engine.step(batch, context)
        prompt_s = engine.step(batch, context, requests.prompt, requests.prompt / 2) - tpot
        busy = rate * prompt_s * constants["prompt_overlap"]
        if busy >= BUSIEST:
            return _overrun(engine, requests, rate, count, last, limit)
        tpot /= 1 - busy
        settled = rate * steps * tpot
        if settled >= limit:
            return _overrun(engine, requests, rate, count, last, limit)
        if abs(settled - decoding) < 0.01 * batch:
            break
        decoding = (decoding + settled) / 2
    host_s = constants["request_s"] + constants["prompt_token_s"] * requests.prompt
    ttft = host_s + prompt_s + tpot * 1.5 + constants["queue"] * busy / (1 - busy) * prompt_s / 2
    return Served(ttft, tpot, count * requests.output / (count / rate + last * tpot), False, decoding)


def _overrun(
    engine: Engine, requests: Requests, rate: float, count: float, last: float, limit: float
) -> Served:
    """More arrives than is served: the engine runs full, the backlog grows until the arrivals end."""
    full = cycle(engine, requests, limit)
    arriving, serving = count / rate, count * full.total_s / limit
    wait = max(0.0, serving - arriving) / 2 * max(0.0, 1 - limit / count)
    duration = max(arriving, serving) + last * full.tpot_s
    return Served(full.first_s + wait, full.tpot_s, count * requests.output / duration, True, limit)


def burst(engine: Engine, requests: Requests, count: float, last: float) -> Served:
    """All `count` requests at once: full batches while there is a queue, then a batch that drains."""
    output = max(requests.output, 1.0)
    context = requests.prompt + output / 2
    limit = capacity(requests, count)
    full = cycle(engine, requests, limit)
    if count > limit * 1.2:
        rate = limit / full.total_s
        drain = (last - output / 2) * engine.step(max(1.0, limit * 0.35), requests.prompt + output)
        ttft = full.first_s + (count - limit) / 2 / rate + limit / count * limit * full.prompt_s / 2
        duration = count / rate + max(0.0, drain)
        return Served(ttft, full.tpot_s, count * output / duration, True, limit)
    prompts = count * full.wave_s
    decoding, parts = 0.0, 8
    for part in range(parts):
        token = (part + 0.5) / parts * last
        alive = count * math.exp(-token / output) if last > output * 1.01 else count
        decoding += last / parts * engine.step(max(alive, 1.0), requests.prompt + min(token, output))
    decode_s = engine.step(count, context)
    alone = engine.step(count, context, requests.prompt, requests.prompt / 2)
    ttft = engine.constants["request_s"] + prompts / 2 + alone
    return Served(ttft, decode_s + prompts / 2 / output, count * output / (prompts + decoding), False, count)


def static(engine: Engine, requests: Requests, batch: float) -> Served:
    """One batch, offline: all prompts, then all tokens, as `benchmark_latency.py` does."""
    output = max(requests.output, 1.0)
    limit = capacity(requests, batch)
    per_step = max(1, int(max(requests.chunk, requests.prompt) // max(requests.prompt, 1.0)))
    steps = math.ceil(limit / per_step)
    prompts = steps * engine.step(0, 0, limit * requests.prompt / steps, requests.prompt / 2)
    decode_s = engine.step(limit, requests.prompt + output / 2)
    total = (prompts + (output - 1) * decode_s) * batch / limit
    return Served(prompts, decode_s, batch * output / total, batch > limit, limit)
