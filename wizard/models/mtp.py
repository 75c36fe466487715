"""What speculative decoding loads beside the model: multi-token-prediction layers, or one EAGLE layer.

Embedding and output head are the model's own (vLLM shares them), but for EAGLE-3's head over fewer words. An EAGLE
head whose own config is not at hand is taken to be one dense layer of the model's shape.
Sources: vLLM 0.33 `model_executor/models/{deepseek_mtp,glm4_moe_mtp,mimo_mtp,qwen3_next_mtp,qwen3_5_mtp,
nemotron_h_mtp,llama_eagle3}.py`, `v1/spec_decode/llm_base_proposer.py` (sharing).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from wizard.dataclass import replace
from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.drafts import HEADS, draft_modules
from wizard.models.facts import LARGEST_LAYER_COUNT, Facts
from wizard.models.layers import LAYERS
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import Block, Linear, Module, Tensor, Vocabulary
from wizard.models.tree import traits_for

FUSED_STATES = 3
"""Hidden states of the model that EAGLE-3 reads."""


DRAFT_WORDS = 32_000
"""Words that published EAGLE-3 heads predict (`draft_vocab_size`; SpecForge's and EAGLE's own)."""


def draft_blocks(
    metadata: ModelMetadata, method: str | None, draft: ModelMetadata | None = None
) -> tuple[Block, ...]:
    """The layers that `method` loads; none for methods without layers or models without them.

    `draft`: the facts of an EAGLE head, where they are at hand.

    Raises ConfigError where the model can't be described.
    """
    traits = traits_for(metadata)
    facts = Facts(metadata.text, traits.defaults)
    if method == "eagle3":
        return tuple(_eagle3(facts, traits, Facts(draft.text) if draft is not None else None))
    if method in HEADS:
        return (_eagle(facts, traits),)
    if method != "mtp" and not (method or "").endswith("_mtp"):
        return ()
    count = max(1, draft_modules(metadata))
    pattern = facts.get("mtp_hybrid_override_pattern")
    if isinstance(pattern, str) and traits.layer == "nemotron_h":
        return _patterned(facts, traits, pattern, count)
    if traits.draft == "apart":
        return (
            Block("mtp.layers.{}", tuple(range(count)), (*_layer(facts, traits), *_entry(facts, "column"))),
        )
    first = facts.layers
    modules = (*_layer(facts, traits), *_entry(facts, "whole"))
    return (Block(f"{traits.prefix}.{traits.layers}.{{}}", tuple(range(first, first + count)), modules),)


def _layer(facts: Facts, traits: Traits) -> list[Module]:
    """One further layer of the model's last kind: full attention, sparse where the model is."""
    simple = (
        replace(traits, layer_types="", moe="always" if traits.moe else "")
        if traits.layer == "standard"
        else traits
    )
    return LAYERS[traits.layer](facts, simple, facts.layers)


def _entry(facts: Facts, split: Literal["column", "whole"]) -> list[Module]:
    """Token and hidden state are normed and projected to one; a norm follows the layer."""
    hidden = hidden_size(facts)
    return [
        Linear("eh_proj", 2 * hidden, (hidden,), split, quantised=False),
        Tensor("draft_norms", 3 * hidden),
    ]


def _patterned(facts: Facts, traits: Traits, pattern: str, count: int) -> tuple[Block, ...]:
    """Nemotron-H: the draft has a pattern of its own, repeated."""
    blocks: list[Block] = []
    for place, letter in enumerate(pattern):
        own = Facts(
            {
                **facts.values,
                "hybrid_override_pattern": letter,
                "layers_block_type": None,
                "layer_types": None,
            }
        )
        modules = LAYERS[traits.layer](own, traits, 0)
        if place == 0:
            modules = [*modules, *_entry(facts, "column")]
        indices = tuple(range(place, count * len(pattern), len(pattern)))
        blocks.append(Block("mtp.layers.{}", indices, tuple(modules)))
    return tuple(blocks)


def _dense(facts: Facts, traits: Traits) -> list[Module]:
    """One dense layer of these widths."""
    hidden = hidden_size(facts)
    dense = Traits(qkv_bias=traits.qkv_bias, head_dim_from_hidden=traits.head_dim_from_hidden, rope="none")
    heads = {key: facts.get(key) for key in ("num_attention_heads", "num_key_value_heads", "head_dim")}
    width = facts.get("intermediate_size")
    own = Facts(
        {**heads, "hidden_size": hidden, "intermediate_size": width if isinstance(width, int) else 4 * hidden}
    )
    return LAYERS["standard"](own, dense, 0)


def _eagle(facts: Facts, traits: Traits) -> Block:
    hidden = hidden_size(facts)
    entry: list[Module] = [Linear("fc", 2 * hidden, (hidden,), "whole", quantised=False)]
    return Block("draft.layers.{}", (0,), (*_dense(facts, traits), *entry))


def _eagle3(target: Facts, traits: Traits, told: Facts | None) -> Iterator[Block]:
    """EAGLE-3: the first layer reads token and state side by side; a head of its own over fewer words."""
    facts = told or target
    hidden = hidden_size(facts)
    own = traits if told is None else Traits(qkv_bias=("attention_bias",))
    layer: list[Module] = [*_dense(facts, own), Tensor("hidden_norm", hidden)]
    first = [
        replace(module, inputs=2 * hidden)
        if isinstance(module, Linear) and module.name.endswith(own.qkv)
        else module
        for module in layer
    ]
    told = told or Facts({})
    states = (told.part("eagle_config") or Facts({})).list("eagle_aux_hidden_state_layer_ids")
    fused = told.int("num_aux_hidden_states", default=len(states or ()) or FUSED_STATES)
    inputs = told.int("target_hidden_size", default=hidden_size(target)) * fused
    all_words = facts.int("vocab_size", low=1)
    words = told.int(
        "draft_vocab_size", default=min(DRAFT_WORDS, all_words) if not told.values else all_words
    )
    ends: list[Module] = [
        Linear("fc", inputs, (hidden,), "whole", quantised=False),
        Tensor("draft_norm", hidden),
        Vocabulary("lm_head", words, hidden, head=True, quantised=False),
        Tensor("draft_id_to_target_id", words, dtype="int64"),
    ]
    count = told.int("num_hidden_layers", default=1, low=1)
    yield Block("draft.layers.{}", (0,), (*first, *ends))
    if count > 1:
        yield Block("draft.layers.{}", tuple(range(1, min(count, LARGEST_LAYER_COUNT))), tuple(layer))
