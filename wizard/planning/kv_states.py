"""Pages of recurrent states, and the blocks of hybrids that match them.

Sources: vLLM 0.33 `model_executor/layers/mamba` (`get_kv_cache_spec`, state dtypes), `platforms/interface.py`
(`_align_hybrid_block_size`), `model_executor/models/config.py`; modes of prefix caching in 0.14-0.28.
"""

from __future__ import annotations

import math

from wizard.models.cache_layers import CacheLayer
from wizard.planning.attention_choice import rank_heads
from wizard.planning.kv_pages import Page, ceil_div, round_up
from wizard.planning.kv_setting import Setting
from wizard.planning.launch import Launch
from wizard.vllm.attention_backends import smallest_block
from wizard.vllm.kv_dtypes import element_bytes, head_bytes, latent_bytes

LATENT_HYBRID_BLOCK = 128
"""Blocks of hybrids with latent attention are multiples of this (platforms/interface.py)."""
FLASHINFER_KEY_WIDTH = 128
"""Key width of FlashInfer's gated delta net on Blackwell; Hopper's takes any."""
FLASHINFER_CHECKPOINT_TOKENS = 64
"""FlashInfer's gated delta net leaves states at multiples of this (layers/mamba/gdn)."""
STATE_MODES = (0, 15, 0)
"""Since then states are cached in mode `align` where the class can't keep one per block."""
ONE_STATE_MODE = (0, 28, 0)
"""Since then every class uses `align` unless told otherwise."""
STATE_CHECKPOINTS = (0, 29, 0)
"""Since then prefix caching keeps one more state, left behind in the middle of a prefill."""


def state_mode(launch: Launch, kind: str) -> str:
    """How prefix caching keeps states: `none`, `align` (the last ones) or `all` (one per block).

    Source: vLLM 0.14-0.33 model_executor/models/config.py `MambaModelConfig`.
    """
    if not launch.prefix_caching:
        return "none"
    number = launch.rules.number
    if number >= ONE_STATE_MODE:
        return "align"
    if kind in ("mamba1", "mamba2"):
        return "all"
    return "align" if number >= STATE_MODES else "none"


def state_page(setting: Setting, layer: CacheLayer, padded: int) -> Page:
    raw = state_bytes(setting, layer)
    launch = setting.launch
    kind = layer.state.kind if layer.state else ""
    mode = state_mode(launch, kind)
    states = 1 + launch.num_speculative_tokens
    if mode == "align":
        states += 1 + _checkpoints(setting, layer)
    return Page(
        "state",
        launch.max_model_len if mode == "none" else setting.block_size,
        raw,
        ("state", kind),
        padded_bytes=padded if padded > raw else 0,
        states=0 if mode == "all" else states,
        sharded=False,
    )


def _checkpoints(setting: Setting, layer: CacheLayer) -> int:
    """State pages that prefix caching keeps for mid-prefill checkpoints."""
    if layer.state is None or setting.launch.rules.number < STATE_CHECKPOINTS:
        return 0
    if layer.state.kind == "mamba2":
        return 1
    if layer.state.kind == "kda":
        return 1 if _flash_kda(setting, layer.state.rows) else 0
    return 1 if layer.state.kind == "gdn" and checkpoint_tokens(setting) > 0 else 0


def _flash_kda(setting: Setting, head_dim: int) -> bool:
    """FlashKDA leaves states behind: head size 128, bfloat16, a bounded gate (models/kimi_k3/nvidia/kda.py)."""
    part = setting.facts.part("linear_attn_config")
    bounded = part is not None and part.has("gate_lower_bound")
    return (
        bounded
        and head_dim == 128
        and setting.dtype == "bfloat16"
        and setting.launch.capability[0] in (9, 10, 12)
    )


def checkpoint_tokens(setting: Setting) -> int:
    """Tokens between the states that every recurrent kernel can leave behind; 0: some can't."""
    if setting.launch.rules.number < STATE_CHECKPOINTS:
        return 0
    kinds = {layer.state.kind for layer in setting.model.layers if layer.state is not None}
    if kinds != {"gdn"} or setting.launch.metadata.architecture.startswith("OlmoHybrid"):
        return 0
    major = setting.launch.capability[0]
    widths = {layer.state.columns for layer in setting.model.layers if layer.state is not None}
    supported = major == 9 or (major in (10, 12) and widths == {FLASHINFER_KEY_WIDTH})
    return FLASHINFER_CHECKPOINT_TOKENS if supported else 0


def state_bytes(setting: Setting, layer: CacheLayer) -> int:
    """Bytes of one layer's states on one rank."""
    state = layer.state
    if state is None:
        return 0
    conv, recurrent = state_dtypes(setting, state.kind)
    speculative = setting.launch.num_speculative_tokens if state.kind != "mamba1" else 0
    return (
        state.conv_elements(setting.tp, speculative) * conv + state.recurrent_elements(setting.tp) * recurrent
    )


def state_dtypes(setting: Setting, kind: str) -> tuple[int, int]:
    """Bytes per element of the convolution and the recurrent state."""
    config = setting.launch.config
    conv = element_bytes(config.mamba_cache_dtype, setting.dtype)
    chosen = config.mamba_ssm_cache_dtype
    if chosen == "auto":
        chosen = _own_state_dtype(setting, kind)
    if kind == "linear":
        return conv, conv
    return conv, conv if chosen == "auto" else element_bytes(chosen, setting.dtype)


OWN_STATE_DTYPE = frozenset({"NemotronHForCausalLM", "NemotronHPuzzleForCausalLM", "NemotronH_Nano_VL_V2"})
"""Architectures whose states are float32 unless their config says otherwise (models/config.py
`MODELS_CONFIG_MAP`); Nemotron Omni's name is not among them, so that its states are of the model's dtype."""


def _own_state_dtype(setting: Setting, kind: str) -> str:
    """The recurrent state's dtype that a model class or its config asks for."""
    if kind == "kda":
        return "float32"
    key = "mamba_ssm_dtype" if kind == "gdn" else "mamba_ssm_cache_dtype"
    named = setting.facts.get(key)
    if isinstance(named, str) and named.removeprefix("torch.") in ("float32", "float16", "bfloat16"):
        if kind == "gdn" or setting.launch.metadata.architecture in OWN_STATE_DTYPE:
            return named.removeprefix("torch.")
        return "auto"
    return "float32" if setting.launch.metadata.architecture in OWN_STATE_DTYPE else "auto"


def aligned_blocks(setting: Setting) -> tuple[int, int]:
    """Block size and state page of a hybrid: attention pages as large as state pages.

    Source: `_align_hybrid_block_size`.
    """
    states = max(state_bytes(setting, layer) for layer in setting.model.layers if layer.kind == "state")
    attention = next(layer for layer in setting.model.layers if layer.kind != "state")
    if setting.model.latent:
        per_token = latent_bytes(setting.kv_dtype, setting.dtype, attention.key_dim)
    else:
        heads = rank_heads(setting.model.kv_heads, setting.tp)
        per_token = heads * head_bytes(
            setting.kv_dtype, setting.dtype, setting.model.head_dim, setting.model.head_dim
        )
    block = setting.block_size
    if not states or not per_token:
        return block, 0
    kernel = smallest_block(setting.backend, setting.need) if setting.backend else setting.block_size
    step = max(kernel, block)
    if setting.model.latent:
        step = max(step, LATENT_HYBRID_BLOCK)
    first = next(layer.state for layer in setting.model.layers if layer.state is not None)
    mode = state_mode(setting.launch, first.kind)
    if mode == "align":
        step = math.lcm(step, checkpoint_tokens(setting) or 1)
    elif mode == "all":
        step = math.lcm(step, setting.facts.int("mamba_chunk_size", "chunk_size", default=2048, low=1))
    block = max(block, round_up(step * ceil_div(states, step * per_token), kernel))
    return block, block * per_token
