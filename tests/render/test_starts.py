"""What makes files start: charts' own fields, Ray where images have none, ranks, ports, paths, users of units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.render import chart_fields as charts
from tests.render.commands_of import LOADER, commands_of, containers, load
from tests.render.plans import config, feasibility, gpu, plan, request
from tests.render.test_matrix import PLANS, listening, made
from wizard.errors import WizardError
from wizard.render.bundle import render, render_all, usual_files
from wizard.render.images import vllm_image
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import KVCacheReport

import yaml  # isort: skip


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, Loader=LOADER))


def typed(values: dict[str, Any], known: dict[str, Any]) -> None:
    for key, value in values.items():
        assert isinstance(value, known[key]), key


ONE_NODE = [
    name for name, changes in PLANS.items() if "nodes" not in changes and changes.get("source") != "path"
]


@pytest.mark.parametrize("name", ONE_NODE)
def test_production_stack_values_are_fields_of_the_chart(name: str) -> None:
    values = load(
        render(made(name, "0.33.0"), request(), ["production-stack"])["production-stack-values.yaml"]
    )
    assert set(values) == {"servingEngineSpec"}
    engine = values["servingEngineSpec"]
    typed(engine, charts.SERVING_ENGINE)
    (spec,) = engine["modelSpec"]
    typed(spec, charts.MODEL_SPEC)
    typed(spec["vllmConfig"], charts.VLLM_CONFIG)
    assert "tensorParallelSize" in spec["vllmConfig"], "without it the chart mounts no /dev/shm"
    assert "enablePrefixCaching" in spec["vllmConfig"], "without it the chart turns prefix caching off"
    written = {word.partition("=")[0] for word in spec["vllmConfig"]["extraArgs"]}
    assert not written & {
        "--tensor-parallel-size",
        "--enable-prefix-caching",
        "--no-enable-prefix-caching",
        "--port",
    }
    assert engine["vllmApiKey"] == {"secretName": "vllm-secrets", "secretKey": "VLLM_API_KEY"}
    assert "hf_token" not in spec, "the chart makes the pod wait for that Secret"
    assert spec["env"][0]["valueFrom"]["secretKeyRef"]["optional"] is True


@pytest.mark.parametrize("name", ONE_NODE)
def test_llm_d_values_are_fields_of_the_chart(name: str) -> None:
    values = load(render(made(name, "0.33.0"), request(), ["llm-d"])["llm-d-values.yaml"])
    assert set(values) <= charts.LLM_D
    assert set(values["modelArtifacts"]) <= charts.LLM_D_ARTIFACTS
    assert values["accelerator"]["type"] in charts.LLM_D_ACCELERATORS
    for pod in (values["decode"], values["prefill"]):
        assert set(pod) <= charts.LLM_D_POD
    assert set(values["decode"]["parallelism"]) <= charts.LLM_D_PARALLELISM
    (container,) = values["decode"]["containers"]
    assert set(container) <= charts.LLM_D_CONTAINER
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    variables = {entry["name"]: entry for entry in container["env"]}
    assert variables["VLLM_API_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "authSecretName" not in values["modelArtifacts"], "the chart makes the pod wait for that Secret"


def test_llm_d_is_told_the_vendor() -> None:
    amd = plan(gpus=(gpu(name="AMD Instinct MI300X", vendor="amd", driver_version=None),))
    values = load(render(amd, request(), ["llm-d"])["llm-d-values.yaml"])
    assert values["accelerator"]["type"] == "amd"
    assert values["decode"]["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}


def test_recurrent_models_get_the_prefix_caching_that_their_version_has() -> None:
    from dataclasses import replace

    def caching(version: str) -> Any:
        recurrent = plan(version=version)
        recurrent = replace(recurrent, model=replace(recurrent.model, attention="linear_hybrid"))
        values = load(render(recurrent, request(), ["production-stack"])["production-stack-values.yaml"])
        return values["servingEngineSpec"]["modelSpec"][0]["vllmConfig"]["enablePrefixCaching"]

    assert (caching("0.27.0"), caching("0.28.0")) == (False, True)


SPREAD = {"nodes": 2, "nnodes": 2, "tensor_parallel_size": 8, "pipeline_parallel_size": 2}
RANKS = {
    "nodes": 2,
    "nnodes": 2,
    "tensor_parallel_size": 2,
    "data_parallel_size": 8,
    "enable_expert_parallel": True,
}


def test_kuberays_own_init_container_finds_ray_on_its_path() -> None:
    """It follows ours, with the worker's image, variables and mounts."""
    cluster = next(
        document
        for document in documents(render(plan(**SPREAD), request(), ["kuberay"])["kuberay.yaml"])
        if document["kind"] == "RayCluster"
    )
    workers = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    (installs,) = workers["initContainers"]
    assert "pip install" in installs["args"][0]
    assert f"ray[default]=={cluster['spec']['rayVersion']}" in installs["args"][0]
    (worker,) = workers["containers"]
    home = {entry["name"]: entry.get("value") for entry in worker["env"]}["PYTHONUSERBASE"]
    mounts = {mount["mountPath"]: mount for mount in worker["volumeMounts"]}
    assert mounts[home]["name"] == mounts["/usr/local/bin/ray"]["name"] == installs["volumeMounts"][0]["name"]
    assert mounts["/usr/local/bin/ray"]["subPath"] == "bin/ray"
    assert "python3" in worker["livenessProbe"]["exec"]["command"]


def test_ray_starts_data_parallel_ranks_on_every_node_by_its_own_backend() -> None:
    files = render(plan(**RANKS), request(), ["ray", "kuberay"])
    for name in ("ray-node-0.sh", "kuberay.yaml"):
        (command,) = commands_of(name, files[name])
        assert command[command.index("--data-parallel-backend") + 1] == "ray"
        assert command[command.index("--data-parallel-size-local") + 1] == "4"
        assert "--distributed-executor-backend" not in command
    (command,) = commands_of("ray-node-0.sh", render(plan(**SPREAD), request(), ["ray"])["ray-node-0.sh"])
    assert command[command.index("--distributed-executor-backend") + 1] == "ray"


def test_the_readme_names_the_files_that_are_there() -> None:
    old = plan(version="0.10.2", **SPREAD)
    readme = render(old, request())["README.md"]
    assert "./ray-node-<its number>.sh" in readme
    assert "./node-<its number>.sh" not in readme
    assert "On node 0" in readme
    assert "kubectl" not in readme
    readme = render(plan(), request(), ["kubernetes", "readme"])["README.md"]
    assert "kubectl apply -f kubernetes.yaml" in readme
    assert "Pods listen on every address of the pod" in readme
    assert "serve.sh" not in readme


def test_every_file_is_offered_and_the_readme_lists_those_that_are_ticked() -> None:
    files = render_all(plan(), request())
    assert {"serve.sh", "vllm-config.yaml", "vllm.service", "kubernetes.yaml", "llm-d-values.yaml"} <= set(
        files
    )
    assert usual_files(plan(), request()) < set(files)
    assert "kubernetes.yaml" not in files["README.md"]
    assert "kubernetes.yaml" in render_all(plan(), request(), ["kubernetes.yaml"])["README.md"]
    spread = render_all(plan(**SPREAD), request())
    assert {"lws.yaml", "kuberay.yaml", "ray-node-1.sh", "node-1.sh"} <= set(spread)
    assert usual_files(plan(**SPREAD), request()) < set(spread)


def test_units_share_one_user_and_keep_their_own_cache() -> None:
    two = plan(replicas=2, gpus=(gpu(0), gpu(1)))
    units = render(two, request(), ["systemd"])
    assert len(units) == 2
    for text in units.values():
        assert "\nUser=vllm\n" in text
        assert "ExecStart=/usr/bin/env HF_HOME=/var/cache/vllm/huggingface" in text
        assert "\nEnvironment=HF_HOME" not in text


def test_a_low_port_gets_the_one_capability_that_it_needs() -> None:
    unit = render(plan(), listening("0.0.0.0", 443), ["systemd"])["vllm.service"]
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit
    assert "CapabilityBoundingSet=\n" in render(plan(), request(), ["systemd"])["vllm.service"]


def test_replicas_stay_below_the_last_port() -> None:
    two = plan(replicas=2, gpus=(gpu(0), gpu(1)))
    with pytest.raises(WizardError, match="choose a port up to 65533"):
        render(two, listening("127.0.0.1", 65534))
    assert render(two, listening("127.0.0.1", 65533))


def with_extra(*words: str) -> tuple[Any, PlanRequest]:
    return plan(extra_args=words), request(extra_args=words)


@pytest.mark.parametrize("words", [("--host", "0.0.0.0"), ("--port=9000",)])
def test_a_second_address_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="an answer of its own"):
        request(extra_args=words)


@pytest.mark.parametrize("words", [("--uds", "/tmp/x"), ("--headless",)])
def test_what_contradicts_every_probe_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(WizardError, match="can't be exported"):
        render(*with_extra(*words))


def test_an_address_in_a_checked_command_is_replaced_by_the_answer() -> None:
    checked = plan(extra_args=("--host", "10.0.0.1", "--port", "9000"))
    (command,) = commands_of("serve.sh", render(checked, request(), ["serve"])["serve.sh"])
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--port" not in command


def test_files_that_flags_name_are_mounted_where_they_are() -> None:
    made, asked = with_extra(
        "--chat-template", "/srv/my template.jinja", "--enable-lora", "--lora-modules", "sql=/srv/lora/sql",
        '{"name": "b", "path": "/srv/lora"}',
    )  # fmt: skip
    files = render(made, asked, ["docker", "compose", "kubernetes"])
    assert (
        "--mount 'type=bind,source=/srv/my template.jinja,target=/srv/my template.jinja,readonly'"
        in (files["docker-run.sh"])
    )
    volumes = load(files["docker-compose.yaml"])["services"]["vllm"]["volumes"]
    bound = [each["source"] for each in volumes if each.get("read_only")]
    assert bound == ["/srv/lora", "/srv/my template.jinja"]
    (container,) = [
        found for document in documents(files["kubernetes.yaml"]) for found in containers(document)
    ]
    assert {"/srv/lora", "/srv/my template.jinja"} <= {
        mount["mountPath"] for mount in container["volumeMounts"]
    }
    with pytest.raises(WizardError, match="doesn't apply"):
        render(made, asked, ["llm-d"])


def test_a_relative_path_is_said_to_be_out_of_sight() -> None:
    files = render(*with_extra("--chat-template", "./chat.jinja"), ["docker"])
    assert "./chat.jinja is relative: a container doesn't see it" in " ".join(
        files["docker-run.sh"].replace("#", "").split()
    )


def test_a_certificate_turns_probes_and_scripts_to_https() -> None:
    files = render(
        *with_extra("--ssl-certfile", "/etc/ssl/a.pem", "--ssl-keyfile", "/etc/ssl/a.key"),
        ["kubernetes", "compose", "smoke"],
    )
    deployment = next(each for each in documents(files["kubernetes.yaml"]) if each["kind"] == "Deployment")
    (container,) = containers(deployment)
    assert container["startupProbe"]["httpGet"]["scheme"] == "HTTPS"
    test = load(files["docker-compose.yaml"])["services"]["vllm"]["healthcheck"]["test"]
    assert "https://127.0.0.1:8000/health" in test[-1]
    compile(test[-1], "health", "exec")
    assert "https://127.0.0.1:8000" in files["smoke.sh"]
    assert "curl --insecure" in files["smoke.sh"]


def test_compose_reads_the_env_file_but_not_its_cache_directory() -> None:
    service = load(render(plan(), request(), ["compose"])["docker-compose.yaml"])["services"]["vllm"]
    assert service["env_file"] == [{"path": ".env", "required": False}]
    assert service["environment"]["HF_HOME"] == "/root/.cache/huggingface"
    assert service["environment"]["VLLM_NO_USAGE_STATS"] is None


def test_no_token_is_ever_an_argument_of_a_command_to_be_typed() -> None:
    for name in ("plain", "two nodes"):
        for text in render(made(name, "0.33.0"), request(), ["all"]).values():
            assert "--from-literal" not in text


def test_docker_run_of_replicas_says_that_it_starts_one() -> None:
    two = plan(replicas=2, gpus=(gpu(0), gpu(1)))
    text = render(two, request(), ["docker"])["docker-run.sh"]
    assert "Starts the first replica alone" in text
    assert "device=0" in text


@pytest.mark.parametrize("version", ["0.8.0", "0.10.2", "0.11.1", "0.13.0"])
def test_amd_images_are_pinned_and_say_what_they_hold(version: str) -> None:
    image = vllm_image(version, vendor="amd")
    assert ":latest" not in image.name
    assert image.name.split("_vllm_")[1].partition("_")[0] in image.note
    assert ("none is known" in image.note) == (version in {"0.8.0", "0.13.0"})


def test_a_version_that_is_not_known_yet_says_so_in_its_files() -> None:
    future = render(plan(version="0.40.0"), request(), ["serve", "docker"])
    assert "its flags are taken from 0.33.0" in " ".join(future["serve.sh"].replace("#", "").split())
    assert "check that the tag exists" in " ".join(future["docker-run.sh"].replace("#", "").split())


def test_a_model_without_a_commit_is_said_not_to_be_pinned() -> None:
    assert "Not pinned" in render(plan(revision=None, source="catalogue"), request())["serve.sh"]
    assert "Not pinned" not in render(plan(), request())["serve.sh"]


def test_an_encoder_has_no_cache_to_speak_of() -> None:
    from dataclasses import replace

    nothing = KVCacheReport(0, 0, 0, 0, 0.0, 0.0, 0)
    encoder = plan(model="BAAI/bge-m3", architecture="XLMRobertaModel")
    files = render(replace(encoder, feasibility=feasibility(kv_cache=nothing)), request())
    for name in ("serve.sh", "README.md"):
        assert "0 tokens of KV cache" not in files[name]
        assert "no KV cache" in files[name]


def test_a_gated_model_says_that_a_token_is_needed() -> None:
    from dataclasses import replace

    known = plan()
    gated = replace(known, model=replace(known.model, gated=True))
    files = render(gated, request())
    assert "A token is needed: the model is gated" in files["README.md"]
    assert "Needed: the model is gated" in files[".env.example"]
    assert "A token is needed" not in render(known, request())["README.md"]


def test_what_vllm_chooses_itself_is_left_out_and_listed() -> None:
    from dataclasses import replace

    served = replace(plan(), left_to_vllm=("gpu_memory_utilization", "max_num_batched_tokens"))
    text = render(served, request(), ["serve"])["serve.sh"]
    (command,) = commands_of("serve.sh", text)
    assert "--gpu-memory-utilization" not in command
    assert "--max-num-batched-tokens" not in command
    assert "--max-model-len" in command
    assert "--gpu-memory-utilization 0.92: left out" in text
    assert config().gpu_memory_utilization == 0.92


def test_the_number_called_other_is_one_number() -> None:
    files = render(plan(), request())
    line = next(line for line in files["serve.sh"].splitlines() if line.startswith("# Memory"))
    number = line.split("other ")[1].partition(",")[0]
    assert f"other {number}" in files["README.md"]


def test_paths_are_those_of_this_machine(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    files = render(*with_extra("--chat-template", str(template)), ["docker"])
    assert f"source={template}" in files["docker-run.sh"]
