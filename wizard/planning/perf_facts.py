"""What one engine step reads and computes: a model's matrices and cache, summed up once for the forecast.

Whole-model figures, before any parallelism; the layers' own descriptions are `models.tree` and `models.cache_layers`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from wizard.dataclass import dataclass, replace
from wizard.models.cache_layers import CacheLayer, cache_model
from wizard.models.facts import Facts
from wizard.models.metadata import ModelMetadata
from wizard.models.modules import Experts, Linear, Tensor, Vocabulary
from wizard.models.quantization import quantization_of
from wizard.models.schemes import stored_modules
from wizard.models.storage import ExpertShard, Scheme, Shard, expert_bytes, linear_bytes

KERNELS: Mapping[str, str] = {
    "none": "w16",
    "fp8_tensor": "fp8",
    "fp8_channel": "fp8",
    "fp8_block": "fp8",
    "fbgemm_fp8": "fp8",
    "mxfp8": "fp8",
    "int8_channel": "int8",
    "int8_tensor": "int8",
    "int_static": "int8",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "gptq": "int4",
    "awq": "int4",
    "packed": "int4",
    "int4_unpacked": "int4",
}
"""Storage scheme -> the family of kernels that multiplies with it: their speed differs, their layout doesn't."""


@dataclass(frozen=True, slots=True)
class Matrices:
    """All dense matrices that one kind of kernel multiplies with."""

    kernel: str
    parameters: float
    nbytes: float
    whole_parameters: float
    """Of matrices that every tensor-parallel rank keeps whole."""
    whole_bytes: float


@dataclass(frozen=True, slots=True)
class RoutedExperts:
    """Equal layers of routed experts."""

    kernel: str
    layers: int
    count: int
    active: int
    parameters: int
    """Of one expert."""
    nbytes: float
    """Of one expert."""


@dataclass(frozen=True, slots=True)
class CacheKind:
    """Equal layers that attend: elements that one token leaves in each, and how far back they are read."""

    layers: int
    kv_heads: int
    elements: int
    """Per token, all KV heads together."""
    window: int
    """Tokens; 0: all of the context."""
    latent: bool
    """MLA: one latent, copied on every rank."""
    query_elements: int
    """Multiply-adds of a decoding token per attended token: heads x (key width + value width)."""
    prompt_elements: int
    """The same of a prompt's token: latents are expanded to heads of their own width first."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the forecast needs of a model, as stored."""

    layers: int
    hidden: int
    matrices: tuple[Matrices, ...]
    head_parameters: float
    head_bytes: float
    experts: tuple[RoutedExperts, ...]
    caches: tuple[CacheKind, ...]
    state_elements: int
    """Of one request, all layers: recurrent and convolution states."""

    @property
    def expert_layers(self) -> int:
        return sum(experts.layers for experts in self.experts)

    @property
    def kernels(self) -> frozenset[str]:
        """Every kind of kernel in use but that for 16 bits; that too where there is no other."""
        found = {part.kernel for part in self.matrices if part.parameters}
        found |= {part.kernel for part in self.experts}
        return frozenset(found - {"w16"} or {"w16"})


_facts: WeakKeyDictionary[ModelMetadata, dict[str | None, ModelFacts]] = WeakKeyDictionary()


def model_facts(metadata: ModelMetadata, online_quantization: str | None = None) -> ModelFacts:
    """The facts of a model, read once per metadata object and online method.

    Raises ConfigError, in one sentence, for a config that can't be described.
    """
    known = _facts.setdefault(metadata, {})
    facts = known.get(online_quantization)
    if facts is None:
        facts = known[online_quantization] = _read(metadata, online_quantization)
    return facts


def _read(metadata: ModelMetadata, online: str | None) -> ModelFacts:
    dense: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    experts: list[RoutedExperts] = []
    head = [0.0, 0.0]
    online = online if quantization_of(metadata) is None else None
    for module, scheme, count in stored_modules(metadata, online):
        if isinstance(module, Linear):
            _add(dense[KERNELS.get(scheme.kind, "w16")], module, scheme, count)
        elif isinstance(module, Experts):
            experts.append(_experts(module, scheme, count))
        elif isinstance(module, Vocabulary) and module.head:
            size = module.rows * module.width
            head = [head[0] + size, head[1] + sum(_matrix(scheme, module.width, (module.rows,)).values())]
        elif isinstance(module, Tensor) and not module.buffer:
            dense["w16"][1] += 2 * module.elements * count
    if not head[0]:
        size = metadata.vocab_size * metadata.hidden_size
        head = [float(size), 2.0 * size]
    model = cache_model(metadata)
    return ModelFacts(
        layers=metadata.num_layers,
        hidden=metadata.hidden_size,
        matrices=tuple(Matrices(kernel, *sums) for kernel, sums in dense.items()),
        head_parameters=head[0],
        head_bytes=head[1],
        experts=_merged(experts),
        caches=_caches(metadata, model.layers, model.query_heads),
        state_elements=sum(
            layer.state.conv_elements(1, 0) + layer.state.recurrent_elements(1)
            for layer in model.layers
            if layer.state is not None
        ),
    )


def _matrix(scheme: Scheme, inputs: int, outputs: tuple[int, ...]) -> dict[str, int]:
    return dict(linear_bytes(scheme, Shard(inputs, outputs, inputs, "bfloat16")))


def _add(sums: list[float], linear: Linear, scheme: Scheme, count: int) -> None:
    outputs = (*linear.outputs, linear.whole_outputs) if linear.whole_outputs else linear.outputs
    parameters = sum(outputs) * linear.inputs * count
    nbytes = sum(_matrix(scheme, linear.inputs, outputs).values()) * count
    sums[0] += parameters
    sums[1] += nbytes
    if linear.split == "whole":
        sums[2] += parameters
        sums[3] += nbytes


def _experts(module: Experts, scheme: Scheme, count: int) -> RoutedExperts:
    shard = ExpertShard(
        count=1,
        hidden=module.hidden,
        intermediate=module.intermediate,
        gated=module.gated,
        bias=module.bias,
        dtype="bfloat16",
        tp=1,
    )
    return RoutedExperts(
        kernel=KERNELS.get(scheme.kind, "w16"),
        layers=count,
        count=module.count,
        active=min(module.active, module.count),
        parameters=(shard.shards + 1) * module.hidden * module.intermediate,
        nbytes=sum(expert_bytes(scheme, shard).values()),
    )


def _merged(experts: list[RoutedExperts]) -> tuple[RoutedExperts, ...]:
    """Layers of equal experts together."""
    layers: dict[RoutedExperts, int] = defaultdict(int)
    for item in experts:
        layers[replace(item, layers=1)] += item.layers
    return tuple(replace(item, layers=count) for item, count in layers.items())


def _caches(
    metadata: ModelMetadata, layers: tuple[CacheLayer, ...], query_heads: int
) -> tuple[CacheKind, ...]:
    facts = Facts(metadata.text)
    found: dict[CacheKind, int] = defaultdict(int)
    for layer in layers:
        if layer.kind == "state":
            continue
        for kind in _kinds(facts, layer, query_heads or layer.kv_heads):
            found[kind] += 1
    return tuple(replace(kind, layers=count) for kind, count in found.items())


def _kinds(facts: Facts, layer: CacheLayer, heads: int) -> Iterator[CacheKind]:
    """What one layer reads: keys and values, or a latent, with its index where it attends sparsely."""
    if layer.kind not in ("latent", "compressed"):
        elements = layer.kv_heads * (layer.key_dim + layer.value_dim)
        width = heads * (layer.key_dim + layer.value_dim)
        yield CacheKind(1, max(1, layer.kv_heads), elements, layer.window, False, width, width)
        return
    # attention happens in the latent space: keys are the latent with its rotary part, values the latent
    rope = facts.int("qk_rope_head_dim", default=0)
    width = 2 * layer.key_dim - rope
    expanded = facts.int("qk_nope_head_dim", default=layer.key_dim - rope) + rope
    expanded += facts.int("v_head_dim", default=layer.key_dim)
    window = facts.int("index_topk", default=0) or layer.window
    yield CacheKind(1, 1, layer.key_dim, window, True, heads * width, heads * expanded)
    if layer.index_dim:
        index_heads = facts.int("index_n_heads", default=1)
        # index keys take one byte, the other elements are counted at the cache's two
        width = index_heads * layer.index_dim
        yield CacheKind(1, 1, layer.index_dim // 2, 0, True, width, width)
