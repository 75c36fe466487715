"""Every question of the wizard, declared once: shown as a control, asked as a prompt, taken as an option.

Declaring stays cheap (no pydantic, no interface library): `--help` is made from this table too. The
defaults are those of `schemas.inputs`, which a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from wizard.dataclass import dataclass

Kind = Literal["search", "text", "slider", "number", "choice", "switch"]
Step = Literal["model", "hardware", "workload", "policy", "export"]
Unit = Literal["", "tokens", "requests", "GPUs", "nodes", "GiB", "ms", "%", "share", "B", "$/h"]
Value = str | int | float | bool | None

STEPS: tuple[tuple[Step, str], ...] = (
    ("model", "Model"),
    ("hardware", "Hardware"),
    ("workload", "Workload"),
    ("policy", "Policy"),
    ("export", "Export"),
)
"""The five screens, in order: name and title."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of a choice question."""

    value: Value
    label: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question: where its answer lives, how it reads, and which answers it takes."""

    key: str
    """`part.field` of `PlanRequest.with_value`."""
    step: Step
    title: str
    help: str
    """One line: what it means, and vLLM's flag where there is one."""
    kind: Kind
    option: str
    """Our own command-line option."""
    default: Value
    unit: Unit = ""
    stops: tuple[int | float, ...] = ()
    """What a slider's arrow keys visit, ascending; typed values may lie between."""
    choices: tuple[Choice, ...] = ()
    none: str = ""
    """What the absence of an answer is called; empty where there must be one."""
    low: float | None = None
    high: float | None = None
    whole: bool = False
    aliases: tuple[str, ...] = ()
    group: str = ""
    """What stands before the title where questions share it: `Allow` quantised weights, remote code."""
    only_option: bool = False
    """Asked on the command line alone: an escape for rare cases, not worth a place on a screen."""

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Smallest and largest answer: as declared, else the ends of the stops."""
        low = self.low if self.low is not None else (self.stops[0] if self.stops else None)
        return low, self.high


_TOKENS = tuple(
    sorted({16, 24, 32, 48, 64, 96} | {1 << n for n in range(7, 21)} | {3 << n for n in range(6, 19)})
)
_CONCURRENCY = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
_TTFT_MS = (50, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000, 20000, 60000)
_TPOT_MS = (5, 8, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 500)
_POWERS = (1, 2, 4, 8, 16)

VLLM_VERSIONS = (
    *(f"0.{minor}.0" for minor in range(33, 11, -1)),
    "0.11.2",
    "0.10.2",
)
"""Versions offered, newest first; any other may be typed on the command line."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        key="model.model",
        step="model",
        title="Model",
        help="Hugging Face id, or a directory on this disk · vllm serve MODEL",
        kind="search",
        option="--model",
        default=None,
    ),
    Question(
        key="model.revision",
        step="model",
        title="Revision",
        help="Branch, tag or commit of the repository · --revision",
        kind="text",
        option="--revision",
        default=None,
        none="main",
    ),
    Question(
        key="model.quantization",
        step="model",
        title="Weights",
        help="As the checkpoint stores them, or made 8-bit while loading · --quantization",
        kind="choice",
        option="--quantization",
        default=None,
        none="as stored",
        choices=(Choice(None, "as stored"), Choice("fp8", "8-bit on load")),
    ),
    Question(
        key="model.dtype",
        step="model",
        title="Compute in",
        help="Precision of the arithmetic; auto follows the checkpoint · --dtype",
        kind="choice",
        option="--dtype",
        default="auto",
        choices=(Choice("auto", "auto"), Choice("bfloat16", "bfloat16"), Choice("float16", "float16")),
    ),
    Question(
        key="model.params_b",
        step="model",
        title="Parameters",
        help="Billions, to override what the config says · no vLLM flag",
        kind="number",
        option="--params-b",
        default=None,
        unit="B",
        none="as the config says",
        low=0.001,
        high=1e5,
        only_option=True,
    ),
    Question(
        key="hardware.gpu",
        step="hardware",
        title="GPU",
        help="auto takes this machine's; any name of the catalogue plans a what-if machine",
        kind="search",
        option="--gpu",
        default="auto",
    ),
    Question(
        key="hardware.gpus",
        step="hardware",
        title="GPUs",
        help="How many of them in one machine · bounds --tensor-parallel-size",
        kind="slider",
        option="--gpus",
        default=None,
        unit="GPUs",
        none="all",
        whole=True,
        low=1,
        high=4096,
        stops=(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16),
    ),
    Question(
        key="hardware.nodes",
        step="hardware",
        title="Machines",
        help="Alike machines that serve together · --nnodes",
        kind="slider",
        option="--nodes",
        default=1,
        unit="nodes",
        whole=True,
        low=1,
        high=512,
        stops=(1, 2, 3, 4, 6, 8, 12, 16, 32),
    ),
    Question(
        key="hardware.vram_gb",
        step="hardware",
        title="Memory",
        help="GiB that CUDA reports for one GPU, to override the catalogue",
        kind="number",
        option="--gpu-memory-gib",
        default=None,
        unit="GiB",
        none="as the card",
        low=0.25,
        high=4096,
    ),
    Question(
        key="hardware.used_gib",
        step="hardware",
        title="Taken",
        help="GiB of each GPU that other processes already hold",
        kind="number",
        option="--gpu-used-gib",
        default=None,
        unit="GiB",
        none="as found",
        low=0,
        high=4096,
    ),
    Question(
        key="hardware.interconnect",
        step="hardware",
        title="Links",
        help="How the GPUs of one machine reach each other",
        kind="choice",
        option="--interconnect",
        default="unknown",
        choices=(Choice("unknown", "as the card"), Choice("nvlink", "NVLink"), Choice("pcie", "PCIe")),
    ),
    Question(
        key="workload.prompt_tokens",
        step="workload",
        title="Prompt",
        help="Tokens that a typical request sends",
        kind="slider",
        option="--prompt-tokens",
        default=1024,
        unit="tokens",
        whole=True,
        low=1,
        high=1 << 27,
        stops=_TOKENS,
    ),
    Question(
        key="workload.gen_tokens",
        step="workload",
        title="Output",
        help="Tokens that a typical answer has",
        kind="slider",
        option="--gen-tokens",
        default=256,
        unit="tokens",
        whole=True,
        low=1,
        high=1 << 27,
        stops=_TOKENS[:-4],
    ),
    Question(
        key="workload.concurrency",
        step="workload",
        title="Concurrency",
        help="Requests that are served at the same time · --max-num-seqs follows",
        kind="slider",
        option="--concurrency",
        default=8,
        unit="requests",
        whole=True,
        low=1,
        high=1 << 20,
        stops=_CONCURRENCY,
    ),
    Question(
        key="model.max_model_len",
        step="workload",
        title="Context",
        help="Longest prompt and answer together · --max-model-len",
        kind="slider",
        option="--max-model-len",
        default=None,
        unit="tokens",
        none="recommended",
        whole=True,
        low=1,
        high=1 << 27,
        stops=_TOKENS[8:],
    ),
    Question(
        key="workload.prefix_share",
        step="workload",
        title="Shared",
        help="Part of the prompt that requests have in common, cached once · --enable-prefix-caching",
        kind="slider",
        option="--prefix-share",
        default=0.0,
        unit="share",
        low=0,
        high=1,
        stops=tuple(step / 20 for step in range(20)),
    ),
    Question(
        key="workload.batching_mode",
        step="policy",
        title="Goal",
        help="What to favour where the plan has a choice · --performance-mode",
        kind="choice",
        option="--policy",
        default="balanced",
        choices=(
            Choice("balanced", "balanced"),
            Choice("throughput", "throughput"),
            Choice("latency", "latency"),
        ),
    ),
    Question(
        key="policy.gpu_memory_utilization",
        step="policy",
        title="Utilisation",
        help="Share of each GPU that vLLM may take · --gpu-memory-utilization",
        kind="slider",
        option="--gpu-memory-utilization",
        default=None,
        none="recommended",
        low=0.01,
        high=1,
        stops=tuple(percent / 100 for percent in range(50, 100)),
    ),
    Question(
        key="policy.headroom_gb",
        step="policy",
        title="Keep free",
        help="GiB of each GPU to leave unused on top of that · lowers --gpu-memory-utilization",
        kind="slider",
        option="--headroom-gib",
        default=0.0,
        unit="GiB",
        low=0,
        high=4096,
        stops=(0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32),
    ),
    Question(
        key="policy.max_ttft_ms",
        step="policy",
        title="First token",
        help="Longest acceptable wait for the first token (TTFT)",
        kind="slider",
        option="--max-ttft-ms",
        default=None,
        unit="ms",
        none="no limit",
        low=1,
        high=1e8,
        stops=_TTFT_MS,
    ),
    Question(
        key="policy.max_tpot_ms",
        step="policy",
        title="Each token",
        help="Longest acceptable time between tokens (TPOT)",
        kind="slider",
        option="--max-tpot-ms",
        default=None,
        unit="ms",
        none="no limit",
        low=1,
        high=1e8,
        stops=_TPOT_MS,
    ),
    Question(
        key="hardware.tensor_parallel_size",
        step="policy",
        title="Tensor par.",
        help="GPUs that share every layer · --tensor-parallel-size",
        kind="slider",
        option="--tensor-parallel-size",
        default=None,
        unit="GPUs",
        none="recommended",
        whole=True,
        low=1,
        high=4096,
        stops=_POWERS,
        aliases=("-tp",),
    ),
    Question(
        key="hardware.pipeline_parallel_size",
        step="policy",
        title="Pipeline",
        help="Groups of GPUs that hold consecutive layers · --pipeline-parallel-size",
        kind="slider",
        option="--pipeline-parallel-size",
        default=None,
        unit="GPUs",
        none="recommended",
        whole=True,
        low=1,
        high=4096,
        stops=_POWERS,
        aliases=("-pp",),
    ),
    Question(
        key="hardware.data_parallel_size",
        step="policy",
        title="Replicas",
        help="Copies of the model side by side · --data-parallel-size",
        kind="slider",
        option="--data-parallel-size",
        default=None,
        unit="GPUs",
        none="recommended",
        whole=True,
        low=1,
        high=4096,
        stops=_POWERS,
        aliases=("-dp",),
    ),
    Question(
        key="model.kv_cache_dtype",
        step="policy",
        title="KV cache",
        help="Precision of the cache; fp8 holds twice the tokens · --kv-cache-dtype",
        kind="choice",
        option="--kv-cache-dtype",
        default="auto",
        choices=(Choice("auto", "as planned"), Choice("bfloat16", "16-bit"), Choice("fp8", "8-bit")),
    ),
    Question(
        key="policy.allow_quantized",
        step="policy",
        title="quantised",
        help="May the plan choose quantised weights? · --quantization",
        group="Allow",
        kind="switch",
        option="--allow-quantized",
        default=True,
    ),
    Question(
        key="policy.allow_fp8_kv",
        step="policy",
        title="8-bit cache",
        help="May the plan choose an 8-bit cache? · --kv-cache-dtype fp8",
        group="Allow",
        kind="switch",
        option="--allow-fp8-kv",
        default=True,
    ),
    Question(
        key="model.trust_remote_code",
        step="policy",
        title="remote code",
        help="May Python code of the model's repository run here? · --trust-remote-code",
        group="Allow",
        kind="switch",
        option="--trust-remote-code",
        default=False,
    ),
    Question(
        key="policy.enforce_eager",
        step="policy",
        title="eager mode",
        help="Skips CUDA graphs: starts sooner, saves memory, decodes slower · --enforce-eager",
        group="Allow",
        kind="switch",
        option="--enforce-eager",
        default=False,
    ),
    Question(
        key="policy.cost",
        step="policy",
        title="cost",
        help="Shows dollars per million tokens and tokens per watt, by the list prices known here",
        kind="switch",
        option="--cost",
        default=False,
    ),
    Question(
        key="hardware.price_per_hour",
        step="policy",
        title="Price",
        help="Dollars that one GPU costs an hour, in place of the list price; shows the cost per token",
        kind="number",
        option="--price-per-hour",
        default=None,
        unit="$/h",
        none="list price",
        low=0,
        high=1e6,
        only_option=True,
    ),
    Question(
        key="policy.vllm_version",
        step="policy",
        title="vLLM",
        help="Version to plan for: its rules, flags and defaults",
        kind="choice",
        option="--vllm-version",
        default=None,
        none="installed",
        choices=(
            Choice(None, "installed or newest"),
            *(Choice(version, version) for version in VLLM_VERSIONS),
        ),
    ),
    Question(
        key="serving.host",
        step="export",
        title="Listen on",
        help="127.0.0.1: this machine only; 0.0.0.0: everyone who reaches it, so set a key · --host",
        kind="text",
        option="--host",
        default="127.0.0.1",
    ),
    Question(
        key="serving.port",
        step="export",
        title="Port",
        help="Where clients find the server; below 1024 it needs the right to · --port",
        kind="number",
        option="--port",
        default=8000,
        whole=True,
        low=1,
        high=65535,
    ),
)

_BY_KEY: Mapping[str, Question] = MappingProxyType({question.key: question for question in QUESTIONS})


def question(key: str) -> Question:
    """The question whose answer lives at `key`; KeyError when there is none."""
    return _BY_KEY[key]


@dataclass(frozen=True, slots=True)
class Preset:
    """A workload that people have, by name."""

    name: str
    help: str
    answers: Mapping[str, Value]


def _preset(name: str, help: str, prompt: int, output: int, concurrency: int, shared: float) -> Preset:
    answers: dict[str, Value] = {
        "workload.prompt_tokens": prompt,
        "workload.gen_tokens": output,
        "workload.concurrency": concurrency,
        "workload.prefix_share": shared,
    }
    return Preset(name, help, MappingProxyType(answers))


PRESETS: tuple[Preset, ...] = (
    _preset("chat", "people typing: short turns, a shared system prompt", 1024, 256, 8, 0.0),
    _preset("rag", "long retrieved passages, short answers", 6144, 384, 16, 0.25),
    _preset("code", "completion and review in editors", 3072, 512, 16, 0.5),
    _preset("batch", "overnight jobs: as many at once as fit", 2048, 512, 256, 0.0),
    _preset("agents", "tool loops over a growing history", 16384, 1024, 16, 0.8),
)
"""Typical workloads, judged from what public serving benchmarks use; every number can be changed after."""

_PRESETS: Mapping[str, Preset] = MappingProxyType({each.name: each for each in PRESETS})


def preset(name: str) -> Preset:
    """The preset called `name`; KeyError when there is none."""
    return _PRESETS[name]


def preset_names() -> tuple[str, ...]:
    """Names of the presets, in the order shown."""
    return tuple(_PRESETS)
