"""kubernetes.yaml: Deployment, Service and PersistentVolumeClaim for an engine that fits on one node."""

from __future__ import annotations

from typing import Any

from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.escaping import to_yaml
from wizard.render.header import header, why_lines
from wizard.render.pods import arguments, host_path_help, labels, pod, secret_help, server

SLACK_SECONDS = 600
"""For the image to be pulled (10 to 20 GB), before the probes' own clock starts."""


def kubernetes_file(deployment: Deployment) -> str:
    """The manifests as one file for `kubectl apply -f`."""
    more = [
        secret_help(),
        "Start: kubectl apply -f kubernetes.yaml; wait: kubectl rollout status "
        f"deployment/{deployment.name} --timeout={deployment.start_seconds + SLACK_SECONDS}s",
        f"Reach it: kubectl port-forward service/{deployment.name} {deployment.port}:{CONTAINER_PORT}",
        *host_path_help(deployment),
        *why_lines(deployment),
    ]
    return documents_text(header(deployment, "Kubernetes", *more), manifests(deployment))


def documents_text(head: str, documents: list[dict[str, Any]]) -> str:
    """Several documents in one file."""
    return head + "\n---\n" + "---\n".join(to_yaml(document) for document in documents)


def manifests(deployment: Deployment) -> list[dict[str, Any]]:
    """PersistentVolumeClaim, Deployment and Service."""
    claim = f"{deployment.name}-cache"
    return [
        persistent_volume_claim(deployment, claim),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": deployment.name, "labels": labels(deployment)},
            "spec": {
                "replicas": deployment.replicas,
                "strategy": {"type": "Recreate"},
                "progressDeadlineSeconds": deployment.start_seconds + SLACK_SECONDS,
                "selector": {"matchLabels": labels(deployment)},
                "template": {
                    "metadata": {"labels": labels(deployment)},
                    "spec": pod(deployment, [server(deployment, arguments(deployment))], claim=claim),
                },
            },
        },
        service(deployment, labels(deployment)),
    ]


def persistent_volume_claim(deployment: Deployment, name: str) -> dict[str, Any]:
    """Room for the weights; shared by replicas where the storage class allows it."""
    mode = "ReadWriteMany" if deployment.replicas > 1 or deployment.nodes > 1 else "ReadWriteOnce"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels(deployment)},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": f"{deployment.cache_gib}Gi"}},
        },
    }


def service(deployment: Deployment, selector: dict[str, str]) -> dict[str, Any]:
    """Reachable inside the cluster alone."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": deployment.name, "labels": labels(deployment)},
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": CONTAINER_PORT, "targetPort": "http"}],
        },
    }
