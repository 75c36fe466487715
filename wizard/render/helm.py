"""Values for two Helm charts: vLLM's production-stack and llm-d's modelservice.

Sources: https://github.com/vllm-project/production-stack (helm/values.yaml) and
https://github.com/llm-d-incubation/llm-d-modelservice (charts/llm-d-modelservice/values.yaml).
"""

from __future__ import annotations

from typing import Any

from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.escaping import kubernetes_argument, to_yaml
from wizard.render.header import header, why_lines
from wizard.render.pods import PROBE_SECONDS, SECRET, gpu_resource, secret_help

CPUS_PER_GPU = 4
"""One busy core a GPU worker, one for the API server, the rest for tokenizing."""

HOST_GIB_PER_GPU = 32
"""Pinned buffers and the loader's page cache; the chart asks for a number."""

OWNED_BY_CHART = ("--host", "--port", "--served-model-name", "--tensor-parallel-size", "--data-parallel-size")
"""llm-d's chart writes these itself from its own values."""


def on_hub(deployment: Deployment) -> bool:
    """Both charts fetch the model from the hub, and place one engine on one node."""
    return deployment.model_directory is None and deployment.nodes == 1


def production_stack_file(deployment: Deployment) -> str:
    """Values for `helm install vllm vllm/vllm-stack -f production-stack-values.yaml`."""
    more = [
        "helm repo add vllm https://vllm-project.github.io/production-stack",
        "Start: helm install vllm vllm/vllm-stack -f production-stack-values.yaml",
        secret_help(),
        *why_lines(deployment),
    ]
    return header(deployment, "production-stack", *more) + "\n" + to_yaml(production_stack(deployment))


def production_stack(deployment: Deployment) -> dict[str, Any]:
    """The chart's values; every flag goes through extraArgs, so that none is translated."""
    repository, _, tag = deployment.image.name.rpartition(":")
    command = deployment.container_command.without("--host", "--port")
    spec: dict[str, Any] = {
        "name": deployment.name,
        "repository": repository,
        "tag": tag,
        "modelURL": command.model,
        "replicaCount": deployment.replicas,
        "requestCPU": CPUS_PER_GPU * deployment.gpus_per_node,
        "requestMemory": f"{HOST_GIB_PER_GPU * deployment.gpus_per_node}Gi",
        "requestGPU": deployment.gpus_per_node,
        "requestGPUType": gpu_resource(deployment),
        "pvcStorage": f"{deployment.cache_gib}Gi",
        "pvcAccessMode": ["ReadWriteMany" if deployment.replicas > 1 else "ReadWriteOnce"],
        "shmSize": f"{deployment.shm_gib}Gi",
        "vllmConfig": {"extraArgs": [kubernetes_argument(word) for word in command.words[3:]]},
        "hf_token": {"secretName": SECRET, "secretKey": "HF_TOKEN"},
    }
    if deployment.environment:
        spec["env"] = [{"name": name, "value": value} for name, value in deployment.environment]
    return {
        "servingEngineSpec": {
            "modelSpec": [spec],
            "containerPort": CONTAINER_PORT,
            "startupProbe": {
                "initialDelaySeconds": 15,
                "periodSeconds": PROBE_SECONDS,
                "failureThreshold": -(-deployment.start_seconds // PROBE_SECONDS),
                "httpGet": {"path": "/health", "port": CONTAINER_PORT},
            },
        }
    }


def llm_d_file(deployment: Deployment) -> str:
    """Values for llm-d's modelservice chart."""
    more = [
        "helm repo add llm-d-modelservice https://llm-d-incubation.github.io/llm-d-modelservice/",
        "Start: helm install vllm llm-d-modelservice/llm-d-modelservice -f llm-d-values.yaml",
        secret_help(),
        "Prefill and decode run together here; to split them raise prefill.replicas and add a KV connector.",
        *why_lines(deployment),
    ]
    return header(deployment, "llm-d", *more) + "\n" + to_yaml(llm_d(deployment))


def llm_d(deployment: Deployment) -> dict[str, Any]:
    """The chart's values; it writes model, port and parallel sizes itself."""
    config = deployment.plan.config
    command = deployment.container_command.without(*OWNED_BY_CHART)
    resource, gpus = gpu_resource(deployment), str(deployment.gpus_per_node)
    return {
        "multinode": False,
        "modelArtifacts": {
            "name": deployment.served_name,
            "uri": f"hf://{command.model}",
            "size": f"{deployment.cache_gib}Gi",
            "authSecretName": SECRET,
            "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": deployment.name},
        },
        "routing": {"servicePort": CONTAINER_PORT, "proxy": {"enabled": False}},
        "decode": {
            "create": True,
            "replicas": deployment.replicas,
            "parallelism": {
                "tensor": config.tensor_parallel_size,
                "data": config.data_parallel_size,
                "dataLocal": config.data_parallel_size,
                "workers": 1,
            },
            "containers": [
                {
                    "name": "vllm",
                    "image": deployment.image.name,
                    "modelCommand": "vllmServe",
                    "args": [kubernetes_argument(word) for word in command.words[3:]],
                    "env": [{"name": name, "value": value} for name, value in deployment.environment],
                    "ports": [{"containerPort": CONTAINER_PORT, "name": "metrics", "protocol": "TCP"}],
                    "resources": {"limits": {resource: gpus}, "requests": {resource: gpus}},
                    "mountModelVolume": True,
                    "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                }
            ],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{deployment.shm_gib}Gi"}}
            ],
        },
        "prefill": {"create": False, "replicas": 0},
    }
