"""Text encoders: BERT and its kin, layer by layer, with their embeddings and heads.

Sources: vLLM 0.33 `model_executor/models/{bert,roberta,bert_with_rope,modernbert,adapters,qwen2_rm}.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.models.architectures import Traits
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.late import Late
from wizard.models.modules import CacheScales, Linear, Module, Tensor, Vocabulary


def bert_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Attention and MLP with biases, a norm after each."""
    hidden = hidden_size(facts)
    width = facts.int("intermediate_size", low=1)
    return [
        Linear(
            "attention.self.qkv_proj",
            hidden,
            (hidden, hidden, hidden),
            bias=True,
            parts=("query", "key", "value"),
        ),
        Linear("attention.output.dense", hidden, (hidden,), "row", True),
        Linear("intermediate.dense", hidden, (width,), bias=True),
        Linear("output.dense", width, (hidden,), "row", True),
        CacheScales("attention.self.attn"),
        Tensor("norms", 4 * hidden),
    ]


def bert_embeddings(facts: Facts, traits: Traits) -> list[Module]:
    """Position and segment tables, cut by TP like the vocabulary, and their norm."""
    hidden = hidden_size(facts)
    positions = facts.int("max_position_embeddings", default=512)
    segments = facts.int("type_vocab_size", default=2)
    name = f"{traits.prefix}.embeddings"
    return [
        Vocabulary(f"{name}.position_embeddings", positions, hidden, quantised=False),
        Vocabulary(f"{name}.token_type_embeddings", segments, hidden, quantised=False),
        Tensor(f"{name}.LayerNorm", 2 * hidden),
        Tensor(f"{name}.position_ids", positions, dtype="int64", buffer=True),
    ]


def bert_pooler(facts: Facts, traits: Traits) -> list[Module]:
    hidden = hidden_size(facts)
    return [Linear("bert.pooler.dense", hidden, (hidden,), "whole", True, quantised=False, dtype="float32")]


def learned_positions(facts: Facts, traits: Traits) -> list[Module]:
    """A table of positions, whole on every rank."""
    rows = facts.int("n_positions", "max_position_embeddings", default=1024) + traits.position_offset
    return [Tensor(f"{traits.prefix}.positions", rows * hidden_size(facts))]


def embedding_projections(facts: Facts, traits: Traits) -> list[Module]:
    """OPT: embeddings of another width than the layers', with a matrix into them and one out, whole everywhere."""
    hidden = hidden_size(facts)
    wide = facts.int(*traits.embedding_width, default=hidden, low=1)
    if wide == hidden:
        return []
    return [
        Linear(f"{traits.prefix}.project_in", wide, (hidden,), "whole"),
        Linear(f"{traits.prefix}.project_out", hidden, (wide,), "whole"),
    ]


def causal_mask(facts: Facts, traits: Traits) -> list[Module]:
    """GPT-BigCode of transformers keeps a square mask."""
    rows = facts.int("n_positions", "max_position_embeddings", default=1024)
    return [Tensor(f"{traits.prefix}.bias", rows * rows, dtype="bool", buffer=True)]


def word_embedding_norm(facts: Facts, traits: Traits) -> list[Module]:
    return [Tensor(f"{traits.prefix}.word_embeddings_layernorm", 2 * hidden_size(facts))]


def per_layer_embeddings(facts: Facts, traits: Traits) -> list[Module]:
    """Gemma 3n and 4: a second embedding table with a slice for every layer."""
    width = facts.int("hidden_size_per_layer_input", default=0)
    if not width:
        return []
    rows = facts.int("vocab_size_per_layer_input", "vocab_size", low=1)
    name = traits.prefix
    total = width * facts.layers
    return [
        Vocabulary(f"{name}.embed_tokens_per_layer", rows, total),
        Linear(f"{name}.per_layer_model_projection", hidden_size(facts), (total,)),
        Tensor(f"{name}.per_layer_projection_norm", width),
        Tensor(f"{name}.per_layer_scales", 3, buffer=True),
    ]


EXTRAS: Late[Callable[[Facts, Traits], list[Module]]] = Late(
    {
        "residual_output": "kimi.residual_output",
        "gemma3n_ends": "gemma3n.gemma3n_ends",
        "modern_bert_embeddings": "encoders_rotary.modern_bert_embeddings",
        "rotary_bert_embeddings": "encoders_rotary.rotary_bert_embeddings",
        "whisper_positions": "whisper.whisper_positions",
        "hyper_connection_head": "deepseek_v4.hyper_connection_head",
    },
    bert_embeddings=bert_embeddings,
    bert_pooler=bert_pooler,
    learned_positions=learned_positions,
    causal_mask=causal_mask,
    embedding_projections=embedding_projections,
    word_embedding_norm=word_embedding_norm,
    per_layer_embeddings=per_layer_embeddings,
)


def labels(facts: Facts) -> int:
    """Classes of a classifier: `num_labels`, else the entries of `id2label`, else two."""
    names = facts.get("id2label")
    if isinstance(names, Mapping) and names:
        return len(names)
    return facts.int("num_labels", default=2, low=1)


def score_head(facts: Facts, config: Facts) -> list[Module]:
    """A decoder turned classifier: one float32 matrix instead of the output head."""
    return [Linear("score", hidden_size(facts), (labels(config),), "whole", quantised=False, dtype="float32")]


def _reward(facts: Facts, classes: int) -> list[Module]:
    """Qwen2 as a reward model: two float32 matrices, whatever `num_labels` says."""
    hidden = hidden_size(facts)
    return [
        Linear("score.0", hidden, (hidden,), "column", True, dtype="float32"),
        Linear("score.2", hidden, (classes,), "row", True, dtype="float32"),
    ]


def reward(facts: Facts, config: Facts) -> list[Module]:
    return _reward(facts, 1)


def process_reward(facts: Facts, config: Facts) -> list[Module]:
    return _reward(facts, 2)


def value_head(facts: Facts, config: Facts) -> list[Module]:
    return [Linear("v_head", hidden_size(facts), (1,), "row", quantised=False, dtype="float32")]


def masked_head(facts: Facts, config: Facts) -> list[Module]:
    """A dense layer, a norm and a table of words with their biases."""
    hidden, words = hidden_size(facts), facts.int("vocab_size", low=1)
    return [
        Linear("mlm_head.dense", hidden, (hidden,), "whole", True, quantised=False),
        Tensor("mlm_head.layer_norm", 2 * hidden),
        Linear("mlm_head.decoder", hidden, (words,), "whole", True, quantised=False),
    ]


def modern_classifier(facts: Facts, config: Facts) -> list[Module]:
    """ModernBERT: a pooling layer and the classifier, both float32."""
    hidden = hidden_size(facts)
    bias = facts.flag("classifier_bias")
    return [
        Linear("pooling.dense", hidden, (hidden,), "whole", bias, quantised=False, dtype="float32"),
        Tensor("pooling.norm", hidden, dtype="float32"),
        *classifier(facts, config),
    ]


def modern_tokens(facts: Facts, config: Facts) -> list[Module]:
    """ModernBERT that classes tokens: the head is of the model's dtype."""
    hidden = hidden_size(facts)
    bias = facts.flag("classifier_bias")
    return [
        Linear("head.dense", hidden, (hidden,), "whole", bias, quantised=False),
        Tensor("head.norm", hidden),
        *classifier(facts, config),
    ]


def roberta_classifier(facts: Facts, config: Facts) -> list[Module]:
    hidden = hidden_size(facts)
    return [
        Linear("classifier.dense", hidden, (hidden,), "whole", True, quantised=False, dtype="float32"),
        Linear(
            "classifier.out_proj", hidden, (labels(config),), "whole", True, quantised=False, dtype="float32"
        ),
    ]


def classifier(facts: Facts, config: Facts) -> list[Module]:
    hidden = hidden_size(facts)
    return [Linear("classifier", hidden, (labels(config),), "whole", True, quantised=False, dtype="float32")]


POOLERS: Mapping[str, Callable[[Facts, Facts], list[Module]]] = {
    "score": score_head,
    "reward": reward,
    "process_reward": process_reward,
    "value_head": value_head,
    "roberta_classifier": roberta_classifier,
    "classifier": classifier,
    "masked_head": masked_head,
    "modern_classifier": modern_classifier,
    "modern_tokens": modern_tokens,
}
