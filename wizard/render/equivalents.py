"""Fields of `VLLMConfig` that some version spells differently, or as a key of another flag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wizard.render.draft import Draft
from wizard.vllm.flags import Flag


def compilation(draft: Draft) -> None:
    """`cudagraph_mode` is a key of --compilation-config in every version."""
    mode = draft.config.cudagraph_mode
    if mode is None:
        return
    flag = draft.table.flags["--compilation-config"]
    if "cudagraph_mode" in flag.keys:
        draft.put(
            "--compilation-config.cudagraph_mode",
            mode,
            why=draft.config.explanations.get("cudagraph_mode", ""),
        )
    else:
        draft.leave_out(
            "--compilation-config.cudagraph_mode", mode, f"vLLM {draft.table.version} has no such key"
        )


def _attention_backend(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """An environment variable until 0.12."""
    if flag is not None:
        return False
    draft.environment["VLLM_ATTENTION_BACKEND"] = str(value)
    draft.notes.append(
        f"The attention backend is set by VLLM_ATTENTION_BACKEND: vLLM {draft.table.version} has no flag."
    )
    return True


def _optimization_level(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """Level 0 compiles and captures nothing, which is --enforce-eager in every version."""
    if flag is not None:
        return False
    if value == 0:
        draft.put("--enforce-eager", why="optimisation level 0 in newer versions")
    else:
        draft.leave_out(
            "--optimization-level", value, f"in vLLM {draft.table.version} it means something else"
        )
    return True


def _largest_graph(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """`--cuda-graph-sizes N` captured sizes up to N until 0.12."""
    if flag is not None or "--cuda-graph-sizes" not in draft.table:
        return False
    draft.put(
        "--cuda-graph-sizes", value, why=draft.config.explanations.get("max_cudagraph_capture_size", "")
    )
    return True


def _language_model_only(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """No items of any modality, where the flag doesn't exist yet."""
    if flag is not None or draft.config.limit_mm_per_prompt:
        return False
    draft.put("--limit-mm-per-prompt", {"image": 0, "video": 0, "audio": 0}, why="text only")
    return True


def _automatic_length(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """`auto` (-1) came with 0.14; before, leaving the flag out takes the model's own length."""
    if value != -1:
        return False
    if flag is not None and flag.kind == "length":
        draft.put("--max-model-len", "auto", why=draft.config.explanations.get("max_model_len", ""))
    else:
        draft.leave_out("--max-model-len", "auto", f"vLLM {draft.table.version} can't fit it automatically")
    return True


def _kv_cache_dtype(draft: Draft, value: Any, flag: Flag | None) -> bool:
    """`float16` and `bfloat16` are the model's own dtype where the version doesn't name them."""
    if flag is None or value not in {"float16", "bfloat16"} or value in flag.values:
        return False
    draft.leave_out(
        "--kv-cache-dtype", value, "this version stores the cache in the model's dtype by default"
    )
    return True


EQUIVALENTS: Mapping[str, Callable[[Draft, Any, Flag | None], bool]] = {
    "attention_backend": _attention_backend,
    "optimization_level": _optimization_level,
    "max_cudagraph_capture_size": _largest_graph,
    "language_model_only": _language_model_only,
    "max_model_len": _automatic_length,
    "kv_cache_dtype": _kv_cache_dtype,
}
"""Fields that some version spells differently; the function returns False to go the plain way."""
