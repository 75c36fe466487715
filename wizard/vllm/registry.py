"""Which models vLLM knows: `data/registry.json`, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from wizard.data import read_text
from wizard.dataclass import dataclass
from wizard.vllm.versions import parse_version


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of one vLLM version, and what earlier ones had."""

    number: tuple[int, int, int]
    architectures: frozenset[str]
    transformers: frozenset[str]
    """Classes of transformers itself, which vLLM wraps."""
    without_pipeline: frozenset[str]
    encoder_data: frozenset[str]
    """Classes that obey `--mm-encoder-tp-mode data`; the others cut their encoder all the same."""
    pooling_only: frozenset[str]
    model_types: frozenset[str]
    """Config types that transformers or vLLM itself reads."""
    removed: Mapping[str, str]
    """Architecture -> the last version that had it."""
    plugins: Mapping[str, str]
    """Architecture -> where its plugin is to be had."""

    def has(self, architecture: str) -> bool:
        """Whether this version serves it, by a class of its own or by transformers'."""
        return architecture in self.architectures or architecture in self.transformers

    def removed_before(self, architecture: str, number: tuple[int, int, int]) -> str | None:
        """The last version with `architecture`, where the version `number` is later."""
        last = self.removed.get(architecture)
        return last if last is not None and number > parse_version(last) else None


@lru_cache(maxsize=1)
def registry() -> Registry:
    data = json.loads(read_text("registry.json"))
    return Registry(
        number=parse_version(data["version"]),
        architectures=frozenset(data["architectures"]),
        transformers=frozenset(data["transformers"]),
        without_pipeline=frozenset(data["without_pipeline"]),
        encoder_data=frozenset(data["encoder_data"]),
        pooling_only=frozenset(data["pooling_only"]),
        model_types=frozenset(data["model_types"]),
        removed=data["removed"],
        plugins=data["plugins"],
    )
