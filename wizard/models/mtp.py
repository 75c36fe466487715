"""What speculative decoding loads beside the model: multi-token-prediction layers, or one EAGLE layer.

Embedding and output head are the model's own (vLLM shares them). An EAGLE head's config is not at hand, so it
is taken to be one dense layer of the model's shape.
Sources: vLLM 0.33 `model_executor/models/{deepseek_mtp,glm4_moe_mtp,mimo_mtp,qwen3_next_mtp,qwen3_5_mtp,
nemotron_h_mtp,llama_eagle3}.py`, `v1/spec_decode/llm_base_proposer.py` (sharing).
"""

from __future__ import annotations

from typing import Literal

from wizard.dataclass import replace
from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.drafts import HEADS, draft_modules
from wizard.models.facts import Facts
from wizard.models.layers import LAYERS
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import Block, Linear, Module, Tensor
from wizard.models.tree import traits_for

FUSED_STATES = 3
"""Hidden states of the model that EAGLE-3 reads."""


def draft_blocks(metadata: ModelMetadata, method: str | None) -> tuple[Block, ...]:
    """The layers that `method` loads; none for methods without layers or models without them.

    Raises ConfigError where the model can't be described.
    """
    traits = traits_for(metadata)
    facts = Facts(metadata.text, traits.defaults)
    if method in HEADS:
        return (_eagle(facts, traits, FUSED_STATES if method == "eagle3" else 2),)
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


def _eagle(facts: Facts, traits: Traits, states: int) -> Block:
    hidden = hidden_size(facts)
    dense = Traits(qkv_bias=traits.qkv_bias, head_dim_from_hidden=traits.head_dim_from_hidden, rope="none")
    heads = {key: facts.get(key) for key in ("num_attention_heads", "num_key_value_heads", "head_dim")}
    width = facts.get("intermediate_size")
    own = Facts(
        {**heads, "hidden_size": hidden, "intermediate_size": width if isinstance(width, int) else 4 * hidden}
    )
    modules = LAYERS["standard"](own, dense, 0)
    entry: list[Module] = [Linear("fc", states * hidden, (hidden,), "whole", quantised=False)]
    return Block("draft.layers.{}", (0,), (*modules, *entry))
