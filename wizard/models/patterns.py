"""Which layer is of which kind: the spellings that configs use for hybrids and sparse layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.errors import ConfigError
from wizard.models.facts import Facts
from wizard.models.metadata import short


def _listed(facts: Facts, index: int, *keys: str) -> str:
    """The entry of a list with one word per layer; empty where no such list is given."""
    for key in keys:
        values = facts.list(key)
        if values is not None:
            if index >= len(values):
                raise ConfigError(f"config.json: {key} has {len(values)} entries, fewer than the layers.")
            return str(values[index])
    return ""


def _words(facts: Facts, index: int) -> str:
    return _listed(facts, index, "layer_types", "layers_block_type")


def _mamba_words(facts: Facts, index: int) -> str:
    """Transformers 5 calls state-space layers linear attention, and the others full attention."""
    word = _words(facts, index)
    return {"linear_attention": "mamba", "full_attention": "attention"}.get(word, word)


def _every_nth_is_full(facts: Facts, index: int) -> str:
    """Qwen3-Next: every `full_attention_interval`-th layer attends fully, unless listed."""
    listed = _words(facts, index)
    if listed:
        return listed
    interval = max(1, facts.int("full_attention_interval", default=4))
    return "linear_attention" if (index + 1) % interval else "full_attention"


def _letters(facts: Facts, index: int) -> str:
    """Nemotron-H: one letter per layer, or a list of words."""
    words = _mamba_words(facts, index)
    if words:
        return words
    pattern = facts.text("hybrid_override_pattern")
    if index >= len(pattern):
        raise ConfigError(
            f"config.json: hybrid_override_pattern {short(pattern)} is shorter than the layers."
        )
    return {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}.get(pattern[index], pattern[index])


def _full_indices(facts: Facts, index: int) -> str:
    """LFM2: the layers that attend are listed by index; the others convolve."""
    listed = _words(facts, index)
    if listed:
        return listed
    full = facts.list("full_attn_idxs")
    return "full_attention" if full is None or index in full else "conv"


def _period(facts: Facts, index: int) -> str:
    """Jamba: one attention layer per period, at an offset."""
    listed = _mamba_words(facts, index)
    if listed:
        return listed
    period = max(1, facts.int("attn_layer_period", default=8))
    return "attention" if index % period == facts.int("attn_layer_offset", default=4) else "mamba"


def _kimi_linear(facts: Facts, index: int) -> str:
    """Kimi Linear: full-attention layers are counted from 1."""
    section = facts.part("linear_attn_config")
    full = section.list("full_attn_layers") if section else None
    return "full_attention" if full is None or index + 1 in full else "linear_attention"


def _binary_hybrid(facts: Facts, index: int) -> str:
    """MiMo-V2: 1 is a sliding-window layer."""
    return (
        "sliding_attention" if facts.item("hybrid_layer_pattern", index, default=0) == 1 else "full_attention"
    )


def _alternating(facts: Facts, index: int) -> str:
    return _words(facts, index) or ("full_attention" if index % 2 else "sliding_attention")


def _sliding_pattern(facts: Facts, index: int) -> str:
    """Gemma 3, Cohere 2: every N-th layer attends fully."""
    listed = _words(facts, index)
    if listed:
        return listed
    for key in ("sliding_window_pattern", "_sliding_window_pattern"):
        if facts.has(key):
            pattern = facts.get(key)
            if isinstance(pattern, str):
                return "full_attention" if pattern[index % len(pattern) :][:1] == "G" else "sliding_attention"
            every = max(1, facts.int(key))
            return "sliding_attention" if (index + 1) % every else "full_attention"
    return "full_attention"


PLAIN_ROPE = "plain_rope"
"""The word for layers whose rotation isn't scaled."""


def _scaled_layers(facts: Facts, index: int) -> str:
    """Molmo 2: `rope_scaling_layers` lists the layers whose rotation is scaled; all are where it is absent."""
    listed = facts.list("rope_scaling_layers")
    return PLAIN_ROPE if listed is not None and index not in listed else ""


PATTERNS: Mapping[str, Callable[[Facts, int], str]] = {
    "words": _words,
    "mamba_words": _mamba_words,
    "every_nth_is_full": _every_nth_is_full,
    "letters": _letters,
    "full_indices": _full_indices,
    "period": _period,
    "kimi_linear": _kimi_linear,
    "binary_hybrid": _binary_hybrid,
    "alternating": _alternating,
    "sliding_pattern": _sliding_pattern,
    "scaled_layers": _scaled_layers,
}


def _always(facts: Facts, index: int) -> bool:
    return True


def _if_experts(facts: Facts, index: int) -> bool:
    return facts.int("num_experts", "num_local_experts", "n_routed_experts", default=0) > 0


def _after_dense(facts: Facts, index: int) -> bool:
    """DeepSeek: dense layers first, then every `moe_layer_freq`-th is sparse; or a word per layer."""
    word = _listed(facts, index, "mlp_layer_types")
    if word:
        return word != "dense"
    if not facts.has("n_routed_experts") and not facts.has("num_experts"):
        return False
    frequency = facts.get("moe_layer_freq")
    if isinstance(frequency, list | tuple):
        return bool(facts.item("moe_layer_freq", index))
    every = max(1, facts.int("moe_layer_freq", default=1))
    return index >= facts.int("first_k_dense_replace", "num_dense_layers", default=0) and index % every == 0


def _step(facts: Facts, index: int) -> bool:
    """Qwen: every `decoder_sparse_step`-th, but for `mlp_only_layers`."""
    dense = facts.list("mlp_only_layers") or ()
    step = max(1, facts.int("decoder_sparse_step", default=1))
    experts = facts.int("num_experts", default=0)
    return index not in dense and experts > 0 and (index + 1) % step == 0


def _frequency_list(facts: Facts, index: int) -> bool:
    """MiMo-V2: 0 or 1 per layer; a number alone means dense."""
    values = facts.list("moe_layer_freq") if isinstance(facts.get("moe_layer_freq"), list | tuple) else None
    return values is not None and bool(facts.item("moe_layer_freq", index))


def _interleaved(facts: Facts, index: int) -> bool:
    """Llama 4: every `interleave_moe_layer_step`-th, or the listed ones."""
    listed = facts.list("moe_layers")
    if listed is not None:
        return index in listed
    step = facts.int("interleave_moe_layer_step", default=1)
    return step > 0 and (index + 1) % step == 0


def _mlp_words(facts: Facts, index: int) -> bool:
    """`mlp_layer_types`: sparse or dense per layer."""
    word = _listed(facts, index, "mlp_layer_types")
    return word != "dense" if word else _step(facts, index)


def _ernie(facts: Facts, index: int) -> bool:
    experts = facts.int("moe_num_experts", default=0)
    start = facts.int("moe_layer_start_index", default=0)
    end = facts.int("moe_layer_end_index", default=facts.layers - 1)
    interval = max(1, facts.int("moe_layer_interval", default=1))
    return experts > 0 and (index + 1) % interval == 0 and start <= index <= end


def _expert_period(facts: Facts, index: int) -> bool:
    period = max(1, facts.int("expert_layer_period", default=2))
    experts = facts.int("num_experts", default=16)
    return experts > 1 and index % period == facts.int("expert_layer_offset", default=1)


def _lfm2(facts: Facts, index: int) -> bool:
    return index >= facts.int("num_dense_layers", default=0)


def _step_moe(facts: Facts, index: int) -> bool:
    """Step 3.5: the sparse layers are listed, as a list, as text with commas or by a word per layer."""
    word = _listed(facts, index, "mlp_layer_types")
    if word:
        return word == "sparse"
    listed = facts.get("moe_layers_enum")
    if isinstance(listed, str):
        return str(index) in [item.strip() for item in listed.split(",")]
    if isinstance(listed, list | tuple):
        return index in listed
    return index >= 1


SPARSE: Mapping[str, Callable[[Facts, int], bool]] = {
    "always": _always,
    "if_experts": _if_experts,
    "after_dense": _after_dense,
    "step": _step,
    "frequency_list": _frequency_list,
    "interleaved": _interleaved,
    "mlp_words": _mlp_words,
    "ernie": _ernie,
    "expert_period": _expert_period,
    "lfm2": _lfm2,
    "step_moe": _step_moe,
}
