"""One decoder layer of any architecture: its mixer, its feed-forward part and its norms."""

from __future__ import annotations

from collections.abc import Callable

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.architectures import Traits
from wizard.models.attention import block_sparse_query, grouped_query, hidden_size, switched
from wizard.models.facts import Facts
from wizard.models.late import Late
from wizard.models.metadata import short
from wizard.models.modules import Module, Tensor
from wizard.models.patterns import PATTERNS, SPARSE
from wizard.models.sparse import dense_width, gated_mlp, sparse_block

Mixer = Callable[[Facts, Traits, int, str], list[Module]]


def _no_mixer(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    return []


MIXERS: Late[Mixer] = Late(
    {
        "mla": "latent.latent",
        "mla_expanded": "latent.latent_expanded",
        "gated_delta": "mixers.gated_delta",
        "gated_delta_olmo": "mixers.gated_delta_olmo",
        "short_conv": "mixers.short_conv",
        "mamba1": "mixers.mamba1",
        "mamba2": "mixers.mamba2",
    },
    gqa=grouped_query,
    block_sparse=block_sparse_query,
    none=_no_mixer,
)


def layer_kind(facts: Facts, traits: Traits, index: int) -> str:
    """The config's word for layer `index`; empty where all are alike."""
    return PATTERNS[traits.layer_types](facts, index) if traits.layer_types else ""


def mixer_of(traits: Traits, kind: str) -> Mixer:
    name = traits.mixers.get(kind, traits.mixer)
    mixer = MIXERS.get(name)
    if mixer is None:
        raise ConfigError(f"config.json has layers of type {short(kind)}, which can't be planned.")
    return mixer


def standard_layer(facts: Facts, traits: Traits, index: int) -> list[Module]:
    """Mixer, then a dense or sparse feed-forward block, then the norms."""
    kind = layer_kind(facts, traits, index)
    modules = mixer_of(traits, kind)(facts, traits, index, kind)
    if traits.moe and SPARSE[traits.moe](facts, index):
        modules = modules + sparse_block(facts, traits, index)
        if traits.dense_too:
            modules += gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index))
    elif traits.mlp:
        dense = gated_mlp(facts, traits, traits.mlp, dense_width(facts, traits, index))
        if traits.dense_copied:
            dense = [replace(matrix, sequence_parallel=True) for matrix in dense]
        modules = [*modules, *dense]
    norms = traits.norms + (2 if switched(facts, traits.more_norms_if) else 0)
    if norms:
        modules.append(norm("norms", hidden_size(facts), switched(facts, traits.norm_bias), norms))
    return modules


def alike(facts: Facts, traits: Traits) -> bool:
    """Whether all layers are sure to be the same: nothing that a layer is made from is told for each by itself."""
    if traits.layer != "standard" or traits.mixer != "gqa" or traits.moe or traits.layer_types:
        return False
    by_layer = ("num_attention_heads_per_layer", *traits.width)
    return not any(isinstance(facts.get(name), list | tuple) for name in by_layer)


def norm(name: str, width: int, bias: bool = False, count: int = 1) -> Tensor:
    """RMSNorm keeps a weight, LayerNorm a bias too."""
    return Tensor(name, count * width * (2 if bias else 1))


LAYERS: Late[Callable[[Facts, Traits, int], list[Module]]] = Late(
    {
        "bert": "encoders.bert_layer",
        "dbrx": "decoders_moe.dbrx_layer",
        "deci": "decoders.deci_layer",
        "deepseek_v4": "deepseek_v4.deepseek_v4_layer",
        "ernie_vl": "ernie_vl.ernie_vl_layer",
        "falcon": "decoders.falcon_layer",
        "falcon_h1": "decoders_hybrid.falcon_h1_layer",
        "gemma3n": "gemma3n.gemma3n_layer",
        "gemma4": "decoders.gemma4_layer",
        "granite_hybrid": "decoders.granite_hybrid_layer",
        "gpt_bigcode": "decoders.gpt_bigcode_layer",
        "kimi": "kimi.kimi_layer",
        "longcat": "decoders_moe.longcat_layer",
        "modern_bert": "encoders_rotary.modern_bert_layer",
        "nemotron_h": "decoders.nemotron_h_layer",
        "opt": "decoders.opt_layer",
        "rotary_bert": "encoders_rotary.rotary_bert_layer",
        "step": "decoders_moe.step_layer",
        "step3": "decoders_moe.step3_layer",
        "whisper": "whisper.whisper_layer",
        "zamba2": "decoders_hybrid.zamba2_layer",
    },
    standard=standard_layer,
)
