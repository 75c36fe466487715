"""Layers that speculative decoding adds to the cache: multi-token-prediction modules and EAGLE heads.

Source: vLLM 0.33 `config/speculative.py` (`hf_config_override`), `model_executor/models/*_mtp.py`, `*eagle*.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.cache_layers import CacheLayer, CacheModel, cache_model
from wizard.models.facts import LARGEST_LAYER_COUNT, Facts
from wizard.models.metadata import ModelMetadata

MODULE_KEYS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers")
"""Config keys that count multi-token-prediction layers."""

MTP_TYPES = frozenset(
    {
        "bailing_hybrid",
        "deepseek_v3",
        "deepseek_v32",
        "deepseek_v4",
        "dots3_note",
        "ernie4_5_moe",
        "exaone4_5",
        "exaone_moe",
        "glm4_moe",
        "glm4_moe_lite",
        "glm5_next",
        "glm_moe_dsa",
        "glm_ocr",
        "hy_v3",
        "hy_v4",
        "inkling",
        "kimi_k3",
        "longcat_flash",
        "mimo",
        "mimo_v2",
        "mimo_v2_flash",
        "minimax_m3",
        "minimax_m3_vl",
        "nemotron_h",
        "nemotron_h_puzzle",
        "pangu_ultra_moe",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_next",
        "qwen4_exp",
        "qwen4_exp_text",
        "step3p5",
        "step3p7",
        "step5",
    }
)
"""Model types whose multi-token-prediction modules vLLM can run."""

NGRAM = frozenset({"ngram", "[ngram]"})
"""What a method or a bare model's name may say for drafts taken from the prompt."""

WITHOUT_MODEL = NGRAM | {"ngram_gpu", "suffix", "extract_hidden_states"}
"""Methods that load no model, whatever a config names beside them (`config/speculative.py`)."""

HEADS = frozenset({"eagle", "eagle3"})
"""Methods whose draft is a head of decoder layers: one like the target's, where its own config is not at hand."""


def method_of(speculative: Mapping[str, Any] | None) -> str | None:
    """The method that a speculative config means; a bare model's name tells it.

    Source: vLLM 0.33 `config/speculative.py` (`__post_init__`).
    """
    if not speculative:
        return None
    method, name = speculative.get("method"), speculative.get("model")
    if isinstance(method, str):
        return method
    if not isinstance(name, str):
        return None
    if name in NGRAM:
        return "ngram"
    lower = name.lower()
    return "eagle" if "eagle-" in lower else "eagle3" if "eagle3" in lower else "draft_model"


def draft_named(speculative: object) -> tuple[str, str | None] | None:
    """Name and revision of the model that a speculative config drafts with; None where it names none."""
    if not isinstance(speculative, Mapping) or method_of(speculative) in WITHOUT_MODEL:
        return None
    name, revision = speculative.get("model"), speculative.get("revision")
    if not isinstance(name, str) or not name:
        return None
    return name, revision if isinstance(revision, str) else None


def draft_of(metadata: ModelMetadata, speculative: Mapping[str, Any] | None) -> ModelMetadata | None:
    """Facts of the model that drafts, where they were read along and tell its weights and cache."""
    name = (speculative or {}).get("model")
    draft = metadata.drafts.get(name) if isinstance(name, str) else None
    if draft is None:
        return None
    is_head = method_of(speculative) in HEADS
    known = _described.setdefault(draft, {})
    if is_head not in known:
        known[is_head] = _is_described(draft, is_head=is_head)
    return draft if known[is_head] else None


_described: WeakKeyDictionary[ModelMetadata, dict[bool, bool]] = WeakKeyDictionary()
"""Whether a draft can be sized, as a head (True) or as a whole model."""


def _is_described(draft: ModelMetadata, *, is_head: bool) -> bool:
    try:
        cache_model(draft)
        if is_head:
            Facts(draft.text).int("vocab_size", low=1)
        else:
            from wizard.models.schemes import schemed_model

            schemed_model(draft, None)
    except ConfigError:
        return False
    return True


def predicts_tokens(metadata: ModelMetadata) -> bool:
    """True where vLLM knows the model's multi-token-prediction modules."""
    return metadata.model_type in MTP_TYPES or metadata.text_type in MTP_TYPES


def draft_modules(metadata: ModelMetadata) -> int:
    """Multi-token-prediction layers of the checkpoint; 0 where its config counts none."""
    facts = Facts(metadata.text)
    count = facts.int(*MODULE_KEYS, default=0)
    return min(count, LARGEST_LAYER_COUNT)


def draft_layers(
    metadata: ModelMetadata, model: CacheModel, method: str | None, speculative: Mapping[str, Any] | None
) -> tuple[CacheLayer, ...]:
    """The cache layers that a speculative method adds, all on the last pipeline stage."""
    draft = draft_of(metadata, speculative)
    if draft is not None and (method == "draft_model" or method in HEADS):
        own = cache_model(draft)
        return tuple(
            replace(_windowed(layer, own.window, model.window), index=model.num_layers - 1)
            for layer in own.layers
        )
    if method in HEADS:
        return _copies(model, 1)
    if method != "mtp" and not (method or "").endswith("_mtp"):
        return ()
    pattern = metadata.text.get("mtp_hybrid_override_pattern")
    if isinstance(pattern, str):
        return _copies(model, min(pattern.count("*"), LARGEST_LAYER_COUNT))
    return _copies(model, max(1, draft_modules(metadata)))


def _windowed(layer: CacheLayer, own: int, targets: int) -> CacheLayer:
    """A layer of a draft, which takes the window of a whole model from the target's config, not from its own.

    Source: vLLM 0.33 `layers/attention/attention.py` (`cache_config.sliding_window` where a layer names no window).
    """
    if layer.kind == "sliding" and layer.window == own:
        layer = replace(layer, kind="full", window=0)
    return replace(layer, kind="sliding", window=targets) if layer.kind == "full" and targets else layer


def _copies(model: CacheModel, count: int) -> tuple[CacheLayer, ...]:
    """`count` layers like the model's whole-sequence ones; a compressed model's drafts keep a window alone."""
    attending = [layer for layer in model.layers if layer.kind != "state"]
    if not attending:
        return ()
    whole = [layer for layer in attending if layer.kind not in ("sliding", "chunked")] or attending
    layer = replace(next((item for item in whole if item.leads_index), whole[-1]), index=model.num_layers - 1)
    if layer.kind == "compressed":
        layer = replace(layer, ratio=0, index_dim=0)
    return (layer,) * count
