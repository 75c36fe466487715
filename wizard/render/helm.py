"""Values for two Helm charts: vLLM's production-stack and llm-d's modelservice.

Sources: https://github.com/vllm-project/production-stack (helm/templates/deployment-vllm-multi.yaml) and
https://github.com/llm-d-incubation/llm-d-modelservice (charts/llm-d-modelservice/templates/_helpers.tpl).
production-stack mounts /dev/shm only where vllmConfig.tensorParallelSize is set, and adds --no-enable-prefix-caching
where enablePrefixCaching isn't. Both charts' own fields for the hub's token make the Secret a condition of starting;
as a plain variable it can be optional.
"""

from __future__ import annotations

from typing import Any

from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.escaping import kubernetes_argument, to_yaml
from wizard.render.header import header, why_lines
from wizard.render.pods import (
    SECRET,
    environment,
    gpu_resource,
    probes,
    secret_help,
    secret_variable,
)
from wizard.vllm.versions import rules

CPUS_PER_GPU = 4
"""One busy core a GPU worker, one for the API server, the rest for tokenizing."""

HOST_GIB_PER_GPU = 32
"""Pinned buffers and the loader's page cache; the chart asks for a number."""

ACCELERATORS = {"nvidia": "nvidia", "amd": "amd", "intel": "intel-xe"}
"""llm-d's names; they choose the resource and the variables of a vendor."""

OWNED_BY_STACK = (
    *("--host", "--port", "--tensor-parallel-size"),
    *("--enable-prefix-caching", "--no-enable-prefix-caching"),
)
"""production-stack's template writes these itself from its own values."""

OWNED_BY_CHART = ("--host", "--port", "--served-model-name", "--tensor-parallel-size", "--data-parallel-size")
"""llm-d's chart writes these itself from its own values."""


def on_hub(deployment: Deployment) -> bool:
    """Both charts fetch the model from the hub, place one engine on one node, and mount no files of it."""
    return deployment.model_directory is None and deployment.nodes == 1 and not deployment.host_paths.mounted


def production_stack_file(deployment: Deployment) -> str:
    """Values for `helm install vllm vllm/vllm-stack -f production-stack-values.yaml`."""
    more = [
        "helm repo add vllm https://vllm-project.github.io/production-stack",
        "Start: helm install vllm vllm/vllm-stack -f production-stack-values.yaml",
        secret_help(needed=True),
        "The router asks the engines with the same key, so the Secret must hold VLLM_API_KEY; to serve without one "
        "remove vllmApiKey.",
        *why_lines(deployment),
    ]
    return header(deployment, "production-stack", *more) + "\n" + to_yaml(production_stack(deployment))


def production_stack(deployment: Deployment) -> dict[str, Any]:
    """The chart's values; flags that it doesn't write itself go through extraArgs, so that none is translated."""
    repository, _, tag = deployment.image.name.rpartition(":")
    config = deployment.plan.config
    command = deployment.container_command.without(*OWNED_BY_STACK)
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
        "vllmConfig": {
            "tensorParallelSize": config.tensor_parallel_size,
            "enablePrefixCaching": _prefix_caching(deployment),
            "extraArgs": [kubernetes_argument(word) for word in command.words[3:]],
        },
        "env": [secret_variable("HF_TOKEN"), *_variables(deployment)],
    }
    return {
        "servingEngineSpec": {
            "modelSpec": [spec],
            "containerPort": CONTAINER_PORT,
            "vllmApiKey": {"secretName": SECRET, "secretKey": "VLLM_API_KEY"},
            **{
                name: probe
                for name, probe in probes(deployment, CONTAINER_PORT).items()
                if name != "readinessProbe"
            },
        }
    }


def _prefix_caching(deployment: Deployment) -> bool:
    """As asked, else vLLM's own default: on, but not for encoders, nor for recurrent layers before 0.28."""
    chosen = deployment.plan.config.enable_prefix_caching
    if chosen is not None:
        return chosen
    recurrent = deployment.plan.model.attention.startswith("linear")
    return not deployment.pooling and (not recurrent or rules(deployment.version).hybrid_prefix_caching)


def _variables(deployment: Deployment) -> list[dict[str, Any]]:
    return [{"name": name, "value": kubernetes_argument(value)} for name, value in deployment.environment]


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
    vendor = deployment.plan.gpus[0].vendor
    return {
        "multinode": False,
        "accelerator": {"type": ACCELERATORS.get(vendor, ACCELERATORS["nvidia"])},
        "modelArtifacts": {
            "name": deployment.served_name,
            "uri": f"hf://{command.model}",
            "size": f"{deployment.cache_gib}Gi",
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
                    "env": environment(deployment),
                    **probes(deployment, CONTAINER_PORT),
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
