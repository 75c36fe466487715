"""An engine with round numbers and no disk, driver or network: what the screens are tested against.

Its arithmetic is only shaped like vLLM's; every figure on a screenshot of it is invented.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wizard.engine import ModelRow, Progress, Reach, Written, context_lengths
from wizard.errors import HardwareError, ModelUnavailableError, WizardError
from wizard.hardware.detect import Machine
from wizard.hardware.preflight import Check
from wizard.models.found import is_whole_id
from wizard.models.metadata import ModelMetadata, metadata_from_config
from wizard.schemas.inputs import HardwareInput, PlanRequest
from wizard.schemas.outputs import (
    GIB,
    Alternative,
    Estimate,
    FeasibilityReport,
    Fix,
    GPUInfo,
    KVCacheReport,
    MemoryBreakdown,
    ModelSummary,
    PerfEstimate,
    Plan,
    VLLMConfig,
)

PARAMS_B = {
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "meta-llama/Llama-3.3-70B-Instruct": 70.6,
    "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic": 70.6,
    "Qwen/Qwen3-0.6B": 0.6,
    "Qwen/Qwen3-8B": 8.2,
    "Qwen/Qwen3-32B": 32.8,
    "Qwen/Qwen3-32B-AWQ": 32.8,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 30.5,
    "Qwen/Qwen3-30B-A3B-FP8": 30.5,
    "Qwen/Qwen3-235B-A22B": 235.1,
    "mistralai/Mistral-7B-Instruct-v0.3": 7.25,
    "google/gemma-3-27b-it": 27.4,
    "deepseek-ai/DeepSeek-R1": 671.0,
    "openai/gpt-oss-20b": 20.9,
    "openai/gpt-oss-120b": 116.8,
    "microsoft/phi-4": 14.7,
}

CARDS = (
    GPUInfo("H100 SXM5 80GB", int(79.18 * GIB), (9, 0), catalogue_name="H100 SXM5 80GB", bandwidth_gb_s=3350),
    GPUInfo("H200 SXM 141GB", int(139.8 * GIB), (9, 0), catalogue_name="H200 SXM 141GB", bandwidth_gb_s=4800),
    GPUInfo("A100 SXM4 80GB", int(79.25 * GIB), (8, 0), catalogue_name="A100 SXM4 80GB", bandwidth_gb_s=2039),
    GPUInfo("L40S", int(44.4 * GIB), (8, 9), catalogue_name="L40S", bandwidth_gb_s=864),
    GPUInfo("L4", int(22.05 * GIB), (8, 9), catalogue_name="L4", bandwidth_gb_s=300),
    GPUInfo(
        "GeForce RTX 4090", int(23.53 * GIB), (8, 9), catalogue_name="GeForce RTX 4090", bandwidth_gb_s=1008
    ),
    GPUInfo(
        "GeForce RTX 5090", int(31.36 * GIB), (12, 0), catalogue_name="GeForce RTX 5090", bandwidth_gb_s=1792
    ),
    GPUInfo("B200 180GB", int(178.35 * GIB), (10, 0), catalogue_name="B200 180GB", bandwidth_gb_s=8000),
)

NO_DRIVER = Machine(why_none="No NVIDIA driver answers on this machine; choose a what-if GPU.")


def two_h100() -> Machine:
    """A machine with two cards, the second partly taken."""
    first = replace(CARDS[0], name="NVIDIA H100 80GB HBM3", index=0, uuid="GPU-0", nvlink_count=18)
    second = replace(first, index=1, uuid="GPU-1", memory_used_bytes=int(0.5 * GIB))
    return Machine(gpus=(first, second), vendor="nvidia", driver="580.95.05", cuda="13.0")


class FakeEngine:
    """Answers at once; what it wrote is in `written`."""

    def __init__(self, machine: Machine = NO_DRIVER) -> None:
        self.detected = machine
        self.written: list[tuple[Path, dict[str, str]]] = []
        self.plans = 0
        self.disk_is_full = False
        self.hub: tuple[ModelRow, ...] = ()
        self.extra: tuple[ModelRow, ...] = ()
        self.slow_hub: threading.Event | None = None
        """Set to let the hub answer with exact facts; None: no hub."""
        self.hub_fails = False
        self.notes: tuple[str, ...] = ()
        self.waits: threading.Event | None = None
        """Set to let a search of the hub end."""
        self.checks: tuple[Check, ...] = ()

    def known_model(self, model: str, revision: str | None) -> ModelMetadata | None:
        return self.load_model(model, revision) if model in PARAMS_B else None

    def load_model(self, model: str, revision: str | None, progress: Progress | None = None) -> ModelMetadata:
        if self.slow_hub is not None and progress is not None:
            self.slow_hub.wait(5)
            if self.hub_fails:
                raise ModelUnavailableError(f"{model}: the hub answers with status 503; try again.")
        if model not in PARAMS_B:
            raise ModelUnavailableError(f"{model} is in no place that this test knows; choose another.")
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "torch_dtype": "bfloat16",
        }
        if model.endswith("FP8-dynamic") or "FP8" in model:
            config["quantization_config"] = {"quant_method": "fp8"}
        return metadata_from_config(config, model=model, source="catalogue", revision=revision)

    def knows_better(self, metadata: ModelMetadata) -> bool:
        return self.slow_hub is not None

    def draft_to_read(self, request: PlanRequest) -> tuple[str, str | None] | None:
        return None

    def load_draft(self, model: str, revision: str | None, progress: Progress) -> None:
        raise ModelUnavailableError(f"{model} is in no place that this test knows; choose another.")

    def search_models(self, text: str) -> Sequence[ModelRow]:
        words = text.lower().replace("/", " ").split()
        found = [
            ModelRow(name, "cache" if name.startswith("Qwen/Qwen3-30B") else "catalogue", int(size * 1e9))
            for name, size in PARAMS_B.items()
            if all(word in name.lower() for word in words)
        ]
        if is_whole_id(text) and text not in PARAMS_B:
            found.append(ModelRow(text, "hub"))
        return [*found, *(each for each in self.extra if text.lower() in each.id.lower())]

    def search_hub(self, text: str, progress: Progress | None = None) -> Sequence[ModelRow]:
        if self.waits is not None:
            self.waits.wait(5)
        if progress is not None:
            progress.request("search result")
        return self.hub

    def glance_model(self, model: str, progress: Progress) -> ModelMetadata | None:
        return None

    def siblings(self, metadata: ModelMetadata, progress: Progress) -> Mapping[str, ModelMetadata]:
        return {}

    def detect(self) -> Machine:
        return self.detected

    def preflight(self, machine: Machine, metadata: ModelMetadata, plan: Plan) -> Sequence[Check]:
        return self.checks

    def gpu_catalogue(self, text: str) -> Sequence[GPUInfo]:
        return [card for card in CARDS if all(word in card.name.lower() for word in text.lower().split())]

    def machine(self, hardware: HardwareInput, detected: Machine) -> Sequence[GPUInfo]:
        if hardware.gpu == "auto":
            named = hardware.device_ids
            gpus = [gpu for gpu in detected.gpus if named is None or gpu.device_id in named]
            if named is None and gpus and gpus[0].mig_profile:
                gpus = gpus[:1]
            if not gpus:
                raise HardwareError(detected.why_none or "No GPU is selected; tick at least one.")
        else:
            cards = [card for card in CARDS if card.name == hardware.gpu]
            if not cards:
                raise HardwareError(f'No GPU "{hardware.gpu}" in the catalogue.')
            gpus = cards * (hardware.gpus or 1)
        if hardware.vram_gb is not None:
            gpus = [replace(gpu, memory_total_bytes=int(hardware.vram_gb * GIB)) for gpu in gpus]
        if hardware.used_gib is not None:
            gpus = [replace(gpu, memory_used_bytes=int(hardware.used_gib * GIB)) for gpu in gpus]
        return gpus

    def plan(self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
        self.plans += 1
        plan = _plan(request, metadata, gpus)
        return replace(plan, model=replace(plan.model, notes=self.notes))

    def plan_with_fixes(
        self,
        request: PlanRequest,
        metadata: ModelMetadata,
        gpus: Sequence[GPUInfo],
        between: Callable[[], None] = lambda: None,
    ) -> Plan:
        between()
        plan = self.plan(request, metadata, gpus)
        fixes: list[Fix] = []
        if plan.feasibility.verdict != "fits":
            for title, changes in (
                ("fp8 KV cache", (("model.kv_cache_dtype", "fp8"),)),
                ("8-bit weights on load", (("model.quantization", "fp8"),)),
                ("2 × H200 SXM 141GB", (("hardware.gpu", "H200 SXM 141GB"), ("hardware.gpus", 2))),
            ):
                changed = request
                for path, value in changes:
                    changed = changed.with_value(path, value)
                after = _plan(changed, metadata, self.machine(changed.hardware, self.detected)).feasibility
                if after.verdict != "wont_start":
                    tokens = f"{after.kv_cache.tokens:,} tokens of cache"
                    fixes.append(Fix(title, changes, tokens, after.verdict))
        other = request.with_value("workload.batching_mode", "throughput")
        alternatives = (
            Alternative(
                "two replicas",
                plan.config,
                plan.feasibility,
                plan.performance,
                "most throughput",
                (("workload.batching_mode", "throughput"),),
            ),
            Alternative(
                "8-bit cache",
                plan.config,
                _plan(other, metadata, gpus).feasibility,
                plan.performance,
                "longest context",
                (("model.kv_cache_dtype", "fp8"),),
            ),
        )
        return replace(plan, fixes=tuple(fixes), alternatives=alternatives)

    def reach(
        self, request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]
    ) -> Sequence[Reach]:
        reports = (
            _plan(request.with_value("model.max_model_len", context), metadata, gpus).feasibility
            for context in context_lengths(metadata.max_position_embeddings, request.model.max_model_len)
        )
        return [
            Reach(
                report.max_model_len,
                report.kv_cache.max_concurrency,
                report.verdict,
                report.kv_cache.needed_bytes,
            )
            for report in reports
        ]

    def usual(self, plan: Plan, request: PlanRequest) -> Collection[str]:
        return ("serve.sh", "docker-compose.yaml", "profile.yaml", "plan.json")

    def render(
        self, plan: Plan, request: PlanRequest, ticked: Collection[str] | None = None
    ) -> Mapping[str, str]:
        serve = (
            f"#!/usr/bin/env bash\n# {plan.model.id}\nset -euo pipefail\n\n"
            f"exec vllm serve {plan.model.id} \\\n"
            f"  --tensor-parallel-size {plan.config.tensor_parallel_size} \\\n"
            f"  --max-model-len {plan.feasibility.max_model_len}\n"
        )
        compose = (
            f"services:\n  vllm:\n    image: vllm/vllm-openai:v{plan.vllm_version}\n"
            f"    command: [{plan.model.id}]\n"
        )
        return {
            "serve.sh": serve,
            "docker-compose.yaml": compose,
            "profile.yaml": f"model:\n  model: {request.model.model}\n",
            "plan.json": f'{{\n "verdict": "{plan.feasibility.verdict}"\n}}\n',
            "kubernetes.yaml": f"# {request.serving.port}\nkind: Deployment\n",
        }

    def differences(self, directory: Path, artifacts: Mapping[str, str]) -> Mapping[str, str]:
        there = [name for name in artifacts if (directory / name).exists()]
        return {
            name: f"--- {name} (there now)\n+++ {name} (new)\n@@ -1 +1 @@\n-{(directory / name).read_text()}\n"
            f"+{artifacts[name].splitlines()[0]}\n"
            for name in there
        }

    def write(self, directory: Path, artifacts: Mapping[str, str], *, overwrite: bool) -> Written:
        if self.disk_is_full:
            raise WizardError(f"{directory} can't be written: there is no space left on the disk.")
        self.written.append((directory, dict(artifacts)))
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in artifacts.items():
            (directory / name).write_text(text)
        return Written(directory, tuple(directory / name for name in artifacts))


def _plan(request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo]) -> Plan:
    tp = request.hardware.tensor_parallel_size or len(gpus)
    eight_bit = metadata.quantization_config is not None or request.model.quantization is not None
    weights = int(PARAMS_B[metadata.model] * 1e9 * (1 if eight_bit else 2) / tp)
    total, used = gpus[0].memory_total_bytes, gpus[0].memory_used_bytes
    requested = int(total * (request.policy.gpu_memory_utilization or 0.92))
    activation, graphs, other = int(1.4 * GIB), int(0.8 * GIB), int(1.1 * GIB)
    available = requested - weights - activation - graphs - other
    per_token = 131072 // tp // (2 if request.model.kv_cache_dtype == "fp8" else 1)
    blocks = max(0, available // (per_token * 16))
    context = request.model.max_model_len or 16384
    tokens = blocks * 16
    needed = (request.workload.prompt_tokens + request.workload.gen_tokens) * request.workload.concurrency
    verdict = "wont_start" if tokens < context else "fits" if tokens >= needed * 1.05 else "tight"
    error = None
    if verdict == "wont_start":
        error = (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine."
        )
    report = FeasibilityReport(
        verdict=verdict,  # type: ignore[arg-type]
        cause="no_kv_memory" if verdict == "wont_start" else None,
        error=error,
        fits=verdict == "fits",
        oom_risk="low",
        per_gpu=MemoryBreakdown(
            total_bytes=total,
            requested_bytes=requested,
            weights_bytes=weights,
            activation_peak_bytes=activation,
            non_torch_bytes=other,
            cuda_graphs_bytes=graphs,
            kv_cache_available_bytes=available,
            kv_cache_available_low_bytes=available - GIB // 2,
            kv_cache_available_high_bytes=available + GIB // 2,
            unused_bytes=total - requested - used,
            other_processes_bytes=used,
        ),
        kv_cache=KVCacheReport(
            16, per_token * 16, blocks, tokens, tokens / context, per_token, min(tokens, 131072)
        ),
        max_model_len=context,
        max_num_seqs=request.workload.concurrency + 2,
        max_num_batched_tokens=8192,
        concurrency_at_workload=tokens / max(1, needed // request.workload.concurrency),
        headroom_bytes=(tokens - max(needed, context)) * per_token if verdict != "fits" else GIB,
    )
    tpot = weights / GIB * 0.35 + request.workload.concurrency * 0.05
    ttft = request.workload.prompt_tokens * weights / GIB / 200 + 20
    rate = request.workload.concurrency * 1000 / tpot
    performance = PerfEstimate(
        ttft_ms=Estimate(ttft * 0.7, ttft, ttft * 1.4),
        tpot_ms=Estimate(tpot * 0.8, tpot, tpot * 1.25),
        output_tokens_per_s=Estimate(rate * 0.8, rate, rate * 1.2),
        prefill_tokens_per_s=Estimate(8000, 9000, 10000),
        requests_per_s=Estimate(1, 2, 3),
        basis="invented",
    )
    return Plan(
        vllm_version=request.policy.vllm_version or "0.33.0",
        model=ModelSummary(
            metadata.model,
            None,
            metadata.source,
            metadata.architecture,
            int(PARAMS_B[metadata.model] * 1e9),
            "gqa",
            metadata.max_position_embeddings,
            "fp8" if eight_bit else None,
        ),
        nodes=request.hardware.nodes,
        gpus=tuple(gpus),
        config=VLLMConfig(
            model=metadata.model,
            tensor_parallel_size=tp,
            max_model_len=context,
            gpu_memory_utilization=request.policy.gpu_memory_utilization,
        ),
        feasibility=report,
        performance=None if verdict == "wont_start" else performance,
    )
