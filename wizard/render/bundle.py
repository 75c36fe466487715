"""Which artifacts a bundle has, and when each applies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from wizard.dataclass import dataclass, replace
from wizard.errors import WizardError
from wizard.render.bundle_readme import readme_file
from wizard.render.cluster import leader_worker_set_file, ray_cluster_file
from wizard.render.commands import docker_script, serve_script
from wizard.render.compose import compose_file
from wizard.render.deployment import Deployment, deployment
from wizard.render.escaping import to_json
from wizard.render.header import header
from wizard.render.helm import llm_d_file, on_hub, production_stack_file
from wizard.render.kubernetes import kubernetes_file
from wizard.render.nginx import nginx_file
from wizard.render.nodes import (
    native_launch,
    node_names,
    node_scripts,
    ray_names,
    ray_scripts,
    spans_nodes,
)
from wizard.render.plan_json import plan_to_dict
from wizard.render.profile import profile_text
from wizard.render.scripts import bench_script, environment_example, smoke_script
from wizard.render.systemd import systemd_units, unit_names
from wizard.render.vllm_config import vllm_config_file
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan
from wizard.vllm.flag_values import cut


def _always(_: Deployment) -> bool:
    return True


def _one_node(deployment: Deployment) -> bool:
    return deployment.nodes == 1


def _replicated(deployment: Deployment) -> bool:
    return deployment.nodes == 1 and deployment.replicas > 1


Render = Callable[[Deployment], str | dict[str, str]]
"""One file's text, or several files by name."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One kind of file that a bundle may hold."""

    key: str
    filename: str
    """Of the file, or of the first where there is one for every node or replica."""
    title: str
    line: str
    """What it is, in a few words."""
    default: bool
    """Ticked unless the user says otherwise."""
    applies: Callable[[Deployment], bool]
    render: Render | None = None
    """None: made together with the rest of the bundle."""
    names: Callable[[Deployment], tuple[str, ...]] | None = None
    """Of its files, where the deployment decides how many there are."""


# fmt: off
ARTIFACTS: tuple[Artifact, ...] = (
    Artifact("serve", "serve.sh", "vllm serve", "starts the server on this machine",
             True, _one_node, serve_script),
    Artifact("config", "vllm-config.yaml", "vLLM config", "the same as a file for `vllm serve --config`",
             False, _one_node, vllm_config_file),
    Artifact("docker", "docker-run.sh", "docker run", "starts the server in a container",
             True, _one_node, docker_script),
    Artifact("compose", "docker-compose.yaml", "Docker Compose", "the container as a service that stays up",
             True, _one_node, compose_file),
    Artifact("systemd", "vllm.service", "systemd", "starts it with the machine and keeps it up",
             False, _one_node, systemd_units, unit_names),
    Artifact("kubernetes", "kubernetes.yaml", "Kubernetes", "Deployment, Service and storage",
             False, _one_node, kubernetes_file),
    Artifact("nodes", "node-0.sh", "Nodes", "one script for every node, by vLLM's own launcher",
             True, native_launch, node_scripts, node_names),
    Artifact("ray", "ray-node-0.sh", "Ray", "one script for every node, by Ray",
             False, spans_nodes, ray_scripts, ray_names),
    Artifact("lws", "lws.yaml", "LeaderWorkerSet", "several nodes as one group on Kubernetes",
             False, native_launch, leader_worker_set_file),
    Artifact("kuberay", "kuberay.yaml", "KubeRay", "several nodes as a Ray cluster on Kubernetes",
             False, spans_nodes, ray_cluster_file),
    Artifact("production-stack", "production-stack-values.yaml", "production-stack", "values for vLLM's Helm chart",
             False, on_hub, production_stack_file),
    Artifact("llm-d", "llm-d-values.yaml", "llm-d", "values for llm-d's Helm chart",
             False, on_hub, llm_d_file),
    Artifact("nginx", "nginx.conf", "nginx", "spreads requests over the replicas",
             True, _replicated, nginx_file),
    Artifact("smoke", "smoke.sh", "First request", "waits for the server and asks it something",
             True, _always, smoke_script),
    Artifact("bench", "bench.sh", "Benchmark", "measures your own workload",
             True, _always, bench_script),
    Artifact("env", ".env.example", "Environment", "token and key, to be filled in",
             True, _always, environment_example),
    Artifact("readme", "README.md", "README", "what to do, and what to expect", True, _always),
    Artifact("profile", "profile.yaml", "Profile", "your answers, to plan again", True, _always),
    Artifact("plan", "plan.json", "Plan", "the whole plan for scripts", True, _always),
)
# fmt: on

ALIASES = {"command": "serve", "k8s": "kubernetes", "docker-compose": "compose", "compose.yaml": "compose"}
"""Other names that people use for an artifact; the first two are the ancestor's."""

ALL = "all"
"""`emit` value for every artifact that applies."""


def render(plan: Plan, request: PlanRequest, emit: Sequence[str] | None = None) -> dict[str, str]:
    """The bundle's files, name -> text.

    `emit` names artifacts by key or file name; `None` takes the usual ones, `["all"]` all that apply. An
    artifact that doesn't apply to this plan is left out when not asked for by name.
    Raises WizardError for a name that isn't an artifact, for one that doesn't apply to the plan, and for an
    extra flag that the version refuses.
    """
    common = deployment(plan, request)
    return dict(Files(common, chosen_artifacts(common, emit)))


def render_all(plan: Plan, request: PlanRequest, ticked: Collection[str] | None = None) -> Mapping[str, str]:
    """Every file that applies, each made when it is looked at; README.md lists those whose names are `ticked`,
    by default the usual ones. Raises WizardError for an extra flag that the version refuses."""
    common = deployment(plan, request)
    listed = _usual_names(common) if ticked is None else ticked
    return Files(common, chosen_artifacts(common, [ALL]), listed)


def usual_files(plan: Plan, request: PlanRequest) -> frozenset[str]:
    """Names of the files that are written unless the user says otherwise."""
    return _usual_names(deployment(plan, request))


def _usual_names(common: Deployment) -> frozenset[str]:
    return frozenset(name for artifact in chosen_artifacts(common, None) for name in _names(artifact, common))


class Files(Mapping[str, str]):
    """Files by name, in the table's order; an artifact is rendered when one of its files is first asked for."""

    def __init__(
        self, common: Deployment, chosen: Sequence[Artifact], listed: Collection[str] | None = None
    ) -> None:
        self._common, self._listed = common, listed
        self._owners = {name: artifact for artifact in chosen for name in _names(artifact, common)}
        self._made: dict[str, dict[str, str]] = {}

    def __getitem__(self, name: str) -> str:
        artifact = self._owners[name]
        if artifact.key not in self._made:
            self._made[artifact.key] = self._make(artifact)
        return self._made[artifact.key][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def _make(self, artifact: Artifact) -> dict[str, str]:
        common = self._common
        if artifact.render is not None:
            made = artifact.render(common)
            return {artifact.filename: made} if isinstance(made, str) else made
        if artifact.key == "readme":
            lines = [
                (name, owner.line)
                for name, owner in self._owners.items()
                if owner is not artifact and (self._listed is None or name in self._listed)
            ]
            return {artifact.filename: readme_file(common, lines)}
        if artifact.key == "profile":
            return {artifact.filename: profile_text(common.request, header(common, "Profile"))}
        # the same plan makes the same file, whatever looking up its model has cost this time
        told = replace(common.plan, model=replace(common.plan.model, hub_requests=0, hub_bytes=0))
        return {artifact.filename: to_json(plan_to_dict(told, common.request))}


def _names(artifact: Artifact, common: Deployment) -> tuple[str, ...]:
    return (artifact.filename,) if artifact.names is None else artifact.names(common)


def _usual(artifact: Artifact, common: Deployment) -> bool:
    """Ticked by default; Ray takes the place of vLLM's own launcher where the version has none."""
    return artifact.default or (artifact.key == "ray" and not native_launch(common))


def chosen_artifacts(common: Deployment, emit: Sequence[str] | None) -> list[Artifact]:
    """The artifacts that `emit` asks for, in the table's order."""
    if emit is None:
        return [artifact for artifact in ARTIFACTS if _usual(artifact, common) and artifact.applies(common)]
    wanted = {ALIASES.get(name.strip(), name.strip()) for name in emit if name.strip()}
    if ALL in wanted:
        return [artifact for artifact in ARTIFACTS if artifact.applies(common)]
    known = {name for artifact in ARTIFACTS for name in (artifact.key, artifact.filename)}
    unknown = sorted(wanted - known)
    if unknown:
        keys = ", ".join(artifact.key for artifact in ARTIFACTS)
        raise WizardError(f"{cut(unknown[0])} is not an artifact; choose from {keys}, or all.")
    chosen = [artifact for artifact in ARTIFACTS if {artifact.key, artifact.filename} & wanted]
    for artifact in chosen:
        if not artifact.applies(common):
            raise WizardError(f"{artifact.title} doesn't apply to this plan; leave {artifact.key} out.")
    return chosen
