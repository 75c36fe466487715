"""Extra `vllm serve` flags that a user typed, read before planning: those that move memory are answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wizard.dataclass import dataclass
from wizard.schemas.inputs import PlanRequest

if TYPE_CHECKING:
    from wizard.vllm.serve_args import ServeCommand

REQUEST_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "revision": "model.revision",
        "tokenizer": "model.tokenizer",
        "trust_remote_code": "model.trust_remote_code",
        "dtype": "model.dtype",
        "quantization": "model.quantization",
        "kv_cache_dtype": "model.kv_cache_dtype",
        "max_model_len": "model.max_model_len",
        "tensor_parallel_size": "hardware.tensor_parallel_size",
        "pipeline_parallel_size": "hardware.pipeline_parallel_size",
        "data_parallel_size": "hardware.data_parallel_size",
        "gpu_memory_utilization": "policy.gpu_memory_utilization",
        "max_num_seqs": "policy.max_num_seqs",
        "max_num_batched_tokens": "policy.max_num_batched_tokens",
        "enforce_eager": "policy.enforce_eager",
    }
)
"""Fields of the config that a question of the wizard answers, and where."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A request whose extra flags have been read."""

    request: PlanRequest
    """With the flags that a question answers as its answers."""
    fields: Mapping[str, Any]
    """Other fields of the config that the flags set."""
    extra_args: tuple[str, ...]
    """What doesn't move memory."""


def settled(request: PlanRequest, version: str) -> Settled:
    """`request` with its extra flags read as vLLM `version` reads them; a typed flag wins over an answer.

    Raises WizardError, in one sentence, where that version refuses them.
    """
    extra = request.policy.extra_args
    if not extra:
        return Settled(request, {}, ())
    config = _parsed(extra, version).config
    fields: dict[str, Any] = {}
    for name in sorted(config.model_fields_set - {"model", "extra_args"}):
        value = getattr(config, name)
        path = REQUEST_PATHS.get(name)
        if path is None:
            fields[name] = value
        elif not (name == "max_model_len" and value is not None and value < 1):
            # `-1` asks vLLM for the longest that fits, which is what planning does anyway
            try:
                request = request.with_value(path, value)
            except ValueError:
                fields[name] = value
    return Settled(request, fields, config.extra_args)


@lru_cache(maxsize=16)
def _parsed(extra: tuple[str, ...], version: str) -> ServeCommand:
    from wizard.vllm.serve_args import parse_serve_command

    return parse_serve_command(["model", *extra], version=version)
