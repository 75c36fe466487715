"""Model repositories that exist in memory: small files as they are, weights as a header and imagined zeros."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I32": 4, "U8": 1}

CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
"""A Llama of 0.15 billion parameters."""

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor -> dtype and shape."""


class Weights:
    """A safetensors file: a real header, and zeros that take no room."""

    def __init__(self, shapes: Shapes) -> None:
        entries: dict[str, Any] = {}
        offset = 0
        self.counts: dict[str, int] = {}
        for name, (dtype, shape) in shapes.items():
            size = math.prod(shape) * BYTES[dtype]
            entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
            offset += size
            self.counts[dtype] = self.counts.get(dtype, 0) + math.prod(shape)
        header = json.dumps(entries, separators=(",", ":")).encode()
        self.start = struct.pack("<Q", len(header)) + header
        self.size = len(self.start) + offset

    def read(self, first: int, end: int) -> bytes:
        """Bytes first..end (exclusive)."""
        known = self.start[first:end]
        return known + bytes(max(0, min(end, self.size) - first - len(known)))


class Plain:
    """A file of bytes."""

    counts: Mapping[str, int] = {}

    def __init__(self, body: bytes) -> None:
        self.body, self.size = body, len(body)

    def read(self, first: int, end: int) -> bytes:
        """Bytes first..end (exclusive)."""
        return self.body[first:end]


def plain(value: object) -> Plain:
    """JSON of a value, or the bytes or text as they are."""
    if isinstance(value, bytes):
        return Plain(value)
    return Plain((value if isinstance(value, str) else json.dumps(value)).encode())


@dataclass
class Repository:
    """One model repository."""

    id: str
    files: dict[str, Plain | Weights] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    downloads: int = 1
    gated: str | bool = False
    private: bool = False
    disabled: bool = False
    members: tuple[str, ...] = ()
    """Users who may pass the gate, or see a private repository."""
    card: Mapping[str, Any] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    moved_to: str | None = None
    cut: dict[str, int] = field(default_factory=dict)
    """File -> bytes after which the connection breaks, though its whole length is announced."""
    ignores_ranges: bool = False

    def __post_init__(self) -> None:
        self.branches.setdefault("main", hashlib.sha1(self.id.encode()).hexdigest())

    def commit(self, revision: str) -> str | None:
        """The commit that a branch or a commit means, or None."""
        return self.branches.get(revision) or (revision if revision in self.branches.values() else None)

    def info(self, commit: str) -> dict[str, Any]:
        """What the API says of the repository."""
        config = self._config()
        counts: dict[str, int] = {}
        for file in self.files.values():
            for dtype, count in file.counts.items():
                counts[dtype] = counts.get(dtype, 0) + count
        told: dict[str, Any] = {
            "id": self.id,
            "modelId": self.id,
            "sha": commit,
            "private": self.private,
            "gated": self.gated,
            "downloads": self.downloads,
            "tags": list(self.tags),
            "cardData": dict(self.card),
            "siblings": [{"rfilename": name, "size": file.size} for name, file in sorted(self.files.items())],
            "config": {key: config[key] for key in ("architectures", "quantization_config") if key in config},
        }
        if counts:
            told["safetensors"] = {"parameters": counts, "total": sum(counts.values())}
        return told

    def _config(self) -> Mapping[str, Any]:
        file = self.files.get("config.json")
        try:
            value = json.loads(file.body) if isinstance(file, Plain) else {}
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def llama_shapes(config: Mapping[str, Any] = CONFIG) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensors of a Llama checkpoint in bfloat16, or packed as AWQ does."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    key = width // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (width, width),
            f"{name}.self_attn.k_proj.weight": (key, width),
            f"{name}.self_attn.v_proj.weight": (key, width),
            f"{name}.self_attn.o_proj.weight": (width, width),
            f"{name}.mlp.gate_proj.weight": (inner, width),
            f"{name}.mlp.up_proj.weight": (inner, width),
            f"{name}.mlp.down_proj.weight": (width, inner),
            f"{name}.input_layernorm.weight": (width,),
            f"{name}.post_attention_layernorm.weight": (width,),
        }
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (config["vocab_size"], width)}
    quantization = config.get("quantization_config", {})
    if quantization.get("quant_method") != "awq":
        return {name: ("BF16", shape) for name, shape in shapes.items()}
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        stem = name.removesuffix(".weight")
        if not stem.endswith("_proj"):
            found[name] = ("BF16", shape)
            continue
        rows, columns = shape
        groups = columns // quantization["group_size"]
        found |= {
            f"{stem}.qweight": ("I32", (columns, rows // 8)),
            f"{stem}.qzeros": ("I32", (groups, rows // 8)),
            f"{stem}.scales": ("F16", (groups, rows)),
        }
    return found


def model(id: str, config: Mapping[str, Any] = CONFIG, shards: int = 1, **more: Any) -> Repository:
    """A whole Llama repository, its weights in `shards` files."""
    shapes = llama_shapes(config)
    names = list(shapes)
    files: dict[str, Plain | Weights] = {"config.json": plain(config), "README.md": plain("# a model")}
    for number in range(shards):
        part = {name: shapes[name] for name in names[number::shards]}
        name = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        files[name] = Weights(part)
    return Repository(id, files, **more)
