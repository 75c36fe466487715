"""What a quantisation says of every module, and how the numbers in its section are read."""

from __future__ import annotations

from typing import Literal

from wizard.dataclass import dataclass, field, replace
from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.matching import Names, Patterns
from wizard.models.metadata import short
from wizard.models.storage import PLAIN, Scheme

Role = Literal["linear", "experts", "head", "embedding"]

LARGEST_RULE_COUNT = 200_000
"""Entries of an ignore list or of `quantized_layers`; real ones have up to some 25,000."""

WIDEST_BITS = 16

NO_ACTIVATION_ORDER = (0, 30)
"""vLLM dropped group activation ordering with 0.30 (layers/quantization/utils/gptq_utils.py)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Modules that match are stored so."""

    names: Patterns
    scheme: Scheme


@dataclass(frozen=True, slots=True)
class Quantization:
    """A checkpoint's (or an online) quantisation, ready to be asked about modules."""

    method: str
    """vLLM's name of the method: fp8, auto_awq, compressed-tensors, modelopt_fp4 ..."""
    default: Scheme = PLAIN
    """Of matrices that no rule and no ignore list names."""
    experts: Scheme | None = None
    """Of routed experts, where it differs from `default`."""
    head: Scheme | None = None
    """Of the output head; `None`: it stays plain."""
    ignored: Patterns = field(default_factory=Patterns)
    rules: tuple[Rule, ...] = ()
    listed_only: bool = False
    """Modules that no rule names stay plain."""
    cache_scales: Literal["", "scalars", "zero_points"] = ""
    """What attention layers store for a quantised KV cache: four scalars, or three scales with zero points."""
    latent_scales: bool = False
    """MLA layers store them too."""
    refusal: str = ""
    """vLLM's message where it refuses this configuration."""
    refused_since: tuple[int, int] = (0, 0)
    """The version that began to refuse it."""
    online: bool = False

    def scheme(self, names: Names, role: Role) -> Scheme:
        """How a module is stored; plain where it is left alone."""
        if role == "embedding":
            return self._embedding(names)
        if role == "head" and self.head is None:
            return PLAIN
        if self.ignored.cover(names, experts=role == "experts"):
            return PLAIN
        for beside in (False, True) if role == "experts" else (False,):
            for rule in self.rules:
                if rule.names.cover(names, experts=role == "experts", beside=beside):
                    return rule.scheme
        if self.listed_only:
            return PLAIN
        if role == "head":
            return self.head or PLAIN
        return self.experts if role == "experts" and self.experts is not None else self.default

    def renamed(self, renames: tuple[tuple[str, str], ...]) -> Quantization:
        """The same rules for vLLM's names."""
        rules = tuple(replace(rule, names=rule.names.renamed(renames)) for rule in self.rules)
        return replace(self, ignored=self.ignored.renamed(renames), rules=rules)

    def _embedding(self, names: Names) -> Scheme:
        for rule in self.rules:
            if rule.scheme.kind == "packed" and rule.names.cover(names):
                return replace(rule.scheme, kind="packed")
        return PLAIN


def texts(facts: Facts, *names: str) -> tuple[str, ...]:
    """The first of `names` that holds a list, as texts."""
    for name in names:
        values = facts.get(name)
        if values is None:
            continue
        if not isinstance(values, list | tuple) or len(values) > LARGEST_RULE_COUNT:
            raise ConfigError(
                f"quantization_config: {name} must be a list of module names, not {short(values)}."
            )
        if values:
            return tuple(item for item in values if isinstance(item, str))
    return ()


def weight_bits(facts: Facts, *names: str, default: int) -> int:
    bits = facts.int(*names, default=default, low=1)
    if bits > WIDEST_BITS:
        raise ConfigError(f"quantization_config: weights of {bits} bits are not quantised.")
    return bits


def group_size(facts: Facts, name: str, default: int) -> int:
    value = facts.get(name)
    return -1 if value == -1 else facts.int(name, default=default, low=0) or default
