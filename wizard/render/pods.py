"""The pod that serves, shared by Deployment, LeaderWorkerSet and RayCluster.

Kubernetes API v1 (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wizard.render.container import COMPILE_CACHE, HUB_CACHE
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
    """Secrets by reference, both optional; plain variables by value."""
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": name, "optional": True}}}
        for name in ("HF_TOKEN", "VLLM_API_KEY")
    ]
    plain = [{"name": name, "value": kubernetes_argument(value)} for name, value in deployment.environment]
    return [*secrets, *plain]


def arguments(deployment: Deployment) -> list[str]:
    """The model and its flags, every one literal."""
    return [kubernetes_argument(word) for word in deployment.container_command.words[2:]]


def server(deployment: Deployment, args: Sequence[str], *, probes: bool = True) -> dict[str, Any]:
    """The container. `args` are already literal."""
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
    if probes:
        check = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PROBE_SECONDS}
        container |= {
            "startupProbe": {
                **check,
                "timeoutSeconds": 5,
                "failureThreshold": -(-deployment.start_seconds // PROBE_SECONDS),
            },
            "readinessProbe": {**check, "timeoutSeconds": 5, "failureThreshold": 3},
            "livenessProbe": {**check, "timeoutSeconds": 10, "failureThreshold": 6},
        }
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


def secret_help() -> str:
    """How to make the Secret that the pods refer to; its values are never written into a file."""
    return (
        f"Secret (optional): kubectl create secret generic {SECRET} "
        '--from-literal=HF_TOKEN="$HF_TOKEN" --from-literal=VLLM_API_KEY="$VLLM_API_KEY"'
    )


def host_path_help(deployment: Deployment) -> list[str]:
    """What a model directory means in a cluster."""
    if not deployment.model_directory:
        return []
    return [
        "The model is a directory of the node (volume `model`); it must be there on every node that may run this."
    ]
