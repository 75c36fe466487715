"""What a vision or audio encoder adds to the profile run.

vLLM feeds the encoder as many of the largest items as its token budget holds, keeps their outputs and
inputs while the language model is profiled, and takes whichever phase peaks higher.

Source: vLLM 0.19 and 0.33 `multimodal/encoder_budget.py`, `v1/worker/gpu_model_runner.py` `profile_run`,
`v1/worker/gpu/mm/encoder_runner.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass
from wizard.models.metadata import ModelMetadata, integer, section
from wizard.planning.launch import Launch, per_launch
from wizard.vllm.registry import registry

VISION_KEYS = (
    "vision_config",
    "vision_tower_config",
    "vit_config",
    "visual",
    "visual_tokenizer_config",
    "img_processor",
)
AUDIO_KEYS = ("audio_config", "audio_encoder_config", "audio_processor", "encoder_config", "sound_config")
"""Granite Speech's ears are its `encoder_config`, Phi-4's an `audio_processor`."""

NAMED_EARS = "audio_model_id"
"""Where a config names another model for its ears (Ultravox)."""

BACKBONE_KEY = "backbone_config"
"""Where a tokenizer of images nests its encoder (Ovis)."""

PIXEL_BYTES = 2
"""Pixel values are kept in the model's 16-bit dtype."""

RESIDUAL_COPIES = 2
"""Hidden states of a block's input and norm."""
ATTENTION_COPIES = 8
"""Fused QKV, its three parts made contiguous, two rotated ones: alive at once in an encoder's attention."""
MLP_WIDTHS = 3
"""Gate and up side by side and their product."""

DYNAMIC_ITEM_TOKENS = 16384
"""Largest image of encoders that take any resolution: what the processors of Qwen2-VL and its heirs allow."""

VIDEO_STEPS = {"qwen2_vl": 7, "qwen2_5_vl": 7}
"""Temporal steps of the dummy video, each as large as the largest image: 14 frames, two per step
(`model_executor/models/qwen2_vl.py` `_MAX_FRAMES_PER_VIDEO`); fewer where max_model_len holds fewer."""


DEEPSTACK_VIDEO_TOKENS = 12288
"""Largest video of Qwen3-VL: 25 165 824 pixels (its processor's `longest_edge`), 2 048 a token, fewer than an image
has; shorter videos have as many, at more pixels a frame."""
DEEPSTACK_VIDEO_MARKS = 12.5
"""By so much 0.11 and 0.12 overstate them, for time stamps (`qwen3_vl.py` `get_max_video_tokens`): the video is then
the largest item, and its outputs are padded to 153 600 tokens."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shapes that its activations depend on."""

    hidden: int
    intermediate: int
    patch: int
    temporal: int
    """Frames of one patch."""
    merge: int
    """Patches along one edge that become one token."""
    image: int
    """Edge of the largest square item, pixels; 0 where any resolution goes, or the config doesn't say."""
    dynamic: bool
    """Any resolution goes."""
    video_steps: int
    """Steps of the largest dummy video; 0 where an image is the largest item."""
    levels: int = 0
    """Levels of its output beside the last, fed into deeper decoder layers (Qwen3-VL's DeepStack)."""

    def item_tokens(self, max_model_len: int, *, videos: bool = True) -> int:
        """Tokens of the largest item; 1 where the config doesn't say, so that items fill any batch."""
        if not self.dynamic:
            return max(1, (self.image // (self.patch * self.merge)) ** 2)
        steps = max(1, min(self.video_steps, max_model_len // DYNAMIC_ITEM_TOKENS)) if videos else 1
        return steps * DYNAMIC_ITEM_TOKENS


@dataclass(frozen=True, slots=True)
class Items:
    """What the profile run feeds the encoder, and what it keeps of each."""

    count: int
    tokens: int
    """Of one item."""
    kept_tokens: int
    """Of one item's output, with its padding."""


def vision_encoder(metadata: ModelMetadata) -> Encoder | None:
    """The encoder that a config describes; `None` for text models and configs that say too little."""
    config = _nested(metadata.config, VISION_KEYS)
    if config is None:
        return None
    config = {**config, **(section(config, BACKBONE_KEY) or {})}
    hidden = _number(config, "embed_dim", "hidden_size", "width")
    patch = _number(config, "patch_size", "image_patch_size")
    if not hidden or not patch:
        return None
    temporal = _number(config, "temporal_patch_size")
    image = 0 if temporal else _number(config, "image_size")
    return Encoder(
        hidden=hidden,
        intermediate=_number(config, "intermediate_size") or 4 * hidden,
        patch=patch,
        temporal=max(1, temporal),
        merge=_merge(metadata.config, config, image // patch),
        image=image,
        dynamic=temporal > 0,
        video_steps=VIDEO_STEPS.get(metadata.model_type, 0),
        levels=len(levels) if isinstance(levels := config.get("deepstack_visual_indexes"), list) else 0,
    )


def _merge(config: Mapping[str, Any], vision: Mapping[str, Any], patches: int) -> int:
    """Patches along one edge of a token: said outright (pooled: Gemma 4), or by the tokens of an image (Gemma 3,
    Step 3)."""
    said = _number(vision, "spatial_merge_size", "hidden_stride", "pooling_kernel_size") or _number(
        config, "spatial_merge_size"
    )
    tokens = _number(config, "mm_tokens_per_image", "image_token_len")
    if not said and tokens and patches:
        said = round(patches / math.sqrt(tokens))
    return max(1, said)


def is_multimodal(metadata: ModelMetadata) -> bool:
    """True where the model takes images, video or sound."""
    found = _multimodal.get(metadata)
    if found is None:
        keys = (*VISION_KEYS, *AUDIO_KEYS)
        config = metadata.config
        found = any(isinstance(config.get(key), Mapping) for key in keys) or bool(config.get(NAMED_EARS))
        _multimodal[metadata] = found
    return found


_multimodal: WeakKeyDictionary[ModelMetadata, bool] = WeakKeyDictionary()


def takes_items(launch: Launch) -> bool:
    """True where the engine keeps the encoder at work: neither text-only nor every item limited to none."""
    if not is_multimodal(launch.metadata) or launch.config.language_model_only:
        return False
    limits = launch.config.limit_mm_per_prompt
    return not limits or any(limit != 0 for limit in limits.values())


def encoder_whole(launch: Launch) -> bool:
    """Whether every rank keeps the encoder whole: `--mm-encoder-tp-mode data`, which most classes ignore.

    Source: vLLM 0.33 config/model.py (`supports_multimodal_encoder_tp_data`).
    """
    asked = launch.config.mm_encoder_tp_mode == "data"
    return asked and launch.metadata.architecture in registry().encoder_data


def profiled_items(launch: Launch, encoder: Encoder) -> Items:
    """One profiled batch: whole items up to the encoder budget, which holds one at least, and up to what
    max_num_seqs requests may have.

    The budget is the larger of max_num_batched_tokens and the largest item (`get_encoder_budget`).
    """
    limits = launch.config.limit_mm_per_prompt or {}
    videos = limits.get("video") != 0
    padded = launch.rules.encoder_outputs_padded
    item = stated = encoder.item_tokens(launch.max_model_len, videos=videos)
    if encoder.levels and videos and padded != "no":
        item, stated = DEEPSTACK_VIDEO_TOKENS, int(DEEPSTACK_VIDEO_TOKENS * DEEPSTACK_VIDEO_MARKS)
    budget = max(launch.max_num_batched_tokens, stated)
    kept = {"to_budget": budget, "to_item": stated, "no": item}[padded]
    each = max(1, launch.max_model_len // stated)
    images = limits.get("image")
    if isinstance(images, int):
        each = max(1, min(each, images))
    return Items(min(budget // stated, launch.max_num_seqs * each), item, kept)


def encoder_tokens(launch: Launch, encoder: Encoder) -> int:
    """Tokens of one profiled batch of items."""
    items = profiled_items(launch, encoder)
    return items.count * items.tokens


@per_launch
def encoder_peak_bytes(launch: Launch) -> int:
    """Peak of the encoder's own forward pass; it competes with the language model's and the sampler's.

    Read off the blocks of the Qwen2.5-VL and SigLIP towers; no log shows it by itself.
    """
    encoder = vision_encoder(launch.metadata)
    if encoder is None or not takes_items(launch) or launch.config.skip_mm_profiling:
        return 0
    patches = encoder_tokens(launch, encoder) * encoder.merge**2
    tp = 1 if encoder_whole(launch) else launch.tp
    inner = max(ATTENTION_COPIES * encoder.hidden, MLP_WIDTHS * encoder.intermediate)
    per_patch = RESIDUAL_COPIES * encoder.hidden + inner / tp
    return int(patches * per_patch * launch.dtype_bytes)


def held_encoder_bytes(launch: Launch) -> int:
    """Encoder outputs and pixel inputs that stay referenced while the language model is profiled.

    T x h x b, once more per DeepStack level, plus the pixels of the profiled items (Gemma-3 logs: 32 items of
    896 x 896; Qwen3-VL-30B on two H100, 0.12: 2.34 GiB of padded outputs).
    """
    if not takes_items(launch) or launch.config.skip_mm_profiling:
        return 0
    hidden = launch.metadata.hidden_size * launch.dtype_bytes
    encoder = vision_encoder(launch.metadata)
    if encoder is None:
        return launch.max_num_batched_tokens * hidden
    items = profiled_items(launch, encoder)
    pixels = items.tokens * encoder.merge**2 * 3 * encoder.patch**2 * encoder.temporal * PIXEL_BYTES
    outputs = max(items.count * items.kept_tokens, launch.max_num_batched_tokens) * hidden
    return outputs * (1 + encoder.levels) + items.count * pixels


def deepstack_bytes(launch: Launch) -> int:
    """Buffers for the encoder's further levels, made with the model: a row for every batched token, per level.

    Source: `model_executor/models/qwen3_vl.py` `deepstack_input_embeds`, 0.11-0.33.
    """
    encoder = vision_encoder(launch.metadata) if takes_items(launch) else None
    if encoder is None:
        return 0
    row = launch.metadata.hidden_size * launch.dtype_bytes
    return encoder.levels * launch.max_num_batched_tokens * row


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
