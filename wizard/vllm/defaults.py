"""Defaults that vLLM chooses from the GPU and the model: batch sizes and the model runner.

Sources: vLLM `engine/arg_utils.py` (`get_batch_defaults`, 0.9-0.33) and `config/vllm.py`
(`use_v2_model_runner`, `_is_default_v2_model_runner_model`, 0.22-0.33), read version by version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from wizard.dataclass import dataclass
from wizard.schemas.outputs import GIB, GPUInfo
from wizard.vllm.versions import VersionRules

GB10_CAPABILITY = (12, 1)
"""DGX Spark: 0.33 keeps it in the small tier by name. Before, NVML couldn't tell its memory, which came to the
same: start-up logs of 0.11 and 0.19 show 2048 tokens per batch."""

LARGE_CARD_GIB = 70
"""H100 and up: a larger batch (PR #17885 took the A100 out, by name)."""
LARGEST_CARD_GIB = 160
"""B200, B300, MI300X and up: the largest batch, since 0.28."""


@dataclass(frozen=True, slots=True)
class BatchDefaults:
    """What an unset --max-num-batched-tokens and --max-num-seqs come to, before capping."""

    max_num_batched_tokens: int
    max_num_seqs: int


def batch_defaults(
    gpu: GPUInfo,
    rules: VersionRules,
    *,
    performance_mode: str | None = None,
    offline: bool = False,
) -> BatchDefaults:
    """The tier of `gpu` for `vllm serve`, or for Python's `LLM()` where `offline`.

    vLLM asks NVML for the total, which is larger than CUDA's by the driver's reserve.
    """
    total = gpu.nvml_total_bytes or gpu.memory_total_bytes
    small_by_name = gpu.compute_capability == GB10_CAPABILITY or (
        rules.a100_small_tier and "a100" in gpu.name.lower()
    )
    if rules.large_tier and total >= LARGEST_CARD_GIB * GIB:
        tokens, seqs = 16384, 1024
    elif total >= LARGE_CARD_GIB * GIB and not small_by_name:
        tokens, seqs = (16384 if offline else 8192), 1024
    else:
        tokens, seqs = (8192 if offline else 2048), 256
    factor = 2 if performance_mode == "throughput" else 1
    return BatchDefaults(tokens * factor, seqs * factor)


class Architecture(Protocol):
    """What the choice of a runner needs to know of a model."""

    @property
    def architecture(self) -> str: ...
    @property
    def is_moe(self) -> bool: ...
    @property
    def text(self) -> Mapping[str, Any]: ...


V2_FIRST_DENSE = {
    (0, 22): frozenset({"Qwen3ForCausalLM"}),
    (0, 23): frozenset({"Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"}),
}
"""0.22 and 0.23 moved these alone, and only unquantised."""

V2_EARLY = frozenset({"DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"})
V2_ARCHITECTURES = {
    (0, 24): V2_EARLY | V2_FIRST_DENSE[(0, 23)],
    (0, 25): V2_EARLY,
    (0, 26): V2_EARLY
    | {"InklingForCausalLM", "InklingForConditionalGeneration", "LongcatFlashNgramForCausalLM"},
    (0, 27): V2_EARLY
    | {
        "InklingForCausalLM",
        "InklingForConditionalGeneration",
        "KimiK3ForConditionalGeneration",
        "LongcatFlashNgramForCausalLM",
    },
    (0, 28): V2_EARLY
    | {
        "DeepseekV4ForCausalLM",
        "InklingForCausalLM",
        "InklingForConditionalGeneration",
        "KimiK3ForConditionalGeneration",
        "LongcatFlashNgramForCausalLM",
    },
}
"""Architectures on the V2 runner, quantised or not; from 0.25 every model that is not MoE joins them."""

V2_SPECULATIVE_METHODS = {
    (0, 22): frozenset({"eagle", "eagle3", "mtp"}),
    (0, 25): frozenset({"eagle", "eagle3", "mtp", "dflash", "dspark"}),
    (0, 29): frozenset({"eagle", "eagle3", "mtp", "dflash", "dspark", "extract_hidden_states"}),
}
"""Through 0.32 any other method falls back to the V1 runner; 0.33 names the exceptions instead."""

V1_ONLY_METHODS = frozenset({"suffix", "custom_class"})
"""Since 0.33."""

STATE_KEYS = (
    "mamba_d_state",
    "mamba_num_heads",
    "ssm_state_size",
    "state_size",
    "linear_num_value_heads",
    "linear_attn_config",
    "conv_L_cache",
    "attn_layer_period",
    "hybrid_override_pattern",
    "layers_block_type",
    "attn_type_list",
)
"""Config keys that only models with recurrent or convolutional layers carry."""


_STATE_KEYS = frozenset(STATE_KEYS)


def keeps_states(text: Mapping[str, Any]) -> bool:
    """True where some layer keeps a state per request (Mamba, GDN, KDA, convolution): vLLM's `is_hybrid`
    and attention-free models. A hybrid family's config whose layers are all attention is not hybrid."""
    layer_types = text.get("layer_types")
    if isinstance(layer_types, list) and layer_types:
        return any(
            isinstance(kind, str) and "attention" not in kind.replace("linear_attention", "")
            for kind in layer_types
        )
    return not _STATE_KEYS.isdisjoint(text) and any(text.get(key) is not None for key in STATE_KEYS)


def uses_v2_runner(
    rules: VersionRules,
    model: Architecture,
    *,
    quantized: bool,
    pooling: bool,
    speculative_method: str | None = None,
    rocm: bool = False,
) -> bool:
    """Whether `vllm serve` runs `model` on Model Runner V2 (`VLLM_USE_V2_MODEL_RUNNER` unset).

    Opt-in before 0.22; by architecture through 0.28; everything since 0.29, but for features it lacks.
    """
    version = rules.number[:2]
    if version < (0, 22):
        return False
    if speculative_method is not None and not _speculates_on_v2(version, speculative_method):
        return False
    if version >= (0, 29):
        return not (rocm and version < (0, 33) and model.architecture in ROCM_V1_ARCHITECTURES)
    if pooling:
        return False
    if version < (0, 24):
        return model.architecture in V2_FIRST_DENSE[version] and not model.is_moe and not quantized
    listed = model.architecture in V2_ARCHITECTURES[version]
    if version == (0, 24):
        return listed
    if keeps_states(model.text) and not (version >= (0, 27) and listed):
        return False
    return listed or not model.is_moe


ROCM_V1_ARCHITECTURES = frozenset({"DeepseekV32ForCausalLM", "DeepseekV4ForCausalLM"})
"""Kept on V1 by ROCm, 0.29 (config/vllm.py `ROCM_DEFAULT_MRV1_ARCHITECTURES`)."""


def _speculates_on_v2(version: tuple[int, ...], method: str) -> bool:
    if version >= (0, 33):
        return method not in V1_ONLY_METHODS
    allowed = max(since for since in V2_SPECULATIVE_METHODS if since <= version)
    return method in V2_SPECULATIVE_METHODS[allowed]
