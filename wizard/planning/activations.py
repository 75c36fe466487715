"""What the profile run needs at its peak, beyond the weights: the transient part of the budget.

vLLM runs the encoder on its largest items, the model once on max_num_batched_tokens dummy tokens (attention
skipped) and the sampler on max_num_seqs dummy rows, and takes the largest peak; what lives through is added.

    activation = max(encoder, max(forward, sampler, compile) + MoE workspaces) + held encoder data + pipeline tensors

Source: `_dummy_run`, `_dummy_sampler_run`, `profile_run` of vLLM 0.10-0.33 (`v1/worker/gpu_model_runner.py`,
`v1/worker/gpu/model_runner.py`). The constants were calibrated on 59 start-up logs of vLLM 0.19 on one
H100 80GB (58 within 0.15 GiB, 95 % within 0.02 GiB).
"""

from __future__ import annotations

from wizard.planning.launch import Launch, per_launch
from wizard.planning.layer_widths import widest_pair
from wizard.planning.vision import encoder_peak_bytes, held_encoder_bytes, is_multimodal
from wizard.schemas.outputs import MIB

HIDDEN_COPIES = 3.5
"""Hidden states alive at once in one decoder layer: residual, input, output, half a normed copy (grid
search over 59 logs: 3.5 +- 0.5)."""

BASE_BYTES = {9: 51 * MIB}
"""Cublas and other torch-owned scratch by major capability: 0.05 GiB on Hopper (32 MiB cuBLAS workspace,
least squares 0.041-0.050 GiB)."""
OTHER_BASE_BYTES = 20 * MIB
"""0.02 GiB elsewhere (8 MiB cuBLAS workspace; 3090, 4090, A100 logs)."""

TRITON_SCRATCH_BYTES = 4
"""Per vocabulary entry and streaming multiprocessor: the in-place top-k/top-p kernel's scratch, 0.17-0.20."""

REJECTION_BYTES_V1 = 30
"""Per row and vocabulary entry: the V1 runner's profile also runs the rejection sampler, on one draft a request.
2 x 2 dummy logits, 2 + 4 of the bonus token's, then fp32 targets, their clone, probabilities, noise and a temporary
(`v1/sample/rejection_sampler.py`); 30.0 measured on Llama-3.1-8B with n-grams, 0.26 on an H100."""

CONSUMER_BLACKWELL, TWO_COPIES_SINCE = 12, (0, 27)
"""There compiling takes a second copy of the embedding table, quantised or not: RTX PRO 6000 on 0.27, RTX PRO 4000
and RTX 5090 on 0.28 (8 logs, five models, each a table's size off with one copy; the cause is not known)."""

INDEXER_LOGITS_BYTES = 512 * MIB
"""What the profile run sets aside for the indexer's logits (VLLM_SPARSE_INDEXER_MAX_LOGITS_MB)."""
SPARSE_ENTRY_BYTES = 576 * 2
SPARSE_FACTOR, SPARSE_FACTOR_LONG, SPARSE_LONG_TOKENS = 5, 2, 1 << 18
"""Longest requests that the prefill buffer of sparse MLA holds: 5, or 2 above 256 Ki tokens."""

OWN_EXPERT_KERNELS = frozenset({"awq", "awq_marlin", "gptq", "gptq_marlin", "compressed-tensors", "mxfp4"})
"""Methods whose 4-bit experts allocate per layer (`fused_marlin_moe.py`, 0.19)."""

MULTIPROCESSORS = {(7, 5): 40, (8, 0): 108, (8, 6): 82, (8, 9): 128, (9, 0): 132, (10, 0): 148, (12, 0): 188}
"""Streaming multiprocessors of the common card of a capability: they bound the scratch, at most 0.1 GiB."""


@per_launch
def activation_peak_bytes(launch: Launch) -> int:
    """Transient bytes of the profile run on the worst rank: what stays out of the KV cache for it."""
    return _peak_bytes(launch, compiling=compile_bytes(launch))


def compile_excess_bytes(launch: Launch) -> int:
    """What a start with a warm compile cache doesn't need: by how much compiling peaks above the run itself."""
    if compile_bytes(launch) == 0:
        return 0
    return activation_peak_bytes(launch) - _peak_bytes(launch, compiling=0)


def _peak_bytes(launch: Launch, compiling: int) -> int:
    """The encoder runs first, before the experts' buffers exist; then the language model and the sampler."""
    experts = moe_workspace_bytes(launch)
    kept = experts if keeps_moe_workspaces(launch) else 0
    forward = forward_bytes(launch) + gathered_bytes(launch) + experts - kept
    if is_sparse_attention(launch):
        kept = max(kept, sparse_workspace_bytes(launch))
        forward += INDEXER_LOGITS_BYTES
    sampler = 0 if launch.pooling else sampler_bytes(launch)
    language = kept + max(forward, sampler, compiling)
    return max(encoder_peak_bytes(launch), language) + held_encoder_bytes(launch) + pipeline_bytes(launch)


def base_bytes(launch: Launch) -> int:
    """Torch-owned scratch present in every phase."""
    return BASE_BYTES.get(launch.capability[0], OTHER_BASE_BYTES)


def forward_bytes(launch: Launch) -> int:
    """One decoder layer over max_num_batched_tokens tokens: T x b x (widest part / TP + 3.5 h) + scratch.

    The widest part of a dense layer is its gated MLP, 3 I (2 I without a gate); hidden states are not cut by
    tensor parallelism. Routed experts are `moe_workspace_bytes`.
    """
    inner = widest_pair(launch.metadata, launch.tp)
    per_token = inner + HIDDEN_COPIES * launch.metadata.hidden_size
    return int(launch.max_num_batched_tokens * launch.dtype_bytes * per_token) + base_bytes(launch)


def sampler_bytes(launch: Launch) -> int:
    """The sampler over max_num_seqs rows of logits: never divided by TP, since logits are gathered.

    Bytes per logit by version and runner (`VersionRules`): 38 while top-k/top-p sorted
    (0.10-0.16), 14 with the in-place kernel or FlashInfer, 2-6 on the V2 runner before 0.33. Logits of the
    model's own dtype are the whole peak at 2, and capping them (Gemma 2) takes a second copy.
    """
    rows = min(launch.max_num_seqs, launch.max_num_batched_tokens)
    vocabulary = launch.metadata.vocab_size
    if launch.v2_runner:
        per_logit = launch.rules.sampler_bytes_v2
        if per_logit == 2 and launch.metadata.text.get("final_logit_softcapping"):
            per_logit += 2
    else:
        per_logit = launch.rules.sampler_bytes_v1
        if launch.speculative_method is not None:
            per_logit = max(per_logit, REJECTION_BYTES_V1)
    if launch.dtype_bytes == 4:
        per_logit += 2
    hidden = launch.max_num_batched_tokens * launch.metadata.hidden_size * launch.dtype_bytes
    scratch = 0
    if launch.rules.triton_sampler and not launch.v2_runner:
        scratch = TRITON_SCRATCH_BYTES * vocabulary * min(MULTIPROCESSORS.get(launch.capability, 108), rows)
    return per_logit * rows * vocabulary + hidden + scratch + base_bytes(launch)


def keeps_moe_workspaces(launch: Launch) -> bool:
    """True where the fused-MoE kernel's buffers outlive the layer, so that they add to the sampler's peak.

    The workspace manager came with 0.13 (`v1/worker/workspace.py`) and serves the modular kernels: Triton
    for 16-bit and FP8. Marlin's 4-bit experts and MXFP4's ran kernels of their own until 0.20.
    """
    if not launch.rules.moe_workspace_manager:
        return False
    return launch.rules.modular_quantized_experts or launch.quantization not in OWN_EXPERT_KERNELS


def moe_workspace_bytes(launch: Launch) -> int:
    """Both GEMM workspaces of the fused-MoE kernel.

    T x k x b x (max(Im / TP, h) + max(2 Im / TP, h)) with T the tokens of all data-parallel ranks, which
    share the experts, or of a chunk (`moe_chunk_tokens`). Source: `fused_moe/modular_kernel.py`; additive and
    exact within 0.01 GiB on the logs of DeepSeek-V2-Lite and Llama-4 (0.19). MXFP4's Triton kernel needs none.
    """
    metadata = launch.metadata
    if not metadata.is_moe or launch.quantization == "mxfp4":
        return 0
    tokens = launch.max_num_batched_tokens * launch.dp
    tokens = min(tokens, launch.rules.moe_chunk_tokens or tokens)
    width = metadata.moe_intermediate_size // (1 if launch.ep else launch.tp * launch.dp)
    hidden = metadata.hidden_size
    per_token = max(width, hidden) + max(2 * width, hidden)
    return tokens * metadata.num_experts_per_token * launch.dtype_bytes * per_token


def gathered_bytes(launch: Launch) -> int:
    """Hidden states of all data-parallel ranks, gathered for the experts, and the experts' output for them.

    Source: `distributed/device_communicators/all2all.py` `naive_multicast`, `combine` (0.10.1); with the chunks, it
    brings Qwen3-Coder-480B on eight H20 (0.10.1) from 2.5 % of the card to 0.8 %.
    """
    metadata = launch.metadata
    if launch.dp == 1 or not metadata.is_moe:
        return 0
    return 2 * launch.max_num_batched_tokens * launch.dp * metadata.hidden_size * launch.dtype_bytes


def compile_bytes(launch: Launch) -> int:
    """Copies of the embedding table that the compiler makes to time its kernels, within the profile run.

    vLLM has Inductor benchmark combined kernels on random inputs of true size
    (`config/compilation.py` `benchmark_combo_kernel`), and the kernel that reads the embedding table is one of
    them. One copy explains the logged peaks of 0.19-0.26 and of 0.28-0.31 within 0.3 GiB (H100, L4, L40S, A100,
    A10G), two those of unquantised models on 0.27 (RTX PRO 6000 TP 1 and PP 2, RTX 4090). None with
    tensor parallelism, whose look-up is masked outside, nor where embeddings are made outside the graph
    (multimodal models). A warm compile cache skips it (Qwen3-8B on an A100 with 0.19.1, Llama-3.2-1B with 0.23.0,
    Qwen2.5-1.5B on a T4 with 0.30.0): `compile_excess_bytes`, which the band allows for.
    """
    copies = launch.rules.embedding_benchmarks
    if copies == 0 or launch.tp > 1 or launch.enforce_eager or is_multimodal(launch.metadata):
        return 0
    if launch.capability[0] == CONSUMER_BLACKWELL and launch.rules.number >= TWO_COPIES_SINCE:
        copies = 2
    elif launch.quantization is not None:
        copies = 1
    metadata = launch.metadata
    table = metadata.vocab_size * metadata.hidden_size * launch.dtype_bytes
    hidden = launch.max_num_batched_tokens * metadata.hidden_size * launch.dtype_bytes
    return copies * table + hidden + OTHER_BASE_BYTES


def is_sparse_attention(launch: Launch) -> bool:
    """DeepSeek's sparse attention: an indexer picks the keys (V3.2, GLM-5)."""
    return launch.metadata.is_mla and bool(launch.metadata.text.get("index_topk"))


def sparse_workspace_bytes(launch: Launch) -> int:
    """The prefill buffer of sparse MLA: a few times the longest request in latents of 576 values.

    It comes from the same workspace manager as the experts' buffers: the larger of the two is kept.
    Source: `v1/attention/backends/mla/flashmla_sparse.py` `get_prefill_workspace_size`; no log shows it.
    """
    factor = SPARSE_FACTOR_LONG if launch.max_model_len > SPARSE_LONG_TOKENS else SPARSE_FACTOR
    return factor * launch.max_model_len * SPARSE_ENTRY_BYTES


def pipeline_bytes(launch: Launch) -> int:
    """Hidden states and residual received from the stage before, held through the run."""
    if launch.pp == 1:
        return 0
    return 2 * launch.max_num_batched_tokens * launch.metadata.hidden_size * launch.dtype_bytes


def persistent_bytes(launch: Launch) -> int:
    """Buffers that stay after the profile run, aren't weights, and count: the V2 sampler's penalty state.

    max_num_seqs x V x (4 + 1/8) B, made after the weights are measured (`v1/worker/gpu/sample/penalties.py`):
    only the free-memory accounting of 0.27 and later sees it. The V1 runner makes such buffers per step.
    Input buffers (40 B per token) are within the noise of every log.
    """
    return penalty_state_bytes(launch) if launch.rules.consumed_by_free_memory else 0


def penalty_state_bytes(launch: Launch) -> int:
    """Counts (int32) and a bit mask for every slot and token of the vocabulary, on the last stage."""
    if not launch.v2_runner or launch.pooling:
        return 0
    return launch.max_num_seqs * launch.metadata.vocab_size * 33 // 8
