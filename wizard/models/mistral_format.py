"""Mistral's own params.json as the config that vLLM makes of it. Pure.

Source: vLLM 0.33 `transformers_utils/configs/mistral.py` and `MistralConfigParser` of
`transformers_utils/config.py`; vision models are vLLM's Pixtral class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wizard.errors import ConfigError
from wizard.models.config_values import short

NAMES = {
    "dim": "hidden_size",
    "norm_eps": "rms_norm_eps",
    "n_kv_heads": "num_key_value_heads",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "tied_embeddings": "tie_word_embeddings",
}
"""Mistral's key -> transformers' key."""

EXPERT_NAMES = {
    "route_every_n": "moe_layer_freq",
    "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok",
    "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size",
    "routed_scale": "routed_scaling_factor",
    "num_shared_experts": "n_shared_experts",
    "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}

YARN_NAMES = {
    "factor": "factor",
    "original_max_position_embeddings": "original_max_position_embeddings",
    "beta": "beta_fast",
    "alpha": "beta_slow",
}

LARGEST_LAYER_COUNT = 4096
"""No model has so many; a longer pattern is a broken file."""

DEFAULT_LENGTH = 128_000
"""Positions where neither params.json nor config.json tells them."""

UNQUANTISED = ["vision_tower", "multi_modal_projector", "lm_head"]
"""What stays in 16 bits beside a quantised decoder."""


def config_from_params(params: Mapping[str, Any], hub_config: Mapping[str, Any]) -> dict[str, Any]:
    """The config that vLLM builds from a params.json; `hub_config` (config.json, or nothing) fills gaps.

    Raises ConfigError in one sentence.
    """
    text = {NAMES.get(key, key): value for key, value in params.items()}
    vision = _part(text, "vision_encoder")
    multimodal = _part(text, "multimodal")
    if multimodal is not None:
        vision = _part(multimodal, "vision_encoder_args") or vision
    audio = _part(multimodal or {}, "whisper_model_args")
    for key in ("vision_encoder", "multimodal"):
        text.pop(key, None)
    length = text.get("max_position_embeddings") or _hub_length(hub_config) or DEFAULT_LENGTH
    text["max_position_embeddings"] = length
    text.setdefault("max_seq_len", length)
    quantization = _quantization(text)
    _windows(text)
    _class(text)
    _yarn(text)
    nested = hub_config.get("text_config")
    for defaults in (nested, hub_config):
        if isinstance(defaults, Mapping):
            text = {**{key: value for key, value in defaults.items() if key not in _CONFIG_ONLY}, **text}
    if quantization is not None:
        text["quantization_config"] = quantization
    if audio is not None:
        return {**text, "model_type": "voxtral", "architectures": ["VoxtralForConditionalGeneration"]}
    if vision is None:
        return text
    return _with_vision(text, vision, hub_config, quantization)


_CONFIG_ONLY = frozenset(
    {"text_config", "vision_config", "architectures", "quantization_config", "model_type"}
)
"""Keys of a config.json that describe the whole model, not its decoder."""


def _with_vision(
    text: dict[str, Any],
    vision: Mapping[str, Any],
    hub_config: Mapping[str, Any],
    quantization: Mapping[str, Any] | None,
) -> dict[str, Any]:
    text = {key: value for key, value in text.items() if key not in {"architectures", "quantization_config"}}
    hub_vision = hub_config.get("vision_config")
    config = {
        **hub_config,
        "architectures": ["PixtralForConditionalGeneration"],
        "model_type": "mistral3",
        "text_config": {**text, "model_type": "mistral"},
        "vision_config": {**(hub_vision if isinstance(hub_vision, Mapping) else {}), **vision},
        "spatial_merge_size": vision.get("spatial_merge_size", 1),
        "multimodal_projector_bias": vision.get("adapter_bias", True),
        "tie_word_embeddings": text.get("tie_word_embeddings", False),
    }
    if "dtype" in text:
        config["dtype"] = text["dtype"]
    config.pop("quantization_config", None)
    if quantization is not None:
        config["quantization_config"] = {"modules_to_not_convert": UNQUANTISED, **quantization}
    return config


def _class(text: dict[str, Any]) -> None:
    """Which class vLLM chooses: latent attention and shared experts mean Mistral Large 3."""
    experts = _part(text, "moe")
    if text.get("model_type") == "mamba":
        text["architectures"] = ["Mamba2ForCausalLM"]
        return
    if experts is None and text.get("qk_nope_head_dim"):
        experts = {
            "num_experts": 1,
            "num_experts_per_tok": 1,
            "num_shared_experts": 1,
            "first_k_dense_replace": text.get("num_hidden_layers"),
            "expert_hidden_dim": text.get("intermediate_size"),
            "route_every_n": 1,
        }
    text.pop("moe", None)
    if experts is None:
        text.update(architectures=["MistralForCausalLM"], model_type="mistral")
    elif experts.get("num_shared_experts"):
        text.update({new: experts[old] for old, new in EXPERT_NAMES.items() if old in experts})
        text.update(architectures=["MistralLarge3ForCausalLM"], model_type="deepseek_v3")
    else:
        text["num_local_experts"] = experts.get("num_experts")
        text["num_experts_per_tok"] = experts.get("num_experts_per_tok")
        text.update(architectures=["MixtralForCausalLM"], model_type="mixtral")


def _windows(text: dict[str, Any]) -> None:
    """One window per layer, repeated, becomes a window and a type per layer."""
    window = text.get("sliding_window")
    layers = text.get("num_hidden_layers")
    if not window or not isinstance(layers, int) or not 0 < layers <= LARGEST_LAYER_COUNT:
        return
    pattern = window if isinstance(window, list) else [window]
    sizes = {size for size in pattern if isinstance(size, int)}
    known = all(size is None or isinstance(size, int) for size in pattern)
    if not known or len(sizes) > 1 or layers % len(pattern):
        raise ConfigError(f"params.json: the sliding windows {short(pattern)} are none that vLLM reads.")
    kinds = ["sliding_attention" if size is not None else "full_attention" for size in pattern]
    text["layer_types"] = kinds * (layers // len(pattern))
    text["sliding_window"] = sizes.pop() if sizes else None


def _yarn(text: dict[str, Any]) -> None:
    yarn = _part(text, "yarn")
    if not yarn:
        return
    rope: dict[str, Any] = {"rope_type": "yarn", "mscale_all_dim": 1}
    if "rope_theta" in text:
        rope["rope_theta"] = text["rope_theta"]
    rope.update({new: yarn[old] for old, new in YARN_NAMES.items() if old in yarn})
    text["rope_parameters"] = rope


def _quantization(text: dict[str, Any]) -> Mapping[str, Any] | None:
    quantization = _part(text, "quantization")
    text.pop("quantization", None)
    if not quantization:
        return None
    if quantization.get("qformat_weight") == "fp8_e4m3":
        dynamic = quantization.get("qscheme_act") == "NO_SCALES"
        return {"quant_method": "fp8", "activation_scheme": "dynamic" if dynamic else "static"}
    if str(quantization.get("quant_method", "")).lower().replace("_", "-") == "compressed-tensors":
        return {**quantization, "quant_method": "compressed-tensors"}
    raise ConfigError(f"params.json names a quantisation that vLLM doesn't know: {short(quantization, 60)}.")


def _hub_length(hub_config: Mapping[str, Any]) -> Any:
    nested = hub_config.get("text_config")
    part = nested if isinstance(nested, Mapping) else hub_config
    return part.get("max_position_embeddings")


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = values.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"params.json: {name} must be an object, not {short(value)}.")
    return value or None
