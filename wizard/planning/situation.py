"""What one plan is made from, looked up once: request, model, machine, version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wizard.dataclass import dataclass, replace
from wizard.models.metadata import ModelMetadata
from wizard.planning.launch import Launch, resolve
from wizard.planning.layouts import Layout
from wizard.planning.memory import decisive_gpu, evaluate
from wizard.planning.perf import estimate_performance
from wizard.planning.terms import weights_bytes
from wizard.planning.typed import settled
from wizard.planning.verdicts import RISKS
from wizard.schemas.inputs import Interconnect, PlanRequest, WorkloadInput
from wizard.schemas.outputs import FeasibilityReport, GPUInfo, PerfEstimate, VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN, VersionRules, rules


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that stays the same while settings are tried."""

    request: PlanRequest
    """With typed flags as answers."""
    fields: Mapping[str, Any]
    """Fields of the config that typed flags set and no question answers."""
    extra_args: tuple[str, ...]
    metadata: ModelMetadata
    gpus: Sequence[GPUInfo]
    """Of one node."""
    gpu: GPUInfo
    """The smallest, as full as the fullest."""
    version: str
    rules: VersionRules
    nvlink: bool
    longest: int
    """Tokens that the model itself allows, by this version's rules."""
    takes_risks: bool = False
    """A cache may count on the middle estimate where the low one leaves none: it is that or no start."""

    @property
    def interconnect(self) -> Interconnect:
        return Interconnect.NVLINK if self.nvlink else Interconnect.PCIE

    @property
    def whole_length(self) -> int:
        """Prompt and output of one request."""
        return self.request.workload.prompt_tokens + self.request.workload.gen_tokens

    @property
    def needed_length(self) -> int:
        """What one request takes; 0 where the model can't serve it at any setting."""
        return self.whole_length if self.whole_length <= self.longest else 0

    @property
    def wanted_length(self) -> int:
        """The context asked for, or the model's whole."""
        return min(self.request.model.max_model_len or self.longest, self.longest)

    def workload(self, layout: Layout) -> WorkloadInput:
        """One server's part of the workload."""
        whole = self.request.workload
        if layout.replicas == 1:
            return whole
        return whole.model_copy(update={"concurrency": -(-whole.concurrency // layout.replicas)})

    def staged(self, layout: Layout) -> bool:
        """Pipeline stages inside a node, where the user didn't ask for them."""
        hardware = self.request.hardware
        if hardware.pipeline_parallel_size is not None or layout.pipeline_parallel_size == 1:
            return False
        return layout.pipeline_parallel_size != hardware.nodes

    def weighs(self, layout: Layout) -> int:
        """Bytes of weights per GPU in a layout, as stored. Raises ConfigError for a method vLLM doesn't have."""
        config = VLLMConfig(
            model=self.request.model.model,
            tensor_parallel_size=layout.tensor_parallel_size,
            pipeline_parallel_size=layout.pipeline_parallel_size,
            data_parallel_size=layout.data_parallel_size,
            enable_expert_parallel=layout.expert_parallel,
            dtype=self.request.model.dtype.value,
            quantization=self.request.model.quantization,
        )
        return weights_bytes(self.launch(config))

    def launch(self, config: VLLMConfig) -> Launch:
        return resolve(
            config,
            self.metadata,
            self.gpu,
            version=self.version,
            nvlink=self.nvlink,
            gpus_per_node=len(self.gpus),
            nodes=self.request.hardware.nodes,
        )

    def report(self, config: VLLMConfig, layout: Layout) -> FeasibilityReport:
        """The verdict on `config`, measured also against the context that was asked for."""
        found = evaluate(
            config,
            self.metadata,
            self.gpus,
            version=self.version,
            workload=self.workload(layout),
            policy=self.request.policy,
            nvlink=self.nvlink,
            nodes=self.request.hardware.nodes,
        )
        wish = self.request.model.max_model_len
        if wish is None or found.verdict == "wont_start" or found.max_model_len >= wish:
            return found
        limit = (
            f"the model allows {self.longest:,}"
            if found.max_model_len >= self.longest
            else f"the cache holds {found.max_model_len:,}"
        )
        warning = f"You asked for {wish:,} tokens of context; {limit}."
        return replace(found, verdict="tight", oom_risk=RISKS["tight"], warnings=(warning, *found.warnings))

    def performance(self, config: VLLMConfig, report: FeasibilityReport, layout: Layout) -> PerfEstimate:
        """The forecast for the whole workload on all servers."""
        return estimate_performance(
            self.metadata,
            self.gpus,
            config,
            self.request.workload,
            kv_tokens=report.kv_cache.tokens,
            max_concurrency=report.concurrency_at_workload,
            version=self.version,
            interconnect=self.interconnect,
            nodes=self.request.hardware.nodes,
            replicas=layout.replicas,
            cost=self.request.policy.cost or self.request.hardware.price_per_hour is not None,
        )


def situation(
    request: PlanRequest, metadata: ModelMetadata, gpus: Sequence[GPUInfo], *, version: str | None = None
) -> Situation:
    """Raises WizardError where the request's extra flags are not legal in that version."""
    chosen = version or request.policy.vllm_version or NEWEST_KNOWN
    found = settled(request, chosen)
    version_rules = rules(chosen)
    return Situation(
        request=found.request,
        fields=found.fields,
        extra_args=found.extra_args,
        metadata=metadata,
        gpus=gpus,
        gpu=decisive_gpu(gpus),
        version=chosen,
        rules=version_rules,
        nvlink=nvlink_present(request, gpus),
        longest=metadata.context(version_rules.number).length,
    )


def nvlink_present(request: PlanRequest, gpus: Sequence[GPUInfo]) -> bool:
    """Whether GPUs of a node are linked by NVLink: as told, as detected, else as the card is sold."""
    if request.hardware.interconnect is not Interconnect.UNKNOWN:
        return request.hardware.interconnect is Interconnect.NVLINK
    return all(
        bool(gpu.nvlink_count) if gpu.nvlink_count is not None else bool(gpu.nvlink_gb_s) for gpu in gpus
    )
