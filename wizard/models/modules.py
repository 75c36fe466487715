"""What a model is made of: the vocabulary in which every architecture is described.

A description is whole-model and unquantised: shapes only. `wizard.planning.weights` cuts it for a rank
and `wizard.models.storage` says what a quantisation scheme keeps of each piece. Names are vLLM's own
module names (its ignore lists are matched against them), relative to the layer they stand in.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from wizard.dataclass import dataclass, field

Split = Literal["column", "row", "whole"]
"""How tensor parallelism cuts a matrix: by outputs, by inputs, or not at all (a copy on every rank)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix, possibly several fused along their outputs."""

    name: str
    inputs: int
    outputs: tuple[int, ...]
    """Logical widths, in the order in which they are fused."""
    split: Split = "column"
    bias: bool = False
    parts: tuple[str, ...] = ()
    """Names of the fused matrices in the checkpoint, where they differ from `name`'s last word."""
    heads: tuple[int, ...] = ()
    """Per output: n > 0 are n heads (keys, values, groups) that are copied when TP exceeds them; 0: cut."""
    quantised: bool = True
    dtype: str = ""
    """Empty: the model's."""
    whole_outputs: int = 0
    """Further output rows that every rank keeps whole."""
    multiple: int = 1
    """Rows of a rank are rounded up to this."""
    absorbed: bool = False
    """MLA's up-projection: loading keeps transposed copies in the model's dtype beside it."""
    uncut_if_packed: bool = False
    """Kept whole where stored as GPTQ or AWQ: too narrow a cut for their kernel."""
    sequence_parallel: bool = False
    """Of a shared expert: whole on every TP rank where MoE runs sequence-parallel."""


@dataclass(frozen=True, slots=True)
class Experts:
    """All routed experts of a layer, as vLLM fuses them: w13 (gate and up) and w2 (down)."""

    name: str
    count: int
    hidden: int
    intermediate: int
    gated: bool = True
    bias: bool = False
    quantised: bool = True
    active: int = 1
    """Experts per token."""
    smallest_shard: int = 0
    """Narrower cuts of the intermediate size are padded to this."""
    parts: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    kernel_routes: bool = False
    """TRT-LLM's kernel takes them in 16 bits (`models/routing.py`)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """An embedding table or an output head, cut by rows; rows are padded to a multiple of `padding`."""

    name: str
    rows: int
    width: int
    head: bool = False
    bias: bool = False
    quantised: bool = True
    padding: int = 64
    whole: bool = False
    """Neither padded nor cut."""
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Any other parameter or buffer: norms, position tables, per-head vectors, convolutions."""

    name: str
    elements: int
    split: bool = False
    kv_heads: int = 0
    """> 0: split by so many heads, copied when TP exceeds them."""
    expert: bool = False
    """Of the routed experts: cut with them."""
    uneven: bool = False
    """A cut that leaves a remainder is rounded up and not refused: how it is cut is only guessed."""
    multiple: int = 1
    """Elements of a rank are rounded up to this."""
    dtype: str = ""
    buffer: bool = False
    alias: bool = False
    """A buffer that shares a parameter's memory: vLLM's classes count it, the GPU doesn't."""


@dataclass(frozen=True, slots=True)
class CacheScales:
    """The scales that an attention layer keeps for a quantised KV cache."""

    name: str
    latent: bool = False
    """MLA attention, which fewer quantisation methods give scales."""
    kv_heads: int = 1


@dataclass(frozen=True, slots=True)
class Rotary:
    """A rotary table; layers with equal tables share one per process."""

    rows: int
    width: int
    key: str = ""
    dtype: str = ""
    wide_rows: int = 0
    """Rows in versions whose M-RoPE keeps four per position (`VersionRules.wide_mrope`), where they differ."""
    name: str = ""
    """It has none: a buffer, never a parameter of the checkpoint."""


Module: TypeAlias = Linear | Experts | Vocabulary | Tensor | CacheScales | Rotary


@dataclass(frozen=True, slots=True)
class Block:
    """Layers of equal shape. `prefix` holds `{}` where the layer's index goes."""

    prefix: str
    indices: tuple[int, ...]
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True)
class ModuleTree:
    """A model: its layers, and what stands before and after them in a pipeline."""

    blocks: tuple[Block, ...]
    num_layers: int
    first: tuple[Module, ...]
    """On the first pipeline stage: the embedding."""
    last: tuple[Module, ...]
    """On the last stage: final norm, output head."""
    every: tuple[Module, ...] = ()
    """On every stage."""
    towers: tuple[Block, ...] = ()
    """Layers of vision and audio encoders, on the first stage."""
    encoder: tuple[Module, ...] = ()
    """The rest of the encoders and their projectors, on the first stage."""
    encoder_everywhere: tuple[Module, ...] = ()
    """Of them, what every stage has."""
    tower_heads: int = 0
    """Heads of the encoder that TP must divide; 0: none."""
    tower_copied_if_uneven: bool = False
    """Kept whole too where TP doesn't divide the heads, which vLLM refuses for other encoders."""
    tied: tuple[Module, ...] = ()
    """Embeddings that the head shares: on the last stage too, but once where first and last are one."""
    warnings: tuple[str, ...] = field(default=())
    renames: tuple[tuple[str, str], ...] = ()
    """Checkpoint prefix -> vLLM prefix, for names in ignore lists."""


def linear_parameters(linear: Linear) -> int:
    """Elements of the whole matrix with its bias."""
    rows = sum(linear.outputs) + linear.whole_outputs
    return rows * linear.inputs + (rows if linear.bias else 0)


def module_parameters(module: Module, *, active: bool = False) -> int:
    """Elements of a module; `active`: only those that one token touches (top-k of the experts).

    Buffers, scales and rotary tables count nothing.
    """
    match module:
        case Linear():
            return linear_parameters(module)
        case Experts():
            shards = 2 if module.gated else 1
            one = (shards + 1) * module.hidden * module.intermediate
            if module.bias:
                one += shards * module.intermediate + module.hidden
            return one * (min(module.active, module.count) if active else module.count)
        case Vocabulary():
            if active and not module.head:
                return 0
            return module.rows * module.width + (module.rows if module.bias else 0)
        case Tensor():
            return 0 if module.buffer else module.elements
        case _:
            return 0


def tree_parameters(tree: ModuleTree, *, active: bool = False) -> int:
    """Parameters of the whole model, without draft layers."""
    total = sum(
        len(block.indices) * sum(module_parameters(module, active=active) for module in block.modules)
        for block in (*tree.blocks, *tree.towers)
    )
    ends = (*tree.first, *tree.last, *tree.every, *tree.encoder, *tree.encoder_everywhere)
    total += sum(module_parameters(module, active=active) for module in ends)
    if active:
        total += sum(module.rows * module.width for module in tree.tied if isinstance(module, Vocabulary))
    return total
