"""Constant-size states of one request: Mamba, gated delta nets, KDA, linear attention, short convolutions.

Source: vLLM 0.33 `model_executor/layers/mamba/mamba_utils.py` (`MambaStateShapeCalculator`) and
`get_mamba_state_shape_from_config` of the model classes.
"""

from __future__ import annotations

from typing import Literal

from wizard.dataclass import dataclass
from wizard.errors import ConfigError
from wizard.models.facts import Facts

StateKind = Literal["mamba1", "mamba2", "gdn", "kda", "linear", "short_conv"]


@dataclass(frozen=True, slots=True)
class StateGeometry:
    """One layer's state, whole (before tensor parallelism)."""

    kind: StateKind
    conv_channels: int
    """Width of the convolution state but for `groups`; 0: none."""
    conv_kernel: int
    heads: int
    """Heads (or channels, for Mamba 1) of the recurrent state."""
    rows: int
    columns: int
    """The recurrent state of one head is rows x columns."""
    groups: int = 0
    """Mamba 2: B and C groups of the convolution, extended to whole shards."""
    group_width: int = 0

    def conv_elements(self, tp: int, speculative: int) -> int:
        """Elements of the convolution state on one rank."""
        if not self.conv_channels:
            return 0
        groups = self.groups
        if groups and groups % tp:
            groups = tp
        channels = self.conv_channels + groups * self.group_width
        return channels // tp * (self.conv_kernel - 1 + speculative)

    def recurrent_elements(self, tp: int) -> int:
        """Elements of the recurrent state on one rank."""
        return self.heads // tp * self.rows * self.columns

    def splits_over(self, tp: int) -> bool:
        """True where heads and channels divide by `tp`."""
        return self.heads % tp == 0 and self.conv_channels % tp == 0


def mamba(facts: Facts) -> StateGeometry:
    """Mamba 2 where the config counts heads, else Mamba 1."""
    heads = facts.int("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", default=0)
    if not heads and facts.text("model_type") == "mamba2":
        heads = facts.int("num_heads", low=1)
    return _mamba2(facts, heads) if heads else _mamba1(facts)


def _mamba1(facts: Facts) -> StateGeometry:
    hidden = facts.int("hidden_size", low=1)
    channels = (
        facts.int("mamba_expand") * hidden
        if facts.has("mamba_expand")
        else facts.int("intermediate_size", default=2 * hidden)
    )
    return StateGeometry(
        "mamba1",
        conv_channels=channels,
        conv_kernel=facts.int("mamba_d_conv", "conv_kernel", default=4, low=1),
        heads=channels,
        rows=facts.int("mamba_d_state", "state_size", default=16, low=1),
        columns=1,
    )


def _mamba2(facts: Facts, heads: int) -> StateGeometry:
    state = facts.int("mamba_d_state", "ssm_state_size", "state_size", default=128, low=1)
    hidden = facts.int("hidden_size", low=1)
    expanded = facts.int("mamba_d_ssm", default=0) or facts.int("mamba_expand", "expand", default=2) * hidden
    dim = facts.int("mamba_head_dim", "mamba_headdim", default=0)
    if not dim and not isinstance(facts.get("mamba_d_head"), str):
        dim = facts.int("mamba_d_head", default=0)
    if not dim:
        dim = facts.int("head_dim", default=0) if facts.text("model_type") == "mamba2" else expanded // heads
    return StateGeometry(
        "mamba2",
        conv_channels=heads * dim,
        conv_kernel=facts.int("mamba_d_conv", "conv_kernel", default=4, low=1),
        heads=heads,
        rows=dim,
        columns=state,
        groups=facts.int("mamba_n_groups", "n_groups", "mamba_ngroups", default=1, low=1),
        group_width=2 * state,
    )


def linear(facts: Facts) -> StateGeometry:
    """Gated delta net, KDA or plain linear attention, by the keys that the config has."""
    if facts.has("linear_num_value_heads"):
        return _gated_delta_net(facts)
    part = facts.part("linear_attn_config")
    if part is not None:
        return _kda(part)
    if facts.has("mamba_n_heads") or facts.has("mamba_num_heads"):
        return mamba(facts)
    heads = facts.int("num_attention_heads", low=1)
    dim = facts.int("head_dim", default=0) or facts.int("hidden_size", low=1) // heads
    return StateGeometry("linear", 0, 1, heads, dim, dim)


def _gated_delta_net(facts: Facts) -> StateGeometry:
    value_heads = facts.int("linear_num_value_heads", low=1)
    key_heads = facts.int("linear_num_key_heads", default=value_heads, low=1)
    key_dim = facts.int("linear_key_head_dim", low=1)
    value_dim = facts.int("linear_value_head_dim", default=key_dim, low=1)
    return StateGeometry(
        "gdn",
        conv_channels=2 * key_heads * key_dim + value_heads * value_dim,
        conv_kernel=facts.int("linear_conv_kernel_dim", default=4, low=1),
        heads=value_heads,
        rows=value_dim,
        columns=key_dim,
    )


def _kda(part: Facts) -> StateGeometry:
    heads = part.int("num_heads", low=1)
    dim = part.int("head_dim", low=1)
    return StateGeometry(
        "kda",
        conv_channels=3 * heads * dim,
        conv_kernel=part.int("short_conv_kernel_size", default=4, low=1),
        heads=heads,
        rows=dim,
        columns=dim,
    )


def short_conv(facts: Facts) -> StateGeometry:
    """LFM2: the last inputs of a convolution, nothing recurrent."""
    channels = facts.int("conv_dim", "hidden_size", low=1)
    return StateGeometry("short_conv", channels, facts.int("conv_L_cache", default=3, low=1), 0, 0, 0)


def state_of(facts: Facts, word: str) -> StateGeometry:
    """The state of a layer of kind `word`. Raises ConfigError for a kind without one."""
    match word:
        case "mamba" | "parallel" | "hybrid":
            return mamba(facts)
        case "linear_attention" | "lightning_attention":
            return linear(facts)
        case "conv":
            return short_conv(facts)
        case _:
            raise ConfigError(f"config.json has layers of kind {word[:40]!r}, which can't be planned.")
