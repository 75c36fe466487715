"""What the files of a model repository mean to vLLM, whether they lie on the hub or on this disk. Pure.

Sources: vLLM 0.33 `transformers_utils/config.py` (which config counts, sentence-transformers' limit),
`model_executor/model_loader/default_loader.py` (which weights are loaded).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wizard.dataclass import replace
from wizard.models.context import sentence_length
from wizard.models.metadata import Checkpoint, ModelMetadata, Source, metadata_from_config, short, text_part
from wizard.models.mistral_format import config_from_params
from wizard.models.tensor_headers import stored_dtype

Files = Mapping[str, Mapping[str, Any]]
"""Parsed small JSON files by name."""

CONFIG = "config.json"
PARAMS = "params.json"
QUANTIZATION = "hf_quant_config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer_config.json"
ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
MISTRAL_INDEX = "consolidated.safetensors.index.json"

SENTENCE_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Where sentence-transformers keeps `max_seq_length`; the first that is there counts."""

PICKLED = (".bin", ".pt", ".pth")
"""Weights that vLLM loads too, but whose sizes no header tells."""

_SHARD = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d{5,})-of-(?P<count>\d{5,})(?P<rest>.*)\.safetensors$")


def is_mistral_format(names: Collection[str]) -> bool:
    """Whether vLLM reads params.json and the consolidated weights, even where config.json lies beside them.

    So since 0.12; earlier versions preferred config.json, which describes the same model.
    """
    return PARAMS in names and any(_consolidated(name) for name in names)


def small_files(names: Collection[str]) -> list[str]:
    """The JSON files to read of a repository, but for the tokenizer's: see `needs_tokenizer`."""
    wanted = [name for name in (CONFIG, QUANTIZATION, GENERATION) if name in names]
    if is_mistral_format(names):
        wanted.append(PARAMS)
    wanted += [name for name in SENTENCE_FILES if name in names][:1]
    if ADAPTER in names and CONFIG not in names:
        wanted.append(ADAPTER)
    return wanted


def needs_tokenizer(files: Files) -> bool:
    """Whether the tokenizer's `model_max_length` bounds the context: pooling models with absolute positions."""
    config = files.get(CONFIG, {})
    text = text_part(config)
    return "absolute" in (config.get("position_embedding_type"), text.get("position_embedding_type"))


def weight_files(names: Collection[str]) -> list[str]:
    """The safetensors files that vLLM would load: those of the root, in Mistral's own form where it is there."""
    root = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    own = [name for name in root if not name.startswith("adapter_model")]
    return [name for name in own if _consolidated(name)] or own


def index_of(names: Collection[str]) -> str:
    """The name of the index that belongs to the weights that vLLM would load."""
    return MISTRAL_INDEX if any(map(_consolidated, weight_files(names))) else INDEX


def needs_index(names: Collection[str]) -> bool:
    """Whether only the index tells which files count: there is more than one set of weights."""
    sets = set()
    for name in weight_files(names):
        match = _SHARD.match(name)
        sets.add(match.group("stem", "rest", "count") if match else name)
    return len(sets) > 1 and index_of(names) in names


def has_weights(names: Collection[str]) -> bool:
    """Whether there are weights in a form that vLLM loads, safetensors or pickled."""
    return bool(_weights(names))


def indexed_files(index: Mapping[str, Any]) -> list[str]:
    """The weight files that an index names."""
    weight_map = index.get("weight_map")
    values = weight_map.values() if isinstance(weight_map, Mapping) else ()
    return sorted({name for name in values if isinstance(name, str)})


def missing_shards(names: Collection[str]) -> list[str]:
    """Files of a numbered set of weights that are not there: an unfinished download or upload."""
    present = set(names)
    missing: set[str] = set()
    for name in weight_files(names):
        match = _SHARD.match(name)
        if match is None or int(match["count"]) > LARGEST_SHARD_COUNT:
            continue
        width = len(match["number"])
        start, end = match.span("number")
        for number in range(1, int(match["count"]) + 1):
            other = f"{name[:start]}{number:0{width}d}{name[end:]}"
            if other not in present:
                missing.add(other)
    return sorted(missing)


LARGEST_SHARD_COUNT = 10_000
"""More files than any model has."""


def why_not_servable(names: Collection[str], files: Files, shown: str, base: object = None) -> str | None:
    """Why vLLM can't serve such a repository, and what to take instead; None where it may.

    `shown` is its name, ready to show; `base` the model that its card says it is made from.
    """
    weights = _weights(names)
    if ADAPTER in names and not weights:
        named = _named(files.get(ADAPTER, {}).get("base_model_name_or_path") or base)
        return (
            f"{shown} is a LoRA adapter: plan its base model{named} and pass the adapter with --lora-modules."
        )
    if not weights and any(name.endswith(".gguf") for name in names):
        return (
            f"{shown} holds GGUF files only, which vLLM doesn't load: "
            f"take the original safetensors model{_named(base)} instead."
        )
    if CONFIG in names or is_mistral_format(names):
        return None
    if PARAMS in names:
        return f"{shown} holds params.json without consolidated.safetensors: take the model in Hugging Face format."
    if "model_index.json" in names:
        return f"{shown} is a diffusers pipeline, which vLLM doesn't serve; search for a language model."
    return f"{shown} has no config.json, so it is no model that vLLM can serve; search for another."


def metadata_from_files(
    files: Files,
    names: Collection[str],
    *,
    model: str,
    source: Source,
    revision: str | None = None,
    checkpoint: Checkpoint | None = None,
    license: str | None = None,
    gated: bool = False,
    warnings: Sequence[str] = (),
    load_risks: Sequence[str] = (),
) -> ModelMetadata:
    """Facts of a model whose small files have been read. Raises ConfigError in one sentence.

    `load_risks` are warnings that mean that vLLM would stop while it loads the weights.
    """
    config = files.get(CONFIG)
    if PARAMS in files and is_mistral_format(names):
        config = config_from_params(files[PARAMS], config or {})
    if config is None:
        config = {}
    sentence = next((files[name] for name in SENTENCE_FILES if name in files), None)
    metadata = metadata_from_config(
        config,
        model=model,
        source=source,
        revision=revision,
        checkpoint=checkpoint,
        hf_quant_config=files.get(QUANTIZATION),
        tokenizer_config=files.get(TOKENIZER),
        encoder_max_length=sentence_length(sentence),
    )
    if checkpoint is not None and metadata.quantization_config is None and not _names_dtype(metadata):
        metadata = replace(metadata, dtype=stored_dtype(checkpoint.tensors.values()) or metadata.dtype)
    said = [*metadata.warnings, *warnings, *load_risks, *_answer_limit(files.get(GENERATION))]
    if not has_weights(names) and source in NO_WEIGHTS:
        said.insert(0, NO_WEIGHTS[source])
    return replace(metadata, license=license, gated=gated, warnings=tuple(said), load_risks=tuple(load_risks))


NO_WEIGHTS: Mapping[Source, str] = {
    "path": "There are no weights in this directory yet: it is planned from its config, and until they are there "
    'vLLM stops with "Cannot find any model weights".',
    "hub": "This model has no weights on the hub: it is planned from its config, and vLLM would stop with "
    '"Cannot find any model weights"; choose another one to serve.',
}
"""A cached snapshot says it in its own words: vLLM fetches what it lacks."""


def _names_dtype(metadata: ModelMetadata) -> bool:
    parts = (metadata.config, metadata.text)
    nested = (metadata.config.get(name) for name in ("vision_config", "encoder_config"))
    return any(
        part.get("dtype") or part.get("torch_dtype")
        for part in (*parts, *nested)
        if isinstance(part, Mapping)
    )


def _answer_limit(generation: Mapping[str, Any] | None) -> list[str]:
    """vLLM cuts every answer at the repository's `max_new_tokens` (config/model.py `get_diff_sampling_param`)."""
    limit = (generation or {}).get("max_new_tokens")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        return []
    return [
        f"The model's generation_config.json ends every answer after {limit:,} tokens; "
        "--generation-config vllm lifts that."
    ]


def _weights(names: Collection[str]) -> list[str]:
    pickled = [name for name in names if name.endswith(PICKLED) and "/" not in name]
    return weight_files(names) or [name for name in pickled if not name.startswith("adapter_model")]


def _consolidated(name: str) -> bool:
    return name.startswith("consolidated") and name.endswith(".safetensors")


def _named(base: object) -> str:
    if isinstance(base, list) and base:
        base = base[0]
    return f" ({short(base, 80)})" if isinstance(base, str) and base else ""
