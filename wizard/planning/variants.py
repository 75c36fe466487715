"""Changes to a request that lead to plans of another kind. Each generator is one kind; planning comes later.

Other ways to spread the model are in `spreads`, other machines in `elsewhere`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from wizard.models.cache_layers import cache_model
from wizard.models.drafts import predicts_tokens
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import Changes
from wizard.planning.elsewhere import elsewhere
from wizard.planning.launch import has_fp8, rounds_weights
from wizard.planning.layouts import Layout
from wizard.planning.recommend import Choice
from wizard.planning.situation import Situation
from wizard.planning.spreads import spreads
from wizard.planning.variant import Variant, sizes_released
from wizard.schemas.inputs import BatchingMode
from wizard.schemas.outputs import GIB, GPUInfo, VLLMConfig

SIBLINGS_TRIED = 8
LARGEST_NODE = 8

GOALS: Mapping[BatchingMode, tuple[str, str]] = {
    BatchingMode.THROUGHPUT: ("most tokens per second", "Planned for throughput"),
    BatchingMode.LATENCY: ("shortest answers", "Planned for latency"),
    BatchingMode.BALANCED: ("balanced", "Planned for both"),
}


def variants(
    of: Situation, best: Choice, siblings: Mapping[str, ModelMetadata], machines: Sequence[GPUInfo]
) -> Iterator[Variant]:
    """Every kind in turn, those that most often help first."""
    yield from spreads(of, best)
    yield from _fewer_gpus(of, best)
    yield from _more_gpus(of)
    yield from _longer(of, best)
    yield from _users(of, best)
    yield from _caches(of, best)
    yield from _weights(of, best)
    yield from _siblings(of, siblings)
    yield from _drafts(of)
    yield from _shared_contexts(of, best)
    yield from _goals(of)
    yield from _room(of, best)
    yield from _eager(best)
    yield from elsewhere(of, best, machines)


def _fewer_gpus(of: Situation, best: Choice) -> Iterator[Variant]:
    """A part of the GPUs: the rest is free for something else."""
    hardware = of.request.hardware
    if hardware.nodes > 1:
        for nodes in sorted({1, hardware.nodes // 2}):
            changes = (("hardware.nodes", nodes), *sizes_released(of))
            yield Variant(
                "fewer", f"{nodes} of {hardware.nodes} nodes", changes, "The other nodes stay free", 2
            )
        return
    count = 1
    while count < min(best.layout.gpus, len(of.gpus)):
        changes = (("hardware.gpus", count), *sizes_released(of))
        yield Variant("fewer", f"{count} of {len(of.gpus)} GPUs", changes, "The other GPUs stay free", 2)
        count *= 2


def _more_gpus(of: Situation) -> Iterator[Variant]:
    """Twice the cards, of the same kind."""
    count = 2 * len(of.gpus)
    if of.request.hardware.nodes == 1 and count <= LARGEST_NODE and of.gpu.mig_profile is None:
        name = of.gpu.catalogue_name or of.gpu.name
        changes = (("hardware.gpus", count), *sizes_released(of))
        yield Variant("more", f"{count} x {name}", changes, "Twice the GPUs")


def _longer(of: Situation, best: Choice) -> Iterator[Variant]:
    """The longest context of the model, or that the cache holds."""
    if best.report.max_model_len >= of.longest:
        return
    lengths: Changes = (("model.max_model_len", of.longest),)
    yield Variant(
        "context", "longest context", lengths, "As long as one request can be", titled=_context_title
    )
    if _rounds_cache(of) and best.config.kv_cache_dtype is None:
        changes: Changes = (*lengths, ("model.kv_cache_dtype", "fp8"))
        yield Variant(
            "context",
            "longest context",
            changes,
            "As long as one request can be, in 8 bits",
            titled=_context_title,
        )


def _users(of: Situation, best: Choice) -> Iterator[Variant]:
    """Twice the users, where the cache may hold them; as many as it holds, where it is too small."""
    workload = of.request.workload
    layout = best.layout
    engines = layout.data_parallel_size * layout.replicas
    held = int(best.report.concurrency_at_workload * engines)
    if best.report.verdict == "tight" and 0 < held < workload.concurrency:
        fewer: Changes = (("workload.concurrency", held),)
        yield Variant(
            "fewer users", f"{held:,} users at once", fewer, "As many as the cache holds; nobody waits"
        )
    if held >= 2 * workload.concurrency:
        users = 2 * workload.concurrency
        changes: Changes = (("workload.concurrency", users),)
        yield Variant("users", f"{users:,} users at once", changes, "Room for twice the users")


def _room(of: Situation, best: Choice) -> Iterator[Variant]:
    """A smaller share of each card, where the workload needs less cache than there is."""
    part, report = best.report.per_gpu, best.report
    if report.verdict != "fits" or of.request.policy.gpu_memory_utilization is not None:
        return
    spare = report.headroom_bytes - part.kv_cache_available_bytes // 20
    share = math.ceil((part.requested_bytes - spare) / part.total_bytes * 20) / 20
    if spare > 0 and share <= (best.config.gpu_memory_utilization or 1.0) - 0.1:
        changes: Changes = (("policy.gpu_memory_utilization", share),)
        yield Variant(
            "room",
            f"{share:.0%} of each GPU",
            changes,
            f"Leaves {(part.requested_bytes - share * part.total_bytes) / GIB:.0f} GiB of each GPU to others",
        )


def _context_title(config: VLLMConfig, layout: Layout) -> str:
    return f"context {config.max_model_len:,}" if config.max_model_len else "longest context"


def _rounds_cache(of: Situation) -> bool:
    return of.request.policy.allow_fp8_kv and _has_fp8(of) and of.request.model.kv_cache_dtype == "auto"


def _has_fp8(of: Situation) -> bool:
    return has_fp8(of.gpu)


def _caches(of: Situation, best: Choice) -> Iterator[Variant]:
    if _rounds_cache(of) and best.config.kv_cache_dtype is None:
        yield Variant(
            "cache",
            "8-bit cache",
            (("model.kv_cache_dtype", "fp8"),),
            "The KV cache in 8 bits",
            said="8-bit cache",
        )


def _weights(of: Situation, best: Choice) -> Iterator[Variant]:
    policy, model = of.request.policy, of.request.model
    stored = of.metadata.quantization_config is not None
    if (
        policy.allow_quantized
        and rounds_weights(of.gpu, of.rules.number)
        and not stored
        and not model.quantization
        and not best.config.quantization
    ):
        changes: Changes = (("model.quantization", "fp8"),)
        yield Variant(
            "weights",
            "8-bit weights",
            changes,
            "vLLM rounds the weights to 8 bits while loading",
            said="8-bit weights",
        )


def _siblings(of: Situation, siblings: Mapping[str, ModelMetadata]) -> Iterator[Variant]:
    if not of.request.policy.allow_quantized:
        return
    for name in list(siblings)[:SIBLINGS_TRIED]:
        if name != of.metadata.model:
            yield Variant("sibling", name, (("model.model", name),), "A quantised form of the same model", 3)


def _drafts(of: Situation) -> Iterator[Variant]:
    """Speculative decoding with the heads that the checkpoint brings."""
    if predicts_tokens(of.metadata) and "speculative_config" not in of.fields:
        asked = json.dumps({"method": "mtp", "num_speculative_tokens": 1}, separators=(",", ":"))
        extra = (*of.request.policy.extra_args, "--speculative-config", asked)
        yield Variant(
            "drafts",
            "speculative decoding",
            (("policy.extra_args", extra),),
            "The model's own head drafts a token ahead",
        )


def _shared_contexts(of: Situation, best: Choice) -> Iterator[Variant]:
    """Decode context parallelism: ranks that would copy a sequence's cache share it instead."""
    tp = best.layout.tensor_parallel_size
    model = cache_model(of.metadata)
    copies = tp if model.latent else tp // max(1, model.kv_heads)
    if copies > 1 and "decode_context_parallel_size" not in of.fields and of.request.workload.concurrency > 1:
        extra = (*of.request.policy.extra_args, "--decode-context-parallel-size", str(copies))
        changes: Changes = (("policy.extra_args", extra), ("hardware.tensor_parallel_size", tp))
        yield Variant(
            "shared cache",
            f"cache shared by {copies} GPUs",
            changes,
            "Each token is cached once, not per GPU",
        )


def _goals(of: Situation) -> Iterator[Variant]:
    for mode, (title, why) in GOALS.items():
        if mode is not of.request.workload.batching_mode:
            yield Variant("goal", title, (("workload.batching_mode", mode),), why, 2)


def _eager(best: Choice) -> Iterator[Variant]:
    if not best.config.enforce_eager:
        changes: Changes = (("policy.enforce_eager", True),)
        why = "Starts a minute or so sooner, without compiling and capturing graphs"
        yield Variant("eager", "no CUDA graphs", changes, why, said="no CUDA graphs")
