"""One decoder layer of any architecture: its mixer, its feed-forward part and its norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wizard.dataclass import replace
from wizard.errors import ConfigError
from wizard.models.architectures import Traits
from wizard.models.attention import block_sparse_query, grouped_query, hidden_size, switched
from wizard.models.decoders import (
    deci_layer,
    falcon_layer,
    gemma4_layer,
    gpt_bigcode_layer,
    granite_hybrid_layer,
    nemotron_h_layer,
    opt_layer,
)
from wizard.models.decoders_hybrid import falcon_h1_layer, zamba2_layer
from wizard.models.decoders_moe import longcat_layer, step_layer
from wizard.models.deepseek_v4 import deepseek_v4_layer
from wizard.models.encoders import bert_layer
from wizard.models.encoders_rotary import modern_bert_layer, rotary_bert_layer
from wizard.models.facts import Facts
from wizard.models.gemma3n import gemma3n_layer
from wizard.models.kimi import kimi_layer
from wizard.models.latent import latent, latent_expanded
from wizard.models.metadata import short
from wizard.models.mixers import gated_delta, mamba1, mamba2, short_conv
from wizard.models.modules import Module, Tensor
from wizard.models.patterns import PATTERNS, SPARSE
from wizard.models.sparse import dense_width, gated_mlp, sparse_block
from wizard.models.whisper import whisper_layer

Mixer = Callable[[Facts, Traits, int, str], list[Module]]


def _no_mixer(facts: Facts, traits: Traits, index: int, kind: str) -> list[Module]:
    return []


MIXERS: Mapping[str, Mixer] = {
    "gqa": grouped_query,
    "block_sparse": block_sparse_query,
    "mla": latent,
    "mla_expanded": latent_expanded,
    "gated_delta": gated_delta,
    "short_conv": short_conv,
    "mamba1": mamba1,
    "mamba2": mamba2,
    "none": _no_mixer,
}


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
        modules = modules + [replace(matrix, sequence_parallel=traits.dense_copied) for matrix in dense]
    norms = traits.norms + (2 if switched(facts, traits.more_norms_if) else 0)
    if norms:
        modules.append(norm("norms", hidden_size(facts), switched(facts, traits.norm_bias), norms))
    return modules


def norm(name: str, width: int, bias: bool = False, count: int = 1) -> Tensor:
    """RMSNorm keeps a weight, LayerNorm a bias too."""
    return Tensor(name, count * width * (2 if bias else 1))


LAYERS: Mapping[str, Callable[[Facts, Traits, int], list[Module]]] = {
    "standard": standard_layer,
    "bert": bert_layer,
    "deci": deci_layer,
    "deepseek_v4": deepseek_v4_layer,
    "falcon": falcon_layer,
    "falcon_h1": falcon_h1_layer,
    "gemma3n": gemma3n_layer,
    "gemma4": gemma4_layer,
    "granite_hybrid": granite_hybrid_layer,
    "gpt_bigcode": gpt_bigcode_layer,
    "kimi": kimi_layer,
    "longcat": longcat_layer,
    "modern_bert": modern_bert_layer,
    "nemotron_h": nemotron_h_layer,
    "opt": opt_layer,
    "rotary_bert": rotary_bert_layer,
    "step": step_layer,
    "whisper": whisper_layer,
    "zamba2": zamba2_layer,
}
