"""The KV cache of a launch, in vLLM's own groups and blocks, and what fits into it.

Source: vLLM 0.33 `v1/core/kv_cache_planning.py`, `v1/core/kv_cache_utils.py` (`get_kv_cache_capacity`); the
rules of older versions by `VersionRules`.
"""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass
from wizard.models.cache_layers import CacheModel, cache_model
from wizard.models.metadata import ModelMetadata
from wizard.planning.kv_groups import Group, group_layers, stage_bytes
from wizard.planning.kv_pages import WHOLE_SEQUENCE, Horizon, Page
from wizard.planning.kv_specs import cache_plan
from wizard.planning.launch import Launch
from wizard.planning.weights import stage_ranges
from wizard.schemas.outputs import KVCacheReport


@dataclass(frozen=True, slots=True)
class KVGroup:
    """Layers that share a block table."""

    kind: str
    layers: int
    block_size: int
    page_bytes: int
    """Bytes of one layer's page; of all of them where they differ."""


@dataclass(frozen=True, slots=True)
class KVLayout:
    """How one rank's cache is laid out; the worst pipeline stage decides."""

    groups: tuple[Group, ...]
    bytes_per_block: int
    block_size: int
    """vLLM's cache_config.block_size."""
    scheduler_block_size: int
    """The smallest of the groups."""
    bytes_per_token: float
    """Attention bytes that one more token takes on one GPU."""
    state_bytes_per_request: int
    """Bytes that a request takes whatever its length: recurrent states."""
    kv_dtype: str
    backend: str
    in_flight: int
    encoder_tokens: int
    dcp: int

    def horizon(self, length: int) -> Horizon:
        return Horizon(
            length=length, in_flight=self.in_flight, encoder_tokens=self.encoder_tokens, dcp=self.dcp
        )

    def pages_per_request(self, length: int) -> int:
        """Blocks that one request of `length` tokens holds, as the capacity line counts them."""
        horizon = self.horizon(length)
        return sum(group.blocks(horizon) for group in self.groups)

    def most_pages_per_request(self, length: int) -> int:
        """The same as the start-up check counts them."""
        horizon = self.horizon(length)
        return sum(group.most_blocks(horizon) for group in self.groups)

    def described(self) -> tuple[KVGroup, ...]:
        """The groups as a reader wants them."""
        return tuple(_described(group) for group in self.groups)


def _described(group: Group) -> KVGroup:
    pages = group.pages
    same = len(pages) == 1
    size = group.first.bytes if same else sum(layer.page.bytes for layer in group.layers)
    return KVGroup(group.first.family if same else "uniform", len(group.layers), group.first.block_size, size)


@dataclass(frozen=True, slots=True)
class _Pools:
    """What a layout has in common for every length and batch."""

    groups: tuple[Group, ...]
    bytes_per_block: int
    block_size: int
    scheduler_block_size: int
    bytes_per_token: float
    state_bytes_per_request: int
    kv_dtype: str
    backend: str


_pools: WeakKeyDictionary[ModelMetadata, dict[Hashable, _Pools]] = WeakKeyDictionary()
LARGEST_CACHE = 512
"""Launches remembered per model; a search tries a few dozen."""


_latest: tuple[Launch, KVLayout] | None = None
"""Every term of one evaluation asks about the same launch."""


def kv_layout(launch: Launch) -> KVLayout:
    """The cache of one rank of the worst pipeline stage. Raises ConfigError for a config that can't be read."""
    global _latest
    latest = _latest
    if latest is None or latest[0] is not launch:
        _latest = latest = launch, _layout(launch)
    return latest[1]


def _layout(launch: Launch) -> KVLayout:
    known = _pools.setdefault(launch.metadata, {})
    config = launch.config
    keeps_states = cache_model(launch.metadata).keeps_states
    key: Hashable = (
        launch.rules.number,
        launch.capability,
        launch.tp,
        launch.pp,
        launch.dcp,
        launch.dtype,
        config.kv_cache_dtype,
        launch.num_speculative_tokens,
        launch.speculative_method,
        str((config.speculative_config or {}).get("model")),
        launch.prefix_caching,
        launch.max_model_len if keeps_states and not launch.prefix_caching else 0,
        config.block_size,
        config.attention_backend,
        config.mamba_cache_dtype,
        config.mamba_ssm_cache_dtype,
        config.disable_hybrid_kv_cache_manager,
        config.language_model_only,
    )
    pools = known.get(key)
    if pools is None:
        if len(known) >= LARGEST_CACHE:
            known.clear()
        pools = known[key] = _lay_out(launch, cache_model(launch.metadata))
    return KVLayout(
        groups=pools.groups,
        bytes_per_block=pools.bytes_per_block,
        block_size=pools.block_size,
        scheduler_block_size=pools.scheduler_block_size,
        bytes_per_token=pools.bytes_per_token,
        state_bytes_per_request=pools.state_bytes_per_request,
        kv_dtype=pools.kv_dtype,
        backend=pools.backend,
        in_flight=launch.max_in_flight_tokens
        if launch.rules.in_flight_windows
        else launch.max_num_batched_tokens,
        encoder_tokens=launch.max_num_batched_tokens,
        dcp=launch.dcp,
    )


def _lay_out(launch: Launch, model: CacheModel) -> _Pools:
    plan = cache_plan(launch, model)
    groups = group_layers(
        plan.layers,
        packed=plan.packed,
        hybrid_manager=not launch.config.disable_hybrid_kv_cache_manager,
        size_ratio=launch.rules.group_size_ratio,
    )
    stages = stage_ranges(model.num_layers, launch.pp)
    sizes = [stage_bytes(groups, first, last, packed=plan.packed) for first, last in stages]
    worst = max(range(len(stages)), key=sizes.__getitem__)
    first, last = stages[worst]
    pages = [layer.page for layer in plan.layers if first <= layer.index < last]
    return _Pools(
        groups=groups,
        bytes_per_block=sizes[worst],
        block_size=plan.block_size,
        scheduler_block_size=min((group.first.block_size for group in groups), default=plan.block_size),
        bytes_per_token=sum(_growth(page) for page in pages),
        state_bytes_per_request=sum(page.bytes for page in pages if page.family == "state"),
        kv_dtype=plan.kv_dtype,
        backend=plan.backend,
    )


def _growth(page: Page) -> float:
    """Bytes that one more token takes in a layer that keeps the whole sequence."""
    return page.bytes / page.block_size if page.family in WHOLE_SEQUENCE else 0.0


def kv_report(launch: Launch, available_bytes: int) -> KVCacheReport:
    """What vLLM prints about a cache of `available_bytes` per GPU."""
    layout = kv_layout(launch)
    length = launch.max_model_len
    if not layout.bytes_per_block:
        return KVCacheReport(
            block_size=layout.block_size,
            bytes_per_block=0,
            num_gpu_blocks=1,
            tokens=0,
            max_concurrency=0.0,
            bytes_per_token=0.0,
            estimated_max_model_len=length,
            groups=0,
            kind="none",
        )
    override = launch.config.num_gpu_blocks_override
    if override is not None:
        available_bytes = override * layout.bytes_per_block
    usable = available_bytes - (layout.bytes_per_block if launch.rules.null_block_in_check else 0)
    estimated = longest(layout, usable, length)
    if _fits_itself(launch) and estimated:
        length = estimated
    blocks = max(0, available_bytes) // layout.bytes_per_block
    concurrency = blocks / layout.pages_per_request(length)
    return KVCacheReport(
        block_size=layout.block_size,
        bytes_per_block=layout.bytes_per_block,
        num_gpu_blocks=blocks,
        tokens=_tokens(launch, layout, blocks, concurrency * length),
        max_concurrency=concurrency,
        bytes_per_token=layout.bytes_per_token,
        estimated_max_model_len=estimated,
        needed_bytes=layout.bytes_per_block * layout.most_pages_per_request(length),
        state_bytes_per_request=layout.state_bytes_per_request,
        groups=len(layout.groups),
        kind="hybrid" if len(layout.groups) > 1 else layout.groups[0].first.family,
    )


def kv_tokens(launch: Launch, available_bytes: int) -> int:
    """The tokens of that report alone, without the search for the longest request."""
    layout = kv_layout(launch)
    if not layout.bytes_per_block:
        return 0
    if _fits_itself(launch) or launch.config.num_gpu_blocks_override is not None:
        return kv_report(launch, available_bytes).tokens
    blocks, length = max(0, available_bytes) // layout.bytes_per_block, launch.max_model_len
    return _tokens(launch, layout, blocks, blocks / layout.pages_per_request(length) * length)


def _tokens(launch: Launch, layout: KVLayout, blocks: int, of_whole_requests: float) -> int:
    if launch.rules.tokens_from_concurrency:
        return int(of_whole_requests)
    return blocks // len(layout.groups) * layout.scheduler_block_size


def _fits_itself(launch: Launch) -> bool:
    """--max-model-len auto (-1): vLLM takes the longest that one request can have."""
    asked = launch.config.max_model_len
    return asked is not None and asked < 0


def longest(layout: KVLayout, usable_bytes: int, limit: int) -> int:
    """The longest request of at most `limit` tokens that `usable_bytes` hold; 0 where not even one token fits."""
    if not layout.bytes_per_block:
        return limit
    blocks = usable_bytes // layout.bytes_per_block
    if blocks < layout.most_pages_per_request(1):
        return 0
    if limit > 1 and layout.most_pages_per_request(limit) <= blocks:
        return limit
    low, high = 1, limit - 1
    while low < high:
        middle = (low + high + 1) // 2
        if layout.most_pages_per_request(middle) <= blocks:
            low = middle
        else:
            high = middle - 1
    return low


def concurrency_for(launch: Launch, available_bytes: int, tokens_per_request: int) -> float:
    """Requests of `tokens_per_request` that `available_bytes` per GPU hold at once, windows and states counted."""
    layout = kv_layout(launch)
    if not layout.bytes_per_block:
        return float(launch.max_num_seqs)
    blocks = max(0, available_bytes // layout.bytes_per_block - 1)
    in_flight = min(layout.in_flight, max(tokens_per_request, 1))
    horizon = Horizon(max(tokens_per_request, 1), in_flight, layout.encoder_tokens, layout.dcp)
    return blocks / sum(group.blocks(horizon) for group in layout.groups)
