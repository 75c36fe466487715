"""Kimi Linear and Kimi K3: delta attention with a gate per channel, latent attention without rotation.

Sources: vLLM 0.33 `models/kimi_k3/nvidia/{kda,mla,model}.py`, `layers/mamba/gdn/kimi_gdn_linear_attn.py`.
"""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.latent import latent_shape
from wizard.models.modules import CacheScales, Experts, Linear, Module, Tensor
from wizard.models.patterns import PATTERNS, SPARSE
from wizard.models.sparse import dense_width, gated_mlp, sparse_block

PROJECTION_MULTIPLE = 16
"""Rows of the fused input projection are padded to this on every rank."""

SMALLEST_EXPERT_SHARD = 256
"""Narrower expert shards are padded to this unless `min_moe_intermediate_per_partition` says otherwise."""


def kimi_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """A delta or latent attention layer; K3 also mixes earlier layers' outputs into both blocks."""
    hidden = hidden_size(facts)
    linear = PATTERNS[traits.layer_types](facts, index) == "linear_attention"
    modules = _delta(facts, traits) if linear else _latent(facts, traits)
    if SPARSE[traits.moe](facts, index):
        modules = modules + _experts(facts, traits, index)
    else:
        modules = modules + list(gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index)))
    residuals = 2 if facts.int("attn_res_block_size", default=0) else 0
    return [*modules, Tensor("norms", (2 + 2 * residuals) * hidden)]


def residual_output(facts: Facts, traits: Traits) -> list[Module]:
    """K3: the norm and projection that weigh earlier layers for the output."""
    if not facts.int("attn_res_block_size", default=0):
        return []
    return [Tensor(f"{traits.prefix}.output_attn_res", 2 * hidden_size(facts))]


def _delta(facts: Facts, traits: Traits) -> list[Module]:
    """Queries, keys, values, gate, decay and beta in one matrix; the low-rank decay part on every rank."""
    section = facts.part("linear_attn_config")
    if section is None:
        raise ConfigError(
            "config.json has no linear_attn_config; give a directory or model id whose config is complete."
        )
    hidden, name = hidden_size(facts), traits.attn
    dim, heads = section.int("head_dim", low=1), section.int("num_heads", low=1)
    kernel = section.int("short_conv_kernel_size", default=4)
    inner = dim * heads
    full_gate = section.flag("use_full_rank_gate")
    matrices = 4 if full_gate else 3
    modules: list[Module] = [
        Linear(
            f"{name}.in_proj_qkvgfab",
            hidden,
            (*(inner,) * matrices, heads),
            whole_outputs=dim if full_gate else 2 * dim,
            multiple=PROJECTION_MULTIPLE if full_gate else 1,
        ),
        Linear(f"{name}.f_b_proj", dim, (inner,)),
        Tensor(f"{name}.dt_bias", inner, split=True, dtype="float32"),
        Tensor(f"{name}.conv1d", 3 * inner * kernel, split=True, dtype="float32"),
        Tensor(f"{name}.A_log", heads, split=True, dtype="float32"),
        Tensor(f"{name}.o_norm", dim),
        Linear(f"{name}.o_proj", inner, (hidden,), "row"),
    ]
    if full_gate:
        modules += [
            Tensor(
                f"{name}.decode_conv1d_weight", 3 * inner * kernel, split=True, dtype="float32", buffer=True
            ),
            Tensor(f"{name}.decode_norm_weight", dim, dtype="float32", buffer=True),
        ]
    else:
        modules.append(Linear(f"{name}.g_b_proj", dim, (inner,)))
    return modules


def _latent(facts: Facts, traits: Traits) -> list[Module]:
    """Latent attention; the output gate is fused with the projections to the latent."""
    hidden, shape, name = hidden_size(facts), latent_shape(facts), traits.attn
    down = shape.kv_rank + shape.rope
    query = shape.heads * (shape.nope + shape.rope)
    values = shape.heads * shape.value
    gated = facts.flag("mla_use_output_gate")
    modules: list[Module] = []
    if shape.q_rank and gated:
        modules.append(
            Linear(f"{name}.fused_qkv_a_g_proj", hidden, (values,), whole_outputs=shape.q_rank + down)
        )
    elif shape.q_rank:
        modules.append(Linear(f"{name}.fused_qkv_a_proj", hidden, (shape.q_rank, down), "whole"))
    else:
        modules += [
            Linear(f"{name}.q_proj", hidden, (query,)),
            Linear(f"{name}.kv_a_proj_with_mqa", hidden, (down,), "whole"),
        ]
        if gated:
            modules.append(Linear(f"{name}.g_proj", hidden, (values,)))
    if shape.q_rank:
        modules += [
            Tensor(f"{name}.q_a_layernorm", shape.q_rank),
            Linear(f"{name}.q_b_proj", shape.q_rank, (query,)),
        ]
    return [
        *modules,
        Tensor(f"{name}.kv_a_layernorm", shape.kv_rank),
        Linear(
            f"{name}.kv_b_proj", shape.kv_rank, (shape.heads * (shape.nope + shape.value),), absorbed=True
        ),
        Linear(f"{name}.o_proj", values, (hidden,), "row"),
        CacheScales(f"{name}.attn", latent=True),
        Tensor(f"{name}.one_scale", 1, dtype="float32", buffer=True),
    ]


def _experts(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Experts, in K3 inside a narrower space with projections into and out of it."""
    hidden = hidden_size(facts)
    inner = facts.int("routed_expert_hidden_size", default=0)
    smallest = facts.int("min_moe_intermediate_per_partition", default=SMALLEST_EXPERT_SHARD)
    modules: list[Module] = []
    for module in sparse_block(facts, traits, index):
        if isinstance(module, Experts):
            module = replace(module, hidden=inner or hidden, smallest_shard=smallest)
        modules.append(module)
    if inner and inner != hidden:
        name = traits.moe_name
        modules += [
            Linear(f"{name}.routed_expert_down_proj", hidden, (inner,), "whole"),
            Linear(f"{name}.routed_expert_up_proj", inner, (hidden,), "whole"),
        ]
        if facts.flag("latent_moe_use_norm"):
            modules.append(Tensor(f"{name}.routed_expert_norm", inner))
    return modules
