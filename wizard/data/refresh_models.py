"""Rebuilds models.jsonl from a folder of public configs: `python -m wizard.data.refresh_models FOLDER`.

FOLDER holds ORG/NAME/config.json (and hf_quant_config.json), with a SOURCE.txt beside each. Kept are
the facts that memory and speed depend on; token ids, dropout rates and generation defaults are left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wizard.errors import ConfigError
from wizard.models.metadata import metadata_from_config
from wizard.models.tree import parameter_count

DROPPED = re.compile(
    r"(_token_ids?$|_token_index$|^(bos|eos|pad|cls|sep|unk)_|dropout|_pdrop$|^initializer|^init_|^transformers_version$"
    r"|^use_cache$|^label2id$|^torchscript$|^_name_or_path$|^_commit_hash$|_loss_coef$|^output_(attentions|hidden|scores|router)"
    r"|^(num_beams|num_beam_groups|temperature|top_p|do_sample|typical_p|repetition_penalty|length_penalty"
    r"|early_stopping|diversity_penalty|return_dict|return_dict_in_generate|pruned_heads|prefix|problem_type|no_repeat_ngram_size"
    r"|encoder_no_repeat_ngram_size|bad_words_ids|exponential_decay_length_penalty|forced_.*|suppress_tokens|min_length|max_length"
    r"|remove_invalid_values|task_specific_params|tf_legacy_loss|use_bfloat16|finetuning_task|chunk_size_feed_forward"
    r"|add_cross_attention|cross_attention_hidden_size|begin_suppress_tokens|decoder_start_token_id|aux_loss.*|router_aux.*|router_jitter.*"
    r"|router_z.*|pretraining_tp|gradient_checkpointing|summary_.*|boi_.*|eoi_.*|image_token.*|video_token.*|vision_(start|end)_.*|audio_token.*"
    r"|ep_size|seq_aux|use_return_dict|_from_model_config|_attn_implementation.*)$)"
)
KEPT_ANYWAY = re.compile(r"^(mm_tokens_per_image|image_token_.*count)$")

QUANTISED_SUFFIX = re.compile(
    r"[-_.](fp8.*|nvfp4.*|awq.*|gptq.*|quantized\.w\d+a\d+|int[48]|static-pertensor|qat-w4a16-ct|it-qat.*|bf16)$",
    re.IGNORECASE,
)

SAME = {
    "meta-llama/Llama-3.3-70B-Instruct": (
        "meta-llama/Llama-3.1-70B-Instruct",
        "same shapes as Llama 3.1 70B (Meta's Llama 3.3 model card: the 3.3 text model shares the 3.1 architecture)",
    ),
    "deepseek-ai/DeepSeek-R1": (
        "deepseek-ai/DeepSeek-V3",
        "trained from DeepSeek-V3-Base (DeepSeek-R1 model card), same shapes and fp8 block scales",
    ),
    "deepseek-ai/DeepSeek-R1-0528": ("deepseek-ai/DeepSeek-V3", "as DeepSeek-R1 (its model card)"),
    "deepseek-ai/DeepSeek-V3-0324": (
        "deepseek-ai/DeepSeek-V3",
        "same shapes as DeepSeek-V3 (its model card)",
    ),
    "Qwen/Qwen2.5-Coder-7B-Instruct": (
        "Qwen/Qwen2.5-7B-Instruct",
        "same shapes as Qwen2.5-7B (Qwen2.5-Coder report)",
    ),
}
"""Models whose config is that of another one, and why."""

ORDER = (
    "id",
    "base",
    "params",
    "dtype",
    "quantization",
    "license",
    "same_as",
    "source",
    "config",
    "hf_quant_config",
)
"""Keys of a line; the catalogue reads the first ones without parsing the rest."""

LARGEST_ENTRY = 32_000
"""Characters. A mixed-precision checkpoint that names each of its modules would double the catalogue."""


def stripped(value: Any) -> Any:
    """The value without keys that no rule reads. A null stays: left out, a key has its class's default."""
    if isinstance(value, dict):
        return {
            key: stripped(item)
            for key, item in value.items()
            if KEPT_ANYWAY.match(key) or not DROPPED.search(key)
        }
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value


def base_names(model: str) -> Iterator[str]:
    """Lower-case names that the unquantised form of `model` may have, without organisation."""
    name = model.split("/")[-1]
    while True:
        shorter = QUANTISED_SUFFIX.sub("", name)
        if shorter == name:
            return
        name = shorter
        yield name.lower().removeprefix("meta-")


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Catalogue entries for every config that parses."""
    known: dict[str, str] = {}
    stored: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*/config.json"), key=lambda item: str(item).lower()):
        model = f"{path.parent.parent.name}/{path.parent.name}"
        if model.lower() in {name.lower() for name in stored}:
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        quant = path.parent / "hf_quant_config.json"
        quant_config = json.loads(quant.read_text(encoding="utf-8")) if quant.is_file() else None
        try:
            metadata_from_config(config, model=model, source="catalogue", hf_quant_config=quant_config)
        except ConfigError as error:
            sys.stderr.write(f"left out {model}: {error}\n")
            continue
        note = (path.parent / "SOURCE.txt").read_text(encoding="utf-8").strip().splitlines()
        entry: dict[str, Any] = {"id": model, "source": source_line(note), "config": stripped(config)}
        if quant_config is not None:
            entry["hf_quant_config"] = stripped(quant_config)
        if len(json.dumps(entry)) > LARGEST_ENTRY:
            sys.stderr.write(f"left out {model}: its config lists every layer by name\n")
            continue
        stored[model] = entry
        known.setdefault(model.split("/")[-1].lower().removeprefix("meta-"), model)
    for alias, (model, why) in SAME.items():
        if model in stored and alias not in stored:
            stored[alias] = {"id": alias, "source": why, "same_as": model}
            known[alias.split("/")[-1].lower()] = alias
    for model, entry in stored.items():
        for name in base_names(model):
            if name in known and known[name] != model:
                entry["base"] = known[name]
                break
    stated = licenses(folder)
    for model, entry in stored.items():
        same = stored[entry["same_as"]] if "same_as" in entry else entry
        entry.update(summary({**same, "id": model}, same["config"], stated.get(model)))
    order = sorted(stored.values(), key=lambda entry: str(entry["id"]).lower())
    yield from order


def summary(entry: Mapping[str, Any], config: Mapping[str, Any], license: object) -> dict[str, Any]:
    """What a search shows of a model: its parameters (where its class is known), dtype, method and licence."""
    metadata = metadata_from_config(
        config, model=entry["id"], source="catalogue", hf_quant_config=entry.get("hf_quant_config")
    )
    try:
        params = parameter_count(metadata)
    except ConfigError:
        params = None
    facts = {
        "params": params,
        "dtype": metadata.dtype,
        "quantization": quantization(metadata.quantization_config or {}),
        "license": license if isinstance(license, str) and re.fullmatch(r"[\w.\-]+", license) else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def quantization(section: Mapping[str, Any]) -> str | None:
    """The checkpoint's own name of its method; ModelOpt's by its algorithm."""
    method = str(section.get("quant_method") or "").lower()
    algorithm = str(section.get("quant_algo") or "").lower()
    return (algorithm if method == "modelopt" else "") or method or None


def licenses(folder: Path) -> Mapping[str, object]:
    """The licence that the hub states for each model, from the folder's PARAMS.json."""
    path = folder / "PARAMS.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: (row.get("llmfit_facts") or {}).get("license") for name, row in rows.items()}


def source_line(note: list[str]) -> str:
    """One line that names the public source of a config."""
    return " ".join(line.removeprefix("source: ") for line in note if line.strip())[:300]


def main(folder: Path) -> None:
    target = Path(__file__).with_name("models.jsonl")
    rows = [
        json.dumps(
            {key: entry[key] for key in ORDER if key in entry}, ensure_ascii=False, separators=(",", ":")
        )
        for entry in entries(folder)
    ]
    target.write_text("\n".join(rows) + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(rows)} models, {target.stat().st_size >> 10} KiB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
