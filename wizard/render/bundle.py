"""Which artifacts a bundle has, and when each applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wizard.errors import WizardError
from wizard.render.bundle_readme import readme_file
from wizard.render.commands import docker_script, serve_script
from wizard.render.compose import compose_file
from wizard.render.deployment import DEFAULT_PORT, LOOPBACK, Deployment, deployment
from wizard.render.escaping import to_json
from wizard.render.header import header
from wizard.render.nginx import nginx_file
from wizard.render.plan_json import plan_to_dict
from wizard.render.profile import profile_text
from wizard.render.scripts import bench_script, environment_example, smoke_script
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


Render = Callable[[Deployment], str]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One kind of file that a bundle may hold."""

    key: str
    filename: str
    """Of the file, or of the first of several."""
    title: str
    line: str
    """What it is, in a few words."""
    default: bool
    """Ticked unless the user says otherwise."""
    applies: Callable[[Deployment], bool]
    render: Render | None = None
    """None: made together with the rest of the bundle."""


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

ALL = "all"
"""`emit` value for every artifact that applies."""


def render(
    plan: Plan,
    request: PlanRequest,
    emit: Sequence[str] | None = None,
    *,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
) -> dict[str, str]:
    """The bundle's files, name -> text.

    `emit` names artifacts by key or file name; `None` takes the usual ones, `["all"]` all that apply. An
    artifact that doesn't apply to this plan is left out when not asked for by name.
    Raises WizardError for a name that isn't an artifact, for one that doesn't apply to the plan, and for an
    extra flag that the version refuses.
    """
    common = deployment(plan, request, host=host, port=port)
    chosen = chosen_artifacts(common, emit)
    files: dict[str, str] = {}
    for artifact in chosen:
        if artifact.render is not None:
            files[artifact.filename] = artifact.render(common)
    keys = {artifact.key for artifact in chosen}
    if "readme" in keys:
        listed = [(artifact.filename, artifact.line) for artifact in chosen if artifact.key != "readme"]
        files["README.md"] = readme_file(common, listed)
    if "profile" in keys:
        files["profile.yaml"] = profile_text(request, header(common, "Profile"))
    if "plan" in keys:
        files["plan.json"] = to_json(plan_to_dict(plan, request))
    return {artifact.filename: files[artifact.filename] for artifact in chosen}


def chosen_artifacts(common: Deployment, emit: Sequence[str] | None) -> list[Artifact]:
    """The artifacts that `emit` asks for, in the table's order."""
    if emit is None:
        return [artifact for artifact in ARTIFACTS if artifact.default and artifact.applies(common)]
    wanted = {name.strip() for name in emit if name.strip()}
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
