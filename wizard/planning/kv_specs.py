"""From a model's cache layers to pages on one rank: formats, heads per rank, block sizes.

Sources: vLLM 0.33 `model_executor/layers/attention/*.py` (`get_kv_cache_spec`), `platforms/interface.py`
(`update_block_size_for_backend`), `models/minimax_m3`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence, Set
from operator import attrgetter

from wizard.dataclass import dataclass, replace
from wizard.models.cache_layers import CacheLayer, CacheModel
from wizard.models.drafts import draft_layers
from wizard.models.facts import Facts
from wizard.planning.attention_choice import attention_choice, attention_need, cache_dtype, rank_heads
from wizard.planning.kv_compressed import COMPRESSED_BLOCK, compressed_pages
from wizard.planning.kv_groups import PagedLayer
from wizard.planning.kv_pages import Page
from wizard.planning.kv_setting import Setting
from wizard.planning.kv_states import aligned_blocks, state_page
from wizard.planning.launch import Launch
from wizard.planning.weights import stage_ranges
from wizard.vllm.attention_backends import (
    Choice,
    largest_block_within,
    preferred_block,
    smallest_block,
)
from wizard.vllm.attention_needs import AttentionNeed, Backend
from wizard.vllm.kv_dtypes import (
    TURBOQUANT_BITS,
    element_bytes,
    head_bytes,
    index_bytes,
    latent_bytes,
    quantized,
)

DEFAULT_BLOCK_SIZE = 16
"""Tokens, where the backend has no wish of its own (config/cache.py)."""
INDEX_BLOCK = 64
"""Block size of the index kernels (mla/indexer.py)."""
SPARSE_BLOCK = 128
"""MiniMax-M3 chooses blocks of this many tokens; they are the cache's blocks too."""
TURBOQUANT_KEPT_LAYERS = 2
"""Layers at each end that TurboQuant doesn't compress (quantization/turboquant/config.py)."""

FP8_ON_BLACKWELL = frozenset(
    {"GlmMoeDsaForCausalLM", "Glm5NextForCausalLM", "Glm5NextForConditionalGeneration"}
)
"""Classes that choose an fp8 cache by themselves on Blackwell data-centre GPUs."""


@dataclass(frozen=True, slots=True)
class CachePlan:
    """All pages of one rank, and what they came from."""

    layers: tuple[PagedLayer, ...]
    block_size: int
    """vLLM's cache_config.block_size."""
    packed: bool
    """All layers of a block lie side by side (block-outermost layout)."""
    backend: str
    kv_dtype: str
    """As vLLM resolves it: auto, fp8, fp8_ds_mla ..."""


_SHAPE = attrgetter(*(name for name in CacheLayer.__slots__ if name != "index"))
"""All that a layer's pages depend on, but for TurboQuant's exceptions at both ends of the stack."""


def cache_plan(launch: Launch, model: CacheModel) -> CachePlan:
    """Every page of one rank, in the order in which vLLM registers its layers."""
    choice = attention_choice(launch, model)
    need = attention_need(launch, model)
    kinds = {layer.kind for layer in model.layers}
    kv_dtype = _stored_dtype(launch, choice, kinds)
    need = replace(need, kv_dtype=kv_dtype) if not model.sparse else need
    block = _block_size(launch, model, choice.backend, need, kinds)
    setting = Setting(
        launch=launch,
        model=model,
        facts=Facts(launch.metadata.text),
        kv_dtype=kv_dtype,
        backend=choice.backend,
        need=need,
        block_size=block,
    )
    drafts = draft_layers(launch.metadata, model, launch.speculative_method, launch.config.speculative_config)
    every = (*model.layers, *drafts)
    padded = 0
    unaligned, bare = setting, frozenset[int]()
    if model.hybrid:
        unaligned = replace(setting, block_size=launch.config.block_size or DEFAULT_BLOCK_SIZE)
        bare = _without_attention(launch, model, every)
        block, padded = aligned_blocks(setting)
        setting = replace(setting, block_size=block)
    known: dict[Hashable, tuple[Page, ...]] = {}
    layers: list[PagedLayer] = []
    for layer in every:
        alone = layer.index in bare
        alike = (_SHAPE(layer), _layer_dtype(setting, layer), alone)
        if alike not in known:
            known[alike] = tuple(_pages(unaligned if alone else setting, layer, 0 if alone else padded))
        layers += [PagedLayer(layer.index, page) for page in known[alike]]
    return CachePlan(
        layers=tuple(layers),
        block_size=setting.block_size,
        packed="compressed" in kinds,
        backend="FLASHMLA_SPARSE_DSV4"
        if "compressed" in kinds
        else choice.backend.name
        if choice.backend
        else "",
        kv_dtype=kv_dtype,
    )


def _without_attention(launch: Launch, model: CacheModel, layers: Sequence[CacheLayer]) -> frozenset[int]:
    """Decoder layers on pipeline stages that keep states alone: their worker aligns no blocks and pads no pages.

    Each worker sizes its own blocks (`update_block_size_for_backend` stops where it finds no attention), and the
    engine then meets states of two block sizes, which share no group.
    """
    if launch.pp == 1 or not launch.rules.blocks_by_stage:
        return frozenset()
    attending = {layer.index for layer in layers if layer.kind != "state"}
    stages = [range(first, last) for first, last in stage_ranges(model.num_layers, launch.pp)]
    return frozenset(index for stage in stages if attending.isdisjoint(stage) for index in stage)


def _stored_dtype(launch: Launch, choice: Choice, kinds: Set[str]) -> str:
    """The cache dtype after the backend and the model class have had their say."""
    dtype = cache_dtype(launch)
    name = choice.backend.name if choice.backend else ""
    if "compressed" in kinds:
        return "fp8_ds_mla"
    if name == "FLASHMLA_SPARSE" and quantized(dtype) and dtype != "nvfp4_ds_mla":
        return "fp8_ds_mla"
    if name == "FLASHINFER_MLA_SPARSE_SM120":
        return "fp8_ds_mla"
    return dtype


def _block_size(
    launch: Launch, model: CacheModel, backend: Backend | None, need: AttentionNeed, kinds: Set[str]
) -> int:
    """cache_config.block_size before hybrids are aligned."""
    if "compressed" in kinds:
        return COMPRESSED_BLOCK
    if launch.config.block_size is not None:
        return launch.config.block_size
    if "block_sparse" in kinds:
        return SPARSE_BLOCK
    if backend is None or not (kinds - {"state"}):
        return DEFAULT_BLOCK_SIZE
    typical = replace(need, head_dim=model.head_dim, value_dim=0) if not model.latent else need
    preferred = preferred_block(backend, typical, DEFAULT_BLOCK_SIZE)
    if need.kv_dtype in TURBOQUANT_BITS and not model.hybrid:
        return preferred * element_bytes("auto", launch.dtype)
    if any(layer.index_dim for layer in model.layers):
        return math.lcm(max(preferred, smallest_block(backend, need)), INDEX_BLOCK)
    return preferred


def _pages(setting: Setting, layer: CacheLayer, padded: int) -> Iterator[Page]:
    match layer.kind:
        case "state":
            yield state_page(setting, layer, padded)
        case "latent":
            if layer.index_dim:
                yield _index_page(setting, layer)
            yield _latent_page(setting, layer)
        case "compressed":
            yield from compressed_pages(layer)
        case "block_sparse":
            yield _head_page(setting, layer, "full")
            yield Page(
                "latent",
                setting.block_size,
                setting.block_size * layer.index_dim * 2,
                ("index", layer.index_dim),
            )
        case "sliding":
            yield _sliding_page(setting, layer)
        case "chunked":
            yield replace(_head_page(setting, layer, "chunked"), window=layer.window)
        case "cross":
            yield replace(_head_page(setting, layer, "full"), family="cross")
        case _:
            yield _head_page(setting, layer, "full")


def _token_bytes(setting: Setting, layer: CacheLayer) -> int:
    """Bytes of one token in one layer on one rank."""
    heads = rank_heads(layer.kv_heads, setting.tp)
    raw = layer.kind == "block_sparse" and not setting.kv_dtype.startswith("nvfp4")
    if raw or layer.key_dim != layer.value_dim:
        return heads * (layer.key_dim + layer.value_dim) * element_bytes(setting.kv_dtype, setting.dtype)
    return heads * head_bytes(_layer_dtype(setting, layer), setting.dtype, layer.key_dim, layer.value_dim)


def _layer_dtype(setting: Setting, layer: CacheLayer) -> str:
    """TurboQuant leaves the first and last layers of a dense model as they are."""
    if setting.kv_dtype not in TURBOQUANT_BITS or setting.model.hybrid:
        return setting.kv_dtype
    kept = min(TURBOQUANT_KEPT_LAYERS, setting.model.num_layers // 2)
    inside = kept <= layer.index < setting.model.num_layers - kept
    return setting.kv_dtype if inside else "auto"


def _head_page(setting: Setting, layer: CacheLayer, family: str) -> Page:
    heads = rank_heads(layer.kv_heads, setting.tp)
    return Page(
        "chunked" if family == "chunked" else "full",
        setting.block_size,
        setting.block_size * _token_bytes(setting, layer),
        (heads, layer.key_dim, layer.value_dim, _layer_dtype(setting, layer)),
    )


def _sliding_page(setting: Setting, layer: CacheLayer) -> Page:
    """A window's block is the largest kernel block that the model's block size allows."""
    per_token = _token_bytes(setting, layer)
    block = setting.block_size
    if setting.backend is not None:
        need = replace(
            setting.need,
            head_dim=layer.key_dim,
            value_dim=layer.value_dim,
            kv_heads=layer.kv_heads,
            block_size=None,
        )
        block = largest_block_within(setting.backend, need, setting.block_size)
    heads = rank_heads(layer.kv_heads, setting.tp)
    return Page(
        "sliding",
        block,
        block * per_token,
        (heads, layer.key_dim, layer.value_dim),
        window=layer.window,
    )


def _latent_page(setting: Setting, layer: CacheLayer) -> Page:
    size = latent_bytes(setting.kv_dtype, setting.dtype, layer.key_dim)
    return Page(
        "latent",
        setting.block_size,
        setting.block_size * size,
        (layer.key_dim, setting.kv_dtype, "leads" if layer.leads_index else ""),
    )


def _index_page(setting: Setting, layer: CacheLayer) -> Page:
    """The index key of sparse latent attention: fp8 with scales, one per token."""
    size = index_bytes(layer.index_dim)
    return Page("latent", setting.block_size, setting.block_size * size, ("index", layer.index_dim))
