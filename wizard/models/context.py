"""How long a sequence may be: the maximum that vLLM derives from a model's config.

Source: vLLM 0.33 `transformers_utils/model_arch_config_convertor.py` (`derive_max_model_len_and_key`) and
`config/model.py` (`_get_and_verify_max_len`); 0.19.1's beside it for the YaRN rule that changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wizard.dataclass import dataclass
from wizard.errors import ConfigError
from wizard.models.config_values import LARGEST_DIMENSION, section, short

LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""Config keys that may bound the length; the smallest counts."""

ALIASED_KEYS = frozenset({"n_positions", "max_seq_len", "seq_length"})
"""Read by transformers as `max_position_embeddings`, which is then the name in vLLM's message."""

DEFAULT_LENGTH = 2048
"""Where the config bounds nothing."""

ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
"""RoPE types whose `max_position_embeddings` already holds the scaled length."""

SCALED_SINCE_YARN_CHANGED = frozenset({"su", "longrope", "llama3"})
"""The same before YaRN joined them: there it multiplied the original length."""

NOT_SCALED = "gemma3"
"""A model type containing this is never scaled."""

YARN_CHANGED = (0, 30, 0)
"""Since then YaRN leaves the length alone; before, it multiplied the original length (wheels 0.11-0.33)."""


@dataclass(frozen=True, slots=True)
class DerivedLength:
    """What vLLM makes of the config's length keys."""

    length: int
    """The derived maximum: a longer --max-model-len is refused."""
    default: int
    """Taken where --max-model-len is not given; shorter than `length` for LongRoPE."""
    key: str | None
    """The config key that decided, as vLLM names it; `None` where none did."""
    model_max_length: int | None
    """The config's own `model_max_length`: allows more than `length`."""

    def allows(self, max_model_len: int) -> bool:
        """True where vLLM accepts this --max-model-len."""
        return max_model_len <= self.length or (
            self.model_max_length is not None and max_model_len <= self.model_max_length
        )


def derived_length(
    text: Mapping[str, Any],
    *,
    number: tuple[int, int, int] = YARN_CHANGED,
    tokenizer_config: Mapping[str, Any] | None = None,
    encoder_max_length: int | None = None,
) -> DerivedLength:
    """The maximum length of the decoder described by `text`, in tokens.

    `number` is the vLLM version; `tokenizer_config` counts for pooling models with absolute positions
    alone, as `encoder_max_length` (sentence_bert_config.json) does. Raises ConfigError for a length that
    is no positive number.
    """
    bound, key = _smallest(text)
    model_max_length = _length(text, "model_max_length")
    if model_max_length:
        bound, key = float(model_max_length), "model_max_length"
    if tokenizer_config is not None and text.get("position_embedding_type") == "absolute":
        limit = tokenizer_config.get("model_max_length")
        if isinstance(limit, int | float) and not isinstance(limit, bool) and limit >= 1:
            bound = min(bound, float(limit))
    if bound == float("inf"):
        bound = DEFAULT_LENGTH
    ropes = list(rope_parameters(text))
    if ropes and NOT_SCALED not in str(text.get("model_type") or ""):
        bound = _scaled(bound, ropes, number)
    if encoder_max_length is not None:
        bound = encoder_max_length
    length = _whole(bound)
    default = length
    if any(_rope_type(rope) == "longrope" for rope in ropes):
        default = _original_length(text, ropes) or length
    return DerivedLength(length, default, key, model_max_length)


def rope_parameters(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every RoPE description of a config: `rope_parameters` or `rope_scaling`, one per layer type if nested."""
    for name in ("rope_parameters", "rope_scaling"):
        value = text.get(name)
        if not isinstance(value, Mapping) or not value:
            continue
        nested = [item for item in value.values() if isinstance(item, Mapping)]
        if nested and not ("rope_type" in value or "type" in value or "rope_theta" in value):
            yield from nested
        else:
            yield value
        return


def _smallest(text: Mapping[str, Any]) -> tuple[float, str | None]:
    bound, key = float("inf"), None
    for name in LENGTH_KEYS:
        length = _length(text, name)
        if length is not None and length < bound:
            bound, key = float(length), "max_position_embeddings" if name in ALIASED_KEYS else name
    return bound, key


def _scaled(bound: float, ropes: list[Mapping[str, Any]], number: tuple[int, int, int]) -> float:
    """`bound` times the scaling factor of the last RoPE type that scales."""
    exempt = ALREADY_SCALED if number >= YARN_CHANGED else SCALED_SINCE_YARN_CHANGED
    factor = 1.0
    for rope in ropes:
        rope_type = _rope_type(rope)
        if rope_type in exempt:
            continue
        factor = _number(rope, "factor", factor)
        if rope_type == "yarn":
            bound = _number(rope, "original_max_position_embeddings", bound)
    return bound * factor


def _rope_type(rope: Mapping[str, Any]) -> str:
    value = rope.get("rope_type", rope.get("type"))
    return "longrope" if value == "su" else str(value or "default")


def _original_length(text: Mapping[str, Any], ropes: list[Mapping[str, Any]]) -> int | None:
    for part in (text, *ropes):
        value = _length(part, "original_max_position_embeddings")
        if value:
            return value
    return None


def _length(part: Mapping[str, Any], name: str) -> int | None:
    """A length in tokens, or `None` where the config has none. Raises ConfigError."""
    value = part.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LARGEST_DIMENSION:
        raise ConfigError(f"config.json: {name} must be a length in tokens, not {short(value)}.")
    return int(value)


def _number(rope: Mapping[str, Any], name: str, default: float) -> float:
    value = rope.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_DIMENSION:
        raise ConfigError(f"config.json: the RoPE {name} must be a positive number, not {short(value)}.")
    return float(value)


def _whole(length: float) -> int:
    if not 1 <= length <= LARGEST_DIMENSION:
        raise ConfigError(
            f"config.json allows a context of {short(length)} tokens, out of any model's range."
        )
    return int(length)


def sentence_length(config: Mapping[str, Any] | None) -> int | None:
    """`max_seq_length` of a parsed sentence_bert_config.json, where there is one."""
    if config is None:
        return None
    part = section({"encoder": config}, "encoder")
    return _length(part, "max_seq_length") if part else None
