"""vLLM's checks of flags against each other, before it looks at the model's weights.

Sources: vLLM 0.33 `config/{parallel,lora,scheduler,vllm}.py`, `engine/arg_utils.py`; sentences in
`wizard.vllm.combination_errors`. Flags without a field of their own are read off the typed words.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from wizard.planning.launch import Launch
from wizard.planning.refusals import Refusal
from wizard.vllm import combination_errors as errors

EXTERNAL = frozenset({"--data-parallel-rank", "--data-parallel-external-lb", "-dpr", "-dpe"})
"""Flags that say that something else spreads requests over data-parallel ranks."""

EXTERNAL_FOR_EXPERTS_ALONE = (0, 33)
"""The version whose `arg_utils.py` is known to refuse dense models behind an external load balancer."""


def flags(launch: Launch) -> Refusal | None:
    """The first pair of flags that vLLM doesn't take together."""
    return next(_refused(launch), None)


def _refused(launch: Launch) -> Iterator[Refusal]:
    words = launch.config.extra_args
    if "--enable-eplb" in words:
        if not launch.ep:
            yield Refusal("invalid_config", errors.EPLB_NEEDS_EXPERTS, (("enable_expert_parallel", True),))
        elif launch.tp * launch.pcp * launch.dp <= 1:
            error = errors.eplb_needs_ranks(tp=launch.tp, pcp=launch.pcp, dp=launch.dp)
            yield Refusal("invalid_config", error, _without(launch, "--enable-eplb", 0))
    if launch.config.enable_lora:
        yield from _adapters(launch)
    if (
        launch.dp > 1
        and not launch.metadata.is_moe
        and launch.rules.number[:2] >= EXTERNAL_FOR_EXPERTS_ALONE
        and EXTERNAL & set(words)
    ):
        yield Refusal("invalid_config", errors.EXTERNAL_DENSE, (("data_parallel_size", 1),))
    threshold = _number(launch, "--long-prefill-token-threshold")
    if threshold is not None and threshold > launch.max_model_len:
        error = errors.long_prefill(threshold=threshold, max_model_len=launch.max_model_len)
        yield Refusal("invalid_config", error, _without(launch, "--long-prefill-token-threshold", 1))
    active = _number(launch, "--max-num-active-seqs")
    if active is not None and active > launch.max_num_seqs:
        error = errors.active_above_seqs(active=active, max_num_seqs=launch.max_num_seqs)
        yield Refusal("invalid_config", error, _without(launch, "--max-num-active-seqs", 1))
    block = launch.config.mamba_block_size
    if block not in (None, launch.max_model_len) and not launch.prefix_caching:
        yield Refusal("invalid_config", errors.STATE_BLOCK_ALONE, (("mamba_block_size", None),))


def _adapters(launch: Launch) -> Iterator[Refusal]:
    stored = _number(launch, "--max-cpu-loras")
    if stored is not None and stored < launch.config.max_loras:
        error = errors.cpu_adapters(stored=stored, max_loras=launch.config.max_loras)
        yield Refusal("invalid_config", error, _without(launch, "--max-cpu-loras", 1))


def _number(launch: Launch, flag: str) -> int | None:
    """The whole number behind a typed flag."""
    for name, value in pairwise(launch.config.extra_args):
        if name == flag and value.isdecimal():
            return int(value)
    return None


def _without(launch: Launch, flag: str, values: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The command less a flag and its `values` words."""
    words = list(launch.config.extra_args)
    place = words.index(flag)
    del words[place : place + 1 + values]
    return (("extra_args", tuple(words)),)
