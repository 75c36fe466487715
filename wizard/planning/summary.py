"""What a plan says of the model and of the settings that vLLM will use; pure."""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.cache_layers import cache_model
from wizard.models.metadata import ModelMetadata
from wizard.models.tree import parameter_count
from wizard.planning.cautions import notes
from wizard.planning.launch import Launch, quantization_method
from wizard.planning.weights import weight_doubts
from wizard.schemas.outputs import FeasibilityReport, ModelSummary, Resolved


def summarise(metadata: ModelMetadata) -> ModelSummary:
    """The model as the plan saw it; its size and attention are unknown where nothing here describes it."""
    params: int | None = metadata.params_override
    try:
        attention = attention_kind(metadata)
        params = params or parameter_count(metadata)
    except ConfigError:
        attention = "unknown"
    return ModelSummary(
        id=metadata.model,
        revision=metadata.revision,
        source=metadata.source,
        architecture=metadata.architecture,
        params=params,
        attention=attention,
        max_position_embeddings=metadata.max_position_embeddings,
        quantization=quantization_method(metadata.quantization_config),
        dtype=metadata.dtype,
        gated=metadata.gated,
        weights_exact=metadata.checkpoint is not None and metadata.checkpoint.exact,
        notes=tuple(notes(metadata)),
        hub_requests=metadata.hub_requests,
        hub_bytes=metadata.hub_bytes,
    )


def summary_of(launch: Launch) -> ModelSummary:
    """The model, its sizes called exact only where headers and config agree."""
    summary = summarise(launch.metadata)
    told = weight_doubts(launch).disagreement
    return replace(summary, weights_exact=False, notes=(*summary.notes, told)) if told else summary


def resolved(launch: Launch, report: FeasibilityReport) -> Resolved:
    """A launch's settings as vLLM resolves them; the block size is the cache's own."""
    return Resolved(
        dtype=launch.dtype,
        quantization=launch.quantization,
        kv_cache_dtype=launch.kv_cache_dtype,
        gpu_memory_utilization=launch.gpu_memory_utilization,
        max_model_len=report.max_model_len,
        max_num_seqs=launch.max_num_seqs,
        max_num_batched_tokens=launch.max_num_batched_tokens,
        block_size=report.kv_cache.block_size if report.kv_cache.bytes_per_block else None,
        enforce_eager=launch.enforce_eager,
        enable_prefix_caching=launch.prefix_caching,
        enable_chunked_prefill=launch.chunked_prefill,
        async_scheduling=launch.async_scheduling,
    )


def attention_kind(metadata: ModelMetadata) -> str:
    """One word for how the model attends: mha, gqa, mla, sliding_hybrid, linear_hybrid ..."""
    model = cache_model(metadata)
    kinds = {layer.kind for layer in model.layers}
    if not kinds:
        return "none"
    if "state" in kinds:
        return "linear_hybrid" if len(kinds) > 1 else "linear"
    if kinds & {"sliding", "chunked"}:
        return "sliding_hybrid" if len(kinds) > 1 else "sliding"
    for kind, word in (("compressed", "compressed"), ("block_sparse", "block_sparse"), ("latent", "mla")):
        if kind in kinds:
            return word
    return "mha" if metadata.num_key_value_heads == metadata.num_attention_heads else "gqa"
