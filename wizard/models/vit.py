"""Vision transformers as modules: one builder, told by a style how a family names and shapes its layers.

Sources: vLLM 0.33 `model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,glm4_1v,siglip,clip,pixtral,mllama4,
muse_glimmer,kimi_k25_vit,intern_vit,dots_ocr,siglip2navit}.py`.
"""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.errors import ConfigError
from wizard.models.facts import LARGEST_LAYER_COUNT, Facts
from wizard.models.modules import Block, Linear, Module, Rotary, Split, Tensor

ROTARY_ROWS = 8192
"""Positions of a vision rotary table (qwen2_vl.py, qwen3_vl.py, glm4_1v.py: `max_position=8192`)."""


@dataclass(frozen=True, slots=True)
class Tower:
    """An encoder and its projector, on the first pipeline stage."""

    blocks: tuple[Block, ...]
    modules: tuple[Module, ...]
    everywhere: tuple[Module, ...] = ()
    """Of it, what every pipeline stage has."""
    heads: int = 0
    """What TP must divide; 0: nothing."""
    copied_if_uneven: bool = False
    """Kept whole too where TP doesn't divide the heads, which vLLM refuses for other encoders."""


@dataclass(frozen=True, slots=True)
class LayerStyle:
    """How one encoder layer is built."""

    prefix: str
    """With `{}` for the layer's index."""
    qkv: str = "attn.qkv"
    out: str = "attn.proj"
    up: str = "mlp.fc1"
    down: str = "mlp.fc2"
    bias: bool = True
    out_bias: bool | None = None
    mlp_bias: bool | None = None
    gated: bool = False
    norm_bias: bool = True
    norms: int = 2
    fused_qkv: bool = True
    split: bool = True
    """Cut by tensor parallelism."""
    mlp_split: bool | None = None
    quantised: bool = True
    mlp_quantised: bool | None = None
    qkv_parts: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    up_parts: tuple[str, ...] = ("gate_proj", "up_proj")
    heads: int = 0
    kv_heads: int = 0
    """Where keys and values have fewer heads than queries."""
    head_norm: int = 0
    """Width of a norm of queries and of keys."""
    more: int = 0
    """Further elements per layer: layer scales and the like."""


def layer_indices(depth: int) -> tuple[int, ...]:
    """0, 1, 2 ... for `depth` layers. Raises ConfigError above any encoder's number."""
    if depth > LARGEST_LAYER_COUNT:
        raise ConfigError(f"config.json: {depth} encoder layers are out of any model's range.")
    return tuple(range(depth))


def encoder_layers(
    style: LayerStyle, depth: int, width: int, mlp_width: int, attention_width: int = 0
) -> Block:
    """`depth` equal layers; `attention_width`: of the heads together, where it isn't `width`."""
    inner = attention_width or width
    keys = inner // style.heads * style.kv_heads if style.heads and style.kv_heads else inner
    column: Split = "column" if style.split else "whole"
    row: Split = "row" if style.split else "whole"
    mlp_split = style.split if style.mlp_split is None else style.mlp_split
    out_bias = style.bias if style.out_bias is None else style.out_bias
    mlp_bias = style.bias if style.mlp_bias is None else style.mlp_bias
    mlp_quantised = style.quantised if style.mlp_quantised is None else style.mlp_quantised
    modules: list[Module] = []
    if style.fused_qkv:
        modules.append(
            Linear(
                style.qkv,
                width,
                (inner, keys, keys),
                column,
                style.bias,
                parts=style.qkv_parts,
                heads=(0, style.kv_heads, style.kv_heads) if style.kv_heads else (),
                quantised=style.quantised,
            )
        )
    else:
        parent = style.qkv.rpartition(".")[0]
        modules += [
            Linear(f"{parent}.{part}", width, (inner,), column, style.bias, quantised=style.quantised)
            for part in style.qkv_parts
        ]
    outputs = (mlp_width, mlp_width) if style.gated else (mlp_width,)
    modules += [
        Linear(style.out, inner, (width,), row, out_bias, quantised=style.quantised),
        Linear(
            style.up,
            width,
            outputs,
            "column" if mlp_split else "whole",
            mlp_bias,
            parts=style.up_parts if style.gated else (),
            quantised=mlp_quantised,
        ),
        Linear(
            style.down,
            mlp_width,
            (width,),
            "row" if mlp_split else "whole",
            mlp_bias,
            quantised=mlp_quantised,
        ),
        Tensor(
            "norms", style.norms * width * (2 if style.norm_bias else 1) + 2 * style.head_norm + style.more
        ),
    ]
    return Block(style.prefix, layer_indices(depth), tuple(modules))


def layer_norm(name: str, width: int, *, bias: bool = True, count: int = 1) -> Tensor:
    return Tensor(name, count * width * (2 if bias else 1))


def patches(name: str, facts: Facts, width: int, *, bias: bool, frames: int = 1, channels: int = 3) -> Tensor:
    """The convolution that turns patches into vectors: never cut, never quantised."""
    size = facts.int("patch_size", default=14, low=1)
    return Tensor(name, width * (channels * frames * size * size + (1 if bias else 0)))


def patch_count(facts: Facts, *, image: int = 224, patch: int = 14) -> int:
    """Patches of one square image."""
    side = facts.int("image_size", default=image, low=1) // facts.int("patch_size", default=patch, low=1)
    return side * side


def two_layers(
    first: str,
    second: str,
    inputs: int,
    middle: int,
    outputs: int,
    *,
    bias: bool = True,
    split: bool = True,
    quantised: bool = True,
) -> list[Module]:
    """A projector of two matrices."""
    return [
        Linear(first, inputs, (middle,), "column" if split else "whole", bias, quantised=quantised),
        Linear(second, middle, (outputs,), "row" if split else "whole", bias, quantised=quantised),
    ]


def vision_part(config: Facts) -> Facts:
    """The encoder's section; empty where absent, so that its defaults hold."""
    return config.part("vision_config", "visual_config", "vision_tower_config") or Facts({})


def vision_rotary(head_dim: int) -> Rotary:
    """Half of a vision head rotates."""
    return Rotary(rows=ROTARY_ROWS, width=head_dim // 2, key="vision")


def vision_frequencies(name: str, head_dim: int) -> Tensor:
    """The inverse frequencies of a vision head's half, which some classes keep instead of a table."""
    return Tensor(name, head_dim // 4, dtype="float32", buffer=True)


SIGLIP_MULTIPLE = 64


def siglip_mlp_quantised(width: int, mlp: int) -> bool:
    """vLLM's SigLIP leaves MLPs unquantised whose sides aren't multiples of 64 (siglip.py `SiglipMLP`)."""
    return width % SIGLIP_MULTIPLE == 0 and mlp % SIGLIP_MULTIPLE == 0
