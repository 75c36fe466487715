"""`vllm serve` and `docker run`, as the seed named them, and the scripts of a bundle made of them."""

from __future__ import annotations

from wizard.dataclass import replace
from wizard.render.arguments import ServeArguments, serve_arguments
from wizard.render.container import (
    COMPILE_CACHE,
    HUB_CACHE,
    PASSED,
    Container,
    container_of,
    container_of_config,
    replica_of,
)
from wizard.render.deployment import CONTAINER_MODEL, DEFAULT_PORT, LOOPBACK, Deployment, listening
from wizard.render.escaping import comment, csv_field, shell_lines, shell_word, shell_words, to_yaml
from wizard.render.header import header, why_lines
from wizard.schemas.outputs import VLLMConfig
from wizard.text import plural
from wizard.vllm.versions import NEWEST_KNOWN

LOAD_ENVIRONMENT = """\
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if [ -f "$here/.env" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    line="${line%$'\\r'}"
    name="${line%%=*}"
    value="${line#*=}"
    [[ "$line" == *=* && "$name" =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
    case "$value" in
      \\'*\\' | \\"*\\") value="${value:1:${#value}-2}" ;;
    esac
    [ -z "$value" ] || export "$name=$value"
  done < "$here/.env"
fi
"""
"""Tokens and keys come from the environment, or from a .env file that is never written with values. Its lines are
taken letter by letter, never run: systemd and Compose read the same file, each by a grammar of its own, and agree on
values in single quotes."""


def render_serve_command(
    config: VLLMConfig,
    *,
    version: str = NEWEST_KNOWN,
    host: str | None = None,
    port: int = DEFAULT_PORT,
) -> str:
    """`vllm serve MODEL --flag value ...` for bash, one flag per line; pure.

    `host=None` leaves the address out: vLLM then listens on every one. Raises WizardError where
    `config.extra_args` hold something that the version refuses.
    """
    command = serve_arguments(config, version)
    return serve_lines(command if host is None else listening(command, host, port))


def render_docker_command(
    config: VLLMConfig,
    *,
    version: str = NEWEST_KNOWN,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    driver: str | None = None,
) -> str:
    """`docker run ...` for bash, one option per line; pure. `driver` is NVIDIA's version, for the CUDA build."""
    return docker_lines(container_of_config(config, version, host=host, port=port, driver=driver))


def render_docker_compose(
    config: VLLMConfig,
    *,
    version: str = NEWEST_KNOWN,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    driver: str | None = None,
) -> str:
    """A Compose file with one service; pure."""
    from wizard.render.compose import compose_document  # with its nginx: nothing that a lone command needs

    container = container_of_config(config, version, host=host, port=port, driver=driver)
    return to_yaml(compose_document(container))


def serve_lines(command: ServeArguments, prefix: str = "") -> str:
    """The command with one flag per line."""
    first = [*prefix.split(), "vllm", "serve", command.model]
    return shell_lines(first, [argument.words for argument in command.arguments])


def docker_lines(container: Container) -> str:
    """`docker run` with one option per line."""
    groups: list[list[str]] = [["--name", container.name], *gpu_options(container)]
    groups += [["--ipc=host"], ["-p", container.published]]
    lines = [shell_words(group) for group in groups]
    if container.model_directory:
        source = csv_field(f"source={container.model_directory}")
        mount = f"type=bind,{source},target={CONTAINER_MODEL},readonly"
        lines.append(f"--mount {shell_word(mount)}")
    for path in container.mounted:
        source, target = csv_field(f"source={path}"), csv_field(f"target={path}")
        lines.append(f"--mount {shell_word(f'type=bind,{source},{target},readonly')}")
    lines.append(f'-v "${{HF_HOME:-$HOME/.cache/huggingface}}:{HUB_CACHE}"')
    lines.append(f"-v vllm-cache:{COMPILE_CACHE}")
    lines += [f"--env {name}" for name in PASSED]
    lines += [f"--env {shell_word(f'{name}={value}')}" for name, value in container.environment]
    lines.append("--entrypoint vllm")
    lines.append(shell_word(container.image))
    lines.append(shell_words(["serve", container.command.model]))
    lines += [f"  {shell_words(argument.words)}" for argument in container.command.arguments]
    return " \\\n  ".join(["docker run --rm", *lines])


def gpu_options(container: Container) -> list[list[str]]:
    """How docker hands out GPUs: NVIDIA's runtime, or ROCm's devices."""
    if container.vendor == "amd":
        return [
            ["--device=/dev/kfd", "--device=/dev/dri"],
            ["--group-add", "video"],
            ["--security-opt", "seccomp=unconfined"],
        ]
    if container.device_ids:
        return [["--gpus", csv_field("device=" + ",".join(container.device_ids))]]
    return [["--gpus", "all" if container.all_gpus else str(container.gpu_count)]]


def serve_script(deployment: Deployment) -> str:
    """serve.sh: `exec vllm serve ...` on this machine."""
    lines = [
        "#!/usr/bin/env bash",
        header(deployment, "vllm serve", *why_lines(deployment)),
        "set -euo pipefail",
        "",
    ]
    lines.append(LOAD_ENVIRONMENT)
    lines += exports(deployment)
    command = deployment.command
    if deployment.replicas > 1:
        lines += _replica_choice(deployment)
        command = command.without("--port")
        lines.append(f'{serve_lines(command, "exec")} \\\n  --port "$port"')
    else:
        lines.append(serve_lines(command, "exec"))
    return "\n".join(lines) + "\n"


def exports(deployment: Deployment) -> list[str]:
    """`export` lines for GPUs and variables, each kept where the caller has set it already."""
    lines: list[str] = []
    if deployment.device_ids and deployment.replicas == 1:
        devices = ",".join(deployment.device_ids)
        if deployment.devices_variable == "HIP_VISIBLE_DEVICES":
            lines.append("unset ROCR_VISIBLE_DEVICES  # HIP would count within it")
        lines.append(f"export {deployment.devices_variable}={shell_word(devices)}")
    lines += [f"export {name}={shell_word(value)}" for name, value in deployment.environment]
    return [*lines, ""] if lines else []


def _replica_choice(deployment: Deployment) -> list[str]:
    devices = " ".join(
        f'"{",".join(deployment.replica_devices(index))}"' for index in range(deployment.replicas)
    )
    return [
        comment(f"One engine per start: ./serve.sh 0 to ./serve.sh {deployment.replicas - 1}."),
        'replica="${1:-0}"',
        f"gpus=({devices})",
        f'export {deployment.devices_variable}="${{gpus[$replica]}}"',
        f"port=$(({deployment.port} + 1 + replica))",
    ]


def docker_script(deployment: Deployment) -> str:
    """docker-run.sh: the same in a container, stopped with Ctrl-C."""
    container = container_of(deployment)
    more: list[str] = []
    if deployment.replicas > 1:
        container = replace(replica_of(deployment, 0), port=deployment.port)
        others = plural(deployment.replicas - 1, "other replica")
        more = [f"Starts the first replica alone, on its own GPUs; for the {others} use docker-compose.yaml."]
    lines = [
        "#!/usr/bin/env bash",
        header(deployment, "docker run", *more, f"Image: {container.image_note}.", *why_lines(deployment)),
        "set -euo pipefail",
        "",
        LOAD_ENVIRONMENT,
        "exec " + docker_lines(container),
    ]
    return "\n".join(lines) + "\n"
