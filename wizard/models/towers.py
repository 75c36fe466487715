"""Vision and audio encoders with their projectors, by the name that `data/architectures.json` gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.models.facts import Facts
from wizard.models.gemma3n import gemma3n_tower
from wizard.models.towers_audio import audio_flamingo, qwen2_audio, qwen3_asr, voxtral, whisper
from wizard.models.towers_clip import (
    cohere2_vision,
    idefics3,
    lfm2_vl,
    llava,
    llava_next,
    llava_next_video,
    llava_onevision,
    minicpm_o,
    minicpm_v,
    paddleocr,
    paligemma,
    phi3v,
)
from wizard.models.towers_gemma import gemma3_tower, gemma4_tower, gemma4_unified_tower
from wizard.models.towers_native import kimi_k3, kimi_k25, minimax_m3, muse_glimmer, pixtral
from wizard.models.towers_other import deepseek_vl2, intern_s1, intern_vl, llama4, molmo
from wizard.models.towers_qwen import glm4v, glm_ocr, qwen2_5_omni, qwen2_5_vl, qwen2_vl, qwen3_omni, qwen3_vl
from wizard.models.vit import Tower

TOWERS: Mapping[str, Callable[[Facts, Facts], Tower]] = {
    "audio_flamingo": audio_flamingo,
    "cohere2_vision": cohere2_vision,
    "deepseek_vl2": deepseek_vl2,
    "gemma3": gemma3_tower,
    "gemma3n": gemma3n_tower,
    "gemma4": gemma4_tower,
    "gemma4_unified": gemma4_unified_tower,
    "glm4v": glm4v,
    "glm_ocr": glm_ocr,
    "idefics3": idefics3,
    "intern_s1": intern_s1,
    "intern_vl": intern_vl,
    "kimi_k25": kimi_k25,
    "kimi_k3": kimi_k3,
    "lfm2_vl": lfm2_vl,
    "llama4": llama4,
    "llava": llava,
    "llava_next": llava_next,
    "llava_next_video": llava_next_video,
    "llava_onevision": llava_onevision,
    "minicpm_o": minicpm_o,
    "minicpm_v": minicpm_v,
    "minimax_m3": minimax_m3,
    "molmo": molmo,
    "muse_glimmer": muse_glimmer,
    "paddleocr": paddleocr,
    "paligemma": paligemma,
    "phi3v": phi3v,
    "pixtral": pixtral,
    "qwen2_5_omni": qwen2_5_omni,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_audio": qwen2_audio,
    "qwen2_vl": qwen2_vl,
    "qwen3_asr": qwen3_asr,
    "qwen3_omni": qwen3_omni,
    "qwen3_vl": qwen3_vl,
    "voxtral": voxtral,
    "whisper": whisper,
}
