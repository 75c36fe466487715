"""Vision and audio encoders with their projectors, by the name that `data/architectures.json` gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wizard.models.facts import Facts
from wizard.models.late import Late

if TYPE_CHECKING:
    from wizard.models.vit import Tower

TOWERS: Late[Callable[[Facts, Facts], Tower]] = Late(
    {
        "aria": "towers_siglip.aria",
        "audio_flamingo": "towers_audio.audio_flamingo",
        "cohere2_vision": "towers_clip.cohere2_vision",
        "deepseek_ocr": "towers_ocr.deepseek_ocr",
        "deepseek_ocr2": "towers_ocr.deepseek_ocr2",
        "deepseek_vl2": "towers_other.deepseek_vl2",
        "dots_ocr": "towers_ocr.dots_ocr",
        "ernie_vl": "ernie_vl.ernie_vl_tower",
        "gemma3": "towers_gemma.gemma3_tower",
        "gemma3n": "gemma3n.gemma3n_tower",
        "gemma4": "towers_gemma.gemma4_tower",
        "gemma4_unified": "towers_gemma.gemma4_unified_tower",
        "glm4v": "towers_qwen.glm4v",
        "glm_4v": "towers_eva.glm_4v",
        "glm_ocr": "towers_qwen.glm_ocr",
        "granite_speech": "towers_speech.granite_speech",
        "idefics3": "towers_clip.idefics3",
        "intern_s1": "towers_other.intern_s1",
        "intern_vl": "towers_other.intern_vl",
        "keye": "towers_siglip.keye",
        "keye_1_5": "towers_siglip.keye_1_5",
        "kimi_k25": "towers_native.kimi_k25",
        "kimi_k3": "towers_native.kimi_k3",
        "kimi_vl": "towers_native.kimi_vl",
        "lfm2_vl": "towers_clip.lfm2_vl",
        "llama4": "towers_other.llama4",
        "llava": "towers_clip.llava",
        "llava_next": "towers_clip.llava_next",
        "llava_next_video": "towers_clip.llava_next_video",
        "llava_onevision": "towers_clip.llava_onevision",
        "minicpm_o": "towers_clip.minicpm_o",
        "minicpm_v": "towers_clip.minicpm_v",
        "minimax_m3": "towers_native.minimax_m3",
        "molmo": "towers_other.molmo",
        "molmo2": "towers_molmo.molmo2",
        "muse_glimmer": "towers_native.muse_glimmer",
        "nemotron_vl": "towers_radio.nemotron_vl",
        "nvlm": "towers_other.nvlm",
        "ovis": "towers_ovis.ovis",
        "ovis2_5": "towers_ovis.ovis2_5",
        "paddleocr": "towers_clip.paddleocr",
        "paligemma": "towers_clip.paligemma",
        "phi3v": "towers_clip.phi3v",
        "phi4mm": "towers_phi.phi4mm",
        "pixtral": "towers_native.pixtral",
        "pixtral_native": "towers_native.pixtral_native",
        "qwen2_5_omni": "towers_qwen.qwen2_5_omni",
        "qwen2_5_vl": "towers_qwen.qwen2_5_vl",
        "qwen2_audio": "towers_audio.qwen2_audio",
        "qwen2_vl": "towers_qwen.qwen2_vl",
        "qwen3_asr": "towers_audio.qwen3_asr",
        "qwen3_omni": "towers_qwen.qwen3_omni",
        "qwen3_vl": "towers_qwen.qwen3_vl",
        "step3": "towers_eva.step3",
        "ultravox": "towers_speech.ultravox",
        "voxtral": "towers_audio.voxtral",
        "whisper": "towers_audio.whisper",
    }
)
