"""One engine step as a roofline: bytes against bandwidth, operations against FLOP/s, and what both leave out.

The terms and their sources: weights are read once per step, of routed experts those that the batch touches;
the cache of every decoding sequence is read; prompts are attended to; TP reduces twice per layer over the
link; every layer costs launches, every sequence host work. The constants are in `data/perf.json`.
"""

from __future__ import annotations

import math

from wizard.dataclass import dataclass
from wizard.planning.kernel_rates import Constants, KernelRates, expert_format
from wizard.planning.perf_facts import CacheKind, ModelFacts, RoutedExperts
from wizard.planning.perf_machine import Machine

VERSION_AT_SPEED = 19
"""Minor version from which launch overhead is taken as constant: the newest with many measured runs."""
FIRST_V1_ENGINE = (0, 8)


@dataclass(frozen=True, slots=True)
class Sharding:
    """How one engine spreads over GPUs. What stages wait for each other is `serving`'s business."""

    tp: int = 1
    dp: int = 1
    """Ranks with attention of their own that share the experts."""
    expert_parallel: bool = False
    context_parallel: int = 1
    """Ranks of the TP group that share the cache of a sequence (DCP)."""
    stages: int = 1
    """Pipeline stages, each with its part of the layers."""

    @property
    def expert_ranks(self) -> int:
        return self.tp * self.dp


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What of a launch changes the time of a step."""

    cache_bytes: float = 2.0
    """Per element of the KV cache."""
    eager: bool = False
    version: tuple[int, int] | None = None
    """(major, minor) of vLLM; None: a recent one."""


class Engine:
    """Step time as a function of the step's tokens; everything else is computed once."""

    __slots__ = (
        "_decoding_s",
        "_dp",
        "_experts",
        "_fixed_s",
        "_full_context_s",
        "_head",
        "_matrices",
        "_prompt_attention",
        "_skew",
        "_token_s",
        "_windows",
        "constants",
    )

    def __init__(
        self,
        facts: ModelFacts,
        machine: Machine,
        sharding: Sharding,
        settings: EngineSettings,
        constants: Constants,
    ) -> None:
        self.constants = constants
        old = settings.version is not None and settings.version < FIRST_V1_ENGINE
        rocm_of_old = old and machine.family == "amd_hbm"
        family = "amd_hbm_old" if rocm_of_old else machine.family
        rates = KernelRates(machine, family, constants)
        tp, dp = sharding.tp, sharding.dp
        self._dp = dp
        self._skew = constants["experts.skew"]
        self._matrices = tuple(
            (
                ((part.nbytes - part.whole_bytes) / tp + part.whole_bytes) / rates.bandwidth(part.kernel),
                2
                * ((part.parameters - part.whole_parameters) / tp + part.whole_parameters)
                / rates.flops(part.kernel),
            )
            for part in facts.matrices
        )
        self._head = (
            facts.head_bytes / tp / rates.bandwidth("w16"),
            2 * facts.head_parameters / tp / rates.flops("w16"),
        )
        self._experts = tuple(_experts(part, sharding, rates) for part in facts.experts)
        self._attention(facts, machine, sharding, settings, rocm_of_old)
        self._per_token(facts, machine, sharding, rates)
        self._overheads(facts, machine, sharding, settings)

    def _attention(
        self,
        facts: ModelFacts,
        machine: Machine,
        sharding: Sharding,
        settings: EngineSettings,
        rocm_of_old: bool,
    ) -> None:
        constants = self.constants
        bandwidth = machine.bandwidth * constants["attention.bandwidth"]
        flops = machine.flops16 * constants["attention.compute"]
        full, windows, prompt = 0.0, [], []
        for kind in facts.caches:
            seconds = (
                kind.layers * kind.elements * settings.cache_bytes * _cache_share(kind, sharding) / bandwidth
            )
            if rocm_of_old and not kind.latent:
                # its paged attention read keys and values once per query head, not once per group
                seconds *= max(1.0, kind.query_elements / kind.elements) * constants["old.ungrouped_read"]
            seconds = _roof(seconds, 2 * kind.layers * kind.query_elements / sharding.tp / flops)
            if kind.window:
                windows.append((kind.window, seconds))
            else:
                full += seconds
            prompt.append((kind.window, 2 * kind.layers * kind.prompt_elements / sharding.tp / flops))
        self._full_context_s = full
        self._windows = tuple(windows)
        self._prompt_attention = tuple(prompt)
        # states are read and written once per step, in two bytes
        self._decoding_s = 2 * 2 * facts.state_elements / sharding.tp / bandwidth

    def _per_token(self, facts: ModelFacts, machine: Machine, sharding: Sharding, rates: KernelRates) -> None:
        constants = self.constants
        width = 2 * facts.hidden
        tp, dp = sharding.tp, sharding.dp
        wire = constants[f"link.{machine.link_kind}"] * machine.link
        seconds = facts.layers * width * constants["elementwise"] / rates.memory
        for experts in facts.experts:
            ranks = sharding.expert_ranks if sharding.expert_parallel else 1
            seconds += (
                experts.layers * experts.active * width * constants["experts.shuffle"] / rates.memory / ranks
            )
        if tp > 1:
            seconds += 2 * facts.layers * 2 * (tp - 1) / tp * width / wire
        if dp > 1:
            seconds += 2 * facts.expert_layers * (dp - 1) / tp * width / wire
        if sharding.stages > 1:
            # hidden state and residual, a slice from each tensor-parallel rank
            stage_wire = constants[f"link.{machine.stage_link_kind}"] * machine.stage_link
            seconds += (sharding.stages - 1) * 2 * width / tp / stage_wire
        self._token_s = seconds

    def _overheads(
        self, facts: ModelFacts, machine: Machine, sharding: Sharding, settings: EngineSettings
    ) -> None:
        constants = self.constants
        version = settings.version
        minor = VERSION_AT_SPEED if version is None or version[0] else version[1]
        slower = 1.0 + constants["per_older_minor"] * max(
            0, VERSION_AT_SPEED - max(minor, FIRST_V1_ENGINE[1])
        )
        quantised = any(
            part.kernel in {"fp8", "nvfp4", "int8"} and part.parameters for part in facts.matrices
        )
        launches = facts.layers * (
            constants["layer_s"] + (constants["quantised_layer_s"] if quantised else 0.0)
        )
        for part in facts.experts:
            launches += part.layers * constants[f"experts.layer_s.{expert_format(part.kernel)}"]
        launches += sum(kind.layers for kind in facts.caches if kind.latent) * constants["latent_layer_s"]
        if machine.family == "blackwell":
            launches *= constants["blackwell.launches"]
        fixed = (constants["step_s"] + launches) * slower
        hop = constants[f"hop_s.{machine.link_kind}"]
        if sharding.tp > 1:
            fixed += 2 * facts.layers * hop * math.log2(sharding.tp)
        if sharding.dp > 1:
            fixed += 2 * facts.expert_layers * hop * math.log2(sharding.dp)
        fixed += (sharding.stages - 1) * constants[f"hop_s.{machine.stage_link_kind}"]
        if settings.eager:
            fixed += facts.layers * constants["eager_layer_s"]
        sequence = constants["sequence_s"] * slower
        if version is not None and version < FIRST_V1_ENGINE:
            fixed += constants["old.step_s"]
            sequence = constants["sequence_s"] * constants["old.sequences"]
        elif version is not None and version < (0, 9):
            fixed += constants["v0_8.step_s"]
        if machine.rdna4:
            fixed += constants["rdna4.step_s"] + facts.expert_layers * constants["rdna4.expert_layer_s"]
        self._fixed_s = fixed
        self._decoding_s += sequence

    def step(self, decoding: float, context: float, prompt: float = 0.0, attended: float = 0.0) -> float:
        """Seconds of one step.

        `decoding` sequences of mean length `context` make a token each; `prompt` tokens are prefilled, each of
        which attends to `attended` others on average.
        """
        tokens = decoding + prompt
        seconds = self._fixed_s + tokens * self._token_s
        for memory, compute in self._matrices:
            seconds += _roof(memory, tokens * compute)
        memory, compute = self._head
        seconds += _roof(memory, max(decoding, 1.0) * compute)
        if self._experts:
            shared = tokens * self._dp
            for count, active, memory, compute in self._experts:
                seconds += _roof(_touched(count, active, shared, self._skew) * memory, shared * compute)
        cache = self._full_context_s * context
        for window, per_token in self._windows:
            cache += per_token * min(context, window)
        seconds += decoding * (cache + self._decoding_s)
        if prompt:
            for window, per_pair in self._prompt_attention:
                seconds += prompt * per_pair * (min(attended, window) if window else attended)
        return seconds


def _experts(part: RoutedExperts, sharding: Sharding, rates: KernelRates) -> tuple[int, int, float, float]:
    """(experts, active ones, seconds to read one in all layers, seconds of compute per token)."""
    ranks = sharding.expert_ranks
    return (
        part.count,
        part.active,
        part.layers * part.nbytes / ranks / rates.expert_bandwidth(part.kernel),
        2 * part.layers * part.active * part.parameters / ranks / rates.expert_flops(part.kernel),
    )


def _cache_share(kind: CacheKind, sharding: Sharding) -> float:
    """The part of a sequence's cache that one rank reads: heads are cut, then copied; latents only copied."""
    share = 1.0 if kind.latent else max(kind.kv_heads / sharding.tp, 1.0) / kind.kv_heads
    return share / sharding.context_parallel


def _touched(count: int, active: int, tokens: float, skew: float) -> float:
    """Experts that `tokens` tokens touch, where some are chosen more often than others.

    The popularity of experts is taken as a gamma distribution of squared variation `skew`; 0 would be even.
    """
    untouched: float = (1 + skew * tokens * active / count) ** (-1 / skew)
    return max(count * (1 - untouched), float(min(active, count)))


def _roof(memory: float, compute: float) -> float:
    """A soft maximum: near the ridge neither overlaps the other wholly."""
    squares = (memory * memory, compute * compute)
    return math.sqrt(math.sqrt(squares[0] * squares[0] + squares[1] * squares[1]))
