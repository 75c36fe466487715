"""Several nodes on Kubernetes: a LeaderWorkerSet by vLLM's own launcher, and a KubeRay RayCluster.

Sources: LeaderWorkerSet API v1 (https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/), which injects
LWS_LEADER_ADDRESS and LWS_WORKER_INDEX; KubeRay API v1 (https://ray-project.github.io/kuberay/reference/api/),
annotation ray.io/overwrite-container-cmd with KUBERAY_GEN_RAY_START_CMD.

KubeRay puts an init container of its own (wait-gcs-ready) after ours into every worker, with the worker's image,
variables and mounts, which runs `ray health-check` until that works. vLLM's images carry no Ray, so ours comes
first, installs it into a volume and leaves `ray` where that one finds it. A RayCluster and no RayService: the latter
deploys Ray Serve applications, and what is planned here is `vllm serve`.
"""

from __future__ import annotations

from typing import Any

from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.draft import Argument
from wizard.render.escaping import kubernetes_argument, shell_words
from wizard.render.header import header, why_lines
from wizard.render.kubernetes import documents_text, persistent_volume_claim, service
from wizard.render.nodes import (
    MASTER_PORT,
    RPC_PORT,
    data_parallel_only,
    on_ray,
    ray_package,
    ray_version,
    wait_for_nodes,
)
from wizard.render.pods import host_path_help, labels, mounts, pod, secret_help, server

LEADER_ADDRESS = "$(LWS_LEADER_ADDRESS)"
WORKER_INDEX = "$(LWS_WORKER_INDEX)"
RAY_HOME = "/opt/ray"
RAY_COMMAND = "/usr/local/bin/ray"
"""On every image's PATH."""


def _install_ray(version: str) -> str:
    """Bash for the init container.

    pip's user scheme, whose place PYTHONUSERBASE names, adds only what the image lacks, and every Python finds it.
    """
    return (
        f"mkdir -p {RAY_HOME}/bin\n"
        f"python3 -c 'import ray' 2>/dev/null || python3 -m pip install --quiet --user {ray_package(version)}\n"
        f'[ -e {RAY_HOME}/bin/ray ] || cp "$(command -v ray)" {RAY_HOME}/bin/ray'
    )


RAYLET_HEALTH = "http://127.0.0.1:52365/api/local_raylet_healthz"
"""Of Ray's dashboard agent; KubeRay's own probe asks it by wget, which the images lack."""


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
    container = server(deployment, _group_arguments(deployment, worker=worker), answers=not worker)
    if worker:
        del container["ports"]
        if data_parallel_only(deployment):
            # a shell multiplies: a worker's first rank is its index times the ranks of a node
            local = deployment.plan.config.data_parallel_size // deployment.nodes
            script = f'exec "$@" --data-parallel-start-rank "$((LWS_WORKER_INDEX * {local}))"'
            container["command"] = ["/bin/bash", "-c", kubernetes_argument(script), "bash", "vllm", "serve"]
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
    return [
        *literal,
        *("--data-parallel-size-local", str(local)),
        *("--data-parallel-address", LEADER_ADDRESS, "--data-parallel-rpc-port", str(RPC_PORT)),
    ]


def ray_cluster_file(deployment: Deployment) -> str:
    """kuberay.yaml: a RayCluster whose head serves."""
    more = [
        "Needs the KubeRay operator: https://docs.ray.io/en/latest/cluster/kubernetes/getting-started.html",
        secret_help(),
        "Start: kubectl apply -f kuberay.yaml",
        f"vLLM's images carry no Ray: an init container installs {ray_package(deployment.version)} into a volume,",
        "for which the pods need PyPI. Where they can't reach it, use an image of your own that has Ray.",
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
                "rayVersion": ray_version(deployment.version),
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
                            'exec bash -c "$KUBERAY_GEN_RAY_START_CMD"',
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
    command = on_ray(deployment, deployment.container_command)
    return (
        'bash -c "$KUBERAY_GEN_RAY_START_CMD" &\n'
        f"{wait_for_nodes(deployment.nodes)}\nexec {shell_words(command.words)}"
    )


def _ray_template(deployment: Deployment, claim: str, script: str, *, head: bool) -> dict[str, Any]:
    container = server(deployment, [kubernetes_argument(script)], answers=head)
    container["name"] = "ray-head" if head else "ray-worker"
    container["command"] = ["/bin/bash", "-euc"]
    container["env"].append({"name": "PYTHONUSERBASE", "value": RAY_HOME})
    container["volumeMounts"] = [
        *mounts(deployment),
        {"name": "ray", "mountPath": RAY_HOME},
        {"name": "ray", "mountPath": RAY_COMMAND, "subPath": "bin/ray"},
    ]
    if head:
        container["ports"] = [
            {"name": "gcs-server", "containerPort": 6379},
            {"name": "http", "containerPort": CONTAINER_PORT},
        ]
    else:
        del container["ports"]
        asked = f"import urllib.request; urllib.request.urlopen('{RAYLET_HEALTH}', timeout=5)"
        check = {"exec": {"command": ["python3", "-c", asked]}, "timeoutSeconds": 10, "periodSeconds": 15}
        container["readinessProbe"] = {**check, "failureThreshold": 10}
        container["livenessProbe"] = {**check, "initialDelaySeconds": 60, "failureThreshold": 40}
    spec = pod(deployment, [container], claim=claim)
    spec["initContainers"] = [
        {
            "name": "install-ray",
            "image": deployment.image.name,
            "command": ["/bin/bash", "-euc"],
            "args": [kubernetes_argument(_install_ray(deployment.version))],
            "env": [{"name": "PYTHONUSERBASE", "value": RAY_HOME}],
            "volumeMounts": [{"name": "ray", "mountPath": RAY_HOME}],
            "securityContext": {"allowPrivilegeEscalation": False},
        }
    ]
    spec["volumes"].append({"name": "ray", "emptyDir": {}})
    return {"metadata": {"labels": labels(deployment)}, "spec": spec}
