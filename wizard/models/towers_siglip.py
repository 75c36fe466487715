"""SigLIP encoders whose projectors are the model's own: Keye and Aria.

Sources: vLLM 0.33 `model_executor/models/{keye,keye_vl1_5,aria,idefics2_vision_model}.py`.
"""

from __future__ import annotations

from wizard.models.attention import hidden_size
from wizard.models.facts import Facts
from wizard.models.modules import Linear, Module, Tensor
from wizard.models.towers_clip import siglip_modules
from wizard.models.vit import Tower, layer_norm, two_layers, vision_frequencies, vision_part

PACKED_POSITIONS = 32768
"""Rows of Keye's second position table, for packed images (keye.py `KeyeVisionEmbeddings`)."""

MERGE = 2
"""Patches along one edge that Keye's projector merges, whatever the config says (keye.py `Projector`)."""

PATCHES_TO_QUERIES = {"1225": 128, "4900": 256}
"""Queries that Aria's projector asks by the number of patches, where the config doesn't say
(transformers' `AriaConfig`)."""


def keye(config: Facts, text: Facts) -> Tower:
    """Learned positions twice, and rotary ones; patches are normed before they are merged."""
    return _keye(config, text, merged_norm=False)


def keye_1_5(config: Facts, text: Facts) -> Tower:
    """The same, normed after merging."""
    return _keye(config, text, merged_norm=True)


def _keye(config: Facts, text: Facts, *, merged_norm: bool) -> Tower:
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    heads = vision.int("num_attention_heads", default=16, low=1)
    name = "visual.vision_model"
    tower = siglip_modules(vision, name)
    merged = width * MERGE * MERGE
    return Tower(
        tower.blocks,
        (
            *tower.modules,
            Tensor(f"{name}.embeddings.packing_position_embedding", PACKED_POSITIONS * width),
            vision_frequencies(f"{name}.encoder.rotary_pos_emb", width // heads),
            layer_norm("mlp_AR.pre_norm", merged if merged_norm else width),
            *two_layers("mlp_AR.linear_1", "mlp_AR.linear_2", merged, merged, hidden_size(text)),
        ),
        heads=tower.heads,
    )


def aria(config: Facts, text: Facts) -> Tower:
    """Learned queries attend to the patches; the attention is whole on every rank, the MLP behind it is cut."""
    vision = vision_part(config)
    width = vision.int("hidden_size", default=1152)
    tower = siglip_modules(vision, "vision_tower", image=980, any_width=True)
    left_out = ("position_ids", "post_layernorm")
    kept = tuple(module for module in tower.modules if not module.name.endswith(left_out))
    table = config.part("projector_patch_to_query_dict") or Facts(PATCHES_TO_QUERIES)
    queries = max((table.int(str(patches)) for patches in table.values), default=0)
    hidden, name = hidden_size(text), "multi_modal_projector"
    attention = f"{name}.cross_attn"
    modules: list[Module] = [
        Tensor(f"{name}.query", queries * width),
        *(_whole(f"{attention}.{part}", width, width) for part in ("q_proj", "k_proj", "v_proj")),
        _whole(f"{attention}.multihead_attn.in_proj", width, 3 * width, bias=True),
        _whole(f"{attention}.multihead_attn.out_proj", width, width, bias=True),
        _whole(f"{attention}.linear", width, width, bias=True),
        layer_norm(f"{name}.norms", width, count=3),
        *two_layers(
            f"{name}.feed_forward.linear_in",
            f"{name}.feed_forward.linear_out",
            width,
            hidden,
            hidden,
            bias=False,
            quantised=False,
        ),
    ]
    return Tower(tower.blocks, (*kept, *modules), heads=tower.heads)


def _whole(name: str, inputs: int, outputs: int, *, bias: bool = False) -> Linear:
    return Linear(name, inputs, (outputs,), "whole", bias, quantised=False)
