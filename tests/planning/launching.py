"""Small models and machines from which tests make launches."""

from __future__ import annotations

from typing import Any

from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.planning.launch import Launch, resolve
from wizard.schemas.outputs import GIB, GPUInfo, VLLMConfig

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "dtype": "bfloat16",
}

CARDS = {
    "h100": ("NVIDIA H100 80GB HBM3", 79.19, (9, 0)),
    "b200": ("NVIDIA B200", 178.35, (10, 0)),
    "4090": ("NVIDIA GeForce RTX 4090", 23.53, (8, 9)),
    "a100": ("NVIDIA A100-SXM4-80GB", 79.25, (8, 0)),
    "v100": ("Tesla V100-SXM2-32GB", 31.74, (7, 0)),
    "t4": ("Tesla T4", 14.56, (7, 5)),
}


def card(name: str = "h100") -> GPUInfo:
    full, total_gib, capability = CARDS[name]
    return GPUInfo(name=full, memory_total_bytes=int(total_gib * GIB), compute_capability=capability)


def model(**changes: Any) -> ModelMetadata:
    """A Llama-3-8B shape with keys changed; `None` removes a key."""
    config = {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}
    return metadata_from_config(config, model="org/model", source="path")


def launched(
    metadata: ModelMetadata | None = None,
    *,
    gpu: str = "h100",
    version: str = "0.33.0",
    gpus: int | None = None,
    nodes: int | None = None,
    **settings: Any,
) -> Launch:
    """What `vllm serve org/model` with these settings comes to."""
    return resolve(
        VLLMConfig(model="org/model", **settings),
        metadata or model(),
        card(gpu),
        version=version,
        gpus_per_node=gpus,
        nodes=nodes,
    )
