"""The shapes of a measured model: its own config, or that of the model it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.accuracy.models import Models
from wizard.models.metadata import ModelMetadata, metadata_from_config

SHAPES = json.loads((Path(__file__).parent / "shapes.json").read_text(encoding="utf-8"))

STORED: Mapping[str, dict[str, Any] | None] = {
    "bf16": None,
    "fp16": None,
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "nvfp4": {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "group_size": 16,
        "exclude_modules": ["lm_head"],
    },
    "int4": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "awq-int4": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "gptq-int4": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False},
    "w8a8-int8": {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
                "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            }
        },
    },
    "w4a16": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
            }
        },
    },
}
"""What a source's word for a dtype means in a checkpoint, where the config at hand is of another."""

OWN_METHODS: Mapping[str, tuple[str, ...]] = {
    "fp8": ("fp8", "fbgemm_fp8", "compressed-tensors", "modelopt"),
    "nvfp4": ("modelopt", "modelopt_fp4"),
    "mxfp4": ("mxfp4",),
    "int4": ("compressed-tensors", "awq", "gptq"),
    "awq-int4": ("awq", "compressed-tensors"),
    "gptq-int4": ("gptq", "compressed-tensors"),
    "w4a16": ("compressed-tensors",),
    "w8a8-int8": ("compressed-tensors",),
}


SYNONYMS: Mapping[str, str] = {
    "fp4": "nvfp4",
    "awq": "awq-int4",
    "gptq": "gptq-int4",
    "int8": "w8a8-int8",
    "w8a8": "w8a8-int8",
    "w8a8-fp8": "fp8",
    "fp8-dynamic": "fp8",
    "float16": "fp16",
    "bfloat16": "bf16",
    "auto": "bf16",
}


class MeasuredModels:
    """Finds metadata by the name and dtype that a record gives; equal ones are shared."""

    def __init__(self, configs: Path | None) -> None:
        self._models = Models(configs)
        self._known: dict[tuple[str, str], ModelMetadata | None] = {}

    def find(self, name: str, dtype: str) -> ModelMetadata | None:
        key = (name, SYNONYMS.get(dtype.lower(), dtype.lower()))
        if key not in self._known:
            self._known[key] = self._stored(*key)
        return self._known[key]

    def _stored(self, name: str, dtype: str) -> ModelMetadata | None:
        metadata = self._shapes(name)
        if metadata is None:
            return None
        method = str((metadata.quantization_config or {}).get("quant_method", ""))
        if method and method in OWN_METHODS.get(dtype, ()) and _bits_agree(metadata, dtype):
            return metadata
        if dtype not in STORED:
            return None
        return replace(metadata, quantization_config=STORED[dtype])

    def _shapes(self, name: str) -> ModelMetadata | None:
        found = self._models.find(name)
        if found is not None and found.exact:
            return found.metadata
        own = _written_down(name)
        if own is not None:
            return own
        for pattern, base in SHAPES["like"]:
            if re.search(pattern, name.lower().replace("meta-", "")):
                like = self._models.find(base)
                return like.metadata if like else _written_down(base)
        return found.metadata if found else None


def _written_down(name: str) -> ModelMetadata | None:
    config = SHAPES["configs"].get(name)
    return metadata_from_config(config, model=name, source="catalogue") if config else None


def _bits_agree(metadata: ModelMetadata, dtype: str) -> bool:
    """compressed-tensors and ModelOpt stand for several formats; their text says which."""
    text = json.dumps(dict(metadata.quantization_config or {}))
    if "4" in dtype:
        return "4" in text
    return "NVFP4" not in text and '"num_bits": 4' not in text
