"""Everything that the artifacts of one plan have in common, decided once.

Pure but for `local_directory`, which makes a relative model path absolute: a unit or a container has
another working directory.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Sequence

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.hardware.topology import best_subset
from wizard.planning.launch import is_pooling
from wizard.render.arguments import ServeArguments, serve_arguments
from wizard.render.draft import Argument
from wizard.render.escaping import kubernetes_name
from wizard.render.families import FamilyFlags, family_flags
from wizard.render.host_paths import HostPaths, host_paths
from wizard.render.images import Image, vllm_image
from wizard.render.paths import expanded
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import GIB, GPUInfo, Plan, VLLMConfig
from wizard.vllm.flags import flag_table
from wizard.vllm.versions import parse_version

DEFAULT_PORT = 8000
CONTAINER_PORT = 8000
"""vLLM's own default, kept inside containers; the published port is chosen outside."""

CONTAINER_MODEL = "/model"
"""Where a model directory of the host is mounted."""

LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"

COMPILE_SECONDS = 300
"""Allowed for torch.compile, kernel warm-up and graph capture of a first start (logs: 40-180 s)."""

DOWNLOAD_BYTES_PER_SECOND = 100_000_000
DISK_BYTES_PER_SECOND = 500_000_000
"""Assumed when weights come from the hub, or from a disk: deliberately slow, a probe only waits longer."""

LARGEST_PORT = 65535

NOT_HERE = {
    "--uds": "probes, smoke.sh and clients reach the server by address and port; leave it out.",
    "--headless": "the files start a server that answers requests; leave it out.",
}
"""Flags that contradict every file."""

READY_TIMEOUT_SINCE = (0, 14, 0)
"""VLLM_ENGINE_READY_TIMEOUT_S exists since then (vllm/envs.py); its default is 600 s."""

READY_TIMEOUT_DEFAULT = 600


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """A plan on its way into files."""

    plan: Plan
    request: PlanRequest
    version: str
    host: str
    port: int
    command: ServeArguments
    """Run directly on the machine."""
    container_command: ServeArguments
    """Run in a container: every address, the container's port, a mounted model."""
    family: FamilyFlags
    model_directory: str | None
    """Absolute path on the host, when the model is a directory."""
    served_name: str
    image: Image
    device_ids: tuple[str, ...]
    """GPUs of a node to use, as CUDA_VISIBLE_DEVICES takes them; empty: all of them."""
    gpus_per_node: int
    """What one engine uses on one node."""
    nodes: int
    start_seconds: int
    """A generous time from start to the first healthy answer."""
    pooling: bool
    host_paths: HostPaths
    """What the flags name on this machine, to be mounted where the server runs in a container."""
    name: str
    """For services, units and Kubernetes objects."""

    @property
    def replicas(self) -> int:
        return self.plan.replicas

    @property
    def weights_bytes(self) -> int:
        """Of the whole model, as stored on the GPUs."""
        return self.plan.feasibility.per_gpu.weights_bytes * self.gpus_per_node * self.nodes

    @property
    def shm_gib(self) -> int:
        """Shared memory that NCCL and the workers' queues get: 2 GiB a GPU, at least 4 (vLLM docs: 2-16)."""
        return max(4, 2 * self.gpus_per_node)

    @property
    def cache_gib(self) -> int:
        """Disk for the weights with room for a second revision's leftovers."""
        return max(20, math.ceil(self.weights_bytes * 1.2 / GIB / 10) * 10 + 10)

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """Variables that the command needs besides secrets."""
        ready: tuple[tuple[str, str], ...] = ()
        if self.start_seconds > READY_TIMEOUT_DEFAULT and parse_version(self.version) >= READY_TIMEOUT_SINCE:
            ready = (("VLLM_ENGINE_READY_TIMEOUT_S", str(self.start_seconds)),)
        indices = self.device_ids or ("0",) * (self.replicas > 1)
        nvidia = self.plan.gpus[0].vendor != "amd"
        if nvidia and any(device.isdecimal() for device in indices):
            # CUDA numbers the fastest first otherwise, nvidia-smi and docker by their place on the bus
            ready = (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), *ready)
        return (*self.command.environment, *ready)

    @property
    def devices_variable(self) -> str:
        """What restricts a process to some GPUs."""
        return "HIP_VISIBLE_DEVICES" if self.plan.gpus[0].vendor == "amd" else "CUDA_VISIBLE_DEVICES"

    @property
    def scheme(self) -> str:
        """`https` where the server has a certificate."""
        return "https" if self.command.value("--ssl-certfile") else "http"

    @property
    def base_url(self) -> str:
        """Where a client on the same machine finds the server."""
        return f"{self.scheme}://{url_host(self.host)}:{self.port}"

    @property
    def open(self) -> bool:
        """Whether other machines reach the server."""
        return url_host(self.host) not in {LOOPBACK, "[::1]", "localhost"} or self.host in {
            EVERY_ADDRESS,
            "::",
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of any artifact should know."""
        other = flag_table(self.version).other_version()
        unseen = [
            f"{path} is relative: a container doesn't see it; give the whole path and it is mounted."
            for path in self.host_paths.relative
        ]
        return (*([other] if other else []), *self.command.notes, *self.family.notes, *unseen)

    def replica_devices(self, index: int) -> tuple[str, ...]:
        """GPUs of one replica on a node."""
        first = index * self.gpus_per_node
        devices = self.device_ids or tuple(
            str(number) for number in range(self.replicas * self.gpus_per_node)
        )
        return devices[first : first + self.gpus_per_node]


def deployment(plan: Plan, request: PlanRequest) -> Deployment:
    """What all artifacts of `plan` share. Raises WizardError where an extra flag is not legal."""
    host, port = request.serving.host, request.serving.port
    if plan.replicas > 1 and port + plan.replicas > LARGEST_PORT:
        raise WizardError(
            f"{plan.replicas} replicas take the ports after {port}; choose a port up to {LARGEST_PORT - plan.replicas}."
        )
    config = plan.config
    directory = local_directory(config.model) if plan.model.source == "path" else None
    family = family_flags(
        plan.model.architecture,
        plan.model.id,
        plan.vllm_version,
        limit_multimodal=config.limit_mm_per_prompt is None and not config.language_model_only,
    )
    pooling = is_pooling(plan.model.architecture) or "pooling" in config.extra_args
    if pooling:
        family = FamilyFlags(None)
    typed = {word.partition("=")[0] for word in config.extra_args}
    for flag, why in NOT_HERE.items():
        if flag in typed:
            raise WizardError(f"{flag} can't be exported: {why}")
    wanted = [argument for argument in family.arguments if argument.flag not in typed]
    served = posixpath.basename(posixpath.normpath(directory)) if directory else config.model
    if directory and "--served-model-name" not in typed:
        wanted.append(Argument("--served-model-name", (served,), "clients ask for this name"))
    config = pinned(plan).model_copy(update=dict.fromkeys(plan.left_to_vllm))
    command = serve_arguments(config, plan.vllm_version, wanted, model=directory)
    container = serve_arguments(
        config, plan.vllm_version, wanted, model=CONTAINER_MODEL if directory else None
    )
    nodes = config.nnodes
    per_node = max(1, math.ceil(config.world_size / nodes))
    weights = plan.feasibility.per_gpu.weights_bytes * per_node * nodes
    pace = DISK_BYTES_PER_SECOND if directory else DOWNLOAD_BYTES_PER_SECOND
    start_seconds = math.ceil((COMPILE_SECONDS + weights / pace) / 60) * 60
    return Deployment(
        plan=plan,
        request=request,
        version=plan.vllm_version,
        host=host,
        port=port,
        command=listening(command, host, port),
        container_command=listening(container, EVERY_ADDRESS, CONTAINER_PORT),
        family=family,
        model_directory=directory,
        served_name=command.value("--served-model-name") or served,
        image=vllm_image(plan.vllm_version, vendor=plan.gpus[0].vendor, driver=plan.gpus[0].driver_version),
        device_ids=chosen_devices(plan, request, per_node * plan.replicas),
        gpus_per_node=per_node,
        nodes=nodes,
        start_seconds=start_seconds,
        pooling=pooling,
        host_paths=host_paths(command.arguments),
        name=kubernetes_name(plan.model.id),
    )


def pinned(plan: Plan) -> VLLMConfig:
    """The config with its revision: the commit that the plan read; a directory has none."""
    revision = None if plan.model.source == "path" else plan.config.revision or plan.model.revision
    if revision == plan.config.revision:
        return plan.config
    return plan.config.model_copy(update={"revision": revision})


def listening(command: ServeArguments, host: str, port: int) -> ServeArguments:
    """The command with its address; the port is left out where it is vLLM's own default."""
    extra = [Argument("--host", (host,))]
    if port != DEFAULT_PORT:
        extra.append(Argument("--port", (str(port),)))
    return command.without("--port").with_arguments(*extra)


def local_directory(model: str) -> str:
    """An absolute path: units and containers start elsewhere."""
    return str(expanded(model).absolute())


def chosen_devices(plan: Plan, request: PlanRequest, needed: int) -> tuple[str, ...]:
    """The GPUs to use, when the choice matters: where the machine has others, or the user named them.

    A selection by CUDA_VISIBLE_DEVICES counts too: whoever starts the files has it no more. MIG instances
    are always named. None are where the plan asks for more than are there, or for a what-if machine.
    """
    typed = request.hardware.device_ids or ()
    if any(gpu.device_id is None for gpu in plan.gpus):
        return typed[:needed]
    taken = [plan.gpus[position] for position in best_subset(plan.gpus, needed)]
    names = tuple(_device_name(gpu, typed) for gpu in taken)
    if len(taken) < needed or len(set(names)) < len(names):
        return ()
    every = taken[0].machine_devices or len(plan.gpus)
    whole = len(names) >= every and not any(gpu.mig_profile for gpu in taken)
    return () if whole and not typed else names


def _device_name(gpu: GPUInfo, typed: Sequence[str]) -> str:
    """The GPU's whole UUID where the user chose it by one (docker takes no beginning of it), else its id."""
    uuid = (gpu.uuid or "").casefold()
    by_uuid = any(
        uuid.startswith(entry.strip().casefold()) for entry in typed if not entry.strip().isdecimal()
    )
    return (gpu.uuid if by_uuid else gpu.device_id) or ""


def url_host(host: str) -> str:
    """The host part of a URL for a client on this machine."""
    if host in {EVERY_ADDRESS, "::", ""}:
        return LOOPBACK
    return f"[{host}]" if ":" in host else host
