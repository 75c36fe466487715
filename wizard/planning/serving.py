"""From step times to what clients see: time to first token, time per output token, tokens per second.

Clients in a closed loop: each sends its next request when its last one is answered. The engine mixes prompts
into the steps of those that decode (chunked prefill), so that each request in its time sees every other one's
prompt once; that conservation, and not a queueing formula, sets the pace.
"""

from __future__ import annotations

import math

from wizard.dataclass import dataclass
from wizard.planning.roofline import Engine

SMALLEST_CHUNK = 256
REQUESTS_PER_CLIENT = 10.0
"""What serving benchmarks send; it weighs the first wave, in which every client waits for all others' prompts."""


@dataclass(frozen=True, slots=True)
class Requests:
    """The mean request, and what the engine may run at once."""

    prompt: float
    """Tokens to prefill."""
    output: float
    max_seqs: float
    chunk: float
    """Tokens of a step (max_num_batched_tokens)."""
    cached: float = 0.0
    """Further prompt tokens, found in the prefix cache."""
    held: float = math.inf
    """Requests that the cache holds at once, at their mean length."""
    per_client: float = REQUESTS_PER_CLIENT
    equal_lengths: bool = False
    """All requests alike: prompts that shared a step finish together and come back together."""
    accepted: float = 1.0
    """Tokens that a sequence gains per step: more than 1 with speculative decoding."""
    proposed: float = 0.0
    """Speculative tokens that a step verifies per sequence."""
    stages: int = 1
    """Pipeline stages: so many batches are on their way at once, of which this is one."""


@dataclass(frozen=True, slots=True)
class Served:
    """What clients see of one engine. Seconds, and tokens per second."""

    ttft_s: float
    tpot_s: float
    output_rate: float
    saturated: bool
    """More clients than the engine can run at once: the others wait in its queue."""
    running: float


@dataclass(frozen=True, slots=True)
class Cycle:
    """One request's stay among `running` others, without any queue."""

    running: float
    total_s: float
    first_s: float
    tpot_s: float
    prompt_s: float
    """Engine time that one prompt adds to the steps it shares."""
    wave_s: float
    """The same while every client waits for its first token."""


def capacity(requests: Requests, clients: float) -> float:
    """Requests that run at once, of `clients` in flight."""
    return max(1.0, min(clients, requests.max_seqs, requests.held))


def cycle(engine: Engine, requests: Requests, running: float) -> Cycle:
    """The steady state of `running` requests, each of which is followed by the next."""
    constants = engine.constants
    steps = max(requests.output - 1, 0.0) / requests.accepted
    context = requests.cached + requests.prompt + requests.output / 2
    chunks = max(1, math.ceil(requests.prompt / max(SMALLEST_CHUNK, requests.chunk - running)))
    attended = requests.cached + requests.prompt / 2
    verified = 1.0 + requests.proposed
    host_s = constants["request_s"] + constants["prompt_token_s"] * (requests.prompt + requests.cached)
    together = 1.0
    if requests.equal_lengths:
        together = max(1.0, min(constants["prompts_together"], requests.chunk / requests.prompt, running / 3))
    decoding = running
    total = first = prompt_s = 0.0
    for _ in range(5):
        decode_s = engine.step(decoding * verified, context)
        mixed_s = engine.step(decoding * verified, context, requests.prompt / chunks, attended)
        prompt_s = chunks * (mixed_s - decode_s)
        waits = _bubbles(requests, running, chunks, steps)
        others = constants["prompt_overlap"] * (running * waits - 1) * prompt_s
        own = host_s + chunks * mixed_s + decode_s / 2 + (together - 1) * prompt_s
        alone = own + others + steps * decode_s
        first = own + constants["queue"] * prompt_s * others / alone
        total = _stay(first, others, steps * decode_s)
        settled = running * (total - first) / total
        if abs(settled - decoding) <= 0.02 * decoding:
            break
        decoding = 0.3 * decoding + 0.7 * settled
    half = running / 2
    tokens = min(max(SMALLEST_CHUNK, requests.chunk - half), running * requests.prompt)
    wave_s = engine.step(half * verified, context, tokens, attended) * requests.prompt / tokens
    tpot_s = max(0.0, total - first) / max(requests.output - 1, 1.0)
    return Cycle(running, total, first, tpot_s, prompt_s, wave_s)


def _bubbles(requests: Requests, running: float, chunks: int, steps: float) -> float:
    """How often a prompt's chunk holds up a batch of a pipeline, over how often one is its own.

    All batches go through the stages in turn, so that the slowest sets the pace of each round: a round is slow
    if any of them holds a chunk, 1 - (1 - share)^stages, where without stages it would be `share` of them.
    """
    if requests.stages == 1:
        return 1.0
    share = min(1.0, running * chunks / (chunks + steps))
    return (1 - (1 - share) ** requests.stages) / share


def _stay(first: float, others: float, decode: float) -> float:
    """Seconds from arrival to last token.

    While a request decodes for `total - first`, the others' prompts take their share of every step:
    (total - first) (total - others) = decode x total, of which this is the larger root.
    """
    terms = first + others + decode
    return (terms + math.sqrt(max(0.0, terms * terms - 4 * first * others))) / 2


def first_wave_wait(engine: Engine, requests: Requests, steady: Cycle) -> float:
    """All clients start at once and wait for half of all prompts; the wave itself spreads the later ones."""
    wait = (steady.running - 1) * steady.wave_s / 2
    return engine.constants["first_wave"] * wait / max(1.0, requests.per_client)


def closed_loop(engine: Engine, requests: Requests, clients: float) -> Served:
    """What `clients` see who each send their next request when the last is answered.

    Past capacity the rate is that of capacity, and the rest of the clients' time is spent in the queue.
    """
    running = capacity(requests, clients)
    steady = cycle(engine, requests, running)
    ttft = steady.first_s + first_wave_wait(engine, requests, steady)
    total = ttft + steady.tpot_s * max(requests.output - 1, 0.0)
    saturated = clients > running * 1.001
    if saturated:
        ttft += (clients - running) * total / running
    return Served(ttft, steady.tpot_s, running * requests.output / total, saturated, running)
