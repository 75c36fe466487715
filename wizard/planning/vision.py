"""What a vision or audio encoder adds to the profile run.

vLLM feeds the encoder as many of the largest items as its token budget holds, keeps their outputs and
inputs while the language model is profiled, and takes whichever phase peaks higher.

Source: vLLM 0.19 and 0.33 `multimodal/encoder_budget.py`, `v1/worker/gpu_model_runner.py` `profile_run`,
`v1/worker/gpu/mm/encoder_runner.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wizard.models.metadata import ModelMetadata, integer, section
from wizard.planning.launch import Launch

VISION_KEYS = ("vision_config", "vision_tower_config", "vit_config", "visual", "img_processor")
AUDIO_KEYS = ("audio_config", "audio_encoder_config", "sound_config")

PIXEL_BYTES = 2
"""Pixel values are kept in the model's 16-bit dtype."""

ENCODER_COPIES = 4.0
"""Hidden states alive at once in an encoder layer, QKV among them (read off the block: x, qkv, out)."""

DYNAMIC_ITEM_TOKENS = 16384
"""Largest item of encoders that take any resolution (Qwen2-VL and later: 16384 tokens by their processors)."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shapes that its activations depend on."""

    hidden: int
    intermediate: int
    patch: int
    merge: int
    """Patches along one edge that become one token."""
    image: int
    """Edge of the largest square item, pixels; 0 where any resolution goes."""

    @property
    def item_tokens(self) -> int:
        """Tokens of the largest item."""
        if self.image == 0:
            return DYNAMIC_ITEM_TOKENS
        return max(1, (self.image // (self.patch * self.merge)) ** 2)


def vision_encoder(metadata: ModelMetadata) -> Encoder | None:
    """The encoder that a config describes; `None` for text models and configs that say too little."""
    config = _nested(metadata.config, VISION_KEYS)
    if config is None:
        return None
    hidden = _number(config, "hidden_size", "embed_dim", "width")
    patch = _number(config, "patch_size")
    if not hidden or not patch:
        return None
    merge = _number(config, "spatial_merge_size") or _number(metadata.config, "spatial_merge_size") or 1
    return Encoder(
        hidden=hidden,
        intermediate=_number(config, "intermediate_size") or 4 * hidden,
        patch=patch,
        merge=merge,
        image=_number(config, "image_size"),
    )


def is_multimodal(metadata: ModelMetadata) -> bool:
    """True where the model takes images, video or sound."""
    return any(isinstance(metadata.config.get(key), Mapping) for key in (*VISION_KEYS, *AUDIO_KEYS))


def takes_items(launch: Launch) -> bool:
    """True where the engine keeps the encoder at work: neither text-only nor every item limited to none."""
    if not is_multimodal(launch.metadata) or launch.config.language_model_only:
        return False
    limits = launch.config.limit_mm_per_prompt
    return not limits or any(limit != 0 for limit in limits.values())


def encoder_tokens(launch: Launch, encoder: Encoder) -> int:
    """Tokens of one profiled batch: whole items up to max_num_batched_tokens, at least one."""
    budget = max(launch.max_num_batched_tokens, encoder.item_tokens)
    return budget // encoder.item_tokens * encoder.item_tokens


def encoder_peak_bytes(launch: Launch) -> int:
    """Peak of the encoder's own forward pass; it competes with the language model's and the sampler's."""
    encoder = vision_encoder(launch.metadata)
    if encoder is None or not takes_items(launch) or launch.config.skip_mm_profiling:
        return 0
    tokens = encoder_tokens(launch, encoder)
    patches = tokens * encoder.merge**2
    tp = 1 if launch.config.mm_encoder_tp_mode == "data" else launch.tp
    per_patch = ENCODER_COPIES * encoder.hidden + 2 * encoder.intermediate / tp
    return int(patches * per_patch * launch.dtype_bytes)


def held_encoder_bytes(launch: Launch) -> int:
    """Encoder outputs and pixel inputs that stay referenced while the language model is profiled.

    T x h x b plus the pixels of the profiled items (Gemma-3 logs: 32 items of 896 x 896).
    """
    if not takes_items(launch) or launch.config.skip_mm_profiling:
        return 0
    outputs = launch.max_num_batched_tokens * launch.metadata.hidden_size * launch.dtype_bytes
    encoder = vision_encoder(launch.metadata)
    if encoder is None:
        return outputs
    patches = encoder_tokens(launch, encoder) * encoder.merge**2
    return outputs + patches * 3 * encoder.patch**2 * PIXEL_BYTES


def _nested(config: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any] | None:
    for name in names:
        if isinstance(config.get(name), Mapping):
            return section(config, name)
    return None


def _number(config: Mapping[str, Any], *names: str) -> int:
    """A whole number, 0 where absent or given per axis."""
    for name in names:
        if isinstance(config.get(name), int):
            return integer(config, name)
    return 0
