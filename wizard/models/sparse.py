"""Mixture-of-experts blocks as modules: router, experts, shared experts.

Sources: vLLM 0.33 `model_executor/models/{mixtral,qwen2_moe,qwen3_moe,deepseek_v2,minimax_m2,glm4_moe}.py` and
their like; `model_executor/layers/fused_moe/routed_experts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.dataclass import replace
from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size, switched
from wizard.models.facts import Facts
from wizard.models.modules import Experts, Linear, Module, Tensor
from wizard.models.routing import kernel_routes


def sparse_block(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Router, routed experts and shared experts of layer `index`."""
    hidden = hidden_size(facts)
    name = traits.moe_name
    count = first_item(facts, traits.experts_count, index)
    width = first_item(facts, traits.experts_width, index)
    modules: list[Module] = [
        Linear(
            f"{name}.{traits.router}",
            hidden,
            (count,),
            "whole",
            bias=switched(facts, traits.router_bias),
            quantised=traits.router_quantised,
            dtype=_router_dtype(facts, traits),
        ),
        Experts(
            f"{name}.{traits.experts_name}",
            count,
            hidden,
            width,
            gated=traits.experts_gated,
            bias=traits.experts_bias,
            active=first_item(facts, traits.experts_active, index, default=1),
            parts=traits.experts_parts,
            kernel_routes=kernel_routes(facts, traits),
        ),
    ]
    if traits.correction and switched(facts, traits.correction_if):
        buffer = traits.correction_buffer
        modules.append(
            Tensor(f"{name}.e_score_correction_bias", count, dtype=traits.correction, buffer=buffer)
        )
    shared = _shared_width(facts, traits, index, width)
    if shared:
        matrices = gated_mlp(facts, traits, f"{name}.{traits.shared_name}", shared)
        modules += [replace(matrix, sequence_parallel=traits.shared_copied) for matrix in matrices]
        if traits.shared_gate:
            modules.append(Linear(f"{name}.shared_expert_gate", hidden, (1,), "whole", quantised=False))
    return modules


def _router_dtype(facts: Facts, traits: Traits) -> str:
    """Fixed by the class, or told by the config ("fp32"); empty: the model's."""
    if traits.router_dtype == "told":
        return "float32" if facts.text("router_dtype") == "fp32" else ""
    return traits.router_dtype


def dense_width(facts: Facts, traits: Traits, index: int) -> int:
    """Width of a dense feed-forward block."""
    return WIDTHS[traits.width_rule](facts, traits, index)


def _stated(facts: Facts, traits: Traits, index: int) -> int:
    return first_item(facts, traits.width, index)


def _two_thirds(facts: Facts, traits: Traits, index: int) -> int:
    """LFM2: two thirds of the stated width, scaled and rounded up, unless told not to adjust."""
    width = facts.int("block_ff_dim", "intermediate_size")
    if not facts.flag("block_auto_adjust_ff_dim", default=True):
        return width
    width = int(int(2 * width / 3) * facts.number("block_ffn_dim_multiplier", 1.0))
    multiple = facts.int("block_multiple_of", default=256, low=1)
    return -(-width // multiple) * multiple


def _four_hidden(facts: Facts, traits: Traits, index: int) -> int:
    return facts.int(*traits.width, default=0) or 4 * hidden_size(facts)


def _halved(facts: Facts, traits: Traits, index: int) -> int:
    """The stated width is that of gate and up together."""
    return facts.int(*traits.width, low=1) // 2


WIDTHS: Mapping[str, Callable[[Facts, Traits, int], int]] = {
    "": _stated,
    "two_thirds": _two_thirds,
    "four_hidden": _four_hidden,
    "halved": _halved,
}


def _shared_width(facts: Facts, traits: Traits, index: int, width: int) -> int:
    if not traits.shared:
        return 0
    if traits.shared == "count":
        width = facts.int("moe_shared_expert_intermediate_size", default=0) or width
        return width * first_item(
            facts,
            ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"),
            index,
            0,
        )
    return first_item(facts, (traits.shared,), index, 0)


def first_item(facts: Facts, names: tuple[str, ...], index: int, default: int | None = None) -> int:
    """The first of `names` that is present, a number for all layers or a list of them."""
    for name in names:
        if facts.has(name):
            return facts.item(name, index)
    return facts.int(names[0], default=default)


def gated_mlp(facts: Facts, traits: Traits, name: str, width: int) -> list[Linear]:
    """Gate and up projections (one or two matrices) and the down projection."""
    hidden = hidden_size(facts)
    bias = switched(facts, traits.mlp_bias)
    down = Linear(f"{name}.{traits.down}", width, (hidden,), "row", bias=bias)
    if not traits.gated:
        return [Linear(f"{name}.{traits.up}", hidden, (width,), bias=bias), down]
    if not traits.fused_up:
        return [*(Linear(f"{name}.{part}", hidden, (width,), bias=bias) for part in traits.up_parts), down]
    return [Linear(f"{name}.{traits.up}", hidden, (width, width), bias=bias, parts=traits.up_parts), down]
