"""config.json -> facts. Pure but for `load_model_metadata`, which finds the file first.

A config is text from outside: every value is checked for type and range before it is used, and
anything unusable raises `ConfigError` with one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, field, replace
from wizard.errors import ConfigError
from wizard.models.config_values import LARGEST_DIMENSION, integer, section, short
from wizard.models.context import DerivedLength, derived_length
from wizard.models.defaults import decoder_type, with_class_defaults

if TYPE_CHECKING:
    from wizard.models.traffic import Traffic

Source = Literal["hub", "cache", "path", "catalogue"]

__all__ = [
    "LARGEST_DIMENSION",
    "Checkpoint",
    "ModelMetadata",
    "Source",
    "TensorInfo",
    "checked_config",
    "checkpoint_dtype",
    "declared_dtype",
    "integer",
    "metadata_from_config",
    "section",
    "short",
    "text_part",
]

TEXT_CONFIG_KEYS = ("text_config", "language_config", "llm_config", "thinker_config")
"""Where multimodal configs nest their decoder (transformers' `get_text_config` names)."""


TEXT_MODEL_KEY = "text_model_id"
"""Where a config names another model for its decoder instead of giving its sizes (Ultravox)."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    dtype: str
    """As in the header: BF16, F8_E4M3, I32, U8 ..."""
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Checkpoint:
    """What is stored, read from safetensors headers alone."""

    tensors: Mapping[str, TensorInfo]
    """Empty where only the sizes of the files are known."""
    total_bytes: int
    complete: bool = True
    """False where files named by the index are missing (an unfinished download)."""

    @property
    def exact(self) -> bool:
        """Whether every tensor of the model is known."""
        return self.complete and bool(self.tensors)


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
    """Of the whole config."""
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    """The derived maximum length of the newest vLLM: it refuses a larger --max-model-len."""
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
    params_override: int | None = None
    """The parameter count that the user gave instead of the config's."""
    warnings: tuple[str, ...] = field(default=())
    hub_requests: int = 0
    hub_bytes: int = 0
    """What reading these facts from the hub has cost just now; 0 where they were at hand."""
    load_risks: tuple[str, ...] = ()
    """Those of `warnings` that mean that vLLM would stop while it loads the weights."""
    text_type: str = ""
    """`model_type` of the decoder's section."""
    tokenizer_config: Mapping[str, Any] | None = None
    encoder_max_length: int | None = None
    """`max_seq_length` of sentence_bert_config.json."""
    drafts: Mapping[str, ModelMetadata] = field(default_factory=dict)
    """Facts of the models that may draft for this one, by the name a command gives them."""

    @property
    def is_moe(self) -> bool:
        return self.num_experts > 0

    @property
    def is_mla(self) -> bool:
        """Multi-head latent attention: one latent per token instead of K and V heads."""
        return bool(self.text.get("kv_lora_rank")) and bool(self.text.get("qk_rope_head_dim"))

    def context(self, number: tuple[int, int, int]) -> DerivedLength:
        """How long a sequence may be by the rules of vLLM version `number`. Raises ConfigError."""
        known = _contexts.setdefault(self, {})
        if number not in known:
            known[number] = self._context(number)
        return known[number]

    def _context(self, number: tuple[int, int, int]) -> DerivedLength:
        return derived_length(
            self.text,
            number=number,
            tokenizer_config=self.tokenizer_config,
            encoder_max_length=self.encoder_max_length,
        )


_contexts: WeakKeyDictionary[ModelMetadata, dict[tuple[int, int, int], DerivedLength]] = WeakKeyDictionary()


def checked_config(value: object) -> Mapping[str, Any]:
    """The parsed config.json as an object with text keys; ConfigError for anything else."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"config.json must hold an object, not {short(value)}; is this a model directory?")
    return value


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder's section of a config: nested for most multimodal models, else the whole."""
    for name in TEXT_CONFIG_KEYS:
        nested = section(config, name)
        if nested is not None:
            return text_part(nested) if name == "thinker_config" else nested
    return config


def metadata_from_config(
    config: Mapping[str, Any],
    *,
    model: str,
    source: Source,
    revision: str | None = None,
    checkpoint: Checkpoint | None = None,
    hf_quant_config: Mapping[str, Any] | None = None,
    tokenizer_config: Mapping[str, Any] | None = None,
    encoder_max_length: int | None = None,
) -> ModelMetadata:
    """Facts of a parsed config.json. Pure.

    Raises ConfigError, in one sentence, where a value is missing, of the wrong type or out of range.
    """
    config = checked_config(config)
    nested = text_part(config)
    if nested is config and isinstance(config.get(TEXT_MODEL_KEY), str):
        raise ConfigError(
            f"config.json leaves its decoder to {short(config[TEXT_MODEL_KEY], 80)} and has none of its sizes; "
            "put that model's config.json into text_config to plan it."
        )
    architectures = config.get("architectures") or nested.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise ConfigError(
            "config.json names no architecture; vLLM needs `architectures` to choose the model class."
        )
    model_type = _model_type(config) or _model_type(nested)
    text_type = decoder_type(_model_type(nested) or model_type)
    text = _decoder_part(with_class_defaults(nested, text_type))
    hidden_size = integer(text, "hidden_size", "n_embd", "d_model", low=1)
    heads = integer(text, "num_attention_heads", "n_head", "num_heads", default=0)
    head_dim = integer(
        text, "head_dim", "hidden_size_per_head", "attention_head_dim", "kv_channels", default=0
    )
    return ModelMetadata(
        model=model,
        source=source,
        config=config,
        text=text,
        architecture=architectures[0],
        model_type=model_type,
        text_type=text_type,
        hidden_size=hidden_size,
        num_layers=_layer_count(text),
        num_attention_heads=heads,
        num_key_value_heads=_kv_heads(text, heads),
        head_dim=head_dim or (hidden_size // heads if heads else 0),
        intermediate_size=_first_integer(text, "intermediate_size", "ffn_hidden_size", "n_inner"),
        vocab_size=integer(text, "vocab_size", "padded_vocab_size", low=1),
        max_position_embeddings=derived_length(
            text,
            tokenizer_config=tokenizer_config,
            encoder_max_length=encoder_max_length,
        ).length,
        dtype=checkpoint_dtype(config, text),
        tie_word_embeddings=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        quantization_config=section(config, "quantization_config", "compression_config")
        or section(text, "quantization_config", "compression_config")
        or _modelopt_quantization(hf_quant_config),
        revision=revision,
        checkpoint=checkpoint,
        num_experts=_first_integer(
            text, "num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"
        ),
        num_experts_per_token=_first_integer(
            text,
            "num_experts_per_tok",
            "num_experts_per_token",
            "top_k_experts",
            "moe_topk",
            "moe_top_k",
            "moe_k",
        ),
        moe_intermediate_size=_first_integer(text, "moe_intermediate_size", "intermediate_size"),
        needs_remote_code=bool(section(config, "auto_map")),
        tokenizer_config=tokenizer_config,
        encoder_max_length=encoder_max_length,
    )


DECODER_KEYS: Mapping[str, tuple[str, ...]] = {
    "decoder_layers": ("num_hidden_layers",),
    "decoder_attention_heads": ("num_attention_heads", "num_key_value_heads"),
}
"""Keys of a decoder beside an encoder -> the usual names, under which such configs tell the encoder (Whisper)."""


def _decoder_part(text: Mapping[str, Any]) -> Mapping[str, Any]:
    """An encoder-decoder's section with the decoder's own numbers under the usual names."""
    if text.get("is_encoder_decoder") is False:
        return text
    own = {
        usual: text[name]
        for name, usuals in DECODER_KEYS.items()
        for usual in usuals
        if text.get(name) is not None
    }
    return {**text, **own} if own else text


def _model_type(part: Mapping[str, Any]) -> str:
    value = part.get("model_type")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"config.json: model_type must be text, not {short(value)}.")
    return value


def _layer_count(text: Mapping[str, Any]) -> int:
    """Decoder layers; configs that list a kind per layer may leave the number out (Nemotron-H)."""
    for name in ("layers_block_type", "hybrid_override_pattern"):
        value = text.get(name)
        if text.get("num_hidden_layers") is None and isinstance(value, list | str) and value:
            return len(value)
    return integer(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers", low=1)


def _kv_heads(text: Mapping[str, Any], heads: int) -> int:
    """KV heads before tensor parallelism, in vLLM's order of names; multi-query attention has one.

    Source: vLLM 0.33 transformers_utils/model_arch_config_convertor.py `get_total_num_kv_heads`.
    """
    if text.get("multi_query") is True and not text.get("new_decoder_architecture"):
        return 1
    attention = text.get("attn_config")
    if isinstance(attention, Mapping) and attention.get("kv_n_heads") is not None:
        return integer(attention, "kv_n_heads", low=1)
    names = (
        "n_head_kv",
        "num_kv_heads",
        "num_key_value_heads",
        "multi_query_group_num",
        "num_attention_groups",
    )
    return integer(text, *names, default=heads)


def _modelopt_quantization(hf_quant_config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The section of an hf_quant_config.json; vLLM counts it only where ModelOpt signs as its producer.

    Source: vLLM 0.33 transformers_utils/model_arch_config_convertor.py `_normalize_quantization_config`.
    """
    if not hf_quant_config:
        return None
    quantization = section(hf_quant_config, "quantization")
    producer = section(hf_quant_config, "producer") or {}
    if quantization is None or producer.get("name") != "modelopt":
        return None
    return {"quant_method": "modelopt", **quantization}


def checkpoint_dtype(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """The dtype vLLM reads off the config: root, then text, vision, encoder section; float32 if absent.

    Source: vLLM 0.33 config/model.py `_get_and_verify_dtype`.
    """
    for part in (config, text, section(config, "vision_config"), section(config, "encoder_config")):
        for name in ("dtype", "torch_dtype"):
            value = (part or {}).get(name)
            if isinstance(value, str) and value.removeprefix("torch.") in {"bfloat16", "float16", "float32"}:
                return value.removeprefix("torch.")
    return "float32"


def declared_dtype(config: Mapping[str, Any]) -> str | None:
    """The word that config.json itself gives for the dtype, which transformers looks up in torch."""
    for name in ("dtype", "torch_dtype"):
        value = config.get(name)
        if isinstance(value, str):
            return value.removeprefix("torch.")
    return None


def _first_integer(config: Mapping[str, Any], *names: str) -> int:
    """Like `integer`, for keys that some families give as one number per layer: the largest counts."""
    for name in names:
        value = config.get(name)
        if isinstance(value, list) and value:
            return max(integer({name: item}, name, default=0) for item in value)
        if value is not None:
            return integer(config, name)
    return 0


def load_model_metadata(
    model: str,
    revision: str | None = None,
    *,
    trust_remote_code: bool = False,
    params_b: float | None = None,
    offline: bool = False,
    traffic: Traffic | None = None,
) -> ModelMetadata:
    """Facts of a directory or Hugging Face id (seed name): disk, hub cache, the hub, the catalogue.

    No model code is ever run, so `trust_remote_code` changes nothing here; it reaches the exported
    command. `params_b` (billions) overrides the parameter count that follows from the config.
    Raises ModelUnavailableError or ConfigError, each one sentence.
    """
    from wizard.models.load import load

    metadata = load(model, revision=revision, offline=offline, traffic=traffic)
    if params_b is None:
        return metadata
    return replace(metadata, params_override=round(params_b * 1e9))
