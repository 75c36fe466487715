"""What `docker run` and Compose have in common: image, GPUs, mounts and variables of one container."""

from __future__ import annotations

from wizard.dataclass import dataclass, replace
from wizard.render.arguments import ServeArguments, serve_arguments
from wizard.render.deployment import (
    CONTAINER_MODEL,
    CONTAINER_PORT,
    DEFAULT_PORT,
    EVERY_ADDRESS,
    LOOPBACK,
    Deployment,
    listening,
    local_directory,
)
from wizard.render.draft import Argument
from wizard.render.host_paths import host_paths
from wizard.render.images import vllm_image
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.versions import NEWEST_KNOWN

SECRETS = ("HF_TOKEN", "VLLM_API_KEY")
"""Passed through by name; their values are never written."""

PASSED = (*SECRETS, "VLLM_NO_USAGE_STATS")
"""All that .env.example offers a server; HF_HOME means a directory of this machine instead."""

HUB_CACHE = "/root/.cache/huggingface"
COMPILE_CACHE = "/root/.cache/vllm"
"""torch.compile and Triton artefacts: keeping them saves a minute of every later start."""


@dataclass(frozen=True, slots=True)
class Container:
    """One server in a container."""

    name: str
    image: str
    image_note: str
    command: ServeArguments
    """As run inside."""
    vendor: str
    gpu_count: int
    device_ids: tuple[str, ...]
    """Empty: `gpu_count` GPUs, whichever the runtime gives."""
    all_gpus: bool
    """The machine has no more GPUs than are used."""
    host: str
    port: int
    """Published on the host."""
    model_directory: str | None
    mounted: tuple[str, ...]
    """Paths of this machine that flags name; read-only at the same place."""
    scheme: str
    variables: tuple[tuple[str, str], ...]
    """Besides secrets and the choice of GPUs."""
    start_seconds: int

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """ROCm's devices are handed over together, so the choice of GPUs is a variable there."""
        chosen = self.vendor == "amd" and self.device_ids
        devices = (("HIP_VISIBLE_DEVICES", ",".join(self.device_ids)),) if chosen else ()
        return (*self.variables, *devices)

    @property
    def published(self) -> str:
        """docker's -p value: an address only where it isn't every one."""
        if self.host in {EVERY_ADDRESS, "::", ""}:
            return f"{self.port}:{CONTAINER_PORT}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}:{CONTAINER_PORT}"


def container_of(deployment: Deployment) -> Container:
    """The container of a deployment's first (or only) engine."""
    plan = deployment.plan
    return Container(
        name=deployment.name,
        image=deployment.image.name,
        image_note=deployment.image.note,
        command=deployment.container_command,
        vendor=plan.gpus[0].vendor,
        gpu_count=deployment.gpus_per_node,
        device_ids=deployment.device_ids,
        all_gpus=deployment.gpus_per_node >= len(plan.gpus),
        host=deployment.host,
        port=deployment.port,
        model_directory=deployment.model_directory,
        mounted=deployment.host_paths.mounted,
        scheme=deployment.scheme,
        variables=deployment.environment,
        start_seconds=deployment.start_seconds,
    )


def replica_of(deployment: Deployment, index: int) -> Container:
    """The container of one of several replicas, on its own GPUs and port."""
    return replace(
        container_of(deployment),
        name=f"{deployment.name}-{index}",
        device_ids=deployment.replica_devices(index),
        all_gpus=False,
        port=deployment.port + 1 + index,
    )


def container_of_config(
    config: VLLMConfig,
    version: str = NEWEST_KNOWN,
    *,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    driver: str | None = None,
) -> Container:
    """A container for a config alone; a model path is recognised by its first character."""
    directory = local_directory(config.model) if config.model.startswith(("/", ".", "~")) else None
    extra = [Argument("--served-model-name", (directory.rpartition("/")[2],))] if directory else []
    command = serve_arguments(config, version, extra, model=CONTAINER_MODEL if directory else None)
    image = vllm_image(version, driver=driver)
    return Container(
        name="vllm-server",
        image=image.name,
        image_note=image.note,
        command=listening(command, EVERY_ADDRESS, CONTAINER_PORT),
        vendor="nvidia",
        gpu_count=-(-config.world_size // config.nnodes),
        device_ids=(),
        all_gpus=False,
        host=host,
        port=port,
        model_directory=directory,
        mounted=host_paths(command.arguments).mounted,
        scheme="https" if command.value("--ssl-certfile") else "http",
        variables=command.environment,
        start_seconds=1800,
    )
