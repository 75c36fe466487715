"""Weights of one rank: what vLLM's classes allocate, what loading adds, per pipeline stage.

Sources: vLLM 0.33 `model_executor/layers/{linear,vocab_parallel_embedding}.py` (sharding),
`layers/fused_moe/config.py` (experts over TP, DP and EP), `distributed/utils.py` `get_pp_indices` (stages).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, replace
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import (
    Module,
    ModuleTree,
    Rotary,
)
from wizard.models.schemes import Group, SchemedModel, grouped, schemed_model
from wizard.planning.launch import Launch
from wizard.planning.sharding import Layout, Size, Sizer
from wizard.planning.vision import is_multimodal, takes_items
from wizard.schemas.outputs import GIB

SWIZZLED_SCALES_FREED = (0, 25)
"""Since when Triton's MXFP4 experts drop the scales of the checkpoint (fused_moe/oracle/mxfp4.py)."""

DISAGREEMENT = 0.05
"""Share by which a checkpoint may differ from its config: padding, repeated heads and unused tensors stay below."""

CACHE_SIZE = 256
"""Rank layouts remembered per model; a planner tries a few dozen."""


@dataclass(frozen=True, slots=True)
class StageWeights:
    """One pipeline stage on one GPU, as allocated before load-time repacking."""

    param_bytes: int
    by_dtype: dict[str, int]
    buffer_bytes: int
    repacked_bytes: int
    """What loading adds to it (negative: frees): kernels' own layouts and copies."""
    slack_bytes: int
    """What the allocator adds by rounding large tensors up."""

    @property
    def loaded_bytes(self) -> int:
        """What vLLM logs as `Model loading took`."""
        return self.param_bytes + self.buffer_bytes + self.repacked_bytes + self.slack_bytes


@dataclass(frozen=True, slots=True)
class RankWeights:
    """Weights per GPU, for every pipeline stage."""

    stages: tuple[StageWeights, ...]
    draft_bytes: int
    """Multi-token-prediction layers, on the last stage."""
    lora_bytes: int
    largest_layer_bytes: int
    """Of one layer: what a repacking kernel may hold twice while loading."""
    refusals: tuple[str, ...]
    """vLLM's messages where it would not build this model so; empty where it would."""
    warnings: tuple[str, ...]

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes after load per stage; the draft stands on the last, LoRA slots on all."""
        totals = [stage.loaded_bytes + self.lora_bytes for stage in self.stages]
        totals[-1] += self.draft_bytes
        return tuple(totals)

    @property
    def worst_stage(self) -> int:
        return max(range(len(self.stages)), key=self.stage_bytes.__getitem__)

    @property
    def loaded_bytes(self) -> int:
        """Of the worst stage: what vLLM logs as `Model loading took`."""
        return max(self.stage_bytes)


_ranks: WeakKeyDictionary[ModelMetadata, dict[object, RankWeights]] = WeakKeyDictionary()


def rank_weights(launch: Launch) -> RankWeights:
    """The weights of the worst TP rank, per pipeline stage. Remembered per model and layout.

    Raises ConfigError for a config that can't be described; configurations that vLLM refuses are described
    as if it didn't, with its messages in `refusals`.
    """
    global _latest
    latest = _latest
    if latest is None or latest[0] is not launch:
        _latest = latest = launch, _remembered(launch)
    return latest[1]


_latest: tuple[Launch, RankWeights] | None = None
"""Every term of one evaluation asks about the same launch."""


def _remembered(launch: Launch) -> RankWeights:
    online = launch.quantization if launch.online_quantization else None
    layout = _layout(launch)
    lora = (launch.config.max_loras, launch.config.max_lora_rank) if launch.config.enable_lora else None
    key = (layout, online, launch.rules.number[:2], launch.speculative_method, lora)
    remembered = _ranks.setdefault(launch.metadata, {})
    result = remembered.get(key)
    if result is None:
        if len(remembered) >= CACHE_SIZE:
            remembered.clear()
        result = remembered[key] = _compute(schemed_model(launch.metadata, online), layout, launch)
    return result


def _layout(launch: Launch) -> Layout:
    group = launch.tp * launch.dp * launch.pcp
    parallel = launch.ep and group > 1
    return Layout(
        tp=launch.tp,
        pp=launch.pp,
        expert_tp=1 if parallel else group,
        ep=group if parallel else 1,
        copies_shared=parallel and launch.tp > 1 and launch.dp > 1,
        encoder_whole=launch.config.mm_encoder_tp_mode == "data",
        encoder_absent=is_multimodal(launch.metadata) and not takes_items(launch),
        dtype=launch.dtype,
        capability=launch.capability,
        keeps_swizzled_scales=launch.rules.number < SWIZZLED_SCALES_FREED,
    )


def stage_ranges(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """[first, last) layer of every stage: the remainder goes to the stages before the last, backwards."""
    each, rest = divmod(layers, stages)
    sizes = [each] * stages
    for step in range(2, rest + 2):
        sizes[-step] += 1
    ranges, start = [], 0
    for size in sizes:
        ranges.append((start, start + size))
        start += size
    return tuple(ranges)


def _compute(model: SchemedModel, layout: Layout, launch: Launch) -> RankWeights:
    refusals = list(_refusals(model, layout, launch))
    sizer = Sizer(layout, model.quantization, refusals)
    encoder = Sizer(replace(layout, tp=_encoder_tp(model.tree, layout)), model.quantization, refusals)
    sized = [(group, sizer.size(group.module, group.scheme)) for group in model.groups]
    towers = [(group, encoder.size(group.module, group.scheme)) for group in model.towers]
    beside = [(group, encoder) for group in model.encoder_everywhere]
    if layout.encoder_absent:
        towers, beside = [], []
    stages = []
    for stage, (start, end) in enumerate(stage_ranges(model.tree.num_layers, layout.pp)):
        sum_of = _Sum()
        for group, size in sized:
            sum_of.add(
                group.module, size, bisect_left(group.indices, end) - bisect_left(group.indices, start)
            )
        ends = [(group, sizer) for group in model.every] + beside
        if stage == 0:
            for group, size in towers:
                sum_of.add(group.module, size, len(group.indices))
            ends += [(group, sizer) for group in model.first]
        if stage == layout.pp - 1:
            ends += [(group, sizer) for group in model.last]
            if stage > 0:
                ends += [(group, sizer) for group in model.tied]
        for group, cutter in ends:
            sum_of.add(group.module, cutter.size(group.module, group.scheme))
        stages.append(sum_of.stage())
    return RankWeights(
        stages=tuple(stages),
        draft_bytes=_draft_bytes(model, sizer, launch),
        lora_bytes=_lora_bytes(model, sizer, launch),
        largest_layer_bytes=_largest_layer(sized),
        refusals=tuple(dict.fromkeys(refusals)),
        warnings=(*model.tree.warnings, *_disagreement(model, layout, launch)),
    )


def _disagreement(model: SchemedModel, layout: Layout, launch: Launch) -> Iterator[str]:
    """A warning where the checkpoint's size isn't that of the model its config describes."""
    checkpoint = launch.metadata.checkpoint
    if checkpoint is None or not checkpoint.complete or launch.online_quantization:
        return
    from wizard.models.stored import stored_bytes

    whole = Sizer(replace(layout, tp=1, pp=1, expert_tp=1, ep=1), model.quantization, [])
    described = sum(
        len(group.indices) * sum(whole.size(group.module, group.scheme).params.values())
        for group in (
            *model.groups,
            *model.towers,
            *model.first,
            *model.last,
            *model.every,
            *model.encoder_everywhere,
        )
    )
    stored = stored_bytes(checkpoint, launch.dtype_bytes)
    if abs(stored - described) > DISAGREEMENT * max(stored, 1):
        yield (
            f"The checkpoint holds {stored / GIB:.2f} GiB, but its config describes a model of "
            f"{described / GIB:.2f} GiB; the weights may be off by as much."
        )


def _draft_bytes(model: SchemedModel, sizer: Sizer, launch: Launch) -> int:
    """Loaded bytes of the layers that speculative decoding adds."""
    if launch.speculative_method is None:
        return 0
    from wizard.models.mtp import draft_blocks

    drafted = _Sum()
    for group in grouped(draft_blocks(launch.metadata, launch.speculative_method), model.quantization):
        if not isinstance(group.module, Rotary):
            drafted.add(group.module, sizer.size(group.module, group.scheme), len(group.indices))
    return drafted.stage().loaded_bytes


def _lora_bytes(model: SchemedModel, sizer: Sizer, launch: Launch) -> int:
    """Slots for adapters on the decoder; the widest stage's, as they are allocated on every stage."""
    config = launch.config
    if not config.enable_lora:
        return 0
    from wizard.planning.lora import lora_elements

    elements = sum(
        len(group.indices) * lora_elements(group.module, sizer, config.max_lora_rank, fully_sharded=False)
        for group in model.groups
    )
    stages = max(end - start for start, end in stage_ranges(model.tree.num_layers, launch.pp))
    elements = elements * stages // max(1, model.tree.num_layers)
    elements += sum(
        lora_elements(group.module, sizer, config.max_lora_rank, fully_sharded=False) for group in model.last
    )
    return config.max_loras * elements * launch.dtype_bytes


def _refusals(model: SchemedModel, layout: Layout, launch: Launch) -> Iterator[str]:
    """What vLLM says before it builds anything."""
    quantization = model.quantization
    if (
        quantization is not None
        and quantization.refusal
        and launch.rules.number >= quantization.refused_since
    ):
        yield quantization.refusal
    heads = launch.metadata.num_attention_heads
    if heads % layout.tp:
        yield f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({layout.tp})."
    encoder_tp = _encoder_tp(model.tree, layout)
    if model.tree.tower_heads % encoder_tp:
        yield f"{model.tree.tower_heads} is not divisible by {encoder_tp}"


def _encoder_tp(tree: ModuleTree, layout: Layout) -> int:
    """Ranks that share the encoder."""
    if layout.encoder_whole:
        return 1
    return 1 if tree.tower_copied_if_uneven and tree.tower_heads % layout.tp else layout.tp


class _Sum:
    """One stage, module by module; equal rotary tables count once."""

    def __init__(self) -> None:
        self.params: Counter[str] = Counter()
        self.buffers = self.repacked = self.slack = 0
        self.rotary: dict[Rotary, Size] = {}

    def add(self, module: Module, size: Size, count: int = 1) -> None:
        if isinstance(module, Rotary):
            if count:
                self.rotary[module] = size
            return
        for dtype, amount in size.params.items():
            self.params[dtype] += amount * count
        self.buffers += size.buffers * count
        self.repacked += size.repacked * count
        self.slack += size.slack * count

    def stage(self) -> StageWeights:
        params = +self.params
        return StageWeights(
            param_bytes=sum(params.values()),
            by_dtype=dict(params),
            buffer_bytes=self.buffers + sum(size.buffers for size in self.rotary.values()),
            repacked_bytes=self.repacked,
            slack_bytes=self.slack + sum(size.slack for size in self.rotary.values()),
        )


def _largest_layer(sized: list[tuple[Group, Size]]) -> int:
    layers: Counter[int] = Counter()
    for group, size in sized:
        amount = sum(size.params.values())
        for index in group.indices:
            layers[index] += amount
    return max(layers.values(), default=0)
