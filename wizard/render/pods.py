"""The pod that serves, shared by Deployment, LeaderWorkerSet and RayCluster.

Kubernetes API v1 (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wizard.render.container import COMPILE_CACHE, HUB_CACHE, PASSED, SECRETS
from wizard.render.deployment import CONTAINER_MODEL, CONTAINER_PORT, Deployment
from wizard.render.escaping import kubernetes_argument

SECRET = "vllm-secrets"
PROBE_SECONDS = 10

GPU_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}
"""What the vendors' device plug-ins call a GPU."""


def gpu_resource(deployment: Deployment) -> str:
    """The extended resource of the deployment's GPUs."""
    return GPU_RESOURCES.get(deployment.plan.gpus[0].vendor, GPU_RESOURCES["nvidia"])


def labels(deployment: Deployment) -> dict[str, str]:
    """Recommended labels, and what selectors match."""
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": deployment.name}


def environment(deployment: Deployment) -> list[dict[str, Any]]:
    """Secrets by reference, all optional; plain variables by value."""
    secrets = [secret_variable(name) for name in PASSED]
    plain = [{"name": name, "value": kubernetes_argument(value)} for name, value in deployment.environment]
    return [*secrets, *plain]


def secret_variable(name: str) -> dict[str, Any]:
    """A variable from the Secret; not set where the Secret or the key isn't there."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": name, "optional": True}}}


def probes(deployment: Deployment, port: str | int = "http") -> dict[str, Any]:
    """Startup, readiness and liveness by /health; the first waits as long as a first start may take."""
    get: dict[str, Any] = {"path": "/health", "port": port}
    if deployment.scheme == "https":
        get["scheme"] = "HTTPS"
    check = {"httpGet": get, "periodSeconds": PROBE_SECONDS}
    return {
        "startupProbe": {
            **check,
            "timeoutSeconds": 5,
            "failureThreshold": -(-deployment.start_seconds // PROBE_SECONDS),
        },
        "readinessProbe": {**check, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**check, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def arguments(deployment: Deployment) -> list[str]:
    """The model and its flags, every one literal."""
    return [kubernetes_argument(word) for word in deployment.container_command.words[2:]]


def server(deployment: Deployment, args: Sequence[str], *, answers: bool = True) -> dict[str, Any]:
    """The container; `answers` requests, so that probes may ask it. `args` are already literal."""
    gpus = str(deployment.gpus_per_node)
    resource = gpu_resource(deployment)
    container: dict[str, Any] = {
        "name": "vllm",
        "image": deployment.image.name,
        "command": ["vllm", "serve"],
        "args": list(args),
        "env": environment(deployment),
        "ports": [{"name": "http", "containerPort": CONTAINER_PORT}],
        "resources": {"requests": {resource: gpus}, "limits": {resource: gpus}},
        "volumeMounts": mounts(deployment),
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    if answers:
        container |= probes(deployment)
    return container


def mounts(deployment: Deployment) -> list[dict[str, Any]]:
    """Where the container finds caches, shared memory and a model directory."""
    found: list[dict[str, Any]] = [
        {"name": "cache", "mountPath": HUB_CACHE, "subPath": "huggingface"},
        {"name": "cache", "mountPath": COMPILE_CACHE, "subPath": "vllm"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if deployment.model_directory:
        found.append({"name": "model", "mountPath": CONTAINER_MODEL, "readOnly": True})
    for number, path in enumerate(deployment.host_paths.mounted):
        found.append({"name": f"path-{number}", "mountPath": path, "readOnly": True})
    return found


def volumes(deployment: Deployment, *, claim: str | None) -> list[dict[str, Any]]:
    """`claim` names the PersistentVolumeClaim of the caches; None keeps them on the node."""
    cache: dict[str, Any] = {"name": "cache"}
    cache |= {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    found: list[dict[str, Any]] = [
        cache,
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{deployment.shm_gib}Gi"}},
    ]
    if deployment.model_directory:
        found.append({"name": "model", "hostPath": {"path": deployment.model_directory, "type": "Directory"}})
    for number, path in enumerate(deployment.host_paths.mounted):
        found.append({"name": f"path-{number}", "hostPath": {"path": path}})
    return found


def pod(deployment: Deployment, containers: Sequence[dict[str, Any]], *, claim: str | None) -> dict[str, Any]:
    """The pod around the containers.

    Service links are off: for a Service called vllm they would set VLLM_PORT to an address, which vLLM
    refuses.
    """
    return {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": list(containers),
        "volumes": volumes(deployment, claim=claim),
    }


def secret_help(*, needed: bool = False) -> str:
    """How to make the Secret that the pods refer to; its values are never written into a file."""
    word = "needed" if needed else "optional"
    values = " ".join(f'--from-file={name}=<(printf %s "${name}")' for name in SECRETS)
    return f"Secret ({word}; bash, so that no process list shows it): kubectl create secret generic {SECRET} {values}"


def host_path_help(deployment: Deployment) -> list[str]:
    """What files of a machine mean in a cluster."""
    lines: list[str] = []
    if deployment.model_directory:
        lines.append(
            "The model is a directory of the node (volume `model`); it must be there on every node that may run this."
        )
    if deployment.host_paths.mounted:
        paths = ", ".join(deployment.host_paths.mounted)
        lines.append(
            f"So must {paths}, which flags name; in a cluster of many nodes use a ConfigMap or a claim."
        )
    return lines
