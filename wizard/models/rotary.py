"""How large the rotary tables are that vLLM keeps per process (buffers, not parameters).

Source: vLLM 0.33 `model_executor/layers/rotary_embedding/` (one class per scaling type) and transformers'
standardisation of `rope_scaling`, `rope_theta` and `partial_rotary_factor` into `rope_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wizard.models.facts import Facts
from wizard.models.modules import Rotary

_ORIGINAL_LENGTH_TYPES = frozenset({"yarn", "deepseek_yarn", "deepseek_llama_scaling"})


def rope_parameters(facts: Facts, layer_type: str = "") -> Mapping[str, Any]:
    """`rope_parameters` or `rope_scaling`; the sub-section of `layer_type` where there is one per type.

    Where there are types but one section only, sliding windows are not scaled (transformers' Gemma 3).
    """
    for name in ("rope_parameters", "rope_scaling"):
        section = facts.part(name)
        if section is not None:
            nested = section.values.get(layer_type)
            if isinstance(nested, Mapping):
                return nested
            return {} if layer_type == "sliding_attention" else section.values
    return {}


WIDE_MROPE_POSITIONS = 4
"""Rows per position of M-RoPE's table unless a model asks for fewer, which none could before 0.32 (mrope.py)."""


def rope_kind(parameters: Mapping[str, Any]) -> str:
    """The scaling type in one word; `yarn` for all its spellings."""
    kind = str(parameters.get("rope_type") or parameters.get("type") or "default")
    return "yarn" if kind in _ORIGINAL_LENGTH_TYPES else kind


def rotary_table(
    facts: Facts,
    head_dim: int,
    *,
    rows: int = 0,
    fraction: float = 1.0,
    layer_type: str = "",
    parameters: Mapping[str, Any] | None = None,
    mrope_positions: int = WIDE_MROPE_POSITIONS,
    dtype: str = "",
    key: str = "",
) -> Rotary:
    """The table of one attention layer: rows x rotary width.

    `rows`: positions (default: max_position_embeddings); `fraction`: of the head that rotates, where the
    config doesn't say; `mrope_positions`: rows per position that M-RoPE keeps (mrope.py `positions_factor`).
    """
    raw = rope_parameters(facts, layer_type) if parameters is None else parameters
    rope = Facts(raw)
    positions = rows or facts.int("max_position_embeddings", "n_positions", "seq_length", default=8192)
    if rope.has("partial_rotary_factor"):
        fraction = rope.number("partial_rotary_factor", 1.0)
    elif facts.has("partial_rotary_factor"):
        fraction = facts.number("partial_rotary_factor", 1.0)
    elif facts.has("rotary_pct"):
        fraction = facts.number("rotary_pct", 1.0)
    width = rope.int("rope_dim", default=0) or facts.int("rotary_dim", default=0) or int(head_dim * fraction)
    kind = rope_kind(raw)
    if kind == "proportional":
        width = head_dim
    factor = rope.get("factor")
    scale = 1.0
    if isinstance(factor, list | tuple):
        scale = sum(float(item) for item in factor if isinstance(item, int | float))
    elif factor is not None:
        scale = rope.number("factor", 1.0)
    if kind == "yarn":
        positions = int(rope.int("original_max_position_embeddings", default=positions) * scale)
    elif kind in ("linear", "dynamic") and "alpha" not in raw:
        positions = int(rope.int("max_trained_positions", default=positions) * scale)
    elif kind in ("longrope", "su"):
        original = rope.int("original_max_position_embeddings", default=0)
        positions += original or facts.int("original_max_position_embeddings", default=0)
    wide = 0
    if "mrope_section" in raw and kind != "openpangu":
        wide = positions * WIDE_MROPE_POSITIONS if mrope_positions != WIDE_MROPE_POSITIONS else 0
        positions = positions * mrope_positions
    return Rotary(
        rows=positions,
        wide_rows=wide,
        width=width,
        key=key or f"{layer_type}|{kind}|{raw.get('rope_theta')!r:.32}",
        dtype=dtype,
    )
