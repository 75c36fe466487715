"""Several nodes on Kubernetes: a LeaderWorkerSet by vLLM's own launcher, and a KubeRay RayCluster.

Sources: LeaderWorkerSet API v1 (https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/), which injects
LWS_LEADER_ADDRESS and LWS_WORKER_INDEX; KubeRay API v1 (https://ray-project.github.io/kuberay/reference/api/),
annotation ray.io/overwrite-container-cmd with KUBERAY_GEN_RAY_START_CMD.
"""

from __future__ import annotations

from typing import Any

from wizard.render.arguments import ServeArguments
from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.draft import Argument
from wizard.render.escaping import kubernetes_argument, shell_words
from wizard.render.header import header, why_lines
from wizard.render.kubernetes import documents_text, persistent_volume_claim, service
from wizard.render.nodes import MASTER_PORT, RPC_PORT, data_parallel_only, wait_for_nodes
from wizard.render.pods import host_path_help, labels, mounts, pod, secret_help, server

LEADER_ADDRESS = "$(LWS_LEADER_ADDRESS)"
WORKER_INDEX = "$(LWS_WORKER_INDEX)"
INSTALL_RAY = "python3 -c 'import ray' 2>/dev/null || python3 -m pip install --quiet 'ray[default]'"


def leader_worker_set_file(deployment: Deployment) -> str:
    """lws.yaml: one group of pods for each replica, restarted together."""
    more = [
        "Needs the LeaderWorkerSet controller: https://lws.sigs.k8s.io/docs/installation/",
        secret_help(),
        "Start: kubectl apply -f lws.yaml",
        "For RDMA add the network's resource (such as rdma/hca) and IPC_LOCK to the containers.",
        *host_path_help(deployment),
        *why_lines(deployment),
    ]
    return documents_text(header(deployment, "LeaderWorkerSet", *more), leader_worker_set(deployment))


def leader_worker_set(deployment: Deployment) -> list[dict[str, Any]]:
    """PersistentVolumeClaim, LeaderWorkerSet and the Service in front of the leaders."""
    claim = f"{deployment.name}-cache"
    group = labels(deployment)
    leader = {**group, "app.kubernetes.io/component": "leader"}
    return [
        persistent_volume_claim(deployment, claim),
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": deployment.name, "labels": group},
            "spec": {
                "replicas": deployment.replicas,
                "startupPolicy": "LeaderCreated",
                "leaderWorkerTemplate": {
                    "size": deployment.nodes,
                    "restartPolicy": "RecreateGroupOnPodRestart",
                    "leaderTemplate": _template(deployment, leader, claim, worker=False),
                    "workerTemplate": _template(deployment, group, claim, worker=True),
                },
            },
        },
        service(deployment, leader),
    ]


def _template(
    deployment: Deployment, pod_labels: dict[str, str], claim: str, *, worker: bool
) -> dict[str, Any]:
    container = server(deployment, _group_arguments(deployment, worker=worker), probes=not worker)
    if worker:
        del container["ports"]
    return {"metadata": {"labels": pod_labels}, "spec": pod(deployment, [container], claim=claim)}


def _group_arguments(deployment: Deployment, *, worker: bool) -> list[str]:
    command = deployment.container_command.without("--distributed-executor-backend")
    if worker:
        command = command.without("--host", "--port").with_arguments(Argument("--headless"))
    literal = [kubernetes_argument(word) for word in command.words[2:]]
    if not data_parallel_only(deployment):
        return [
            *literal,
            *("--nnodes", str(deployment.nodes), "--node-rank", WORKER_INDEX),
            *("--master-addr", LEADER_ADDRESS, "--master-port", str(MASTER_PORT)),
        ]
    local = deployment.plan.config.data_parallel_size // deployment.nodes
    shared = [
        *("--data-parallel-size-local", str(local)),
        *("--data-parallel-address", LEADER_ADDRESS, "--data-parallel-rpc-port", str(RPC_PORT)),
    ]
    return [*literal, *shared, *(("--data-parallel-start-rank", WORKER_INDEX) if worker else ())]


def fits_leader_worker_set(deployment: Deployment) -> bool:
    """A worker's first rank must be its index, as no pod can multiply: one rank a node, or no ranks at all."""
    config = deployment.plan.config
    return not data_parallel_only(deployment) or config.data_parallel_size == deployment.nodes


def ray_cluster_file(deployment: Deployment) -> str:
    """kuberay.yaml: a RayCluster whose head serves."""
    more = [
        "Needs the KubeRay operator: https://docs.ray.io/en/latest/cluster/kubernetes/getting-started.html",
        secret_help(),
        "Start: kubectl apply -f kuberay.yaml",
        "The image must hold Ray; where it doesn't, the pods install it when they start.",
        *host_path_help(deployment),
        *why_lines(deployment),
    ]
    return documents_text(header(deployment, "KubeRay RayCluster", *more), ray_cluster(deployment))


def ray_cluster(deployment: Deployment) -> list[dict[str, Any]]:
    """PersistentVolumeClaim, RayCluster and a Service for the head."""
    claim = f"{deployment.name}-cache"
    selector = {"ray.io/cluster": deployment.name, "ray.io/node-type": "head"}
    return [
        persistent_volume_claim(deployment, claim),
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {
                "name": deployment.name,
                "labels": labels(deployment),
                "annotations": {"ray.io/overwrite-container-cmd": "true"},
            },
            "spec": {
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "127.0.0.1"},
                    "template": _ray_template(deployment, claim, _ray_head(deployment), head=True),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": deployment.nodes - 1,
                        "minReplicas": deployment.nodes - 1,
                        "maxReplicas": deployment.nodes - 1,
                        "rayStartParams": {},
                        "template": _ray_template(
                            deployment,
                            claim,
                            f'{INSTALL_RAY}\nexec bash -c "$KUBERAY_GEN_RAY_START_CMD"',
                            head=False,
                        ),
                    }
                ],
            },
        },
        service(deployment, selector),
    ]


def _ray_head(deployment: Deployment) -> str:
    """Starts Ray in the background, waits for the workers, serves in the foreground."""
    command: ServeArguments = deployment.container_command.with_arguments(
        Argument("--distributed-executor-backend", ("ray",))
    )
    return (
        f'{INSTALL_RAY}\nbash -c "$KUBERAY_GEN_RAY_START_CMD" &\n'
        f"{wait_for_nodes(deployment.nodes)}\nexec {shell_words(command.words)}"
    )


def _ray_template(deployment: Deployment, claim: str, script: str, *, head: bool) -> dict[str, Any]:
    container = server(deployment, [kubernetes_argument(script)], probes=head)
    container["name"] = "ray-head" if head else "ray-worker"
    container["command"] = ["/bin/bash", "-euc"]
    container["volumeMounts"] = mounts(deployment)
    if head:
        container["ports"] = [
            {"name": "gcs-server", "containerPort": 6379},
            {"name": "http", "containerPort": CONTAINER_PORT},
        ]
    else:
        del container["ports"]
    return {"metadata": {"labels": labels(deployment)}, "spec": pod(deployment, [container], claim=claim)}
