"""The second half of every reason: what would change a value; and the reasons of values that vLLM's default decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wizard.planning.attempts import Attempt
from wizard.planning.situation import Situation
from wizard.text import short_gib

LEFT_OPEN = "Left open, it would be planned."

CHANGES: Mapping[str, str] = {
    "tensor_parallel_size": "Another goal, other links between the GPUs, or more users may change it.",
    "pipeline_parallel_size": "NVLink, or fewer GPUs, may change it.",
    "data_parallel_size": "Fewer users, or longer contexts, would change it.",
    "enable_expert_parallel": "Another goal or number of users may change it.",
    "gpu_memory_utilization": "Memory kept free, or other programs on the card, would lower it.",
    "max_num_seqs": "More or fewer users at once, and the goal, change it.",
    "max_num_batched_tokens": "The goal, a card of another size, or a limit on the time per token would change it.",
    "dtype": "Another --dtype, or a card of another generation, would change it.",
    "kv_cache_dtype": "A roomier card, a shorter context, fewer users, or forbidding an 8-bit cache would change it.",
    "quantization": "A roomier card, a slower limit, or forbidding quantised weights would change it.",
    "enforce_eager": "A roomier card, or a lower context, would bring graphs back.",
}
"""By field, where the planner chose the value."""

LONGER = "More GPUs, lighter weights or an 8-bit cache would lengthen it."
AT_ITS_LONGEST = "A shorter one is planned for if you ask for it."


def told(of: Situation, attempt: Attempt, explanations: Mapping[str, str]) -> dict[str, str]:
    """Every reason with what would change the value, and those of the defaults that a plan keeps."""
    whole = {**dict(_defaults(of, attempt)), **explanations}
    return {name: _with_change(of, attempt, name, why) for name, why in whole.items()}


def _with_change(of: Situation, attempt: Attempt, name: str, why: str) -> str:
    if not attempt.starts:
        return why  # the fixes say what to change
    if why.startswith("You "):
        return f"{why} {LEFT_OPEN}"
    if name == "max_model_len":
        return f"{why} {AT_ITS_LONGEST if attempt.report.max_model_len >= of.wanted_length else LONGER}"
    if getattr(attempt.config, name, None) is None:
        return why  # a default, whose reason says that itself
    if name == "tensor_parallel_size" and len(of.gpus) * of.request.hardware.nodes == 1:
        return f"{why} More GPUs would change it."
    change = CHANGES.get(name)
    return f"{why} {change}" if change else why


def _defaults(of: Situation, attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Values that no flag is written for, and typed flags."""
    config, report = attempt.config, attempt.report
    launch = of.launch(config)
    for name in of.fields:
        yield name, "You typed it among the extra flags."
    if config.kv_cache_dtype is None and report.kv_cache.bytes_per_block:
        kept = f"{launch.kv_cache_dtype}, as the checkpoint and its dtype say"
        yield "kv_cache_dtype", f"{kept}; 8 bits are taken where the cache would be too small, if allowed."
    if config.quantization is None:
        stored = launch.quantization or launch.dtype
        yield (
            "quantization",
            f"{stored}, as the checkpoint stores its weights; they are rounded where they don't fit or miss a "
            "limit on time, if allowed.",
        )
    if config.enforce_eager is None and not launch.enforce_eager:
        part = report.per_gpu
        graphs = part.cuda_graphs_bytes or part.outside_budget_bytes
        price = f", for about {short_gib(graphs)} GiB" if graphs else ""
        yield (
            "enforce_eager",
            f"CUDA graphs are captured, which makes decoding faster{price}; eager mode is taken where nothing "
            "starts otherwise.",
        )
    if config.enable_prefix_caching is None and not launch.pooling:
        caching = (
            "On by default: what prompts begin with alike is computed once; --no-enable-prefix-caching turns it off."
            if launch.prefix_caching
            else f"Off by default for this model in vLLM {of.version}; --enable-prefix-caching turns it on."
        )
        yield "enable_prefix_caching", caching
    if of.metadata.is_moe and not config.enable_expert_parallel and config.world_size > 1:
        yield (
            "enable_expert_parallel",
            "Each GPU keeps a slice of every expert; whole experts are taken where that serves the goal better.",
        )
