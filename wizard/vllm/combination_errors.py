"""vLLM's sentences for settings that don't go together: flags, and experts cut thinner than their scales.

Sources: vLLM 0.33 `config/{parallel,lora,scheduler,vllm}.py`, `engine/arg_utils.py`, `layers/quantization`.
"""

from __future__ import annotations

EPLB_NEEDS_EXPERTS = "enable_expert_parallel must be True to use EPLB."

EXTERNAL_DENSE = (
    "Non-MoE models do not support external data parallel mode. For external load balancing, launch independent "
    "vLLM instances without --data-parallel-* arguments."
)

STATE_BLOCK_ALONE = "--mamba-block-size can only be set with --enable-prefix-caching"

EXPERT_GROUPS = "AssertionError: assert group_size >= 32 (model_executor/layers/quantization/moe_wna16.py)"
"""An assertion without words: groups are halved until they divide the shard of an expert, down to 32."""


def eplb_needs_ranks(*, tp: int, pcp: int, dp: int) -> str:
    return f"EPLB requires tensor, prefill-context, or data parallelism, but got TP={tp}, PCP={pcp}, DP={dp}."


def cpu_adapters(*, stored: int, max_loras: int) -> str:
    return f"max_cpu_loras ({stored}) must be >= max_loras ({max_loras})."


def long_prefill(*, threshold: int, max_model_len: int) -> str:
    return f"long_prefill_token_threshold ({threshold}) cannot be greater than the max_model_len ({max_model_len})."


def active_above_seqs(*, active: int, max_num_seqs: int) -> str:
    return f"max_num_active_seqs ({active}) cannot be greater than max_num_seqs ({max_num_seqs})."


def expert_hidden(*, hidden: int, group: int) -> str:
    return f"CompressedTensors WNA16 MoE requires hidden_size ({hidden}) to be divisible by group_size ({group})."


def expert_shard(*, intermediate: int, group: int) -> str:
    return (
        "CompressedTensors WNA16 MoE with static group scales requires the MoE intermediate size per "
        f"tensor-parallel partition ({intermediate}) to be divisible by group_size ({group}). Scale groups would "
        "otherwise cross TP shard boundaries; use a compatible TP size or enable expert parallelism."
    )


def expert_block_rows(*, intermediate: int, block: int) -> str:
    return (
        f"The output_size of gate's and up's weight = {intermediate} is not divisible by weight quantization "
        f"block_n = {block}."
    )


def expert_block_columns(*, intermediate: int, block: int) -> str:
    return (
        f"The input_size of down's weight = {intermediate} is not divisible by weight quantization "
        f"block_k = {block}."
    )


TIED_APART = "AttributeError: 'PPMissingLayer' object has no attribute 'tie_weights'"
"""ernie45_moe.py: the first of several stages has no head to tie."""


def eyes_left_out(architecture: str) -> str:
    """chatglm.py `ChatGLMForCausalLM`: the class for text alone was named for a model that sees."""
    return (
        "The configuration of this model indicates that it supports vision inputs, but you instantiated the "
        "text-only version of this model. Please use the vision model by setting "
        f'`--hf-overrides \'{{"architectures": ["{architecture}"]}}\'`'
    )
