"""Which settings of a plan vLLM would choose itself: they need no flag."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.models.metadata import ModelMetadata
from wizard.planning.launch import resolve
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import GPUInfo, VLLMConfig

SETTINGS = ("gpu_memory_utilization", "max_model_len", "max_num_batched_tokens", "max_num_seqs")


def own_defaults(
    config: VLLMConfig,
    metadata: ModelMetadata,
    gpus: Sequence[GPUInfo],
    request: PlanRequest,
    *,
    version: str,
) -> tuple[str, ...]:
    """Names of the settings that come out the same where they are not given, together.

    What the user asked for isn't among them, nor anything where the GPUs differ: defaults follow the card.
    """
    if not gpus or len({(gpu.name, gpu.memory_total_bytes) for gpu in gpus}) > 1:
        return ()
    asked = {
        "gpu_memory_utilization": request.policy.gpu_memory_utilization,
        "max_model_len": request.model.max_model_len,
        "max_num_batched_tokens": request.policy.max_num_batched_tokens,
        "max_num_seqs": request.policy.max_num_seqs,
    }
    wanted = {name: getattr(config, name) for name in SETTINGS}
    found: list[str] = []
    bare = config
    for name in SETTINGS:
        if wanted[name] is None or asked[name] is not None:
            continue
        without = bare.model_copy(update={name: None})
        launch = resolve(without, metadata, gpus[0], version=version)
        if all(value is None or getattr(launch, each) == value for each, value in wanted.items()):
            found.append(name)
            bare = without
    return tuple(found)
