"""What must hold for every request, tried on random ones.

The suite tries a hundred or so; `WIZARD_EXAMPLES=5000 pytest tests/planning/test_properties.py` tries thousands.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.planning.asking import after, checked, checked_after, facts, planned, request
from wizard.hardware.resolve import resolve_hardware
from wizard.planning.memory import evaluate
from wizard.planning.planner import check
from wizard.planning.situation import nvlink_present
from wizard.render.arguments import serve_arguments
from wizard.schemas.inputs import PlanRequest, WorkloadInput
from wizard.schemas.outputs import FeasibilityReport, Plan, VLLMConfig
from wizard.vllm.serve_args import parse_serve_command

EXAMPLES = int(os.environ.get("WIZARD_EXAMPLES", "100"))
FEW = max(10, EXAMPLES // 4)

SLOW_TO_START = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.differing_executors)
many = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 100, suppress_health_check=SLOW_TO_START
)
few = settings(
    max_examples=FEW, deadline=None, derandomize=EXAMPLES <= 100, suppress_health_check=SLOW_TO_START
)

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen/Qwen3-8B-FP8",
    "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-235B-A22B-FP8",
    "Qwen/Qwen3.5-27B",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "google/gemma-2-9b",
    "google/gemma-3-4b-it",
    "openai/gpt-oss-20b",
    "openai/gpt-oss-120b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "deepseek-ai/DeepSeek-V2-Lite",
    "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3.2",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
    "ibm-granite/granite-3.3-8b-instruct",
    "microsoft/phi-4",
    "BAAI/bge-m3",
)
CARDS = (
    "Tesla T4",
    "GeForce RTX 3090",
    "GeForce RTX 4090",
    "GeForce RTX 5080",
    "NVIDIA L4",
    "NVIDIA L40S",
    "A100 SXM4 80GB",
    "A100 PCIe 40GB",
    "H100 SXM5 80GB",
    "H100 PCIe 80GB",
    "H200 SXM 141GB",
    "B200 SXM 180GB",
    "MI300X",
    "RTX PRO 6000 Blackwell Server",
)
HEAVY = (
    *MODELS[:2],
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3.5-27B",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "google/gemma-2-9b",
    "openai/gpt-oss-20b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "deepseek-ai/DeepSeek-V2-Lite",
    "microsoft/phi-4",
)
SMALL_CARDS = CARDS[:6]
"""Where much of `HEAVY` starts barely, or not at all."""

VERSIONS = (None, None, None, "0.33.0", "0.27.1", "0.19.1", "0.12.0", "0.10.2", "0.99.0")
EXTRA = (
    (),
    (),
    (),
    ("--block-size", "32"),
    ("--max-model-len", "2048"),
    ("--kv-cache-memory-bytes", "4G"),
    ("--enable-lora", "--max-loras", "2"),
    ("--no-enable-prefix-caching",),
    ("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    ("--no-such-flag",),
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly unsaid, as in life."""
    return st.one_of(st.none(), st.none(), strategy)


@st.composite
def requests(draw: st.DrawFn, *, plain: bool = False) -> PlanRequest:
    """A request of any kind; `plain`: nothing pinned, and a machine that is small for the model."""
    free = plain or draw(st.booleans())
    none = st.none()
    return request(
        draw(st.sampled_from(HEAVY if plain else MODELS)),
        draw(st.sampled_from(SMALL_CARDS if plain else CARDS)),
        draw(st.sampled_from((1, 1, 2, 3, 4, 6, 8))),
        model_part={
            "dtype": draw(st.sampled_from(("auto", "auto", "float16", "bfloat16", "float32")))
            if not plain
            else "auto",
            "quantization": draw(none if free else maybe(st.sampled_from(("fp8", "awq", "fp8_per_tensor")))),
            "kv_cache_dtype": "auto"
            if free
            else draw(st.sampled_from(("auto", "fp8", "bfloat16", "fp8_e5m2"))),
            "max_model_len": draw(maybe(st.sampled_from((1, 512, 4096, 32768, 131072, 1 << 20)))),
            "trust_remote_code": draw(st.booleans()),
        },
        hardware={
            "nodes": draw(st.sampled_from((1, 1, 1, 2, 4))),
            "used_gib": draw(maybe(st.sampled_from((0.5, 5.0, 13.0)))),
            "interconnect": draw(st.sampled_from(("unknown", "nvlink", "pcie"))),
            "tensor_parallel_size": draw(none if free else maybe(st.integers(1, 16))),
            "pipeline_parallel_size": draw(none if free else maybe(st.integers(1, 4))),
            "data_parallel_size": draw(none if free else maybe(st.integers(1, 8))),
        },
        workload={
            "prompt_tokens": draw(st.sampled_from((1, 100, 1024, 8000, 120_000, 2_000_000))),
            "gen_tokens": draw(st.sampled_from((1, 256, 4096))),
            "concurrency": draw(st.sampled_from((1, 8, 64, 1000, 100_000))),
            "prefix_share": draw(st.sampled_from((0.0, 0.5, 1.0))),
            "batching_mode": draw(st.sampled_from(("throughput", "latency", "balanced"))),
            "target_latency_ms": draw(maybe(st.sampled_from((100.0, 10_000.0)))),
        },
        policy={
            "gpu_memory_utilization": draw(
                none if free else maybe(st.sampled_from((0.01, 0.5, 0.9, 0.97, 1.0)))
            ),
            "headroom_gb": draw(st.sampled_from((0.0, 0.0, 2.0, 500.0))),
            "allow_quantized": draw(st.booleans()),
            "allow_fp8_kv": draw(st.booleans()),
            "max_ttft_ms": draw(maybe(st.sampled_from((1.0, 500.0)))),
            "max_tpot_ms": draw(maybe(st.sampled_from((1.0, 50.0)))),
            "vllm_version": draw(st.sampled_from(VERSIONS)),
            "enforce_eager": draw(st.booleans()) if not free else False,
            "max_num_seqs": draw(none if free else maybe(st.sampled_from((1, 32, 5000)))),
            "max_num_batched_tokens": draw(none if free else maybe(st.sampled_from((1, 512, 4096, 65536)))),
            "extra_args": () if free else draw(st.sampled_from(EXTRA)),
        },
    )


def command_of(plan: Plan) -> VLLMConfig:
    """The config that vLLM reads from the exported command; several nodes are told to vLLM beside it."""
    words = serve_arguments(plan.config, plan.vllm_version).words
    config = parse_serve_command(words, version=plan.vllm_version).config
    return config.model_copy(update={"nnodes": plan.config.nnodes})


@many
@given(requests())
def test_no_recommended_plan_is_one_that_its_own_check_refuses(asked: PlanRequest) -> None:
    result = planned(asked, fixes=False)
    assume(result.feasibility.verdict != "wont_start")
    config = command_of(result)
    found = check(
        config, facts(asked.model.model), result.gpus, version=result.vllm_version, hardware=asked.hardware
    )
    assert found.feasibility.verdict != "wont_start", found.feasibility.error


SAFEST: dict[str, Any] = {"max_model_len": 256, "max_num_seqs": 1, "max_num_batched_tokens": 2048}


@few
@given(requests(plain=True))
def test_nothing_simple_starts_where_the_plan_does_not(asked: PlanRequest) -> None:
    """Each tensor parallel size alone, at the smallest settings: where one starts, a plan was found too."""
    result = planned(asked, fixes=False)
    assume(result.feasibility.verdict == "wont_start")
    metadata, gpus = facts(asked.model.model), result.gpus
    share = result.config.gpu_memory_utilization
    for size in range(1, len(gpus) + 1):
        config = VLLMConfig(
            model=asked.model.model,
            tensor_parallel_size=size,
            gpu_memory_utilization=share,
            trust_remote_code=asked.model.trust_remote_code or None,
            **SAFEST,
        )
        report = evaluate(config, metadata, gpus, version=result.vllm_version, policy=asked.policy)
        assert report.verdict == "wont_start", (size, result.feasibility.error)


@few
@given(requests())
def test_the_breakdown_adds_up_to_the_budget(asked: PlanRequest) -> None:
    """Exactly, except where vLLM stops before it counts memory."""
    report = planned(asked, fixes=False).feasibility
    part = report.per_gpu
    assume(report.cause not in {"invalid_config", "unsupported"})
    terms = part.weights_bytes + part.activation_peak_bytes + part.non_torch_bytes + part.cuda_graphs_bytes
    assert terms + part.kv_cache_available_bytes == part.requested_bytes
    assert (
        part.kv_cache_available_low_bytes
        <= part.kv_cache_available_bytes
        <= part.kv_cache_available_high_bytes
    )
    assert 0 <= part.unused_bytes <= part.total_bytes


@few
@given(requests())
def test_every_fix_keeps_its_promise(asked: PlanRequest) -> None:
    """Applied to the request, a fix leads to the verdict that it states; its paths are all answers."""
    result = planned(asked)
    for fix in result.fixes:
        for path, value in fix.changes:
            asked.with_value(path, value)
        assert fix.verdict_after != "wont_start"
        assert after(asked, fix).feasibility.verdict == fix.verdict_after, fix
    titles = [fix.title for fix in result.fixes]
    assert len(set(titles)) == len(titles) <= 6


GOALS = ("latency", "balanced", "throughput")
SAME = 0.95
"""A goal's plan may fall so far short of another goal's, where it is plainer: `ranking.PLAINER` takes 3 %, and the
settings of the goals (slots, tokens per step) differ a little besides."""

LARGE = (*MODELS[1:2], "Qwen/Qwen3-30B-A3B", "zai-org/GLM-4.5", "Qwen/Qwen3-235B-A22B-FP8")


@few
@given(
    st.sampled_from((*LARGE, "deepseek-ai/DeepSeek-V3", "moonshotai/Kimi-K2-Thinking", *MODELS[:1])),
    st.sampled_from(("A100 PCIe 80GB", "NVIDIA L40S", "H100 SXM5 80GB", "H200 SXM 141GB")),
    st.sampled_from((1, 2, 4, 8)),
    st.sampled_from((1, 2)),
    st.sampled_from((1, 16, 32, 64, 256)),
)
def test_each_goal_gets_what_it_asks_for(model: str, card: str, gpus: int, nodes: int, users: int) -> None:
    """No goal's plan answers sooner than that for latency, or makes more tokens than that for throughput."""
    plans = [
        planned(
            request(
                model,
                card,
                gpus,
                hardware={"nodes": nodes},
                workload={"concurrency": users, "batching_mode": goal},
            ),
            fixes=False,
        )
        for goal in GOALS
    ]
    speeds = [each.performance for each in plans if each.performance is not None]
    assume(len(speeds) == len(GOALS) and len({each.feasibility.verdict for each in plans}) == 1)
    took_ms = [speed.ttft_ms.mid + speed.tpot_ms.mid * 255 for speed in speeds]
    rates = [speed.output_tokens_per_s.mid for speed in speeds]
    assert took_ms[0] * SAME <= min(took_ms), took_ms
    assert rates[2] >= SAME * max(rates), rates


@st.composite
def commands(draw: st.DrawFn) -> tuple[VLLMConfig, int, str, WorkloadInput | None]:
    """A typed command on some machine, with or without a workload."""
    gpus = draw(st.sampled_from((1, 1, 2, 4, 8)))
    config = VLLMConfig(
        model=draw(st.sampled_from(MODELS)),
        tensor_parallel_size=draw(st.sampled_from((1, gpus))),
        max_model_len=draw(maybe(st.sampled_from((4096, 32768, 300_000)))),
        gpu_memory_utilization=draw(maybe(st.sampled_from((0.3, 0.9, 0.98)))),
        kv_cache_dtype=draw(maybe(st.sampled_from(("fp8", "bfloat16")))),
        dtype=draw(st.sampled_from(("auto", "auto", "half", "bfloat16"))),
        max_num_seqs=draw(maybe(st.sampled_from((16, 512)))),
        enable_expert_parallel=draw(st.sampled_from((False, False, True))),
    )
    workload = draw(maybe(st.builds(WorkloadInput, concurrency=st.sampled_from((1, 64, 2000)))))
    return config, gpus, draw(st.sampled_from(CARDS)), workload


@few
@given(commands())
def test_every_fix_of_a_command_keeps_its_promise(
    asked: tuple[VLLMConfig, int, str, WorkloadInput | None],
) -> None:
    config, count, card, workload = asked
    question = request(config.model, card, count)
    gpus = resolve_hardware(question.hardware)
    for fix in checked(config, gpus, workload=workload).fixes:
        for path, value in fix.changes:
            question.with_value(path, value)
        found = checked_after(config, gpus, fix, workload).feasibility
        assert found.verdict == fix.verdict_after != "wont_start", (fix, found.error)


ORDER = {"wont_start": 0, "tight": 1, "fits": 2}


def verdict_of(config: VLLMConfig, asked: PlanRequest) -> FeasibilityReport:
    gpus = resolve_hardware(asked.hardware)
    return evaluate(
        config,
        facts(config.model),
        gpus,
        workload=asked.workload,
        policy=asked.policy,
        nvlink=nvlink_present(asked, gpus),
    )


DENSE = (
    *MODELS[:3],
    "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "google/gemma-2-9b",
    "microsoft/phi-4",
    "Qwen/Qwen3-8B-FP8",
)


@st.composite
def easings(draw: st.DrawFn) -> tuple[VLLMConfig, VLLMConfig, PlanRequest, PlanRequest]:
    """A command and machine, and the same with one thing made easier."""
    model = draw(st.sampled_from(MODELS[:-1]))
    card = draw(st.sampled_from(CARDS))
    gpus = draw(st.sampled_from((1, 2, 4)))
    length = draw(st.sampled_from((2048, 8192, 32768)))
    used = draw(st.sampled_from((1.0, 4.0)))
    workload = {"prompt_tokens": 1000, "gen_tokens": 200, "concurrency": draw(st.sampled_from((1, 16, 256)))}
    config = VLLMConfig(
        model=model,
        tensor_parallel_size=gpus,
        max_model_len=length,
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        gpu_memory_utilization=0.85,
        kv_cache_dtype=None,
    )
    asked = request(model, card, gpus, hardware={"used_gib": used}, workload=workload)
    kind = draw(st.sampled_from(("gpus", "context", "cache", "used")))
    easier, eased = config, asked
    if kind == "gpus":
        assume(model in DENSE)
        easier = config.model_copy(update={"tensor_parallel_size": gpus * 2})
        eased = request(model, card, gpus * 2, hardware={"used_gib": used}, workload=workload)
    elif kind == "context":
        assume(length > 2048)
        easier = config.model_copy(update={"max_model_len": length // 2})
    elif kind == "cache":
        easier = config.model_copy(update={"kv_cache_dtype": "fp8"})
    else:
        eased = request(model, card, gpus, hardware={"used_gib": 0.0}, workload=workload)
    return config, easier, asked, eased


@many
@given(easings())
def test_easier_is_never_worse(case: tuple[VLLMConfig, VLLMConfig, PlanRequest, PlanRequest]) -> None:
    """More GPUs, less context, a smaller cache dtype and less memory taken by others never harm.

    Where vLLM is monotone. It is not, and these are left out:
    - tensor parallel sizes that don't divide heads, groups or blocks are refused (both verdicts must come from
      memory), and those above the KV heads repeat them;
    - a MoE's experts are padded per slice, so that more GPUs can weigh more (dense models are tried);
    - more than one GPU takes NCCL's buffers, so that a launch may lose up to 2 GiB by the step from one to two
      where its weights are small: that step is tried on models whose halves outweigh it, and where NCCL leaves
      the budget free (vLLM's free-memory check counts it as somebody else's); more ranks take more of it, so that
      the same check may stop eight where four start with little to spare;
    - an fp8 cache changes the attention backend, which some cards and models lack (refusals are left out).
    """
    config, easier, asked, eased = case
    before, behind = verdict_of(config, asked), verdict_of(easier, eased)
    gates = {"invalid_config", "unsupported"}
    assume(before.cause not in gates and behind.cause not in gates)
    if easier.tensor_parallel_size == 2:
        assume(before.per_gpu.weights_bytes > 6 << 30 and behind.cause != "free_memory")
    assert ORDER[behind.verdict] >= ORDER[before.verdict], (config, easier)


@st.composite
def eased_requests(draw: st.DrawFn) -> tuple[PlanRequest, PlanRequest]:
    """A request, and the same with one thing made easier; the planner chooses all the rest."""
    card, gpus = draw(st.sampled_from(CARDS)), draw(st.sampled_from((1, 2, 4)))
    asked = request(
        draw(st.sampled_from(MODELS[:-1])),
        card,
        gpus,
        model_part={"max_model_len": draw(maybe(st.just(32768)))},
        hardware={"used_gib": draw(st.sampled_from((0.5, 4.0, 13.0)))},
        workload={"prompt_tokens": 1000, "gen_tokens": 200, "concurrency": draw(st.sampled_from((16, 256)))},
        policy={"gpu_memory_utilization": draw(maybe(st.just(0.85)))},
    )
    path, value = draw(
        st.sampled_from(
            (
                ("hardware.gpus", 2 * gpus),
                ("hardware.used_gib", 0.0),
                ("workload.concurrency", 1),
                ("model.max_model_len", 8192),
            )
        )
    )
    return asked, asked.with_value(path, value)


@many
@given(eased_requests())
def test_an_easier_request_never_loses_its_start(case: tuple[PlanRequest, PlanRequest]) -> None:
    """More GPUs, less taken by others, fewer users, less context: what started still does.

    `fits` may become `tight`: the recommended plan keeps 16 bits where only a few requests wait for it, which an
    easier request may bring about, and no engine is started for users who aren't there.
    """
    asked, eased = case
    before, behind = planned(asked, fixes=False).feasibility, planned(eased, fixes=False).feasibility
    assume(before.verdict != "wont_start")
    assert behind.verdict != "wont_start", (eased, behind.error)


def test_what_may_start_comes_before_what_surely_does_not() -> None:
    """Sixteen users start by two engines; a single one has tensor parallelism alone, inside the uncertainty."""
    for users in (16, 1):
        asked = request(
            "deepseek-ai/DeepSeek-V2-Lite",
            "GeForce RTX 4090",
            2,
            hardware={"used_gib": 13.0, "interconnect": "nvlink"},
            workload={"prompt_tokens": 8000, "gen_tokens": 200, "concurrency": users},
        )
        assert planned(asked, fixes=False).feasibility.verdict == "tight"


@pytest.mark.parametrize("mode", ["throughput", "latency", "balanced"])
def test_the_same_request_gives_the_same_plan(mode: str) -> None:
    asked = request(MODELS[1], "H100 SXM5 80GB", 4, workload={"batching_mode": mode})
    assert planned(asked) == planned(asked)
