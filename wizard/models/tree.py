"""From a model's config to its modules."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from wizard.errors import UnsizedError
from wizard.models.architectures import Traits, architecture_of_type, traits_of
from wizard.models.attention import hidden_size, switched
from wizard.models.facts import Facts
from wizard.models.layers import LAYERS, alike, norm
from wizard.models.metadata import ModelMetadata, short
from wizard.models.modules import Block, Module, ModuleTree, Tensor, Vocabulary, tree_parameters
from wizard.models.quantization import told_by_config
from wizard.models.towers import TOWERS

_trees: WeakKeyDictionary[ModelMetadata, ModuleTree] = WeakKeyDictionary()


def module_tree(metadata: ModelMetadata) -> ModuleTree:
    """The modules of a model, described once per metadata object.

    Raises ConfigError, in one sentence, for a config that can't be described.
    """
    tree = _trees.get(metadata)
    if tree is None:
        tree = _trees[metadata] = _describe(metadata)
    return tree


def parameter_count(metadata: ModelMetadata) -> int:
    """Parameters of the whole model as the config describes it (no draft layers)."""
    return tree_parameters(module_tree(metadata))


def active_parameter_count(metadata: ModelMetadata) -> int:
    """Parameters that one token touches: top-k of the routed experts, no embedding look-up."""
    return tree_parameters(module_tree(metadata), active=True)


def traits_for(metadata: ModelMetadata) -> Traits:
    """The traits of a model. Raises ConfigError for an architecture that is not known."""
    traits = traits_of(_architecture(metadata), *_decoder(metadata))
    if traits is None and _plain_decoder(metadata):
        traits = traits_of(PLAIN_DECODER)
    if traits is None:
        raise UnsizedError(
            f"The architecture {short(metadata.architecture)} is not known here and the config alone can't size it; "
            "use a model directory or id whose safetensors headers can be read."
        )
    return traits


READ_AS_PLAIN = "is not known here: it is read as a dense decoder of Llama's shape."

PLAIN_DECODER = "transformers"
"""What an unknown decoder without any special part is read as: Llama's shape, by vLLM's Transformers backend."""

DECODER_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
SPECIAL_KEYS = re.compile(
    r"expert|moe|ssm|mamba|linear_attn|lora_rank|vision|audio|rwkv|conv|block_type|hybrid|altup"
)


def _plain_decoder(metadata: ModelMetadata) -> bool:
    """True for an unknown causal model whose config names nothing but a dense decoder's parts."""
    text = metadata.text
    return (
        metadata.architecture.endswith("ForCausalLM")
        and all(isinstance(text.get(key), int) for key in DECODER_KEYS)
        and not any(SPECIAL_KEYS.search(key) for key in (*text, *metadata.config) if isinstance(key, str))
    )


def _describe(metadata: ModelMetadata) -> ModuleTree:
    known = traits_of(_architecture(metadata), *_decoder(metadata)) is not None
    checkpoint = metadata.checkpoint
    if checkpoint is not None and checkpoint.exact and not (known and told_by_config(metadata)):
        from wizard.models.stored import stored_tree

        return stored_tree(metadata, checkpoint, "quantisation" if known else "architecture")
    traits = traits_for(metadata)
    facts = Facts(metadata.text, traits.defaults)
    blocks = _blocks(facts, traits)
    hidden = hidden_size(facts)
    rows = facts.int("padded_vocab_size", "vocab_size", low=1)
    wide = facts.int(*traits.embedding_width, default=hidden, low=1) if traits.embedding_width else hidden
    embedding = Vocabulary(
        f"{traits.prefix}.{traits.embedding}",
        rows + traits.embedding_extra,
        wide,
        quantised=traits.embedding_quantised,
        whole=traits.embedding_whole,
    )
    first: list[Module] = [embedding]
    last: list[Module] = []
    every: list[Module] = []
    is_tied = traits.always_tied or (traits.tied is not None and _tied(metadata, traits))
    tied: tuple[Module, ...] = (
        (embedding,) if is_tied else ()
    )  # the last stage has it, with a head or without
    if switched(facts, traits.final_norm):
        bias = switched(facts, traits.norm_bias) if traits.final_norm_bias is None else traits.final_norm_bias
        last.append(norm(f"{traits.prefix}.norm", hidden, bias))
    if traits.head:
        head = Vocabulary(
            traits.head,
            rows,
            wide,
            head=True,
            bias=switched(facts, traits.head_bias),
            quantised=traits.head_quantised,
        )
        if is_tied:
            if head.bias:
                last.append(Tensor(f"{traits.head}.bias", head.rows, split=True))
        elif traits.head_everywhere:
            every.append(head)
        else:
            last.append(head)
    if traits.normalizer:
        every.append(Tensor(f"{traits.prefix}.normalizer", 1, buffer=True))
    if traits.extras or traits.pooler:
        from wizard.models.encoders import EXTRAS, POOLERS

        for extra in traits.extras:
            every += EXTRAS[extra](facts, traits)
        if traits.pooler:
            every += POOLERS[traits.pooler](facts, Facts(metadata.config))
    if traits.ends_everywhere:
        every += first + last
        first, last, tied = [], [], ()
    elif traits.embedding_everywhere:
        every += first
        first, tied = [], ()
    tower = TOWERS[traits.tower](Facts(metadata.config), facts) if traits.tower else None
    return ModuleTree(
        blocks=blocks,
        num_layers=facts.layers,
        first=tuple(first),
        last=tuple(last),
        every=tuple(every),
        tied=tied,
        towers=tower.blocks if tower else (),
        encoder=tower.modules if tower else (),
        encoder_everywhere=tower.everywhere if tower else (),
        tower_heads=tower.heads if tower else 0,
        tower_copied_if_uneven=tower.copied_if_uneven if tower else False,
        renames=traits.renames,
        warnings=() if known else (f"The architecture {short(metadata.architecture)} {READ_AS_PLAIN}",),
    )


def _architecture(metadata: ModelMetadata) -> str:
    """The class that vLLM builds: some config classes name it themselves, where the file only names the decoder."""
    if "architectures" in metadata.config:
        return metadata.architecture
    return architecture_of_type(metadata.model_type) or metadata.architecture


def _decoder(metadata: ModelMetadata) -> tuple[str, str]:
    """Architecture and model type of the decoder's section; a flat config may tell its decoder by a version."""
    named = metadata.text.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    kind, version = metadata.text.get("model_type"), metadata.config.get("version")
    if not isinstance(kind, str):
        return architecture, ""
    return architecture, f"{kind} {version}" if isinstance(version, float) else kind


def _tied(metadata: ModelMetadata, traits: Traits) -> bool:
    """`tie_word_embeddings` of the class that owns both tables, else that class's default.

    Of a multimodal model that is the whole config (config/vllm.py `with_hf_config`), but for classes that
    leave it to the decoder.
    """
    values = metadata.config if traits.tower and not traits.tied_in_text else metadata.text
    value = values.get("tie_word_embeddings")
    return bool(traits.tied) if value is None else bool(value)


def _blocks(facts: Facts, traits: Traits) -> tuple[Block, ...]:
    """Layers, equal ones together, in the order in which each kind first appears."""
    build = LAYERS[traits.layer]
    prefix = f"{traits.prefix}.{traits.layers}.{{}}" if traits.prefix else f"{traits.layers}.{{}}"
    if alike(facts, traits):
        return (Block(prefix, tuple(range(facts.layers)), tuple(build(facts, traits, 0))),)
    kinds: dict[tuple[Module, ...], list[int]] = {}
    for index in range(facts.layers):
        kinds.setdefault(tuple(build(facts, traits, index)), []).append(index)
    return tuple(Block(prefix, tuple(indices), modules) for modules, indices in kinds.items())
