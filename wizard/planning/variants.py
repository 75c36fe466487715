"""Changes to a request that lead to plans of another kind. Each generator is one kind; planning comes later."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from wizard.dataclass import dataclass, field
from wizard.models.cache_layers import cache_model
from wizard.models.drafts import predicts_tokens
from wizard.models.metadata import ModelMetadata
from wizard.planning.changes import Changes
from wizard.planning.launch import has_fp8, resolve
from wizard.planning.layouts import Layout, tensor_parallel_sizes
from wizard.planning.options import other_machines
from wizard.planning.recommend import Choice
from wizard.planning.situation import Situation
from wizard.planning.terms import weights_bytes
from wizard.schemas.inputs import BatchingMode
from wizard.schemas.outputs import GPUInfo, VLLMConfig

MACHINES_TRIED = 6
SIBLINGS_TRIED = 8
LARGEST_NODE = 8

GOALS: Mapping[BatchingMode, tuple[str, str]] = {
    BatchingMode.THROUGHPUT: ("most tokens per second", "Planned for throughput"),
    BatchingMode.LATENCY: ("shortest answers", "Planned for latency"),
    BatchingMode.BALANCED: ("balanced", "Planned for both"),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A change to the request, not yet planned."""

    kind: str
    title: str
    changes: Changes
    why: str
    """What is done, as the head of a sentence."""
    most: int = 1
    """Of this kind, as many are shown."""
    said: str = ""
    """The setting that `why` tells already, in the words of `tradeoffs`."""
    titled: Callable[[VLLMConfig, Layout], str] | None = field(default=None, compare=False)
    """The title, where it tells what planning then comes to."""

    def named(self, config: VLLMConfig, layout: Layout) -> str:
        return self.titled(config, layout) if self.titled is not None else self.title


def variants(
    of: Situation, best: Choice, siblings: Mapping[str, ModelMetadata], machines: Sequence[GPUInfo]
) -> Iterator[Variant]:
    """Every kind in turn, those that most often help first."""
    yield from _spreads(of, best)
    yield from _fewer_gpus(of, best)
    yield from _more_gpus(of)
    yield from _longer(of, best)
    yield from _caches(of, best)
    yield from _weights(of, best)
    yield from _siblings(of, siblings)
    yield from _drafts(of)
    yield from _shared_contexts(of, best)
    yield from _goals(of)
    yield from _eager(of, best)
    yield from _machines(of, best, machines)


def _spreads(of: Situation, best: Choice) -> Iterator[Variant]:
    """Other tensor parallel sizes: more, smaller engines, or fewer, larger ones."""
    if of.request.hardware.tensor_parallel_size is not None:
        return
    chosen = best.layout.tensor_parallel_size
    for tp in tensor_parallel_sizes(of.metadata, len(of.gpus)):
        if tp != chosen:
            smaller = tp < chosen
            yield Variant(
                "replicas" if smaller else "sharded",
                f"{tp} GPUs to an engine",
                (("hardware.tensor_parallel_size", tp),),
                "Smaller engines, more of them" if smaller else "More GPUs share every layer",
                titled=_spread_title,
            )


def _spread_title(config: VLLMConfig, layout: Layout) -> str:
    each = config.tensor_parallel_size * config.pipeline_parallel_size
    engines = layout.data_parallel_size * layout.replicas
    gpus = f"{each} GPU{'s' if each > 1 else ''}"
    return f"{engines} engines of {gpus}" if engines > 1 else f"one engine over {gpus}"


def _fewer_gpus(of: Situation, best: Choice) -> Iterator[Variant]:
    """A part of the GPUs: the rest is free for something else."""
    hardware = of.request.hardware
    if hardware.nodes > 1:
        for nodes in sorted({1, hardware.nodes // 2}):
            changes = (("hardware.nodes", nodes), *_sizes_released(of))
            yield Variant(
                "fewer", f"{nodes} of {hardware.nodes} nodes", changes, "The other nodes stay free", 2
            )
        return
    count = 1
    while count < min(best.layout.gpus, len(of.gpus)):
        changes = (("hardware.gpus", count), *_sizes_released(of))
        yield Variant("fewer", f"{count} of {len(of.gpus)} GPUs", changes, "The other GPUs stay free", 2)
        count *= 2


def _more_gpus(of: Situation) -> Iterator[Variant]:
    """Twice the cards, of the same kind."""
    count = 2 * len(of.gpus)
    if of.request.hardware.nodes == 1 and count <= LARGEST_NODE and of.gpu.mig_profile is None:
        name = of.gpu.catalogue_name or of.gpu.name
        changes = (("hardware.gpus", count), *_sizes_released(of))
        yield Variant("more", f"{count} x {name}", changes, "Twice the GPUs")


def _sizes_released(of: Situation) -> Changes:
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    hardware = of.request.hardware
    return tuple((f"hardware.{name}", None) for name in names if getattr(hardware, name) is not None)


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
        and _has_fp8(of)
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
            yield Variant("sibling", name, (("model.model", name),), "A quantised form of the same model", 2)


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


def _eager(of: Situation, best: Choice) -> Iterator[Variant]:
    """Only where memory is short: graphs cost little of it."""
    if best.config.enforce_eager or best.report.verdict == "fits":
        return
    changes: Changes = (("policy.enforce_eager", True),)
    why = "Graphs leave their memory to the cache"
    yield Variant("eager", "no CUDA graphs", changes, why, said="no CUDA graphs")


def _machines(of: Situation, best: Choice, machines: Sequence[GPUInfo]) -> Iterator[Variant]:
    """Other machines, the cheapest first; only cheaper ones where the price of this one is known."""
    starts = best.report.verdict != "wont_start"
    price = of.gpu.usd_per_hour if starts else None
    limit = math.inf if price is None else price * best.layout.gpus
    refused = best.report.cause in {"invalid_config", "unsupported"}
    quantization = None if refused else best.config.quantization
    rates = {machine.name: machine.usd_per_hour for machine in machines if machine.usd_per_hour is not None}

    def least_bytes(gpu: GPUInfo) -> float:
        bare = VLLMConfig(
            model=of.metadata.model, dtype=of.request.model.dtype.value, quantization=quantization
        )
        return weights_bytes(resolve(bare, of.metadata, gpu, version=of.version))

    tried = 0
    priced = [machine for machine in machines if machine.name in rates]
    for option in other_machines(priced, of.request.hardware, least_bytes):
        values = dict(option.changes)
        name = values["hardware.gpu"]
        cost = rates[name] * values["hardware.gpus"] * values.get("hardware.nodes", 1)
        if cost >= limit or tried >= MACHINES_TRIED:
            return
        if name != of.gpu.name:
            tried += 1
            why = "Another machine" if price is None else "A cheaper machine"
            yield Variant("machine", option.title, option.changes, why, 1 if starts else 2)
