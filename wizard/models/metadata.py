"""config.json -> facts. Pure but for `load_model_metadata`, which finds the file first.

A config is text from outside: every value is checked for type and range before it is used, and
anything unusable raises `ConfigError` with one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wizard.errors import ConfigError

Source = Literal["hub", "cache", "path", "catalogue"]

LARGEST_DIMENSION = 1 << 28
"""No width, count or length of a real model reaches this; a larger number is a broken file."""

TEXT_CONFIG_KEYS = ("text_config", "language_config", "llm_config", "thinker_config")
"""Where multimodal configs nest their decoder (transformers' `get_text_config` names)."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    dtype: str
    """As in the header: BF16, F8_E4M3, I32, U8 ..."""
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What is stored, read from safetensors headers alone."""

    tensors: Mapping[str, TensorInfo]
    total_bytes: int
    complete: bool = True
    """False where files named by the index are missing (an unfinished download)."""


@dataclass(frozen=True, eq=False)
class ModelMetadata:
    """The facts of one model that memory and speed depend on."""

    model: str
    """Hugging Face id or directory, as given."""
    source: Source
    config: Mapping[str, Any]
    """The whole config.json."""
    text: Mapping[str, Any]
    """The decoder's part of it (the whole where nothing is nested)."""
    architecture: str
    model_type: str
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    """The derived maximum length: vLLM refuses a larger --max-model-len."""
    dtype: str
    """Of the checkpoint: bfloat16, float16 or float32."""
    tie_word_embeddings: bool
    quantization_config: Mapping[str, Any] | None = None
    """From config.json (root, text_config or compression_config) or hf_quant_config.json."""
    revision: str | None = None
    checkpoint: Checkpoint | None = None
    num_experts: int = 0
    num_experts_per_token: int = 0
    moe_intermediate_size: int = 0
    license: str | None = None
    gated: bool = False
    needs_remote_code: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def is_moe(self) -> bool:
        return self.num_experts > 0

    @property
    def is_mla(self) -> bool:
        """Multi-head latent attention: one latent per token instead of K and V heads."""
        return bool(self.text.get("kv_lora_rank")) and bool(self.text.get("qk_rope_head_dim"))


def integer(config: Mapping[str, Any], *names: str, default: int | None = None, low: int = 0) -> int:
    """The first of `names` that is present and not null, as an int in [low, LARGEST_DIMENSION].

    Raises ConfigError when it is not a whole number, out of range, or missing without a default.
    """
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ConfigError(f"config.json: {name} must be a whole number, not {short(value)}.")
        if not low <= value <= LARGEST_DIMENSION:
            raise ConfigError(f"config.json: {name} is {short(value)}, out of any model's range.")
        return int(value)
    if default is None:
        raise ConfigError(
            f"config.json has no {names[0]}; give a directory or model id whose config is complete."
        )
    return default


def section(config: Mapping[str, Any], *names: str) -> Mapping[str, Any] | None:
    """The first of `names` that holds an object; ConfigError when it holds something else."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"config.json: {name} must be an object, not {short(value)}.")
        return value
    return None


def short(value: object, limit: int = 40) -> str:
    """A value from a hostile file, cut and made printable for an error sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
