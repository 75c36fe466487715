"""Fields of the Helm charts that values are written for, as their own sources have them.

production-stack: vllm-project/production-stack, helm/values.schema.json at 01eaf92cb895 (types as there) and
helm/templates/deployment-vllm-multi.yaml at 010004eea56f. llm-d: llm-d-incubation/llm-d-modelservice,
charts/llm-d-modelservice/values.yaml and templates/_helpers.tpl at 024c0f2d0237.
"""

from __future__ import annotations

SERVING_ENGINE = {
    "configs": dict, "containerPort": int, "containerSecurityContext": dict, "enableEngine": bool, "extraPorts": list,
    "imagePullPolicy": str, "labels": dict, "livenessProbe": dict, "modelSpec": list, "readinessProbe": dict,
    "runtimeClassName": str, "schedulerName": str, "securityContext": dict, "serviceMonitor": dict, "servicePort": int,
    "sidecar": dict, "startupProbe": dict, "strategy": dict, "tolerations": list, "vllmApiKey": dict,
}  # fmt: skip
MODEL_SPEC = {
    "affinity": dict, "annotations": dict, "enableLoRA": bool, "enabled": bool, "env": list, "envFromSecret": dict,
    "extraVolumeMounts": list, "extraVolumes": list, "hf_token": dict, "imagePullSecret": str, "initContainer": dict,
    "keda": dict, "labels": dict, "limitCPU": (int, str), "limitMemory": str, "lmcacheConfig": dict, "modelURL": str,
    "name": str, "nodeName": str, "nodeSelectorTerms": list, "podAnnotations": dict, "podLabels": dict,
    "priorityClassName": str, "pvcAccessMode": list, "pvcAnnotations": dict, "pvcLabels": dict, "pvcMatchLabels": dict,
    "pvcStorage": str, "raySpec": dict, "replicaCount": int, "repository": str, "requestCPU": int,
    "requestGPU": (int, str), "requestGPUType": str, "requestMemory": str, "resources": dict, "runtimeClassName": str,
    "serviceAccountName": str, "serviceAnnotations": dict, "shmSize": str, "storageClass": str, "tag": str,
    "tolerations": list, "tolerationsPolicy": str, "vllmConfig": dict,
}  # fmt: skip
VLLM_CONFIG = {
    "convert": str, "dtype": str, "enableChunkedPrefill": bool, "enablePrefixCaching": bool, "extraArgs": list,
    "gpuMemoryUtilization": (int, float, str), "maxLoras": int, "maxModelLen": int, "maxNumSeqs": int, "runner": str,
    "tensorParallelSize": int, "v0": str,
}  # fmt: skip

LLM_D = {
    "common", "enabled", "fullnameOverride", "serviceAccountOverride", "schedulerName", "modelArtifacts", "multinode",
    "accelerator", "requester", "routing", "decode", "prefill",
}  # fmt: skip
LLM_D_ARTIFACTS = {"name", "labels", "uri", "size", "authSecretName", "mountPath"}
LLM_D_ACCELERATORS = {"nvidia", "intel-i915", "intel-xe", "intel-gaudi", "amd", "google"}
LLM_D_PARALLELISM = {"tensor", "data", "dataLocal", "workers"}
LLM_D_POD = {
    "create", "autoscaling", "replicas", "nodeSelector", "parallelism", "resourceClaims", "containers", "volumes",
    "initContainers", "acceleratorTypes", "monitoring", "hostIPC", "hostPID", "enableServiceLinks",
    "terminationGracePeriodSeconds", "extraConfig",
}  # fmt: skip
LLM_D_CONTAINER = {
    "name", "image", "modelCommand", "command", "args", "env", "imagePullPolicy", "ports", "resources",
    "mountModelVolume", "volumeMounts", "extraConfig", "securityContext", "livenessProbe", "readinessProbe",
    "startupProbe", "workingDir",
}  # fmt: skip
