"""vLLM's checks of a launch before it looks at memory, in the order in which vLLM meets them.

Sources: vLLM 0.33 `config/model.py`, `config/scheduler.py`, `config/parallel.py`, `config/speculative.py`,
`config/vllm.py`, `platforms/cuda.py`, `model_executor/layers/linear.py`; sentences in `wizard.vllm.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wizard.errors import ConfigError
from wizard.models.cache_layers import cache_model
from wizard.models.context import DerivedLength
from wizard.models.drafts import draft_modules, draft_of, predicts_tokens
from wizard.models.metadata import ModelMetadata, declared_dtype
from wizard.models.quantization import method_name as declared_method
from wizard.models.schemes import schemed_model
from wizard.planning.flag_gates import flags
from wizard.planning.launch import FLOAT16_UNSAFE_TYPES, Launch, has_fp8
from wizard.planning.machine_gates import compute_capability, ranks
from wizard.planning.model_gates import cache_format, ends, eyes, kernels, shards, states
from wizard.planning.refusals import Refusal
from wizard.vllm import errors
from wizard.vllm.limits import (
    ACTIVATION_DTYPES,
    ONLINE_METHODS,
    TORCH_DTYPES,
    loads_method,
    method_name,
    methods,
    min_capability,
)
from wizard.vllm.registry import registry

__all__ = ["GATES", "Refusal", "derived", "refusal"]

Gate = Callable[[Launch], Refusal | None]


def refusal(launch: Launch) -> Refusal | None:
    """The first check that stops `launch`, or `None` where vLLM goes on to load the model."""
    for gate in GATES:
        found = gate(launch)
        if found is not None:
            return found
    return None


def _known_model(launch: Launch) -> Refusal | None:
    metadata = launch.metadata
    known = registry()
    architecture = metadata.architecture
    last = known.removed_before(architecture, launch.rules.number)
    automatic = metadata.config.get("auto_map")
    custom = isinstance(automatic, Mapping) and "AutoConfig" in automatic
    if launch.rules.number >= known.number and metadata.model_type not in known.model_types:
        if not custom:
            return Refusal("unsupported", errors.model_type_unknown(metadata.model_type))
        if not launch.config.trust_remote_code:
            return Refusal(
                "invalid_config", errors.custom_code(metadata.model), (("trust_remote_code", True),)
            )
    if last is not None and architecture not in known.transformers:
        return Refusal(
            "unsupported", errors.architecture_removed(architecture=architecture, last_version=last)
        )
    if last is not None:
        stuck = _beside_attention(metadata)
        if stuck is not None:
            return Refusal("unsupported", stuck)
    if launch.rules.number < known.number:
        return None
    if architecture in known.plugins:
        return Refusal(
            "unsupported",
            errors.architecture_plugin(architecture=architecture, url=known.plugins[architecture]),
        )
    if (
        not custom
        and launch.rules.known
        and not any(map(known.has, (architecture, *_architectures(metadata.config))))
    ):
        return Refusal("unsupported", errors.architecture_unknown([architecture]))
    return None


def _beside_attention(metadata: ModelMetadata) -> str | None:
    """The Transformers backend, which runs what vLLM has no class for any more, knows attention alone."""
    try:
        layers = cache_model(metadata).layers
    except ConfigError:
        return None
    state = next((layer.index for layer in layers if layer.kind == "state"), None)
    return None if state is None else errors.beside_attention(layer=state)


def _architectures(config: Mapping[str, Any]) -> list[str]:
    listed = config.get("architectures")
    return [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []


def _dtype(launch: Launch) -> Refusal | None:
    declared = declared_dtype(launch.metadata.config)
    if declared is not None and declared not in TORCH_DTYPES:
        return Refusal("unsupported", errors.dtype_unknown(declared))
    if launch.dtype == "bfloat16" and launch.capability < (8, 0):
        error = errors.bfloat16_unsupported(gpu=launch.gpu.name, capability=launch.capability)
        return Refusal("unsupported", error, (("dtype", "half"),))
    if launch.dtype == "float16" and launch.metadata.model_type in FLOAT16_UNSAFE_TYPES:
        error = errors.float16_unsupported(launch.metadata.model_type)
        better = "bfloat16" if launch.capability >= (8, 0) else "float32"
        return Refusal("unsupported", error, (("dtype", better),))
    return None


def derived(launch: Launch) -> DerivedLength:
    """The longest context of the model by the rules of the launch's version."""
    return launch.metadata.context(launch.rules.number)


def _context(launch: Launch) -> Refusal | None:
    asked = launch.config.max_model_len
    if asked is not None and asked < -1:
        return Refusal("invalid_config", errors.NEGATIVE_LENGTH, (("max_model_len", -1),))
    if asked is None or asked < 0:
        return None
    context = derived(launch)
    if context.allows(asked):
        return None
    error = errors.context_too_long(
        max_model_len=asked,
        derived=float(context.length),
        key=context.key,
        model_max_length=context.model_max_length,
    )
    return Refusal("invalid_config", error, (("max_model_len", context.length),))


def _quantization(launch: Launch) -> Refusal | None:
    asked = launch.config.quantization
    declared = checkpoint_method(launch) or None
    version = launch.rules.version
    if asked is not None and not loads_method(asked, version):
        return Refusal(
            "invalid_config",
            errors.quantization_unknown(method=asked, known=list(methods(version))),
            (("quantization", None),),
        )
    if declared is not None and not loads_method(declared, version):
        return Refusal(
            "unsupported", errors.quantization_unknown(method=declared, known=list(methods(version)))
        )
    if asked is not None and declared is not None and not _same_method(asked, declared):
        return Refusal(
            "invalid_config",
            errors.quantization_mismatch(declared=declared, asked=asked),
            (("quantization", None),),
        )
    if asked is not None and declared is None and method_name(asked) not in ONLINE_METHODS:
        return Refusal(
            "invalid_config",
            f"Cannot find the config file for {asked}",
            (("quantization", None),),
        )
    return _quantization_on_gpu(launch)


def checkpoint_method(launch: Launch) -> str:
    """The checkpoint's own method under vLLM's name; empty where it is not quantised."""
    metadata = launch.metadata
    method = declared_method(metadata)
    if method == "compressed-tensors" and metadata.architecture.startswith("KimiK3"):
        return "mxfp4"
    return method


def _same_method(asked: str, declared: str) -> bool:
    asked, declared = method_name(asked), method_name(declared)
    if asked == declared or asked == "humming":
        return True
    families = ("modelopt", "auto_gptq", "auto_awq", "moe_wna16", "inc")
    return any(asked.startswith(name) and declared.startswith(name) for name in families) or (
        asked == "moe_wna16" and declared in ("auto_gptq", "auto_awq")
    )


def _multiplies_in_fp8(launch: Launch) -> bool:
    """Whether any matrix is kept in 8-bit floats, whatever the method calls itself."""
    try:
        model = schemed_model(launch.metadata, launch.quantization if launch.online_quantization else None)
    except ConfigError:
        return False
    return any(group.scheme.kind.startswith(("fp8", "mxfp8")) for group in model.groups)


def _quantization_on_gpu(launch: Launch) -> Refusal | None:
    method = checkpoint_method(launch) or method_name(launch.config.quantization or "")
    if not method:
        return None
    current = launch.capability[0] * 10 + launch.capability[1]
    minimum = min_capability(method, launch.rules.number)
    if current < minimum:
        error = errors.quantization_capability(method=method, minimum=minimum, current=current)
        return Refusal("unsupported", error, (("quantization", None),) if launch.online_quantization else ())
    if launch.gpu.vendor == "amd" and not has_fp8(launch.gpu) and _multiplies_in_fp8(launch):
        # Marlin, which stands in on NVIDIA's older cards, is CUDA's alone
        return Refusal(
            "unsupported",
            errors.fp8_on_rocm(),
            (("quantization", None),) if launch.online_quantization else (),
        )
    supported = ACTIVATION_DTYPES.get(method)
    if supported is not None and launch.dtype not in supported:
        error = errors.quantization_dtype(dtype=launch.dtype, method=method, supported=list(supported))
        return Refusal("invalid_config", error, (("dtype", supported[-1]),))
    return None


def _batch(launch: Launch) -> Refusal | None:
    tokens, seqs = launch.max_num_batched_tokens, launch.max_num_seqs
    if tokens < launch.max_model_len and not launch.chunked_prefill:
        error = errors.batch_below_context(max_num_batched_tokens=tokens, max_model_len=launch.max_model_len)
        return Refusal("invalid_config", error, (("max_num_batched_tokens", launch.max_model_len),))
    if tokens < seqs:
        error = errors.batch_below_seqs(max_num_batched_tokens=tokens, max_num_seqs=seqs)
        return Refusal("invalid_config", error, (("max_num_seqs", tokens),))
    return None


def _speculative(launch: Launch) -> Refusal | None:
    asked = launch.config.speculative_config
    if not asked:
        return None
    count = asked.get("num_speculative_tokens")
    if isinstance(count, int) and not isinstance(count, bool):
        if count <= 0:
            change = ({**asked, "num_speculative_tokens": 1},)
            return Refusal(
                "invalid_config", errors.drafts_not_positive(count), (("speculative_config", change[0]),)
            )
        modules = draft_modules(launch.metadata)
        if launch.speculative_method == "mtp" and modules and count > modules and count % modules:
            error = errors.drafts_not_divisible(count=count, modules=modules)
            fitting = {**asked, "num_speculative_tokens": count // modules * modules}
            return Refusal("invalid_config", error, (("speculative_config", fitting),))
    draft = draft_of(launch.metadata, asked) if launch.speculative_method == "draft_model" else None
    if draft is not None and not asked.get("use_heterogeneous_vocab"):
        words, drafted = launch.metadata.vocab_size, draft.vocab_size
        if words != drafted:
            error = errors.drafts_other_words(words=words, drafted=drafted)
            return Refusal("invalid_config", error, (("speculative_config", None),))
    if launch.speculative_method == "mtp" and not asked.get("model") and not predicts_tokens(launch.metadata):
        return Refusal("unsupported", errors.NO_DRAFT_MODULES, (("speculative_config", None),))
    return None


GATES: tuple[Gate, ...] = (
    _known_model,
    _dtype,
    _context,
    _quantization,
    _batch,
    flags,
    ranks,
    _speculative,
    compute_capability,
    cache_format,
    eyes,
    ends,
    shards,
    states,
    kernels,
)
"""Configuration first, then what fails while the model is built."""
