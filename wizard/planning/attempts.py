"""One layout with settings, planned at the longest context it can have, and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wizard.dataclass import dataclass
from wizard.planning.gates import refusal
from wizard.planning.kv_cache import kv_report
from wizard.planning.launch import Launch
from wizard.planning.layouts import Layout
from wizard.planning.non_torch import context_bytes, outside_budget_bytes, unseen_tenants_bytes
from wizard.planning.situation import Situation
from wizard.planning.values import (
    MINIMUM_BATCHED_TOKENS,
    _recommend_gpu_memory_utilization,
    _recommend_max_batched_tokens,
    _recommend_max_model_len,
    _recommend_max_num_seqs,
)
from wizard.planning.vision import is_multimodal
from wizard.schemas.outputs import GIB, FeasibilityReport, VLLMConfig

RAISED_UTILIZATION = 0.95
"""As far as the share is raised on a card that nobody else uses: vLLM's default keeps 8 % of a data-centre
card free (0.20 and later), of which launches take less than 3 (graphs, workspaces, context)."""

NOTICEABLE = 0.03
"""Smallest gain, as a share of the wanted requests, for which anything is given up."""

MUCH_LONGER = 1.25
"""Times the context for which something cheap is given up where the length asked for stays out of reach."""

CHEAP = frozenset({"gpu_memory_utilization", "max_num_batched_tokens", "kv_cache_dtype"})
"""Fields given up for part of what was asked; graphs and the precision of weights only for all of it."""

SHORT_LENGTH = 2048
"""The shortest context worth serving, where the workload asks for less."""

QUALITY = frozenset({"kv_cache_dtype", "quantization"})
"""Fields whose change may change what the model answers."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One layout with settings, judged."""

    layout: Layout
    config: VLLMConfig
    report: FeasibilityReport
    wanted: int
    """Requests that one engine should hold at once."""
    enough_length: int
    """Tokens below which the request isn't met: the context asked for, or prompt and output."""
    given_up: frozenset[str] = frozenset()
    """Fields changed from what the rules gave, to save memory."""

    @property
    def fits(self) -> bool:
        return self.report.verdict == "fits"

    @property
    def starts(self) -> bool:
        return self.report.verdict != "wont_start"

    @property
    def reaches(self) -> bool:
        """It starts, and holds a request as long as asked."""
        return self.starts and self.report.max_model_len >= self.enough_length

    @property
    def held(self) -> float:
        """Part of the wanted requests that run at once."""
        at_once = min(self.report.concurrency_at_workload, self.report.max_num_seqs)
        return min(1.0, at_once / max(1, self.wanted))

    @property
    def quality_given_up(self) -> int:
        return len(self.given_up & QUALITY)

    @property
    def refused(self) -> bool:
        """vLLM stops before memory matters: no setting tried here helps."""
        return self.report.cause in {"invalid_config", "unsupported", "free_memory"}

    @property
    def too_heavy(self) -> bool:
        """The weights alone exceed the card: only lighter weights can help."""
        part = self.report.per_gpu
        return part.weights_bytes >= max(part.requested_bytes, RAISED_UTILIZATION * part.total_bytes)

    def better_than(self, other: Attempt) -> bool:
        """More of the request is met, by enough to give something up for it."""
        mine = (self.fits, self.starts, self.reaches)
        theirs = (other.fits, other.starts, other.reaches)
        if mine != theirs:
            return mine > theirs
        if self.starts and not self.reaches and not self.given_up - CHEAP:
            return self.report.max_model_len > MUCH_LONGER * other.report.max_model_len
        return self.starts and self.held > other.held + NOTICEABLE


def attempt(
    of: Situation,
    layout: Layout,
    base: VLLMConfig,
    changes: Mapping[str, Any],
    why: Mapping[str, str],
) -> Attempt:
    """`base` with `changes`, at the longest context that was asked for and that its own cache can hold."""
    explanations = {**base.explanations, **why}
    length, why_length = _recommend_max_model_len(of.request.model.max_model_len, of.longest, of.longest)
    explanations["max_model_len"] = why_length
    config = base.model_copy(update={**changes, "max_model_len": length, "explanations": explanations})
    if changes and "gpu_memory_utilization" not in changes:
        share, explanations["gpu_memory_utilization"] = utilization(of, config)
        config = config.model_copy(update={"gpu_memory_utilization": share})
    config, report = _accepted(of, layout, config)
    low = report.per_gpu.kv_cache_available_low_bytes
    if report.cause in {"no_kv_memory", "kv_cache_too_small", "out_of_memory"} or (
        report.verdict == "tight" and low < report.kv_cache.needed_bytes
    ):
        config, report = _shortened(of, layout, config, report)
    workload = of.workload(layout)
    return Attempt(
        layout=layout,
        config=config,
        report=report,
        wanted=-(-workload.concurrency // layout.data_parallel_size),
        enough_length=of.wanted_length if of.request.model.max_model_len else of.needed_length,
        given_up=frozenset(changes),
    )


def _accepted(of: Situation, layout: Layout, config: VLLMConfig) -> tuple[VLLMConfig, FeasibilityReport]:
    """`config` judged, after what vLLM itself asks for where that is nobody's choice: a dtype, a flag."""
    report = of.report(config, layout)
    for _ in range(2):
        if report.cause not in {"invalid_config", "unsupported"}:
            break
        found = refusal(of.launch(config))
        if found is None or not found.change or not all(_open(of, name) for name, _ in found.change):
            break
        why = {name: "Without it vLLM refuses to start here." for name, _ in found.change}
        explanations = {**config.explanations, **why}
        config = config.model_copy(update={**dict(found.change), "explanations": explanations})
        report = of.report(config, layout)
    return config, report


def _open(of: Situation, name: str) -> bool:
    """The user left this field to the planner."""
    policy, model = of.request.policy, of.request.model
    return {
        "dtype": model.dtype.value == "auto",
        "max_num_seqs": policy.max_num_seqs is None,
        "max_num_batched_tokens": policy.max_num_batched_tokens is None,
        "extra_args": True,
    }.get(name, False)


def _shortened(
    of: Situation, layout: Layout, config: VLLMConfig, report: FeasibilityReport
) -> tuple[VLLMConfig, FeasibilityReport]:
    """The longest context that the low estimate of the cache holds; the middle one where risks are taken.

    Unchanged where that holds none.
    """
    wanted = config.max_model_len or of.longest
    low = max(0, report.per_gpu.kv_cache_available_low_bytes)
    held = kv_report(of.launch(config), low).estimated_max_model_len
    if held <= 0:
        for length in _lengths_to_try(of, report, wanted):
            why = {
                **config.explanations,
                "max_model_len": f"Lowered from {wanted:,}: images, videos or sparse attention are profiled at "
                "the whole length, which leaves no memory for a cache.",
            }
            shorter = config.model_copy(update={"max_model_len": length, "explanations": why})
            found = of.report(shorter, layout)
            if found.verdict != "wont_start":
                return shorter, found
        if of.takes_risks:
            likely = max(0, report.per_gpu.kv_cache_available_bytes)
            held = kv_report(of.launch(config), likely).estimated_max_model_len
        if held < min(wanted, SHORT_LENGTH):
            why = {**config.explanations, "max_model_len": "No memory is left for a cache at any length."}
            return config.model_copy(update={"explanations": why}), report
    if held >= wanted:
        return config, report
    length, why_length = _recommend_max_model_len(
        of.request.model.max_model_len, of.longest, held, of.needed_length
    )
    explanations = {**config.explanations, "max_model_len": why_length}
    shorter = config.model_copy(update={"max_model_len": length, "explanations": explanations})
    return shorter, of.report(shorter, layout)


def _lengths_to_try(of: Situation, report: FeasibilityReport, wanted: int) -> Iterator[int]:
    """Shorter contexts, longest first, for models whose activation peak grows with the context."""
    least = min(wanted, max(of.needed_length, SHORT_LENGTH))
    grows = is_multimodal(of.metadata) or bool(of.metadata.text.get("index_topk"))
    part = report.per_gpu
    if (
        not grows
        or report.cause not in {"out_of_memory", "no_kv_memory"}
        or part.weights_bytes > part.total_bytes
    ):
        return
    length = 1 << (wanted - 1).bit_length() >> 1
    while length > least:
        yield length
        length >>= 2
    yield least


def base_config(of: Situation, layout: Layout) -> VLLMConfig:
    """The settings that the seed's rules give before memory is looked at."""
    model, hardware, policy = of.request.model, of.request.hardware, of.request.policy
    workload = of.workload(layout)
    concurrency = -(-workload.concurrency // layout.data_parallel_size)
    seqs, why_seqs = _recommend_max_num_seqs(concurrency, workload.batching_mode)
    if layout.copies > 1:
        whole = of.request.workload.concurrency
        why_seqs = f"For each of {layout.copies} engines, which share {whole:,}: {why_seqs}".replace(
            ", as you asked", ""
        )
    if policy.max_num_seqs is not None:
        seqs, why_seqs = policy.max_num_seqs, f"You chose {policy.max_num_seqs:,}."
    tokens, why_tokens = _recommend_max_batched_tokens(
        workload.prompt_tokens,
        workload.gen_tokens,
        concurrency,
        workload.batching_mode,
        of.gpu.memory_total_bytes,
        seqs,
    )
    if policy.max_num_batched_tokens is not None:
        tokens, why_tokens = policy.max_num_batched_tokens, f"You chose {policy.max_num_batched_tokens:,}."
        if policy.max_num_seqs is None and seqs > tokens:
            seqs, why_seqs = tokens, f"vLLM takes no more than the {tokens:,} tokens of a step."
    elif of.metadata.is_moe and layout.data_parallel_size > 2:
        fewer = max(MINIMUM_BATCHED_TOKENS, seqs, 2 * tokens // layout.data_parallel_size)
        if fewer < tokens:
            tokens = fewer
            why_tokens = (
                f"A share each: the tokens of {layout.data_parallel_size} engines meet at the experts."
            )
    values: dict[str, Any] = {
        "model": model.model,
        "revision": model.revision or of.metadata.revision,
        "tokenizer": model.tokenizer,
        "tensor_parallel_size": layout.tensor_parallel_size,
        "pipeline_parallel_size": layout.pipeline_parallel_size,
        "data_parallel_size": layout.data_parallel_size,
        "enable_expert_parallel": layout.expert_parallel,
        "nnodes": hardware.nodes if layout.engine_gpus > len(of.gpus) else 1,
        "dtype": model.dtype.value,
        "quantization": model.quantization,
        "kv_cache_dtype": None if model.kv_cache_dtype == "auto" else model.kv_cache_dtype,
        "max_model_len": of.wanted_length,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": tokens,
        "enforce_eager": policy.enforce_eager or None,
        "trust_remote_code": model.trust_remote_code or None,
        "extra_args": of.extra_args,
    }
    config = VLLMConfig(**{**values, **of.fields})
    launch = of.launch(config)
    share, why_share = _utilization(of, launch, None)
    explanations = {
        "gpu_memory_utilization": why_share,
        "max_num_seqs": why_seqs,
        "max_num_batched_tokens": why_tokens,
        "dtype": f"{launch.dtype}, by vLLM's rule for this checkpoint and GPU."
        if model.dtype.value == "auto"
        else f"You chose {model.dtype.value}.",
    }
    for name in ("quantization", "kv_cache_dtype", "enforce_eager"):
        if values[name] is not None:
            explanations[name] = "You chose it." if values[name] is True else f"You chose {values[name]}."
    return config.model_copy(update={"gpu_memory_utilization": share, "explanations": explanations})


def utilization(of: Situation, config: VLLMConfig, base: float | None = None) -> tuple[float, str]:
    """The share of the card for `config`, at most `base` (None: the version's default) unless chosen."""
    return _utilization(of, of.launch(config), base)


def _utilization(of: Situation, launch: Launch, base: float | None) -> tuple[float, str]:
    policy = of.request.policy
    return _recommend_gpu_memory_utilization(
        of.gpu,
        of.rules.default_gpu_memory_utilization if base is None else base,
        policy.gpu_memory_utilization,
        context_bytes=context_bytes(launch),
        outside_bytes=outside_budget_bytes(launch) + unseen_tenants_bytes(of.gpu),
        headroom_bytes=int(policy.headroom_gb * GIB),
    )
