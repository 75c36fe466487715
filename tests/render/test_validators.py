"""Every artifact checked by a program that isn't ours. Those that this machine lacks are skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.render.commands_of import LOADER, containers
from tests.render.plans import gpu, plan, request
from tests.render.test_matrix import PLANS, files_of
from wizard.render.bundle import render
from wizard.render.writer import write_bundle

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
HOSTILE = '/models/it\'s $(a) `name`: "quoted" % 模型'


def bundles() -> dict[str, dict[str, str]]:
    """The bundles that between them hold every artifact, also for a hostile name and an AMD card."""
    found = {name: dict(files_of(name)) for name in PLANS}
    found["hostile"] = render(plan(model=HOSTILE, source="path", revision=None), request(), ["all"])
    amd = gpu(name="AMD Instinct MI300X", vendor="amd", driver_version=None)
    found["amd"] = render(plan(gpus=(amd,)), request(), ["all"])
    found["chosen"] = render(plan(gpus=tuple(gpu(index) for index in range(4))), request(), ["all"])
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them on disk, one directory each."""
    root = tmp_path_factory.mktemp("bundles")
    for name, files in bundles().items():
        write_bundle(root / name.replace(" ", "-").replace("'", ""), files)
    return root


def program(name: str) -> str:
    """A validator on PATH, or beside the interpreter that runs the tests."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def accepted(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bash_reads_every_script(written: Path) -> None:
    scripts = sorted(written.glob("*/*.sh"))
    assert len(scripts) > 60
    for script in scripts:
        accepted("bash", "-n", script)


def test_shellcheck_has_no_complaint(written: Path) -> None:
    # SC2016 warns of "$(" in single quotes, which is what the hostile name must come to
    chosen = ("plain", "hostile", "two-nodes", "ranks-on-nodes", "replicas", "embedding", "amd", "vision")
    scripts = [script for name in chosen for script in sorted((written / name).glob("*.sh"))]
    assert len(scripts) >= 30
    accepted(program("shellcheck"), "--exclude=SC2016", *scripts)


def test_compose_files_follow_the_compose_specification(written: Path) -> None:
    files = sorted(written.glob("*/docker-compose.yaml"))
    assert len(files) >= 15
    accepted(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files)


def test_systemd_verifies_every_unit(written: Path) -> None:
    accepted(program("systemd-analyze"), "verify", *sorted(written.glob("*/*.service")))


def test_nginx_accepts_its_configuration(written: Path, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    (config,) = written.glob("*/nginx.conf")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    mine = tmp_path / "nginx.conf"
    mine.write_text(config.read_text().replace("http {", f"http {{ access_log off; {places}"))
    accepted(nginx, "-t", "-q", "-c", mine, "-g", f"pid {tmp_path}/pid; error_log stderr;", "-p", tmp_path)


OWN_FIELDS: dict[str, dict[str, set[str]]] = {
    "LeaderWorkerSet": {
        "spec": {"replicas", "leaderWorkerTemplate", "rolloutStrategy", "startupPolicy", "networkConfig"},
        "leaderWorkerTemplate": {
            "leaderTemplate", "workerTemplate", "size", "restartPolicy", "subGroupPolicy", "volumeClaimTemplates",
            "resourceClaimTemplates",
        },
    },
    "RayCluster": {
        "spec": {
            "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations", "enableInTreeAutoscaling",
            "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs", "upgradeStrategy",
            "authOptions",
        },
        "headGroupSpec": {
            "template", "headService", "enableIngress", "resources", "labels", "rayStartParams", "serviceType",
        },
        "workerGroupSpecs": {
            "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "resources",
            "labels", "rayStartParams", "template", "scaleStrategy", "numOfHosts",
        },
    },
}  # fmt: skip
"""Fields of the custom resources: leaderworkerset.x-k8s.io/v1 and ray.io/v1, API references of both projects."""

RESTART_POLICIES = {"Default", "RecreateGroupOnPodRestart", "None"}
STARTUP_POLICIES = {"LeaderCreated", "LeaderReady"}


def manifests(written: Path) -> list[dict[str, Any]]:
    return [
        document
        for name in ("kubernetes.yaml", "lws.yaml", "kuberay.yaml")
        for file in sorted(written.glob(f"*/{name}"))
        for document in yaml.load_all(file.read_text(), Loader=LOADER)
    ]


@pytest.mark.filterwarnings("ignore")
def test_kubernetes_schemas_accept_every_object_and_pod(written: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    kinds: set[str] = set()
    for document in manifests(written):
        kinds.add(document["kind"])
        if document["kind"] not in OWN_FIELDS:
            validate(document, "1.32", strict=True)
            continue
        for template in templates(document["spec"]):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template["metadata"]}}
            validate({**pod, "spec": template["spec"]}, "1.32", strict=True)
    assert kinds == {"PersistentVolumeClaim", "Deployment", "Service", "LeaderWorkerSet", "RayCluster"}


def templates(node: Any) -> list[dict[str, Any]]:
    """Every pod template inside a custom resource."""
    if isinstance(node, list):
        return [found for item in node for found in templates(item)]
    if not isinstance(node, dict):
        return []
    if set(node) == {"metadata", "spec"} and "containers" in node["spec"]:
        return [node]
    return [found for value in node.values() for found in templates(value)]


def test_custom_resources_use_only_fields_that_their_definitions_have(written: Path) -> None:
    for document in manifests(written):
        known = OWN_FIELDS.get(document["kind"])
        if known is None:
            continue
        assert set(document["spec"]) <= known["spec"]
        for field in known.keys() - {"spec"}:
            parts = document["spec"][field]
            for part in parts if isinstance(parts, list) else [parts]:
                assert set(part) <= known[field], field
        if document["kind"] == "LeaderWorkerSet":
            group = document["spec"]["leaderWorkerTemplate"]
            assert group["restartPolicy"] in RESTART_POLICIES
            assert document["spec"]["startupPolicy"] in STARTUP_POLICIES
            assert group["size"] == 2


def test_pods_wait_for_the_model_have_shared_memory_and_name_secrets_only(written: Path) -> None:
    for document in manifests(written):
        for container in containers(document):
            variables = {entry["name"]: entry for entry in container["env"]}
            assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True
            assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
            limits = container["resources"]["limits"]
            assert set(limits) in ({"nvidia.com/gpu"}, {"amd.com/gpu"})
            if "startupProbe" in container:
                probe = container["startupProbe"]
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 300
        if document["kind"] == "Service":
            assert document["metadata"]["name"] != "vllm"


def test_yaml_files_round_trip_through_pyyaml_without_anchors(written: Path) -> None:
    for file in sorted(written.glob("*/*.yaml")):
        text = file.read_text()
        documents = list(yaml.load_all(text, Loader=LOADER))
        assert documents
        assert list(yaml.load_all(yaml.dump_all(documents, Dumper=DUMPER), Loader=LOADER)) == documents
        assert "&id0" not in text
