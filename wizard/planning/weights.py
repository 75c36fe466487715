"""Weights of one rank: what vLLM's classes allocate, what loading adds, per pipeline stage.

Sources: vLLM 0.33 `model_executor/layers/{linear,vocab_parallel_embedding}.py` (sharding),
`layers/fused_moe/config.py` (experts over TP, DP and EP), `distributed/utils.py` `get_pp_indices` (stages).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from wizard.models.matching import Names
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import (
    Block,
    CacheScales,
    Experts,
    Linear,
    Module,
    ModuleTree,
    Rotary,
    Tensor,
    Vocabulary,
)
from wizard.models.quantization import Quantization, Role, quantization_of
from wizard.models.storage import (
    DTYPE_BYTES,
    PLAIN,
    Bytes,
    ExpertShard,
    Scheme,
    Shard,
    expert_bytes,
    linear_bytes,
)
from wizard.models.tree import module_tree
from wizard.planning.allocator import unsplit_bytes
from wizard.planning.launch import Launch

ATTENTION_BUFFER_BYTES = 16
"""Four float32 scales per attention layer, quantised or not (layers/attention/attention.py)."""

CACHE_SIZE = 256
"""Rank layouts remembered per model; a planner tries a few dozen."""


@dataclass(frozen=True, slots=True)
class StageWeights:
    """One pipeline stage on one GPU, as allocated before load-time repacking."""

    param_bytes: int
    by_dtype: dict[str, int]
    buffer_bytes: int
    repacked_bytes: int
    """What loading adds to it (negative: frees)."""

    @property
    def loaded_bytes(self) -> int:
        return self.param_bytes + self.buffer_bytes + self.repacked_bytes


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


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a rank cuts the model."""

    tp: int
    pp: int
    expert_tp: int
    ep: int
    copies_shared: bool
    """Sequence-parallel MoE: every TP rank keeps the shared experts whole."""
    encoder_whole: bool
    """`--mm-encoder-tp-mode data`."""
    dtype: str
    mxfp4_multiple: tuple[int, int]
    """Hidden and intermediate sizes of MXFP4 experts are padded to multiples of these."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Equal modules stored the same way, and the layers they stand in."""

    module: Module
    scheme: Scheme
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Model:
    """A module tree with the storage scheme of every module, for any rank."""

    tree: ModuleTree
    quantization: Quantization | None
    groups: tuple[_Group, ...]
    first: tuple[_Group, ...]
    towers: tuple[_Group, ...]
    last: tuple[_Group, ...]
    every: tuple[_Group, ...]
    tied: tuple[_Group, ...]
    draft: tuple[_Group, ...]


_models: WeakKeyDictionary[ModelMetadata, dict[str | None, _Model]] = WeakKeyDictionary()
_ranks: WeakKeyDictionary[ModelMetadata, dict[object, RankWeights]] = WeakKeyDictionary()


def rank_weights(launch: Launch) -> RankWeights:
    """The weights of the worst TP rank, per pipeline stage. Remembered per model and layout.

    Raises ConfigError for a config that can't be described; configurations that vLLM refuses are described
    as if it didn't, with its messages in `refusals`.
    """
    online = launch.quantization if launch.online_quantization else None
    layout = _layout(launch)
    key = (layout, online, launch.rules.number[:2])
    remembered = _ranks.setdefault(launch.metadata, {})
    result = remembered.get(key)
    if result is None:
        if len(remembered) >= CACHE_SIZE:
            remembered.clear()
        result = remembered[key] = _compute(_model(launch.metadata, online), layout, launch)
    return result


def _layout(launch: Launch) -> _Layout:
    group = launch.tp * launch.dp * launch.pcp
    parallel = launch.ep and group > 1
    return _Layout(
        tp=launch.tp,
        pp=launch.pp,
        expert_tp=1 if parallel else group,
        ep=group if parallel else 1,
        copies_shared=parallel and launch.tp > 1 and launch.dp > 1,
        encoder_whole=launch.config.mm_encoder_tp_mode == "data",
        dtype=launch.dtype,
        mxfp4_multiple=mxfp4_multiple(launch.capability),
    )


def mxfp4_multiple(capability: tuple[int, int]) -> tuple[int, int]:
    """(hidden, intermediate) multiples that the MXFP4 expert kernel of a GPU wants.

    Source: vLLM 0.33 fused_moe/oracle/mxfp4.py `mxfp4_round_up_hidden_size_and_intermediate_size` and the
    priority list above it: Triton on 9.0, TRT-LLM on 10.x, Marlin elsewhere.
    """
    return (1, 64) if capability[0] == 9 else (256, 128)


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


def _model(metadata: ModelMetadata, online: str | None) -> _Model:
    known = _models.setdefault(metadata, {})
    model = known.get(online)
    if model is None:
        tree = module_tree(metadata)
        quantization = quantization_of(metadata, online)
        if quantization is not None and tree.renames:
            quantization = quantization.renamed(tree.renames)
        model = known[online] = _Model(
            tree=tree,
            quantization=quantization,
            groups=_grouped(tree.blocks, quantization),
            first=_ungrouped(tree.first, quantization),
            towers=_grouped(tree.towers, quantization),
            last=_ungrouped(tree.last, quantization),
            every=_ungrouped(tree.every, quantization),
            tied=_ungrouped(tree.tied, quantization),
            draft=_grouped(tree.draft, quantization),
        )
    return model


def stored_modules(metadata: ModelMetadata, online: str | None) -> Iterator[tuple[Module, Scheme, int]]:
    """What a forward pass of the decoder reads: each module, how it is stored, and in how many layers.

    The embedding look-up is left out; an embedding that serves as the head comes as the head.
    """
    model = _model(metadata, online)
    for group in (*model.groups, *model.last, *model.every):
        yield group.module, group.scheme, len(group.indices)
    for group in model.tied:
        if isinstance(group.module, Vocabulary):
            yield replace(group.module, head=True), group.scheme, 1


def _grouped(blocks: tuple[Block, ...], quantization: Quantization | None) -> tuple[_Group, ...]:
    groups: dict[tuple[Module, Scheme], list[int]] = {}
    for block in blocks:
        for module in block.modules:
            if quantization is None or isinstance(module, Tensor | Rotary | CacheScales):
                groups.setdefault((module, PLAIN), []).extend(block.indices)
                continue
            for index in block.indices:
                scheme = _scheme(module, block.prefix.format(index) + ".", quantization)
                groups.setdefault((module, scheme), []).append(index)
    return tuple(_Group(module, scheme, tuple(sorted(found))) for (module, scheme), found in groups.items())


def _ungrouped(modules: tuple[Module, ...], quantization: Quantization | None) -> tuple[_Group, ...]:
    return tuple(_Group(module, _scheme(module, "", quantization), (0,)) for module in modules)


def _scheme(module: Module, prefix: str, quantization: Quantization | None) -> Scheme:
    if quantization is None or isinstance(module, Tensor | Rotary | CacheScales) or not module.quantised:
        return PLAIN
    name = prefix + module.name
    parts: tuple[str, ...] = ()
    role: Role = "linear"
    if isinstance(module, Linear):
        parent = name.rpartition(".")[0]
        parts = tuple(f"{parent}.{part}" for part in module.parts)
    elif isinstance(module, Experts):
        role = "experts"
        parts = tuple(f"{name}.0.{part}" for part in module.parts)
    else:
        role = "head" if module.head else "embedding"
    return quantization.scheme(Names(name, parts), role)


def _compute(model: _Model, layout: _Layout, launch: Launch) -> RankWeights:
    refusals: list[str] = []
    scheme = model.quantization
    if scheme is not None and scheme.refusal and launch.rules.number >= scheme.refused_since:
        refusals.append(scheme.refusal)
    heads = launch.metadata.num_attention_heads
    if heads % layout.tp:
        refusals.append(
            f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({layout.tp})."
        )
    sizer = _Sizer(layout, model.quantization, refusals)
    encoder_tp = 1 if layout.encoder_whole or model.tree.tower_heads % layout.tp else layout.tp
    encoder = _Sizer(replace(layout, tp=encoder_tp), model.quantization, refusals)
    sized = [(group, sizer.sizes(group)) for group in model.groups]
    stages = []
    for stage, (start, end) in enumerate(stage_ranges(model.tree.num_layers, layout.pp)):
        total, buffers, repacked = Counter[str](), 0, 0
        rotary: dict[Rotary, int] = {}
        for group, size in sized:
            count = bisect_left(group.indices, end) - bisect_left(group.indices, start)
            if not count:
                continue
            if isinstance(group.module, Rotary):
                rotary[group.module] = size.buffers
                continue
            for dtype, amount in size.params.items():
                total[dtype] += amount * count
            buffers += size.buffers * count
            repacked += (size.repacked + unsplit_bytes(group.module, size.params)) * count
        if stage == 0:
            for group in model.towers:
                size = encoder.sizes(group)
                for dtype, amount in size.params.items():
                    total[dtype] += amount * len(group.indices)
                buffers += size.buffers * len(group.indices)
        ends = [(group, sizer) for group in model.every]
        if stage == 0:
            ends += [(group, encoder if _is_encoder(group) else sizer) for group in model.first]
        if stage == layout.pp - 1:
            ends += [(group, sizer) for group in model.last]
            if stage > 0:
                ends += [(group, sizer) for group in model.tied]
        for group, cutter in ends:
            size = cutter.sizes(group)
            if isinstance(group.module, Rotary):
                rotary[group.module] = size.buffers
                continue
            total.update(size.params)
            buffers += size.buffers
            repacked += size.repacked + unsplit_bytes(group.module, size.params)
        stages.append(
            StageWeights(sum(total.values()), dict(total), buffers + sum(rotary.values()), repacked)
        )
    return RankWeights(
        stages=tuple(stages),
        draft_bytes=0,
        lora_bytes=0,
        largest_layer_bytes=_largest_layer(sized),
        refusals=tuple(dict.fromkeys(refusals)),
        warnings=model.tree.warnings,
    )


def _is_encoder(group: _Group) -> bool:
    """Of the encoder or its projector, not of the decoder."""
    return not isinstance(group.module, Vocabulary) and not getattr(group.module, "name", "").startswith(
        ("model.", "language_model.")
    )


def _largest_layer(sized: list[tuple[_Group, _Size]]) -> int:
    layers: Counter[int] = Counter()
    for group, size in sized:
        amount = sum(size.params.values())
        for index in group.indices:
            layers[index] += amount
    return max(layers.values(), default=0)


@dataclass(frozen=True, slots=True)
class _Size:
    params: Bytes
    buffers: int = 0
    repacked: int = 0


class _Sizer:
    """Cuts modules for one rank and sums what is stored."""

    def __init__(self, layout: _Layout, quantization: Quantization | None, refusals: list[str]) -> None:
        self.layout = layout
        self.quantization = quantization
        self.refusals = refusals

    def sizes(self, group: _Group) -> _Size:
        match group.module:
            case Linear() as linear:
                return _Size(self._linear(linear, group.scheme))
            case Experts() as experts:
                return self._experts(experts, group.scheme)
            case Vocabulary() as vocabulary:
                return _Size(self._vocabulary(vocabulary, group.scheme))
            case Tensor() as tensor:
                return self._tensor(tensor)
            case CacheScales() as scales:
                return self._cache_scales(scales)
            case Rotary() as rotary:
                return _Size(Counter(), rotary.rows * rotary.width * self._width(rotary.dtype))

    def _width(self, dtype: str) -> int:
        return DTYPE_BYTES[dtype or self.layout.dtype]

    def _cut(self, size: int, parts: int) -> int:
        """`size` over `parts` ranks; vLLM asserts that it divides."""
        if size % parts:
            self.refusals.append(f"{size} is not divisible by {parts}")
            return -(-size // parts)
        return size // parts

    def _heads(self, size: int, heads: int) -> int:
        """Keys or values of `heads` heads: cut by TP, copied when there are fewer heads than ranks."""
        tp = self.layout.tp
        if tp > heads:
            if tp % heads:
                self.refusals.append(f"{tp} is not divisible by {heads}")
            return size // heads
        return self._cut(heads, tp) * (size // heads)

    def _linear(self, linear: Linear, scheme: Scheme) -> Bytes:
        tp = self.layout.tp
        if (linear.sequence_parallel and self.layout.copies_shared) or (
            linear.uncut_if_packed and scheme.kind in ("gptq", "awq")
        ):
            tp = 1
        inputs, outputs = linear.inputs, linear.outputs
        if linear.split == "row":
            inputs = self._cut(inputs, tp)
        elif linear.split == "column":
            cut = [self._cut(outputs[0], tp)]
            heads = linear.heads or (0,) * len(outputs)
            for width, count in zip(outputs[1:], heads[1:], strict=True):
                cut.append(self._heads(width, count) if count else self._cut(width, tp))
            outputs = tuple(cut)
        if linear.whole_outputs:
            outputs = (*outputs, linear.whole_outputs)
        dtype = linear.dtype or self.layout.dtype
        shard = Shard(inputs, outputs, linear.inputs, dtype)
        if scheme.kind == "fp8_block":
            self._check_blocks(linear, shard, scheme, tp)
        total = linear_bytes(scheme, shard)
        if linear.bias:
            total[dtype] += sum(outputs) * DTYPE_BYTES[dtype]
        return total

    def _check_blocks(self, linear: Linear, shard: Shard, scheme: Scheme, tp: int) -> None:
        """Source: vLLM 0.33 fp8_utils.py `validate_fp8_block_shape`."""
        rows, columns = scheme.block
        fused = len(shard.outputs) > 1 and linear.split != "whole"
        if fused and any(width % rows for width in shard.outputs):
            return
        if tp > 1 and linear.split == "row" and shard.inputs % columns:
            self.refusals.append(
                f"Weight input_size_per_partition = {shard.inputs} is not divisible by weight quantization "
                f"block_k = {columns}."
            )
        if tp > 1 and linear.split == "column":
            for width in shard.outputs:
                if width % rows:
                    self.refusals.append(
                        f"Weight output_partition_size = {width} is not divisible by weight quantization "
                        f"block_n = {rows}."
                    )

    def _experts(self, experts: Experts, scheme: Scheme) -> _Size:
        layout = self.layout
        count = -(-experts.count // layout.ep)
        hidden, intermediate = experts.hidden, self._cut(experts.intermediate, layout.expert_tp)
        if scheme.kind == "mxfp4":
            hidden_multiple, multiple = layout.mxfp4_multiple
            hidden = -(-hidden // hidden_multiple) * hidden_multiple
            intermediate = -(-intermediate // multiple) * multiple
        shard = ExpertShard(
            count=count,
            hidden=hidden,
            intermediate=intermediate,
            gated=experts.gated,
            bias=experts.bias,
            dtype=layout.dtype,
            tp=layout.tp,
        )
        buffers = 4 * experts.count if layout.ep > 1 else 0
        return _Size(expert_bytes(scheme, shard), buffers)

    def _vocabulary(self, vocabulary: Vocabulary, scheme: Scheme) -> Bytes:
        padded = -(-vocabulary.rows // vocabulary.padding) * vocabulary.padding
        rows = self._cut(padded, self.layout.tp)
        dtype = vocabulary.dtype or self.layout.dtype
        total = linear_bytes(scheme, Shard(vocabulary.width, (rows,), vocabulary.width, dtype))
        if vocabulary.bias:
            total[dtype] += rows * DTYPE_BYTES[dtype]
        return total

    def _tensor(self, tensor: Tensor) -> _Size:
        elements = tensor.elements
        if tensor.kv_heads:
            elements = self._heads(elements, tensor.kv_heads)
        elif tensor.split:
            elements = self._cut(elements, self.layout.tp)
        dtype = tensor.dtype or self.layout.dtype
        size = elements * DTYPE_BYTES[dtype]
        if tensor.buffer:
            return _Size(Counter(), size, -size if tensor.alias else 0)
        return _Size(Counter({dtype: size}))

    def _cache_scales(self, scales: CacheScales) -> _Size:
        quantization, dtype = self.quantization, self.layout.dtype
        kind = quantization.cache_scales if quantization else ""
        if not kind or quantization is None or (scales.latent and not quantization.latent_scales):
            return _Size(Counter(), ATTENTION_BUFFER_BYTES)
        width = DTYPE_BYTES[dtype]
        if kind == "scalars":
            return _Size(Counter({dtype: 4 * width}), ATTENTION_BUFFER_BYTES)
        return _Size(Counter({"float32": 12, dtype: 3 * width}), ATTENTION_BUFFER_BYTES)
