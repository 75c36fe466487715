"""The terms of one GPU's memory, added up as the targeted vLLM version does.

Source of the accounting: vLLM 0.33 `v1/worker/gpu_worker.py` (`determine_available_memory`); older
rules by `VersionRules`.
"""

from __future__ import annotations

import math

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata
from wizard.models.tree import parameter_count
from wizard.planning.activations import activation_peak_bytes, persistent_bytes
from wizard.planning.bands import kv_band_bytes
from wizard.planning.cuda_graphs import cuda_graphs_bytes
from wizard.planning.kv_cache import kv_layout
from wizard.planning.launch import Launch
from wizard.planning.non_torch import context_bytes, non_torch_bytes, outside_budget_bytes
from wizard.planning.vision import deepstack_bytes
from wizard.planning.weights import rank_weights
from wizard.schemas.inputs import PolicyInput
from wizard.schemas.outputs import GIB


@dataclass(frozen=True, slots=True)
class Terms:
    """The bytes of each term on one GPU, before the verdict."""

    weights_bytes: int
    activation_peak_bytes: int
    non_torch_bytes: int
    graphs_subtracted_bytes: int
    graphs_actual_bytes: int
    context_bytes: int
    outside_budget_bytes: int
    requested_bytes: int
    kv_available_bytes: int
    kv_low_bytes: int
    kv_high_bytes: int
    kv_fixed: bool = False
    """The cache has the size it was told, whatever the utilisation leaves."""

    @property
    def spoken_for_bytes(self) -> int:
        """Everything but the cache that counts against the budget."""
        others = self.activation_peak_bytes + self.non_torch_bytes + self.graphs_subtracted_bytes
        return self.weights_bytes + others


def terms(launch: Launch, policy: PolicyInput | None = None) -> Terms:
    """Every memory term of a launch that the gates accept; bytes on the worst GPU.

    available KV = requested - weights - activation peak - non-torch - CUDA-graph estimate, or the
    fixed size where --kv-cache-memory-bytes or --num-gpu-blocks-override set one.
    """
    total = launch.gpu.memory_total_bytes
    weights = weights_bytes(launch)
    if launch.config.cpu_offload_gb:
        kept = max(rank_weights(launch).stage_bytes_beside(int(launch.config.cpu_offload_gb * GIB)))
        weights = int(kept * override_share(launch.metadata)) + deepstack_bytes(launch)
    activation = activation_peak_bytes(launch) + persistent_bytes(launch)
    non_torch = non_torch_bytes(launch)
    if policy is not None and policy.overhead_gb is not None:
        non_torch = int(policy.overhead_gb * GIB)
    graphs = cuda_graphs_bytes(launch)
    requested = math.ceil(total * launch.gpu_memory_utilization)
    available = requested - weights - activation - non_torch - graphs.subtracted_bytes
    low, high = kv_band_bytes(launch)
    fixed = fixed_cache_bytes(launch)
    if fixed is not None:
        available, low, high = fixed, 0, 0
    return Terms(
        weights_bytes=weights,
        activation_peak_bytes=activation,
        non_torch_bytes=non_torch,
        graphs_subtracted_bytes=graphs.subtracted_bytes,
        graphs_actual_bytes=graphs.actual_bytes,
        context_bytes=context_bytes(launch),
        outside_budget_bytes=outside_budget_bytes(launch),
        requested_bytes=requested,
        kv_available_bytes=available,
        kv_low_bytes=available + low,
        kv_high_bytes=available + high,
        kv_fixed=fixed is not None,
    )


def weights_bytes(launch: Launch) -> int:
    """Weights on the fullest rank, and what else is made with them; scaled where the user gave another parameter
    count than the config's."""
    loaded = int(rank_weights(launch).loaded_bytes * override_share(launch.metadata))
    return loaded + deepstack_bytes(launch)


def override_share(metadata: ModelMetadata) -> float:
    """The user's parameter count over that of the config; 1.0 without one."""
    if metadata.params_override is None:
        return 1.0
    return metadata.params_override / max(1, parameter_count(metadata))


def fixed_cache_bytes(launch: Launch) -> int | None:
    """The cache's size where a flag sets it: --num-gpu-blocks-override wins over --kv-cache-memory-bytes.

    Source: vLLM 0.33 `v1/core/kv_cache_planning.py` (`get_kv_cache_configs`).
    """
    blocks = launch.config.num_gpu_blocks_override
    if blocks is not None and kv_layout(launch).bytes_per_block:
        return blocks * kv_layout(launch).bytes_per_block
    return launch.config.kv_cache_memory_bytes
