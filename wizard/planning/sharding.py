"""One module as one rank holds it: its cut, its bytes as stored, and what loading makes of them.

Sources: vLLM 0.33 `model_executor/layers/{linear,vocab_parallel_embedding}.py` (cutting),
`layers/fused_moe/config.py` (experts over TP, DP and EP), `process_weights_after_loading` of the quantisation
methods and of `layers/attention/mla_attention.py` (repacking).
"""

from __future__ import annotations

from collections import Counter

from wizard.dataclass import dataclass, replace
from wizard.models.modules import (
    CacheScales,
    Experts,
    Linear,
    Module,
    Rotary,
    Tensor,
    Vocabulary,
)
from wizard.models.quantized import Quantization
from wizard.models.storage import (
    DTYPE_BYTES,
    PLAIN,
    SMALLEST_WNA16_GROUP,
    Bytes,
    ExpertShard,
    Scheme,
    Shard,
    expert_block,
    expert_bytes,
    expert_tensors,
    groups_of,
    linear_bytes,
    linear_tensors,
)
from wizard.planning.allocator import unsplit_bytes
from wizard.vllm import combination_errors as errors

ATTENTION_BUFFER_BYTES = 16
"""Four float32 scales per attention layer, quantised or not (layers/attention/attention.py)."""

FP8_MATRIX_CAPABILITY = (8, 9)
"""Below it Marlin multiplies fp8 weights, with block scales repeated for every output channel."""

MACHETE_MAJOR = 9
"""Hopper multiplies GPTQ by Machete, which leaves the unused zero points; Marlin drops them."""

MACHETE_BLOCK = (64, 128)
"""Inputs and outputs that Machete takes multiples of (quantization/utils/machete_utils.py)."""

WHOLE_BLOCKS = frozenset({"compressed-tensors", "quark"})
"""Methods that don't cut the scale blocks of experts finer where a shard doesn't divide."""

HOPPER_SCALE_ROWS = 256
"""Triton's MXFP4 scale layout on Hopper pads outputs to this (triton_kernels `HopperMXScaleLayout`, 8 warps)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a rank cuts the model, and what its GPU makes of quantised weights."""

    tp: int
    pp: int
    expert_tp: int
    ep: int
    copies_shared: bool
    """Sequence-parallel MoE: every TP rank keeps the shared experts whole."""
    encoder_whole: bool
    """`--mm-encoder-tp-mode data`."""
    encoder_absent: bool
    """No encoder is built where no item is allowed (`--language-model-only`, or all limits 0)."""
    dtype: str
    capability: tuple[int, int]
    pads_plain_experts: bool
    """16-bit experts run on TRT-LLM's kernel, where it can route."""
    wide_mrope: bool
    """vLLM before 0.32: M-RoPE's table has four rows per position, whatever the model."""
    keeps_swizzled_scales: bool
    """vLLM before 0.25: Triton's MXFP4 experts keep the scales of the checkpoint beside their own."""
    awq_by_machete: bool = True
    """AWQ matrices go to the kernel that is best for the card, which is Machete on Hopper."""


TRTLLM_EXPERT_WIDTH = 128
"""TRT-LLM's kernel for 16-bit experts wants a multiple of this on each rank.

Source: vLLM 0.33 fused_moe/oracle/unquantized.py `unquantized_round_up_hidden_size_and_intermediate_size`.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one module on one rank."""

    params: Bytes
    buffers: int = 0
    repacked: int = 0
    """What loading adds; negative: frees."""
    slack: int = 0
    """What the allocator adds."""


def mxfp4_multiple(capability: tuple[int, int], *, gpt_oss: bool) -> tuple[int, int]:
    """(hidden, intermediate) multiples that the MXFP4 expert kernel of a GPU wants.

    Source: vLLM 0.33 fused_moe/oracle/mxfp4.py `mxfp4_round_up_hidden_size_and_intermediate_size` and the
    priority lists above it: gpt-oss uses Triton on 9.x, TRT-LLM on 10.x, Marlin elsewhere.
    """
    return (1, 64) if gpt_oss and capability[0] == 9 else (256, 128)


def _marlin_takes(scheme: Scheme, shard: ExpertShard) -> bool:
    """Whether Marlin's expert kernel can multiply the shard (marlin_utils.py `check_moe_marlin_supports_config`)."""
    group = scheme.group
    return (
        shard.hidden % 128 == 0
        and (group <= 0 or shard.intermediate % group == 0)
        and group in (-1, 32, 64, 128)
    )


class Sizer:
    """Cuts modules for one rank and sums what is stored."""

    def __init__(self, layout: Layout, quantization: Quantization | None, refusals: list[str]) -> None:
        self.layout = layout
        self.quantization = quantization
        self.refusals = refusals
        self.expert_refusals: list[str] = []
        """Met after the others: classes build shared experts before the routed ones."""
        self.gpt_oss = quantization is not None and quantization.method == "gpt_oss_mxfp4"

    def size(self, module: Module, scheme: Scheme) -> Size:
        """Bytes of a module that is stored by `scheme`; sizes that can't be cut go to `refusals`."""
        match module:
            case Linear():
                return self._linear(module, scheme)
            case Experts():
                return self._experts(module, scheme)
            case Vocabulary():
                return self._vocabulary(module, scheme)
            case Tensor():
                return self._tensor(module)
            case CacheScales():
                return self._cache_scales(module)
            case Rotary():
                rows = module.wide_rows if self.layout.wide_mrope and module.wide_rows else module.rows
                size = rows * module.width * self._width(module.dtype)
                return Size(Counter(), size, slack=unsplit_bytes(size))

    def _width(self, dtype: str) -> int:
        return DTYPE_BYTES[dtype or self.layout.dtype]

    def _cut(self, size: int, parts: int) -> int:
        """`size` over `parts` ranks; vLLM asserts that it divides."""
        if size % parts:
            self.refusals.append(f"{size} is not divisible by {parts}")
            return -(-size // parts)
        return size // parts

    def _heads(self, size: int, heads: int) -> int:
        """Keys or values of `heads` heads: cut by TP, copied when there are fewer heads than ranks."""
        tp = self.layout.tp
        if tp > heads:
            if tp % heads:
                self.refusals.append(f"{tp} is not divisible by {heads}")
            return size // heads
        return self._cut(heads, tp) * (size // heads)

    def shard(self, linear: Linear, scheme: Scheme = PLAIN) -> Shard:
        """A matrix as this rank holds it."""
        tp = self._ranks(linear, scheme)
        inputs, outputs = linear.inputs, linear.outputs
        if linear.split == "row":
            inputs = self._cut(inputs, tp)
        elif linear.split == "column":
            cut = [self._cut(outputs[0], tp)]
            heads = linear.heads or (0,) * len(outputs)
            for width, count in zip(outputs[1:], heads[1:], strict=True):
                cut.append(self._heads(width, count) if count else self._cut(width, tp))
            outputs = tuple(cut)
        if linear.whole_outputs:
            outputs = (*outputs, linear.whole_outputs)
        if linear.multiple > 1:
            outputs = (*outputs[:-1], outputs[-1] + -sum(outputs) % linear.multiple)
        return Shard(inputs, outputs, linear.inputs, linear.dtype or self.layout.dtype)

    def _ranks(self, linear: Linear, scheme: Scheme) -> int:
        """Ranks that share the matrix."""
        copied = linear.sequence_parallel and self.layout.copies_shared
        if copied or (linear.uncut_if_packed and scheme.kind in ("gptq", "awq")):
            return 1
        return self.layout.tp

    def _linear(self, linear: Linear, scheme: Scheme) -> Size:
        shard = self.shard(linear, scheme)
        self._check_shape(linear, shard, scheme, self._ranks(linear, scheme))
        total = linear_bytes(scheme, shard)
        repacked = self._repacked(linear, scheme, shard, total)
        if linear.bias:
            total[shard.dtype] += sum(shard.outputs) * DTYPE_BYTES[shard.dtype]
        return Size(total, 0, repacked, sum(map(unsplit_bytes, linear_tensors(scheme, shard))))

    def _repacked(self, linear: Linear, scheme: Scheme, shard: Shard, stored: Bytes) -> int:
        """What loading adds to one matrix."""
        rows = sum(shard.outputs)
        change = 0
        if linear.absorbed and scheme.kind != "none":
            change += rows * shard.inputs * DTYPE_BYTES[shard.dtype]
        if scheme.kind == "gptq" and self.layout.capability[0] != MACHETE_MAJOR:
            packed = rows * shard.inputs * scheme.bits // 8
            change -= stored["int32"] - packed
        if self._zeros_widened(scheme, shard):
            packed_zeros = groups_of(scheme, shard) * rows * scheme.bits // 8
            change += groups_of(scheme, shard) * rows * DTYPE_BYTES[shard.dtype] - packed_zeros
        if scheme.kind == "fp8_block" and self.layout.capability < FP8_MATRIX_CAPABILITY:
            groups = -(-shard.inputs // scheme.block[1])
            change += groups * rows * DTYPE_BYTES[shard.dtype] - stored[scheme.scale_dtype]
        return change

    def _zeros_widened(self, scheme: Scheme, shard: Shard) -> bool:
        """Machete wants zero points times scales, in 16 bits (kernels/linear/mixed_precision/machete.py)."""
        asymmetric = scheme.kind == "awq" and self.layout.awq_by_machete
        asymmetric = asymmetric or (scheme.kind == "packed" and scheme.zero_points)
        inputs, outputs = MACHETE_BLOCK
        fits = shard.inputs % inputs == 0 and sum(shard.outputs) % outputs == 0 and scheme.group in (-1, 128)
        return asymmetric and fits and self.layout.capability[0] == MACHETE_MAJOR

    def _check_shape(self, linear: Linear, shard: Shard, scheme: Scheme, tp: int) -> None:
        """What vLLM says of a cut that the stored form doesn't allow."""
        if scheme.kind == "fp8_block":
            self._check_blocks(linear, shard, scheme, tp)
        if scheme.kind == "awq" and 0 < scheme.group < linear.inputs and shard.inputs % scheme.group:
            self.refusals.append(
                "The input size is not aligned with the quantized weight shape. "
                "This can be caused by too large tensor parallel size."
            )

    def _check_blocks(self, linear: Linear, shard: Shard, scheme: Scheme, tp: int) -> None:
        """Source: vLLM 0.33 fp8_utils.py `validate_fp8_block_shape`."""
        rows, columns = scheme.block
        fused = len(shard.outputs) > 1 and linear.split != "whole"
        if fused and any(width % rows for width in shard.outputs):
            return
        if tp > 1 and linear.split == "row" and shard.inputs % columns:
            self.refusals.append(
                f"Weight input_size_per_partition = {shard.inputs} is not divisible by weight quantization "
                f"block_k = {columns}."
            )
        if tp > 1 and linear.split == "column":
            for width in shard.outputs:
                if width % rows:
                    self.refusals.append(
                        f"Weight output_partition_size = {width} is not divisible by weight quantization "
                        f"block_n = {rows}."
                    )

    def expert_shard(self, experts: Experts, scheme: Scheme = PLAIN) -> ExpertShard:
        """A layer's experts as this rank holds them."""
        layout = self.layout
        hidden, intermediate = experts.hidden, self._cut(experts.intermediate, layout.expert_tp)
        if layout.expert_tp > 1:
            intermediate = max(intermediate, experts.smallest_shard)
        if scheme.kind == "mxfp4":
            hidden_multiple, multiple = mxfp4_multiple(layout.capability, gpt_oss=self.gpt_oss)
            hidden = -(-hidden // hidden_multiple) * hidden_multiple
            intermediate = -(-intermediate // multiple) * multiple
        elif scheme.kind == PLAIN.kind and experts.kernel_routes and layout.pads_plain_experts:
            intermediate = -(-intermediate // TRTLLM_EXPERT_WIDTH) * TRTLLM_EXPERT_WIDTH
        return ExpertShard(
            count=-(-experts.count // layout.ep),
            hidden=hidden,
            intermediate=intermediate,
            gated=experts.gated,
            bias=experts.bias,
            dtype=layout.dtype,
            tp=layout.tp,
        )

    def _experts(self, experts: Experts, scheme: Scheme) -> Size:
        shard = self.expert_shard(experts, scheme)
        if scheme.kind in ("gptq", "awq") and not _marlin_takes(scheme, shard):
            scheme = replace(scheme, kind="unpacked")
        buffers = 4 * experts.count if self.layout.ep > 1 else 0
        self._check_experts(shard, scheme)
        total = expert_bytes(scheme, shard)
        slack = sum(map(unsplit_bytes, expert_tensors(scheme, shard)))
        return Size(total, buffers, self._repacked_experts(scheme, shard, total), slack)

    def _check_experts(self, shard: ExpertShard, scheme: Scheme) -> None:
        """What vLLM says of experts whose scales don't fit the cut.

        Sources: vLLM 0.33 fp8_utils.py `validate_fp8_block_shape_moe`, fp8.py (finer blocks, which only the fp8
        method has), moe_wna16.py, compressed_tensors_moe_wna16.py.
        """
        inner, group = shard.intermediate, scheme.group
        if scheme.kind == "fp8_block":
            rows, columns = scheme.block
            finer = self.quantization is None or self.quantization.method not in WHOLE_BLOCKS
            if finer and expert_block(scheme, shard) != scheme.block:
                return
            if inner % rows:
                self.expert_refusals.append(errors.expert_block_rows(intermediate=inner, block=rows))
            elif shard.tp > 1 and inner % columns:
                self.expert_refusals.append(errors.expert_block_columns(intermediate=inner, block=columns))
        elif scheme.kind == "packed" and group > 0:
            if shard.hidden % group:
                self.expert_refusals.append(errors.expert_hidden(hidden=shard.hidden, group=group))
            elif inner % group:
                self.expert_refusals.append(errors.expert_shard(intermediate=inner, group=group))
        elif scheme.kind == "unpacked" and group > 0:
            while group >= SMALLEST_WNA16_GROUP and (inner % group or shard.hidden % group):
                group //= 2
            if group < SMALLEST_WNA16_GROUP:
                self.expert_refusals.append(errors.EXPERT_GROUPS)

    def _repacked_experts(self, scheme: Scheme, shard: ExpertShard, stored: Bytes) -> int:
        """What loading adds to a layer's experts."""
        ups = shard.shards * shard.intermediate
        biases = shard.count * (ups + shard.hidden)
        if scheme.kind == "gptq" and not shard.bias:
            return -biases * DTYPE_BYTES[shard.dtype]
        if scheme.kind == "fp8_block" and self.layout.capability < FP8_MATRIX_CAPABILITY:
            block = scheme.block[1]
            scales = shard.count * (
                ups * (shard.hidden // block) + shard.hidden * (shard.intermediate // block)
            )
            return scales * DTYPE_BYTES[shard.dtype] - stored[scheme.scale_dtype]
        if scheme.kind == "mxfp4" and self.gpt_oss and self.layout.capability[0] == 9:
            rows = HOPPER_SCALE_ROWS
            up_rows, down_rows = -(-ups // rows) * rows, -(-shard.hidden // rows) * rows
            padded = shard.count * (up_rows * shard.hidden + down_rows * shard.intermediate) // 32
            own = shard.count * (ups * shard.hidden + shard.hidden * shard.intermediate) // 32
            widened = 2 * biases if shard.bias else 0
            return padded - (0 if self.layout.keeps_swizzled_scales else own) + widened
        return 0

    def _vocabulary(self, vocabulary: Vocabulary, scheme: Scheme) -> Size:
        rows = vocabulary.rows
        if not vocabulary.whole:
            rows = self._cut(-(-rows // vocabulary.padding) * vocabulary.padding, self.layout.tp)
        dtype = vocabulary.dtype or self.layout.dtype
        shard = Shard(vocabulary.width, (rows,), vocabulary.width, dtype)
        total = linear_bytes(scheme, shard)
        if vocabulary.bias:
            total[dtype] += rows * DTYPE_BYTES[dtype]
        return Size(total, slack=sum(map(unsplit_bytes, linear_tensors(scheme, shard))))

    def _tensor(self, tensor: Tensor) -> Size:
        elements = tensor.elements
        if tensor.kv_heads:
            elements = self._heads(elements, tensor.kv_heads)
        elif tensor.expert:
            elements = -(-elements // (self.layout.expert_tp * self.layout.ep))
        elif tensor.split:
            elements = (
                -(-elements // self.layout.tp) if tensor.uneven else self._cut(elements, self.layout.tp)
            )
        elements = -(-elements // tensor.multiple) * tensor.multiple
        dtype = tensor.dtype or self.layout.dtype
        size = elements * DTYPE_BYTES[dtype]
        if tensor.buffer:
            return Size(Counter(), size, -size if tensor.alias else 0)
        return Size(Counter({dtype: size}))

    def _cache_scales(self, scales: CacheScales) -> Size:
        quantization, dtype = self.quantization, self.layout.dtype
        kind = quantization.cache_scales if quantization else ""
        if not kind or quantization is None or (scales.latent and not quantization.latent_scales):
            return Size(Counter(), ATTENTION_BUFFER_BYTES)
        width = DTYPE_BYTES[dtype]
        if kind == "scalars":
            return Size(Counter({dtype: 4 * width}), ATTENTION_BUFFER_BYTES)
        return Size(Counter({"float32": 12, dtype: 3 * width}), ATTENTION_BUFFER_BYTES)
