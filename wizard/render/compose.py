"""docker-compose.yaml, after the Compose specification (https://github.com/compose-spec/compose-spec)."""

from __future__ import annotations

from typing import Any

from wizard.render.container import COMPILE_CACHE, HUB_CACHE, PASSED, Container, container_of, replica_of
from wizard.render.deployment import CONTAINER_MODEL, CONTAINER_PORT, Deployment
from wizard.render.escaping import compose_text, to_yaml
from wizard.render.header import header, why_lines
from wizard.render.nginx import NGINX_IMAGE, nginx_config


def health(scheme: str) -> str:
    """Python that fails where the server doesn't answer: the image has Python for certain, curl not in every version.

    A certificate names the public host, not this one, so it isn't compared here.
    """
    unverified = ", context=ssl._create_unverified_context()" if scheme == "https" else ""
    modules = "ssl, urllib.request" if unverified else "urllib.request"
    url = f"{scheme}://127.0.0.1:{CONTAINER_PORT}/health"
    return f"import {modules}; urllib.request.urlopen('{url}', timeout=5{unverified})"


def compose_file(deployment: Deployment) -> str:
    """The Compose file of a deployment: one service, or one per replica behind nginx."""
    document = (
        _replicated(deployment) if deployment.replicas > 1 else compose_document(container_of(deployment))
    )
    more = [
        "Start: docker compose up -d; first lines of the log: docker compose logs -f",
        f"Image: {deployment.image.note}.",
        "HF_TOKEN and VLLM_API_KEY come from .env beside this file (copy .env.example), or from the environment.",
        "Needs Docker Compose 2.24 or newer (`docker compose version`).",
        f"start_period allows {deployment.start_seconds} s: download, loading and compilation of a first start.",
        *why_lines(deployment),
    ]
    return header(deployment, "docker compose", *more) + "\n" + to_yaml(document)


def compose_document(container: Container) -> dict[str, Any]:
    """A Compose document with one server."""
    return {"services": {"vllm": service(container)}, "volumes": {"vllm-cache": {}}}


def service(container: Container, *, publish: bool = True) -> dict[str, Any]:
    """One service. Every value passes `compose_text`: Compose would substitute `$`."""
    volumes: list[dict[str, Any]] = []
    if container.model_directory:
        volumes.append(
            {
                "type": "bind",
                "source": compose_text(container.model_directory),
                "target": CONTAINER_MODEL,
                "read_only": True,
            }
        )
    volumes += [
        {"type": "bind", "source": compose_text(path), "target": compose_text(path), "read_only": True}
        for path in container.mounted
    ]
    volumes += [
        {
            "type": "bind",
            "source": "${HF_HOME:-${HOME}/.cache/huggingface}",
            "target": HUB_CACHE,
            "bind": {"create_host_path": True},
        },
        {"type": "volume", "source": "vllm-cache", "target": COMPILE_CACHE},
    ]
    document: dict[str, Any] = {
        "image": container.image,
        "entrypoint": ["vllm", "serve"],
        "command": compose_text(container.command.words[2:]),
        "env_file": [{"path": ".env", "required": False}],
        "environment": {
            **dict.fromkeys(PASSED),  # of the shell, else of .env
            "HF_HOME": HUB_CACHE,  # that of .env is a directory of this machine
            **{name: compose_text(value) for name, value in container.environment},
        },
        "volumes": volumes,
        "ipc": "host",
        **_devices(container),
        "healthcheck": {
            "test": ["CMD", "python3", "-c", health(container.scheme)],
            "interval": "15s",
            "timeout": "10s",
            "retries": 4,
            "start_period": f"{container.start_seconds}s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
    }
    if publish:
        document["ports"] = [container.published]
    return document


def _devices(container: Container) -> dict[str, Any]:
    if container.vendor == "amd":
        return {
            "devices": ["/dev/kfd", "/dev/dri"],
            "group_add": ["video"],
            "security_opt": ["seccomp=unconfined"],
        }
    device: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    if container.device_ids:
        device["device_ids"] = list(container.device_ids)
    else:
        device["count"] = "all" if container.all_gpus else container.gpu_count
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _replicated(deployment: Deployment) -> dict[str, Any]:
    """N servers on their own GPUs, and nginx in front on the published port."""
    names = [f"vllm-{index}" for index in range(deployment.replicas)]
    services: dict[str, Any] = {
        name: service(replica_of(deployment, index), publish=False) for index, name in enumerate(names)
    }
    services["nginx"] = {
        "image": NGINX_IMAGE,
        "configs": [{"source": "nginx", "target": "/etc/nginx/nginx.conf"}],
        "ports": [container_of(deployment).published],
        "depends_on": {name: {"condition": "service_healthy"} for name in names},
        "restart": "unless-stopped",
    }
    servers = [f"{name}:{CONTAINER_PORT}" for name in names]
    content = nginx_config(servers, listen=str(CONTAINER_PORT), scheme=deployment.scheme)
    return {
        "services": services,
        "configs": {"nginx": {"content": compose_text(content)}},
        "volumes": {"vllm-cache": {}},
    }
