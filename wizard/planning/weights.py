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
from wizard.errors import ConfigError, UnsizedError
from wizard.models.drafts import HEADS, draft_of
from wizard.models.metadata import Checkpoint, ModelMetadata
from wizard.models.modules import (
    Module,
    ModuleTree,
    Rotary,
)
from wizard.models.quantization import quantization_of
from wizard.models.schemes import Group, SchemedModel, grouped, schemed_model
from wizard.models.tree import module_tree
from wizard.planning.launch import Launch, per_launch
from wizard.planning.sharding import Layout, Size, Sizer
from wizard.planning.vision import encoder_whole, is_multimodal, takes_items
from wizard.schemas.outputs import GIB, MIB

AWQ_BY_MACHETE_SINCE = (0, 19)
"""First version whose AWQ asks `choose_mp_linear_kernel`; 0.18.1 took Marlin (quantization/awq_marlin.py)."""
SWIZZLED_SCALES_FREED = (0, 25)
"""Since when Triton's MXFP4 experts drop the scales of the checkpoint (fused_moe/oracle/mxfp4.py)."""

DISAGREEMENT = 0.05
"""Share by which a checkpoint may differ from its config: padding, repeated heads and unused tensors stay below."""

FOREIGN = 2.0
"""A checkpoint so many times larger or smaller than its config says is no checkpoint of that model."""

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
    layer_bytes: int = 0
    """Of `param_bytes`, those in decoder layers: all that --cpu-offload-gb may move."""

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

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes after load per stage; the draft stands on the last, LoRA slots on all."""
        totals = [stage.loaded_bytes + self.lora_bytes for stage in self.stages]
        totals[-1] += self.draft_bytes
        return tuple(totals)

    def stage_bytes_beside(self, offload_bytes: int) -> tuple[int, ...]:
        """The same with up to `offload_bytes` of each stage's decoder layers in the CPU's memory.

        Source: vLLM 0.33 `model_executor/offloader/uva.py`, whose `wrap_modules` is handed the decoder's layers.
        """
        return tuple(
            total - min(offload_bytes, stage.layer_bytes)
            for total, stage in zip(self.stage_bytes, self.stages, strict=True)
        )

    @property
    def worst_stage(self) -> int:
        return max(range(len(self.stages)), key=self.stage_bytes.__getitem__)

    @property
    def loaded_bytes(self) -> int:
        """Of the worst stage: what vLLM logs as `Model loading took`."""
        return max(self.stage_bytes)


_ranks: WeakKeyDictionary[ModelMetadata, dict[object, RankWeights]] = WeakKeyDictionary()


@per_launch
def rank_weights(launch: Launch) -> RankWeights:
    """The weights of the worst TP rank, per pipeline stage. Remembered per model and layout.

    Raises ConfigError for a config that can't be described; configurations that vLLM refuses are described
    as if it didn't, with its messages in `refusals`.
    """
    online = launch.quantization if launch.online_quantization else None
    layout = _layout(launch)
    lora = (
        (launch.config.max_loras, launch.config.max_lora_rank, _fully_sharded(launch))
        if launch.config.enable_lora
        else None
    )
    draft = (launch.config.speculative_config or {}).get("model") if launch.speculative_method else None
    key = (layout, online, launch.rules.number[:2], launch.speculative_method, str(draft), lora)
    remembered = _ranks.setdefault(launch.metadata, {})
    result = remembered.get(key)
    if result is None:
        if len(remembered) >= CACHE_SIZE:
            remembered.clear()
        result = remembered[key] = _compute(schemed_model(launch.metadata, online), layout, launch)
    return result


DATACENTRE_BLACKWELL = 10
"""Major compute capability of B200, GB200 and B300: TRT-LLM's kernels run there alone."""


def _layout(launch: Launch) -> Layout:
    group = launch.tp * launch.dp * launch.pcp
    parallel = launch.ep and group > 1
    return Layout(
        tp=launch.tp,
        pp=launch.pp,
        expert_tp=1 if parallel else group,
        ep=group if parallel else 1,
        copies_shared=parallel and launch.tp > 1 and launch.dp > 1,
        encoder_whole=encoder_whole(launch),
        encoder_absent=is_multimodal(launch.metadata) and not takes_items(launch),
        dtype=launch.dtype,
        capability=launch.capability,
        pads_plain_experts=launch.rules.trtllm_plain_experts
        and launch.gpu.vendor == "nvidia"
        and launch.capability[0] == DATACENTRE_BLACKWELL
        and not launch.config.enable_lora,
        wide_mrope=launch.rules.wide_mrope,
        keeps_swizzled_scales=launch.rules.number < SWIZZLED_SCALES_FREED,
        awq_by_machete=launch.rules.number >= AWQ_BY_MACHETE_SINCE,
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


READS_EMBEDDING = frozenset({"eagle", "eagle3", "dflash", "dspark"})
"""Methods whose head needs the model's embedding on the last pipeline stage, where it drafts.

Source: vLLM 0.33 models/utils.py `spec_decode_needs_target_embed`; before, the head loaded one of its own there.
"""


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
        layer_bytes = sum(sum_of.params.values())
        ends = [(group, sizer) for group in model.every] + beside
        if stage == 0:
            for group, size in towers:
                sum_of.add(group.module, size, len(group.indices))
            ends += [(group, sizer) for group in model.first]
        if stage == layout.pp - 1:
            ends += [(group, sizer) for group in model.last]
            if stage > 0:
                shared = model.first if launch.speculative_method in READS_EMBEDDING else model.tied
                ends += [(group, sizer) for group in shared]
        for group, cutter in ends:
            sum_of.add(group.module, cutter.size(group.module, group.scheme))
        stages.append(replace(sum_of.stage(), layer_bytes=layer_bytes))
    return RankWeights(
        stages=tuple(stages),
        draft_bytes=_draft_bytes(model, sizer, launch),
        lora_bytes=_lora_bytes(model, sizer, launch),
        largest_layer_bytes=_largest_layer(sized),
        refusals=tuple(dict.fromkeys(refusals + sizer.expert_refusals)),
    )


@dataclass(frozen=True, slots=True)
class Doubts:
    """What makes the weights' size less than certain."""

    warnings: tuple[str, ...] = ()
    disagreement: str | None = None
    """The checkpoint's size isn't that of the model its config describes; one sentence."""
    foreign: bool = False
    """It is so far off that the weights are another model's."""


_doubts: WeakKeyDictionary[ModelMetadata, dict[Layout, Doubts]] = WeakKeyDictionary()


def weight_doubts(launch: Launch) -> Doubts:
    """Doubts about the weights of a model, remembered per model: the layout doesn't change them."""
    try:
        warnings, checkpoint = module_tree(launch.metadata).warnings, launch.metadata.checkpoint
    except UnsizedError:  # there is nothing to compare; that this version doesn't serve it the verdict says
        return Doubts(())
    if checkpoint is None or not checkpoint.exact or launch.online_quantization:
        return Doubts(warnings)
    layout = replace(_layout(launch), tp=1, pp=1, expert_tp=1, ep=1)
    remembered = _doubts.setdefault(launch.metadata, {})
    if layout not in remembered:
        try:
            model = schemed_model(launch.metadata, None)
        except ConfigError:  # a method that vLLM doesn't load, which the verdict says
            return Doubts(warnings)
        remembered[layout] = _compared(model, checkpoint, layout, launch.dtype_bytes)
    return remembered[layout]


def _compared(model: SchemedModel, checkpoint: Checkpoint, layout: Layout, dtype_bytes: int) -> Doubts:
    """The stored size against that of the model which the config describes."""
    whole = Sizer(layout, model.quantization, [])
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
    from wizard.models.stored import stored_bytes

    stored = stored_bytes(checkpoint, dtype_bytes)
    if abs(stored - described) <= DISAGREEMENT * max(stored, 1):
        return Doubts(model.tree.warnings)
    foreign = not 1 / FOREIGN < stored / max(described, 1) < FOREIGN
    then = "vLLM may stop while it loads them" if foreign else "the weights may be off by as much"
    said = f"The checkpoint holds {_size(stored)}, but its config describes a model of {_size(described)}; {then}."
    return Doubts(model.tree.warnings, said, foreign)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes > GIB // 100 else f"{size_bytes / MIB:.1f} MiB"


def _draft_bytes(model: SchemedModel, sizer: Sizer, launch: Launch) -> int:
    """Loaded bytes of the layers that speculative decoding adds."""
    method = launch.speculative_method
    if method is None:
        return 0
    draft = draft_of(launch.metadata, launch.config.speculative_config)
    if method == "draft_model":
        return 0 if draft is None else _whole_draft_bytes(draft, launch)
    from wizard.models.mtp import draft_blocks

    quantization = model.quantization
    if method in HEADS:  # a head is quantised by its own config alone (`get_draft_quant_config`)
        quantization = quantization_of(draft) if draft is not None else None
        sizer = Sizer(sizer.layout, quantization, [])
    drafted = _Sum()
    for group in grouped(draft_blocks(launch.metadata, method, draft), quantization):
        if not isinstance(group.module, Rotary):
            drafted.add(group.module, sizer.size(group.module, group.scheme), len(group.indices))
    return drafted.stage().loaded_bytes


def draft_is_uncounted(launch: Launch) -> bool:
    """A whole model drafts, and nothing is known of it."""
    return (
        launch.speculative_method == "draft_model"
        and draft_of(launch.metadata, launch.config.speculative_config) is None
    )


def _whole_draft_bytes(draft: ModelMetadata, launch: Launch) -> int:
    """Loaded bytes of a whole model that drafts: cut like the target, embedding and head its own.

    Source: vLLM 0.33 `v1/spec_decode/draft_model.py` (it shares nothing), `config/speculative.py` (its dtype and TP
    are the target's).
    """
    layout = replace(_layout(launch), pp=1, encoder_absent=False)
    config = launch.config.model_copy(update={"enable_lora": False, "speculative_config": None})
    alone = replace(launch, metadata=draft, config=config, speculative_method=None, pp=1)
    return _compute(schemed_model(draft, None), layout, alone).loaded_bytes


def _lora_bytes(model: SchemedModel, sizer: Sizer, launch: Launch) -> int:
    """Slots for adapters on the decoder; the widest stage's, as they are allocated on every stage."""
    config = launch.config
    if not config.enable_lora:
        return 0
    from wizard.planning.lora import lora_elements

    sharded = _fully_sharded(launch)
    elements = sum(
        len(group.indices) * lora_elements(group.module, sizer, config.max_lora_rank, fully_sharded=sharded)
        for group in model.groups
    )
    stages = max(end - start for start, end in stage_ranges(model.tree.num_layers, launch.pp))
    elements = elements * stages // max(1, model.tree.num_layers)
    elements += sum(
        lora_elements(group.module, sizer, config.max_lora_rank, fully_sharded=sharded)
        for group in model.last
    )
    return config.max_loras * elements * launch.dtype_bytes


def _fully_sharded(launch: Launch) -> bool:
    return "--fully-sharded-loras" in launch.config.extra_args


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
