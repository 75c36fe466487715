"""How far the logged KV cache memory may lie from the predicted: bounds that hold for 9 launches of 10.

The widths are the 90th percentiles of the errors of `make accuracy`, by what is known about a launch;
mechanisms that no log covers have a guess, marked so. They add up: each is a cause of its own.
"""

from __future__ import annotations

from wizard.dataclass import dataclass
from wizard.planning.activations import compile_excess_bytes, moe_workspace_bytes
from wizard.planning.launch import Launch
from wizard.planning.vision import encoder_peak_bytes, is_multimodal, takes_items
from wizard.planning.weights import draft_is_uncounted, rank_weights
from wizard.schemas.outputs import GIB


@dataclass(frozen=True, slots=True)
class Width:
    """How much lower and higher than predicted, GiB."""

    low: float
    high: float

    @classmethod
    def both(cls, gib: float) -> Width:
        return cls(gib, gib)


HOPPER_CALIBRATED = Width.both(0.08)
"""H100, 0.11-0.19, one GPU (37 logs)."""
CALIBRATED = Width.both(0.16)
"""Other NVIDIA cards, 0.11-0.19: 3090, 4090, 5090, A100, L40S, RTX 5000 Ada (23 logs)."""
V1_ESTIMATED = Width(0.5, 0.4)
"""0.20 and later on the V1 runner: the graph estimate is subtracted, and scatters with a tail (57 estimates of
0.19 against what was then taken: 90 % within -0.5 / +0.4)."""
V2_WITHOUT_ESTIMATE = Width(0.5, 0.5)
"""V2 runner, 0.22-0.28: L4, T4G and RTX PRO 6000 (9 logs)."""
V2_ESTIMATED = Width(0.6, 0.4)
"""V2 runner since 0.29: L40S and A100 (4 logs, all within 0.25)."""
BEFORE_CALIBRATION = Width.both(1.0)
"""0.10 and earlier: 10 logs, six engines' worth of rules."""

TENSOR_PARALLEL = Width.both(0.04)
"""TP >= 2 on H100 through 0.19 (17 logs within 0.1)."""
TENSOR_PARALLEL_LATER = Width.both(0.5)
"""TP >= 2 since 0.20: one log."""
PIPELINE = Width(0.2, 1.0)
"""Pipeline stages: the log prints the first stage's figure, the plan the fullest's (H100, PP 2 and 4: 0.9)."""
MULTIMODAL = Width.both(0.1)
"""An encoder's inputs and outputs (4 logs within 0.1; L4 0.3)."""
ENCODER_SHARE = 0.3
"""Of the encoder's own peak, where it is the widest phase: a reading, no log."""
SHARED_EXPERTS = Width(1.0, 0.5)
"""Experts spread over data-parallel ranks: one machine's two logs (eight H20, 0.10.1: 1.07 GiB less than predicted)."""
SPARSE_ATTENTION = Width(3.0, 1.0)
"""An indexer that picks the keys (DeepSeek-V3.2 and V4, GLM-5): 0.3 to 4.7 GiB less than predicted (6 logs of RTX
PRO 6000, H200, GB200 and B300); its kernels' workspaces are not all known."""
FP4_EXPERTS_SHARE = 0.8
"""Of the experts' buffers, for NVFP4: the kernels hold quantised inputs too (Qwen3.6-35B on an RTX 5090, 0.19-0.20)."""
SPECULATIVE = Width(0.5, 0.3)
"""A draft model and its rows of the sampler: a guess."""
LORA = Width(0.3, 0.1)
"""Slots are counted with the weights; the kernels' scratch is a guess."""

QUANTISED_SHARE = 0.004
"""Of the weights: what repacking adds (p90 of the logs)."""
UNKNOWN_DRAFT_SHARE = 0.1
"""Of the weights: a model that drafts and isn't known; usual pairs (8B with 1B, 70B with 8B) are near it."""
PLAIN_SHARE = 0.001
"""Of the weights: small tensors that share a segment."""
ESTIMATED_TOTAL_SHARE = 0.005
"""Of the GPU's total where it was derived by rule: 55-200 MiB on the cards with both totals known."""
UNIFIED_SHARE = 0.03
"""Of the GPU's total where it is the system's memory: what counts as free moves with the page cache."""
ROCM_LOW_SHARE, ROCM_HIGH_SHARE = 0.07, 0.025
"""Of the GPU's total on ROCm, not calibrated: 10 logs of R9700, RX 9070 XT and MI300X."""


def kv_band_bytes(launch: Launch) -> tuple[int, int]:
    """Low (negative) and high offsets, in bytes, on the available KV cache memory.

    The figure is a first start's; the high bound also holds for a later one, whose compile cache is warm.
    """
    widths = [_accounting(launch), *_features(launch)]
    shared = _shares(launch)
    low = sum(width.low for width in widths) * GIB + shared
    high = sum(width.high for width in widths) * GIB + shared + compile_excess_bytes(launch)
    return -int(low), int(high)


def _accounting(launch: Launch) -> Width:
    """By version, runner and card."""
    rules = launch.rules
    if launch.gpu.vendor != "nvidia":
        total = launch.gpu.memory_total_bytes / GIB
        return Width(ROCM_LOW_SHARE * total, ROCM_HIGH_SHARE * total)
    if rules.number[:2] < (0, 11):
        return BEFORE_CALIBRATION
    if launch.v2_runner:
        return V2_ESTIMATED if rules.subtracts_graphs_v2 else V2_WITHOUT_ESTIMATE
    if rules.subtracts_graphs_v1 and not launch.enforce_eager:
        return V1_ESTIMATED
    return HOPPER_CALIBRATED if launch.capability == (9, 0) else CALIBRATED


def _features(launch: Launch) -> list[Width]:
    """What a launch has on top of one model on one GPU."""
    found = []
    if launch.tp > 1:
        found.append(TENSOR_PARALLEL_LATER if launch.rules.number[:2] >= (0, 20) else TENSOR_PARALLEL)
    if launch.pp > 1:
        found.append(PIPELINE)
    if launch.dp > 1 and launch.metadata.is_moe:
        found.append(SHARED_EXPERTS)
    if is_multimodal(launch.metadata) and takes_items(launch):
        found.append(MULTIMODAL)
    if launch.metadata.text.get("index_topk"):
        found.append(SPARSE_ATTENTION)
    if _has_fp4_experts(launch):
        found.append(Width(FP4_EXPERTS_SHARE * moe_workspace_bytes(launch) / GIB, 0.0))
    if launch.speculative_method is not None:
        found.append(SPECULATIVE)
    if launch.config.enable_lora:
        found.append(LORA)
    return found


def _has_fp4_experts(launch: Launch) -> bool:
    """NVFP4, as the method, the format or the algorithm of the checkpoint's section says."""
    if not launch.metadata.is_moe or launch.quantization is None:
        return False
    section = launch.metadata.quantization_config or {}
    names = (launch.quantization, section.get("format"), section.get("quant_algo"))
    return any("fp4" in name and "mxfp4" not in name for name in map(str.lower, map(str, names)))


def _shares(launch: Launch) -> float:
    """Bytes that grow with the weights, the encoder, or the card."""
    share = PLAIN_SHARE if launch.quantization is None else QUANTISED_SHARE
    if draft_is_uncounted(launch):
        share += UNKNOWN_DRAFT_SHARE
    found = share * rank_weights(launch).loaded_bytes + ENCODER_SHARE * encoder_peak_bytes(launch)
    if launch.gpu.unified_memory:
        found += UNIFIED_SHARE * launch.gpu.memory_total_bytes
    elif launch.gpu.estimated_total:
        found += ESTIMATED_TOTAL_SHARE * launch.gpu.memory_total_bytes
    return found
