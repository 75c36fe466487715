"""What the hub's listings say of a model, as a search result. Pure; every value is checked, none is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wizard.models.found import FoundModel

EXPANDED = ("config", "downloads", "gated", "safetensors", "tags")
"""What a listing is asked for beside the ids."""

TAGGED_METHODS = (
    "awq",
    "gptq",
    "compressed-tensors",
    "fp8",
    "nvfp4",
    "mxfp4",
    "bitsandbytes",
    "gguf",
    "mlx",
    "exl2",
    "exl3",
)
"""Tags that name a quantisation or a format; the first that a model carries counts."""

FOREIGN = frozenset({"gguf", "mlx", "exl2", "exl3"})
"""Formats that vLLM doesn't load."""

WEIGHTS_PER_BYTE = {"mxfp4": 32 / 17, "gpt_oss_mxfp4": 32 / 17}
"""Of U8 tensors, where they hold the scales as well: 32 weights in 16 bytes, and one byte of scale."""

SCALES = frozenset({"F8_E8M0", "I64"})
"""Dtypes that never hold weights."""

PLAIN = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

_BASE = re.compile(r"base_model:quantized:(?P<base>[\w.\-]+(?:/[\w.\-]+)?)$")
_ID = re.compile(r"[\w.\-]+(?:/[\w.\-]+)?$")


def row(entry: object) -> FoundModel | None:
    """One entry of a listing; None where it names no model."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or not _ID.match(entry["id"]):
        return None
    tags = tags_of(entry)
    section = _quantization(entry)
    method = _method(section, tags)
    stored = _stored(entry)
    downloads = entry.get("downloads")
    return FoundModel(
        id=entry["id"],
        source="hub",
        params=_params(stored, method, section),
        gated=entry.get("gated") not in (None, False),
        base=next((match["base"] for tag in tags if (match := _BASE.match(tag))), None),
        downloads=downloads if isinstance(downloads, int) else None,
        license=license_of(entry),
        dtype=_dtype(stored),
        quantization=method,
    )


def tags_of(entry: Mapping[str, Any]) -> list[str]:
    """The tags of a model, texts only."""
    tags = entry.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def license_of(entry: Mapping[str, Any]) -> str | None:
    """The licence by the model's card, else by its tags."""
    card = entry.get("cardData")
    stated = card.get("license") if isinstance(card, Mapping) else None
    if isinstance(stated, str) and stated:
        return stated
    tags = (tag.removeprefix("license:") for tag in tags_of(entry) if tag.startswith("license:"))
    return next(tags, None)


def base_of(entry: Mapping[str, Any]) -> object:
    """The model that the card says this one is made from: a name, a list of names, or None."""
    card = entry.get("cardData")
    return card.get("base_model") if isinstance(card, Mapping) else None


def _quantization(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    config = entry.get("config")
    section = config.get("quantization_config") if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _method(section: Mapping[str, Any], tags: list[str]) -> str | None:
    """The method of the config; ModelOpt and compressed-tensors by the format that a tag names, if one does."""
    stated = section.get("quant_method")
    lower = {tag.lower() for tag in tags}
    tagged = next((method for method in TAGGED_METHODS if method in lower), None)
    if isinstance(stated, str) and stated and not (stated in {"modelopt", "compressed-tensors"} and tagged):
        return stated.lower()[:40]
    return tagged


def _stored(entry: Mapping[str, Any]) -> dict[str, int]:
    """Elements by dtype of the safetensors headers, as the hub has counted them."""
    section = entry.get("safetensors")
    counts = section.get("parameters") if isinstance(section, Mapping) else None
    if not isinstance(counts, Mapping):
        return {}
    return {name: count for name, count in counts.items() if type(count) is int and count > 0}


def _dtype(stored: Mapping[str, int]) -> str | None:
    plain = {name: count for name, count in stored.items() if name in PLAIN}
    return PLAIN[max(plain, key=lambda name: plain[name])] if plain else None


def _params(stored: Mapping[str, int], method: str | None, section: Mapping[str, Any]) -> int | None:
    """Parameters, seeing through packed storage; None where the hub has counted nothing."""
    if not stored:
        return None
    bits = section.get("bits")
    bits = bits if bits in {2, 3, 4, 8} else 4
    total = 0.0
    packed = "U8" in stored and method is not None and method != "fp8"
    for name, count in stored.items():
        if name in SCALES or (packed and name == "F8_E4M3"):
            continue
        if name == "I32" and method is not None:
            total += count * 32 / bits
        elif name == "U8" and packed:
            total += count * WEIGHTS_PER_BYTE.get(method or "", 2)
        else:
            total += count
    return round(total)
