"""Layers that keep a constant state instead of keys and values: Mamba, gated delta nets, short convolutions.

Sources: vLLM 0.33 `model_executor/layers/mamba/{mamba_mixer,mamba_mixer2,short_conv}.py`,
`layers/mamba/gdn/qwen_gdn_linear_attn.py`, `models/kimi_k3/nvidia/kda.py`, `models/olmo_hybrid.py`.
"""

from __future__ import annotations

from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size, switched
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Tensor


def short_conv(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """LFM2: a gated convolution over a few tokens."""
    hidden = hidden_size(facts)
    dim = facts.int("conv_dim", default=hidden)
    kernel = facts.int("conv_L_cache", default=3, low=1)
    bias = facts.flag("conv_bias")
    name = "short_conv"
    return [
        Tensor(f"{name}.conv", dim * (kernel + (1 if bias else 0)), split=True),
        Linear(f"{name}.in_proj", dim, (dim, dim, dim), bias=bias),
        Linear(f"{name}.out_proj", dim, (dim,), "row", bias=bias),
    ]


def gated_delta(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """Qwen3-Next and Qwen3.5: queries, keys, values and gate in one matrix, decay and beta in another."""
    hidden = hidden_size(facts)
    key_heads = facts.int("linear_num_key_heads", low=1)
    value_heads = facts.int("linear_num_value_heads", low=1)
    key = key_heads * facts.int("linear_key_head_dim", low=1)
    value_dim = facts.int("linear_value_head_dim", low=1)
    value = value_heads * value_dim
    kernel = facts.int("linear_conv_kernel_dim", default=4)
    apart = traits.delta_parts == "apart"
    name = "linear_attn"
    parts = ("in_proj_qkv", "in_proj_z") if apart else ()
    return [
        Tensor(f"{name}.conv1d", (2 * key + value) * kernel, split=True),
        Linear(
            f"{name}.in_proj_qkvz",
            hidden,
            (key, key, value, value) if apart else (2 * key + 2 * value,),
            parts=parts,
        ),
        Linear(
            f"{name}.in_proj_ba",
            hidden,
            (value_heads, value_heads) if apart else (2 * value_heads,),
            parts=("in_proj_b", "in_proj_a") if apart else (),
            uncut_if_packed=apart,
        ),
        Tensor(f"{name}.dt_bias", value_heads, split=True),
        Tensor(f"{name}.A_log", value_heads, split=True, dtype="float32"),
        Tensor(f"{name}.norm", value_dim),
        Linear(f"{name}.out_proj", value, (hidden,), "row"),
    ]


def gated_delta_olmo(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """OLMo Hybrid: queries, keys, values and gate in one matrix, beta and decay in one each; all of one dtype."""
    hidden = hidden_size(facts)
    value_heads = facts.int("linear_num_value_heads", low=1)
    key = facts.int("linear_num_key_heads", low=1) * facts.int("linear_key_head_dim", low=1)
    value_dim = facts.int("linear_value_head_dim", low=1)
    value = value_heads * value_dim
    kernel = facts.int("linear_conv_kernel_dim", default=4)
    name = "linear_attn"
    parts = ("q_proj", "k_proj", "v_proj", "g_proj")
    return [
        Tensor(f"{name}.conv1d", (2 * key + value) * kernel, split=True),
        Linear(f"{name}.in_proj_qkvg", hidden, (key, key, value, value), parts=parts),
        Linear(f"{name}.b_proj", hidden, (value_heads,)),
        Linear(f"{name}.a_proj", hidden, (value_heads,)),
        Tensor(f"{name}.dt_bias", value_heads, split=True),
        Tensor(f"{name}.A_log", value_heads, split=True),
        Tensor(f"{name}.o_norm", value_dim),
        Linear(f"{name}.o_proj", value, (hidden,), "row"),
    ]


def mamba2(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """Mamba-2: groups of B and C are copied where TP exceeds them; A is float32."""
    hidden = hidden_size(facts)
    heads = facts.int("mamba_num_heads", "mamba_n_heads", "num_heads", "n_mamba_heads", low=1)
    head_dim = facts.int("mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim", low=1)
    state = facts.int("ssm_state_size", "mamba_d_state", "state_size", low=1)
    groups = facts.int("n_groups", "mamba_n_groups", "mamba_ngroups", default=1, low=1)
    kernel = facts.int("conv_kernel", "mamba_d_conv", default=4)
    inner = facts.int("mamba_d_ssm", default=0) or heads * head_dim
    conv_bias = facts.flag("use_conv_bias", "mamba_conv_bias", default=True)
    bias = facts.flag("use_bias", "mamba_proj_bias")
    name = traits.mamba
    group_width = groups * state
    channels = kernel + (1 if conv_bias else 0)
    modules: list[Module] = [
        Tensor(f"{name}.conv1d.x", inner * channels, split=True),
        Tensor(f"{name}.conv1d.bc", 2 * group_width * channels, kv_heads=groups),
        Tensor(f"{name}.conv_weights.x", inner * kernel, split=True, buffer=True, alias=True),
        Tensor(f"{name}.conv_weights.bc", 2 * group_width * kernel, kv_heads=groups, buffer=True, alias=True),
        Linear(
            f"{name}.in_proj",
            hidden,
            (inner, inner, group_width, group_width, heads),
            bias=bias,
            heads=(0, 0, groups, groups, 0),
        ),
        Tensor(f"{name}.A", heads, split=True, dtype="float32"),
        Tensor(f"{name}.D", 2 * heads, split=True),
        Linear(f"{name}.out_proj", inner, (hidden,), "row", bias=bias),
    ]
    if switched(facts, traits.mamba_norm):
        modules.append(Tensor(f"{name}.norm", inner, split=True))
    return modules


def mamba1(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    """Mamba: not quantised by any method."""
    hidden = hidden_size(facts)
    expand = facts.int("mamba_expand", "expand", default=2)
    inner = facts.int("intermediate_size", default=0) if traits.mamba == "mixer" else 0
    inner = inner or expand * hidden
    state = facts.int("mamba_d_state", "state_size", default=16)
    kernel = facts.int("mamba_d_conv", "conv_kernel", default=4)
    rank = facts.get("mamba_dt_rank") or facts.get("time_step_rank")
    step = -(-hidden // 16) if rank in (None, "auto") else facts.int("mamba_dt_rank", "time_step_rank")
    conv_bias = facts.flag("mamba_conv_bias", "use_conv_bias", default=True)
    bias = facts.flag("mamba_proj_bias", "use_bias")
    name = traits.mamba
    modules: list[Module] = [
        Tensor(f"{name}.conv1d", inner * (kernel + (1 if conv_bias else 0)), split=True),
        Linear(f"{name}.in_proj", hidden, (inner, inner), bias=bias, quantised=False),
        Linear(f"{name}.x_proj", inner, (step + 2 * state,), "row", quantised=False),
        Linear(f"{name}.dt_proj", step, (inner,), bias=True, quantised=False),
        Tensor(f"{name}.A", inner * state, split=True, dtype="float32"),
        Tensor(f"{name}.D", inner, split=True),
        Linear(f"{name}.out_proj", inner, (hidden,), "row", bias=bias, quantised=False),
    ]
    if switched(facts, traits.mamba_norm):
        modules.append(Tensor(f"{name}.norms", step + 2 * state))
    return modules
