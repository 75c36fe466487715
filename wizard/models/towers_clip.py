"""Vision encoders of the CLIP and SigLIP kind with their projectors.

Sources: vLLM 0.33 `model_executor/models/{clip,siglip,llava,llava_next,llava_onevision,paligemma,idefics3,phi3v,
minicpmv,lfm2_vl,cohere2_vision,paddleocr_vl}.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.dataclass import replace
from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Tensor, Vocabulary
from wizard.models.towers_audio import whisper_layers
from wizard.models.towers_native import pixtral_encoder
from wizard.models.vit import (
    LayerStyle,
    Tower,
    encoder_layers,
    layer_norm,
    patch_count,
    patches,
    siglip_mlp_quantised,
    two_layers,
    vision_part,
)


def clip_modules(vision: Facts, prefix: str, *, layers_short: int = 0) -> Tower:
    """CLIP: a class token, learned positions, a norm before the layers; the last layers may be unused."""
    width = vision.int("hidden_size", default=1024)
    depth = max(0, vision.int("num_hidden_layers", default=24) - layers_short)
    style = LayerStyle(f"{prefix}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    positions = patch_count(vision, image=336) + 1
    return Tower(
        (encoder_layers(style, depth, width, vision.int("intermediate_size", default=4096)),),
        (
            Tensor(f"{prefix}.embeddings.class_embedding", width),
            patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=False),
            Tensor(f"{prefix}.embeddings.position_embedding", positions * width),
            Tensor(f"{prefix}.embeddings.position_ids", positions, dtype="int64", buffer=True),
            layer_norm(f"{prefix}.pre_layrnorm", width),
        ),
        heads=vision.int("num_attention_heads", default=16),
    )


def siglip_modules(
    vision: Facts, prefix: str, *, layers_short: int = 0, image: int = 224, any_width: bool = False
) -> Tower:
    """SigLIP: learned positions, a norm after the layers where all of them are used.

    `image`: the side in pixels that transformers' config class fills in; `any_width`: Idefics' form of it, whose
    MLPs are quantised whatever their width.
    """
    width = vision.int("hidden_size", default=1152)
    depth = max(0, vision.int("num_hidden_layers", default=27) - layers_short)
    mlp = vision.int("intermediate_size", default=4304)
    style = LayerStyle(
        f"{prefix}.encoder.layers.{{}}",
        qkv="self_attn.qkv_proj",
        out="self_attn.out_proj",
        mlp_quantised=any_width or siglip_mlp_quantised(width, mlp),
    )
    positions = patch_count(vision, image=image)
    modules: list[Module] = [
        patches(f"{prefix}.embeddings.patch_embedding", vision, width, bias=True),
        Tensor(f"{prefix}.embeddings.position_embedding", positions * width),
        Tensor(f"{prefix}.embeddings.position_ids", positions, dtype="int64", buffer=True),
    ]
    if not layers_short:
        modules.append(layer_norm(f"{prefix}.post_layernorm", width))
    block = encoder_layers(style, depth, width, mlp)
    return Tower((block,), tuple(modules), heads=vision.int("num_attention_heads", default=16))


def _layers_short(config: Facts, default: int = -2) -> int:
    """How many of the last encoder layers `vision_feature_layer` leaves out."""
    value = config.get("vision_feature_layer")
    if isinstance(value, list | tuple):
        value = max((item for item in value if isinstance(item, int)), default=default)
    layer = value if isinstance(value, int) and not isinstance(value, bool) else default
    return max(0, -layer - 1) if layer < 0 else 0


_ENCODERS: Mapping[str, Callable[..., Tower]] = {
    "clip_vision_model": clip_modules,
    "siglip_vision_model": siglip_modules,
}


def _image_encoder(config: Facts) -> Tower:
    vision = vision_part(config)
    if vision.text("model_type") == "pixtral":
        return pixtral_encoder(vision, layers_short=_layers_short(config))
    build = _ENCODERS.get(vision.text("model_type", "clip_vision_model"), clip_modules)
    return build(vision, "vision_tower.vision_model", layers_short=_layers_short(config))


def llava(config: Facts, text: Facts) -> Tower:
    tower = _image_encoder(config)
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1024)
    bias = config.flag("multimodal_projector_bias", default=True)
    name = "multi_modal_projector"
    hidden = hidden_size(text)
    projector = two_layers(f"{name}.linear_1", f"{name}.linear_2", width, hidden, hidden, bias=bias)
    return Tower(tower.blocks, (*tower.modules, *projector), heads=tower.heads)


def llava_next(config: Facts, text: Facts) -> Tower:
    tower = llava(config, text)
    return replace(tower, everywhere=(Tensor("image_newline", hidden_size(text)),))


def lfm2_vl(config: Facts, text: Facts) -> Tower:
    """SigLIP 2 with linear patches; the projector stays whole on every rank."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    size = vision.int("patch_size", default=16, low=1)
    prefix = "vision_tower.vision_model"
    style = LayerStyle(f"{prefix}.encoder.layers.{{}}", qkv="self_attn.qkv_proj", out="self_attn.out_proj")
    factor = config.int("downsample_factor", default=2)
    merged = width * factor * factor
    middle = config.int("projector_hidden_size", default=2560)
    name = "multi_modal_projector"
    depth = vision.int("num_hidden_layers", default=27) - _layers_short(config, default=-1)
    modules: list[Module] = [
        Tensor(f"{prefix}.embeddings.patch_embedding", width * (3 * size * size + 1)),
        Tensor(f"{prefix}.embeddings.position_embedding", vision.int("num_patches", default=256) * width),
        layer_norm(f"{prefix}.post_layernorm", width),
    ]
    if config.flag("projector_use_layernorm"):
        modules.append(layer_norm(f"{name}.layer_norm", merged))
    bias = config.flag("projector_bias", default=True)
    modules += two_layers(
        f"{name}.linear_1",
        f"{name}.linear_2",
        merged,
        middle,
        hidden_size(text),
        bias=bias,
        split=False,
        quantised=False,
    )
    block = encoder_layers(style, max(0, depth), width, vision.int("intermediate_size", default=4304))
    return Tower((block,), tuple(modules), heads=vision.int("num_attention_heads", default=16))


def llava_onevision(config: Facts, text: Facts) -> Tower:
    """Never a norm behind the encoder; the projector is whole on every rank."""
    tower = llava_next_video(config, text)
    return replace(tower, everywhere=(Tensor("image_newline", hidden_size(text)),))


def llava_next_video(config: Facts, text: Facts) -> Tower:
    tower = llava(config, text)
    kept = [module for module in tower.modules if not module.name.endswith("post_layernorm")]
    whole = [
        replace(module, split="whole", quantised=False) if isinstance(module, Linear) else module
        for module in kept
    ]
    return replace(tower, modules=tuple(whole))


def paligemma(config: Facts, text: Facts) -> Tower:
    """SigLIP and one matrix."""
    vision = vision_part(config)
    tower = siglip_modules(vision, "vision_tower.vision_model")
    width = vision.int("hidden_size", default=1152)
    out = config.int("projection_dim", default=vision.int("projection_dim", default=hidden_size(text)))
    projector = Linear("multi_modal_projector.linear", width, (out,), "whole", True, quantised=False)
    return replace(tower, modules=(*tower.modules, projector))


def cohere2_vision(config: Facts, text: Facts) -> Tower:
    """Pixels are shuffled into channels; the projector is gated."""
    vision = vision_part(config)
    tower = siglip_modules(vision, "vision_tower.vision_model")
    factor = config.int("downsample_factor", default=2)
    merged = vision.int("hidden_size", default=1152) * factor * factor
    inner = config.int("alignment_intermediate_size", default=36864)
    name = "multi_modal_projector"
    return replace(
        tower,
        modules=(
            *tower.modules,
            Linear(f"{name}.linear_1", merged, (inner // 2, inner // 2), bias=True, quantised=False),
            Linear(f"{name}.linear_2", inner // 2, (hidden_size(text),), "row", True, quantised=False),
        ),
    )


def idefics3(config: Facts, text: Facts) -> Tower:
    """SigLIP whose patches are shuffled into channels before one matrix."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    prefix = "model.vision_model"
    tower = siglip_modules(vision, prefix, any_width=True)
    factor = config.int("scale_factor", default=2)
    connector = Linear(
        "model.connector.modality_projection.proj", width * factor * factor, (hidden_size(text),), "whole"
    )
    kept = tuple(module for module in tower.modules if not module.name.endswith("position_ids"))
    return replace(tower, modules=(*kept, connector))


def paddleocr(config: Facts, text: Facts) -> Tower:
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    heads = vision.int("num_attention_heads", default=16, low=1)
    tower = siglip_modules(vision, "visual.vision_model", image=384)
    merge = vision.int("spatial_merge_size", default=2)
    merged = width * merge * merge
    return replace(
        tower,
        modules=(
            *tower.modules,
            Tensor("visual.rotary", width // heads // 4, dtype="float32", buffer=True),
            layer_norm("mlp_AR.pre_norm", width),
            *two_layers(
                "mlp_AR.linear_1",
                "mlp_AR.linear_2",
                merged,
                merged,
                hidden_size(text),
                split=False,
                quantised=False,
            ),
        ),
    )


CLIP_LARGE_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
"""openai/clip-vit-large-patch14-336, which Phi-3 vision and Molmo name or mean without giving its sizes."""


def phi3v(config: Facts, text: Facts) -> Tower:
    """CLIP, whose last layer is not used; the embedding exists twice."""
    hidden = hidden_size(text)
    name = "vision_embed_tokens"
    tower = clip_modules(Facts(CLIP_LARGE_336), f"{name}.img_processor.vision_model", layers_short=1)
    width = (config.part("img_processor") or Facts({})).int("image_dim_out", default=1024) * 4
    return replace(
        tower,
        modules=(
            *tower.modules,
            Tensor(f"{name}.glb_GN", 2 * width),
            *two_layers(
                f"{name}.img_projection.0",
                f"{name}.img_projection.2",
                width,
                hidden,
                hidden,
                split=False,
                quantised=False,
            ),
            Vocabulary("embed_tokens", text.int("vocab_size", low=1), hidden, quantised=False),
        ),
    )


def minicpm_v(config: Facts, text: Facts) -> Tower:
    """SigLIP and a resampler to a fixed number of queries."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    tower = siglip_modules(vision, "vpm", any_width=True)
    layers_short = 1 if config.flag("drop_vision_last_layer") else 0
    if layers_short:
        block = tower.blocks[0]
        tower = replace(tower, blocks=(replace(block, indices=block.indices[:-1]),))
    hidden = hidden_size(text)
    queries = config.int("query_num", default=64)
    kept = tuple(module for module in tower.modules if not module.name.endswith("position_ids"))
    return replace(
        tower,
        modules=(
            *kept,
            Tensor("resampler.query", queries * hidden),
            Tensor("resampler.proj", hidden * hidden),
            Linear("resampler.kv_proj", width, (hidden,), "whole", quantised=False),
            Linear("resampler.attn.in_proj", hidden, (3 * hidden,), "whole", True, quantised=False),
            Linear("resampler.attn.out_proj", hidden, (hidden,), "whole", True, quantised=False),
            layer_norm("resampler.norms", hidden, count=3),
            Tensor("resampler.pos_embed", 70 * 70 * hidden, buffer=True),
        ),
    )


def minicpm_o(config: Facts, text: Facts) -> Tower:
    """MiniCPM-V with a Whisper encoder of transformers."""
    eyes = minicpm_v(config, text)
    audio = config.part("audio_config")
    if audio is None:
        return eyes
    ears = whisper_layers("apm", audio)
    width, hidden = audio.int("d_model", default=1024), hidden_size(text)
    name = "audio_projection_layer"
    projector = two_layers(
        f"{name}.linear1", f"{name}.linear2", width, hidden, hidden, split=False, quantised=False
    )
    return replace(
        eyes, blocks=(*eyes.blocks, *ears.blocks), modules=(*eyes.modules, *ears.modules, *projector)
    )
