"""What the pages of a launch depend on, besides the layer."""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.models.cache_layers import CacheModel
from wizard.models.facts import Facts
from wizard.planning.launch import Launch
from wizard.vllm.attention_needs import AttentionNeed, Backend


@dataclass(frozen=True, slots=True)
class Setting:
    """What pages depend on, besides the layer."""

    launch: Launch
    model: CacheModel
    facts: Facts
    kv_dtype: str
    backend: Backend | None
    need: AttentionNeed
    block_size: int

    @property
    def tp(self) -> int:
        return self.launch.tp

    @property
    def dtype(self) -> str:
        return self.launch.dtype
