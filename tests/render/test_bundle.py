"""Which artifacts a plan gets, and what they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.render.commands_of import commands_of, load
from tests.render.plans import gpu, plan, request
from wizard.errors import WizardError
from wizard.render.bundle import ARTIFACTS, render
from wizard.render.commands import render_docker_command, render_docker_compose, render_serve_command
from wizard.render.images import vllm_image
from wizard.schemas.outputs import VLLMConfig

USUAL = [
    "serve.sh", "docker-run.sh", "docker-compose.yaml", "smoke.sh", "bench.sh", ".env.example", "README.md",
    "profile.yaml", "plan.json",
]  # fmt: skip


def test_the_usual_bundle_of_one_node() -> None:
    assert list(render(plan(), request())) == USUAL


def test_several_nodes_get_a_script_for_each() -> None:
    spread = plan(nodes=3, nnodes=3, tensor_parallel_size=8, pipeline_parallel_size=3)
    files = render(spread, request())
    assert [name for name in files if name.endswith(".sh")] == [
        "node-0.sh",
        "node-1.sh",
        "node-2.sh",
        "smoke.sh",
        "bench.sh",
    ]
    head, worker = (commands_of(name, files[name])[0] for name in ("node-0.sh", "node-2.sh"))
    assert "--headless" not in head
    assert head[head.index("--node-rank") + 1] == "0"
    assert worker[worker.index("--node-rank") + 1] == "2"
    assert "--headless" in worker
    assert "--host" not in worker
    assert "./node-<its number>.sh" in files["README.md"]


def test_a_version_without_nnodes_gets_ray_scripts() -> None:
    spread = plan(version="0.10.2", nodes=2, nnodes=2, tensor_parallel_size=8, pipeline_parallel_size=2)
    files = render(spread, request())
    assert {"ray-node-0.sh", "ray-node-1.sh"} <= set(files)
    assert "node-0.sh" not in files
    assert "--distributed-executor-backend ray" in files["ray-node-0.sh"]
    assert 'ray start --address "$HEAD_ADDRESS:6379" --num-gpus 8 --block' in files["ray-node-1.sh"]


def test_data_parallel_ranks_are_spread_by_their_first_rank() -> None:
    spread = plan(
        nodes=2, nnodes=2, tensor_parallel_size=2, data_parallel_size=8, enable_expert_parallel=True
    )
    files = render(spread, request(), ["nodes"])
    worker = commands_of("node-1.sh", files["node-1.sh"])[0]
    assert worker[worker.index("--data-parallel-size-local") + 1] == "4"
    assert worker[worker.index("--data-parallel-start-rank") + 1] == "4"
    assert "--nnodes" not in worker
    (leader, follower) = commands_of("lws.yaml", render(spread, request(), ["lws"])["lws.yaml"])
    assert "--data-parallel-start-rank" not in leader
    assert follower[follower.index("--data-parallel-start-rank") + 1] == "4"
    assert "--headless" in follower


def test_replicas_get_their_own_gpus_behind_nginx() -> None:
    two = plan(replicas=2, tensor_parallel_size=2, gpus=tuple(gpu(index) for index in range(4)))
    files = render(two, request(), ["serve", "compose", "nginx", "systemd", "kubernetes"])
    services = load(files["docker-compose.yaml"])["services"]
    devices = [
        service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for service in services.values()
        if "deploy" in service
    ]
    assert devices == [["0", "1"], ["2", "3"]]
    assert "least_conn" in files["nginx.conf"]
    assert "server 127.0.0.1:8002" in files["nginx.conf"]
    assert "CUDA_VISIBLE_DEVICES=2,3" in files["vllm-1.service"]
    assert "--port 8002" in files["vllm-1.service"]
    assert "replicas: 2" in files["kubernetes.yaml"]
    assert 'gpus=("0,1" "2,3")' in files["serve.sh"]


def test_the_least_used_gpus_are_taken_where_there_are_more_than_needed() -> None:
    gpus = tuple(gpu(index, memory_used_bytes=used) for index, used in enumerate((9 << 30, 0, 5 << 30, 0)))
    files = render(plan(tensor_parallel_size=2, gpus=gpus), request())
    assert "CUDA_VISIBLE_DEVICES=1,3" in files["serve.sh"]
    assert "--gpus '\"device=1,3\"'" in files["docker-run.sh"]
    device = load(files["docker-compose.yaml"])["services"]["vllm"]["deploy"]["resources"]["reservations"][
        "devices"
    ][0]
    assert device["device_ids"] == ["1", "3"]


def devices_of(files: dict[str, str]) -> list[object]:
    """What serve.sh, docker-run.sh and Compose say about GPUs."""
    serve = [line for line in files["serve.sh"].splitlines() if "CUDA_" in line and line.startswith("export")]
    docker = [line.strip(" \\") for line in files["docker-run.sh"].splitlines() if "--gpus" in line]
    service = load(files["docker-compose.yaml"])["services"]["vllm"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    return [serve, docker, device.get("device_ids", device.get("count"))]


BY_BUS = "export CUDA_DEVICE_ORDER=PCI_BUS_ID"


def test_a_selection_by_the_environment_survives() -> None:
    gpus = tuple(gpu(index, machine_devices=8) for index in (2, 3))
    files = render(plan(tensor_parallel_size=2, gpus=gpus), request())
    assert devices_of(files) == [
        ["export CUDA_VISIBLE_DEVICES=2,3", BY_BUS],
        ["--gpus '\"device=2,3\"'"],
        ["2", "3"],
    ]


def test_a_whole_machine_is_not_restricted() -> None:
    gpus = tuple(gpu(index, machine_devices=2) for index in range(2))
    files = render(plan(tensor_parallel_size=2, gpus=gpus), request())
    assert devices_of(files) == [[], ["--gpus all"], "all"]


def test_a_mig_instance_is_named_by_its_uuid() -> None:
    instance = gpu(0, machine_devices=2, uuid="MIG-bbbb0000-0000", mig_profile="3g.40gb")
    files = render(plan(gpus=(instance,)), request())
    assert devices_of(files) == [
        ["export CUDA_VISIBLE_DEVICES=MIG-bbbb0000-0000"],
        ["--gpus device=MIG-bbbb0000-0000"],
        ["MIG-bbbb0000-0000"],
    ]
    assert "MIG 3g.40gb" in files["serve.sh"]


def test_more_gpus_than_there_are_name_none() -> None:
    files = render(plan(tensor_parallel_size=2, gpus=(gpu(0, machine_devices=1),) * 2), request())
    assert devices_of(files)[0] == []


def test_unlike_gpus_are_named_and_the_alike_ones_taken() -> None:
    small, big = {"name": "NVIDIA GeForce RTX 3090", "memory_total_bytes": 23 << 30}, {}
    gpus = tuple(gpu(index, **kind) for index, kind in enumerate((small, big, big)))
    files = render(plan(tensor_parallel_size=2, gpus=gpus), request())
    assert "CUDA_VISIBLE_DEVICES=1,2" in files["serve.sh"]
    assert "2 x NVIDIA H100 80GB HBM3" in files["serve.sh"]
    all_of_them = render(plan(pipeline_parallel_size=3, gpus=gpus), request())["serve.sh"]
    assert "1 x NVIDIA GeForce RTX 3090 + 2 x NVIDIA H100 80GB HBM3" in all_of_them


def test_a_beginning_of_a_uuid_is_written_whole() -> None:
    asked = request().with_value("hardware.device_ids", ("GPU-1f",))
    files = render(plan(gpus=(gpu(1, uuid="GPU-1fab-00", machine_devices=2),)), asked)
    assert devices_of(files)[2] == ["GPU-1fab-00"]


def test_gpus_chosen_by_the_user_are_used() -> None:
    asked = request().with_value("hardware.device_ids", ("GPU-1f", "GPU-2e"))
    files = render(plan(tensor_parallel_size=2), asked)
    assert "CUDA_VISIBLE_DEVICES=GPU-1f,GPU-2e" in files["serve.sh"]


@pytest.mark.parametrize(
    ("emit", "expected"),
    [
        (["serve"], ["serve.sh"]),
        (["serve.sh", " plan "], ["serve.sh", "plan.json"]),
        (["plan", "serve"], ["serve.sh", "plan.json"]),
        (["readme"], ["README.md"]),
        (["command", "k8s"], ["serve.sh", "kubernetes.yaml"]),
    ],
)
def test_artifacts_are_chosen_by_key_or_file_name(emit: list[str], expected: list[str]) -> None:
    assert list(render(plan(), request(), emit)) == expected


@pytest.mark.parametrize(
    ("emit", "words"),
    [(["sreve"], "is not an artifact"), (["nginx"], "doesn't apply"), (["lws"], "doesn't apply")],
)
def test_what_is_no_artifact_or_does_not_apply_is_said(emit: list[str], words: str) -> None:
    with pytest.raises(WizardError, match=words):
        render(plan(), request(), emit)


def test_keys_and_files_of_the_table_are_unique() -> None:
    assert len({artifact.key for artifact in ARTIFACTS}) == len(ARTIFACTS)
    assert len({artifact.filename for artifact in ARTIFACTS}) == len(ARTIFACTS)


def test_extra_flags_are_written_and_illegal_ones_refused() -> None:
    files = render(plan(extra_args=("--seed", "7", "--max-num-seqs", "3")), request(), ["serve"])
    words = commands_of("serve.sh", files["serve.sh"])[0]
    assert words[words.index("--seed") + 1] == "7"
    assert words.count("--max-num-seqs") == 1
    assert words[words.index("--max-num-seqs") + 1] == "3"
    with pytest.raises(WizardError, match="did you mean --seed"):
        render(plan(extra_args=("--sede", "7")), request())


def test_a_parser_chosen_by_the_user_wins_over_the_family_s() -> None:
    files = render(
        plan(extra_args=("--tool-call-parser", "pythonic", "--enable-auto-tool-choice")), request(), ["serve"]
    )
    words = commands_of("serve.sh", files["serve.sh"])[0]
    assert words[words.index("--tool-call-parser") + 1] == "pythonic"
    assert words.count("--enable-auto-tool-choice") == 1


@pytest.mark.parametrize(
    ("version", "driver", "tag"),
    [
        ("0.33.0", "580.95.05", "v0.33.0"),
        ("0.33.0", "570.133.20", "v0.33.0-cu129"),
        ("0.33.0", None, "v0.33.0"),
        ("0.19.1", "535.1.1", "v0.19.1"),
        ("0.33", "590.1", "v0.33.0"),
    ],
)
def test_the_image_follows_version_and_driver(version: str, driver: str | None, tag: str) -> None:
    assert vllm_image(version, driver=driver).name == f"vllm/vllm-openai:{tag}"


def test_amd_cards_get_rocm_images_and_devices() -> None:
    amd = gpu(name="AMD Instinct MI300X", vendor="amd", driver_version=None)
    files = render(plan(gpus=(amd,)), request(), ["all"])
    assert "vllm/vllm-openai-rocm:v0.33.0" in files["docker-run.sh"]
    assert "--device=/dev/kfd" in files["docker-run.sh"]
    assert load(files["docker-compose.yaml"])["services"]["vllm"]["devices"] == ["/dev/kfd", "/dev/dri"]
    assert "amd.com/gpu" in files["kubernetes.yaml"]
    assert "SupplementaryGroups=video render" in files["vllm.service"]
    cards = tuple(
        gpu(index, name="AMD Instinct MI300X", vendor="amd", driver_version=None) for index in range(4)
    )
    files = render(plan(gpus=cards), request(), ["serve", "docker", "compose", "systemd"])
    for file in files.values():
        assert "HIP_VISIBLE_DEVICES" in file
        assert "CUDA_VISIBLE_DEVICES" not in file


def test_the_health_check_waits_as_long_as_a_download_may_take() -> None:
    files = render(plan(), request(), ["compose", "kubernetes"])
    check = load(files["docker-compose.yaml"])["services"]["vllm"]["healthcheck"]
    assert int(check["start_period"].removesuffix("s")) >= 300 + 16e9 / 1e8
    assert "/health" in " ".join(check["test"])


@pytest.mark.parametrize("version", ["0.10.2", "0.33.0"])
def test_the_seed_functions_render_a_config_alone(version: str) -> None:
    """Seed: render_serve_command, render_docker_command, render_docker_compose take a VLLMConfig."""
    settings = VLLMConfig(model="org/model", tensor_parallel_size=2, max_model_len=8192, swap_space=4.0)
    serve = render_serve_command(settings, version=version)
    assert serve.startswith("vllm serve org/model \\\n  --tensor-parallel-size 2 \\\n  --max-model-len 8192")
    assert "swap-space" not in serve
    docker = render_docker_command(settings, version=version)
    assert docker.startswith("docker run --rm \\\n")
    assert f"vllm/vllm-openai:v{version}" in docker
    compose = render_docker_compose(settings, version=version)
    assert "version:" not in compose
    service = load(compose)["services"]["vllm"]
    assert service["command"][:3] == ["org/model", "--tensor-parallel-size", "2"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2


def test_values_that_equal_vllm_s_default_are_left_out_unless_the_plan_rests_on_them() -> None:
    settings: dict[str, Any] = {
        "model": "m", "dtype": "auto", "kv_cache_dtype": "auto", "enforce_eager": False, "enable_lora": False,
        "max_loras": 1, "mm_encoder_tp_mode": "weights", "optimization_level": 2, "performance_mode": "balanced",
        "trust_remote_code": False, "gpu_memory_utilization": 0.92,
    }  # fmt: skip
    assert render_serve_command(VLLMConfig(**settings)) == "vllm serve m \\\n  --gpu-memory-utilization 0.92"
