"""A model described by its safetensors headers, for architectures that the table doesn't know.

Every stored tensor keeps its size; its name tells how tensor parallelism cuts it, in the spellings that
published checkpoints use. Sources of the rules: vLLM 0.33 `model_executor/models/*.py` (column, row and copied
layers), `model_executor/models/transformers/base.py` (the backend that runs what vLLM has no class for).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from wizard.dataclass import replace
from wizard.models.facts import Facts
from wizard.models.metadata import Checkpoint, ModelMetadata, TensorInfo
from wizard.models.modules import Block, Module, ModuleTree, Tensor

LAYER = re.compile(r"^(.*?\b(?:layers|h|blocks|layer|block)\.)(\d{1,4})\.(.+)$")
EMBEDDINGS = re.compile(r"(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\.weight$")
HEADS = re.compile(r"(^|\.)(lm_head|embed_out|output_layer|output)\.")
ENCODERS = re.compile(r"(^|\.)(vision|visual|vpm|audio|image|resampler|multi_modal|mm_projector|projector)")
DRAFTS = re.compile(r"(^|\.)(mtp|eh_proj|enorm|hnorm|shared_head)\b")
KEYS_AND_VALUES = re.compile(r"\.(k_proj|v_proj|key|value)\.")
EXPERTS = re.compile(r"\.experts\.")
CUT = re.compile(
    r"\.(q_proj|qkv_proj|query_key_value|Wqkv|wqkv|c_attn|query|q_b_proj|kv_b_proj|gate_proj|up_proj|gate_up_proj"
    r"|w1|w2|w3|fc1|fc2|c_fc|c_proj|dense_h_to_4h|dense_4h_to_h|o_proj|out_proj|wo|dense|down_proj|in_proj)\."
)
ROW_BIAS = re.compile(r"\.(w2|fc2|c_proj|dense_4h_to_h|o_proj|out_proj|wo|dense|down_proj)\.bias$")

DTYPES: Mapping[str, str] = {
    "BF16": "",
    "F16": "",
    "F32": "",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "U8": "uint8",
    "I8": "int8",
    "I32": "int32",
    "I64": "int64",
    "BOOL": "bool",
}
"""Header's word -> dtype on the GPU; empty: the model's, which weights are converted to."""


def stored_tree(metadata: ModelMetadata, checkpoint: Checkpoint, unknown: str) -> ModuleTree:
    """The modules of a model as its headers list them; `unknown` is what can't be told from its config."""
    facts = Facts(metadata.text)
    layers = facts.layers
    kv_heads = metadata.num_key_value_heads
    kinds: dict[str, dict[int, Counter[Tensor]]] = {}
    first: Counter[Tensor] = Counter()
    last: Counter[Tensor] = Counter()
    for name, info in checkpoint.tensors.items():
        if DRAFTS.search(name):
            continue
        match = LAYER.match(name)
        encoder = ENCODERS.search(name) is not None
        index = int(match[2]) if match and not encoder else -1
        if index >= layers:
            continue
        if match and not encoder:
            place = kinds.setdefault(match[1], {}).setdefault(index, Counter())
        else:
            place = last if HEADS.search(name) else first
        kind, elements = _kind(name, info, kv_heads)
        place[kind] += elements
    return ModuleTree(
        blocks=tuple(_blocks(kinds)),
        num_layers=layers,
        first=_modules(first),
        last=_modules(last),
        warnings=(
            f"This {unknown} is not known here: its weights are sized by the tensors stored, and how they are "
            "cut over GPUs is told by their names.",
        ),
    )


def _kind(name: str, info: TensorInfo, kv_heads: int) -> tuple[Tensor, int]:
    """How one tensor is cut and kept (a tensor of no size), and its elements."""
    elements = 1
    for size in info.shape:
        elements *= size
    dtype = DTYPES.get(info.dtype, "unknown")
    if dtype == "unknown":
        elements, dtype = info.nbytes, "uint8"
    if ENCODERS.search(name):
        return Tensor("encoder", 0, dtype=dtype), elements
    if EXPERTS.search(name):
        return Tensor("experts", 0, expert=True, dtype=dtype), elements
    if KEYS_AND_VALUES.search(name) and elements % kv_heads == 0:
        return Tensor("keys_and_values", 0, kv_heads=kv_heads, dtype=dtype), elements
    cut = CUT.search(name) or EMBEDDINGS.search(name) or HEADS.search(name)
    if cut and not ROW_BIAS.search(name):
        return Tensor("cut", 0, split=True, uneven=True, dtype=dtype), elements
    return Tensor("copied", 0, dtype=dtype), elements


def _modules(kinds: Counter[Tensor]) -> tuple[Module, ...]:
    return tuple(replace(kind, elements=elements) for kind, elements in kinds.items())


def _blocks(kinds: Mapping[str, Mapping[int, Counter[Tensor]]]) -> Iterator[Block]:
    for prefix, layers in kinds.items():
        groups: dict[tuple[Module, ...], list[int]] = {}
        for index in sorted(layers):
            groups.setdefault(_modules(layers[index]), []).append(index)
        for modules, indices in groups.items():
            yield Block(prefix + "{}", tuple(indices), modules)


_totals: WeakKeyDictionary[Checkpoint, Counter[str]] = WeakKeyDictionary()


def stored_bytes(checkpoint: Checkpoint, dtype_bytes: int) -> int:
    """Bytes of all tensors but the draft's, floating ones in the model's dtype.

    The tensors of a checkpoint, a hundred thousand in the largest, are added up once.
    """
    totals = _totals.get(checkpoint)
    if totals is None:
        totals = _totals[checkpoint] = Counter()
        for name, info in checkpoint.tensors.items():
            if not DRAFTS.search(name):
                totals[info.dtype] += info.nbytes
    return sum(
        size * dtype_bytes // (4 if dtype == "F32" else 2) if DTYPES.get(dtype) == "" else size
        for dtype, size in totals.items()
    )
