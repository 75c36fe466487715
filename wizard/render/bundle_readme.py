"""README.md of a bundle: what the files are, how to start, what is predicted, what to mind."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from wizard.render.deployment import CONTAINER_PORT, Deployment
from wizard.render.escaping import markdown_code, markdown_text
from wizard.render.header import VERDICTS, concurrency, machine, other_bytes, pin_words, reasons
from wizard.render.scripts import token_words
from wizard.schemas.outputs import MemoryBreakdown
from wizard.text import gib, span


def readme_file(deployment: Deployment, files: Sequence[tuple[str, str]]) -> str:
    """The README; `files` are (name, one line) of what else is in the bundle."""
    plan = deployment.plan
    feasibility, memory, cache = plan.feasibility, plan.feasibility.per_gpu, plan.feasibility.kv_cache
    listed = "\n".join(f"| `{name}` | {line} |" for name, line in files)
    revision = f", revision {markdown_code(plan.model.revision)}" if plan.model.revision else ""
    sections = [
        f"# {markdown_text(plan.model.id)} on {machine(deployment)}",
        f"Model {markdown_code(plan.model.id)}{revision}, vLLM {deployment.version}. "
        f"Predicted: {VERDICTS[feasibility.verdict]}.",
        "## Start\n\n" + _start(deployment, [name for name, _ in files]),
        f"## Files\n\n| file | what it is |\n|---|---|\n{listed}",
        "## Prediction\n\n"
        f"Per GPU, of {gib(memory.total_bytes)} GiB: weights {gib(memory.weights_bytes)}, "
        f"activations {gib(memory.activation_peak_bytes)}, CUDA graphs {gib(memory.cuda_graphs_bytes)}, "
        f"other {gib(other_bytes(memory))}{_cache(memory, cache.tokens)}.\n\n{concurrency(feasibility)}.",
    ]
    if plan.performance is not None and not deployment.pooling:
        forecast = plan.performance
        sections[-1] += (
            "\n\nExpected for this workload: "
            f"first token after {span(forecast.ttft_ms.low, forecast.ttft_ms.high)} ms, "
            f"{span(forecast.tpot_ms.low, forecast.tpot_ms.high)} ms a token, "
            f"{span(forecast.output_tokens_per_s.low, forecast.output_tokens_per_s.high)} output tokens/s in all. "
            f"Basis: {markdown_text(forecast.basis)}."
        )
    warnings = [*feasibility.warnings, *plan.warnings]
    if warnings:
        sections.append("## Warnings\n\n" + "\n".join(f"- {markdown_text(line)}" for line in warnings))
    why = [
        f"- {markdown_code(flag) + ': ' if flag else ''}{markdown_text(reason)}"
        for flag, reason in reasons(deployment)
    ]
    if why:
        sections.append("## Why these settings\n\n" + "\n".join(why))
    sections.append(
        "## Mind\n\n" + "\n".join(f"- {line}" for line in _mind(deployment, [name for name, _ in files]))
    )
    sections.append(
        "## Again\n\n    vllm-wizard-tui export --profile profile.yaml -o DIRECTORY\n\n"
        "Change the answers in `profile.yaml`, or open it in the wizard: `vllm-wizard-tui --profile profile.yaml`."
    )
    return "\n\n".join(sections) + "\n"


def _cache(memory: MemoryBreakdown, tokens: int) -> str:
    """The KV cache and its band; nothing for a model that keeps none."""
    if not tokens:
        return ""
    low, high = memory.kv_cache_available_low_bytes, memory.kv_cache_available_high_bytes
    return f", KV cache {gib(memory.kv_cache_available_bytes)} (between {gib(low)} and {gib(high)})"


IN_CLUSTER = ("kubernetes.yaml", "lws.yaml", "kuberay.yaml")
CHARTS = ("production-stack-values.yaml", "llm-d-values.yaml")


def _start(deployment: Deployment, names: Collection[str]) -> str:
    """Steps with the files that are there."""
    steps: list[str] = []
    if ".env.example" in names and not _only_cluster(names):
        steps.append("`cp .env.example .env && chmod 600 .env`, and fill in what you need.")
    if deployment.nodes > 1:
        if steps:
            steps.append("Copy this directory, `.env` too, to every node.")
        steps += _on_nodes(names)
    else:
        ways = _ways(deployment, names)
        if ways:
            steps.append(", or ".join(ways) + ".")
    cluster = [f"`kubectl apply -f {name}`" for name in IN_CLUSTER if name in names]
    if cluster:
        steps.append(("On Kubernetes instead: " if len(steps) > 1 else "") + ", or ".join(cluster) + ".")
    steps += [
        f"`{name}`: its first lines say how to install it with Helm." for name in CHARTS if name in names
    ]
    scripts = [f"`./{name}`" for name in ("smoke.sh", "bench.sh") if name in names]
    if scripts:
        where = "On node 0, in another terminal" if deployment.nodes > 1 else "In another terminal"
        steps.append(f"{where}: {', then '.join(scripts)} (the first waits until the server answers).")
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _only_cluster(names: Collection[str]) -> bool:
    local = ("serve.sh", "docker-run.sh", "docker-compose.yaml", "node-0.sh", "ray-node-0.sh")
    return not any(name in names or name.endswith(".service") for name in local)


def _on_nodes(names: Collection[str]) -> list[str]:
    kinds = [kind for kind in ("node", "ray-node") if f"{kind}-0.sh" in names]
    if not kinds:
        return []
    commands = ", or ".join(f"`HEAD_ADDRESS=<address of node 0> ./{kind}-<its number>.sh`" for kind in kinds)
    return [f"On each node: {commands}."]


def _ways(deployment: Deployment, names: Collection[str]) -> list[str]:
    """Ways to start on one machine, the simplest first."""
    replicas = deployment.replicas > 1
    found: list[str] = []
    if "serve.sh" in names:
        found.append("`./serve.sh 0`, `./serve.sh 1`, ... and `nginx`" if replicas else "`./serve.sh`")
    if "docker-compose.yaml" in names:
        found.append("`docker compose up -d`")
    if "docker-run.sh" in names:
        found.append("`./docker-run.sh`" + (" (the first replica alone)" if replicas else ""))
    units = sorted(name for name in names if name.endswith(".service"))
    if units:
        found.append(f"systemd: the first lines of `{units[0]}` install it")
    if "vllm-config.yaml" in names:
        found.append("`vllm serve --config vllm-config.yaml`")
    return found


def _mind(deployment: Deployment, names: Collection[str]) -> list[str]:
    lines = [_reach(deployment)]
    if set(names) & {*IN_CLUSTER, *CHARTS}:
        lines.append(
            f"Pods listen on every address of the pod, port {CONTAINER_PORT}: whatever runs in the cluster reaches "
            "them by their Service, so put VLLM_API_KEY into the Secret, or a NetworkPolicy around them."
        )
    lines += [
        "No token and no key is written into these files; they come from `.env` or the environment.",
        f"The first start may take up to {deployment.start_seconds // 60} minutes: download, loading, compilation.",
        f"Image `{deployment.image.name}`: {deployment.image.note}.",
    ]
    if deployment.plan.model.gated:
        lines.insert(1, "A token is needed:" + token_words(deployment).removeprefix(" Needed:"))
    if (pin := pin_words(deployment)) is not None:
        lines.append(pin)
    if deployment.plan.config.trust_remote_code:
        lines.append(
            "`--trust-remote-code` is on: Python code that comes with the model runs with the server's rights."
        )
    return lines


def _reach(deployment: Deployment) -> str:
    address = f"{markdown_code(deployment.host)}, port {deployment.port}"
    if not deployment.open:
        return f"On this machine it listens on {address}: nobody else reaches it."
    return f"It listens on {address}, which others reach: set `VLLM_API_KEY` and a firewall."
