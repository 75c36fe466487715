"""README.md of a bundle: what the files are, how to start, what is predicted, what to mind."""

from __future__ import annotations

from collections.abc import Iterable

from wizard.render.deployment import EVERY_ADDRESS, Deployment
from wizard.render.escaping import markdown_code, markdown_text
from wizard.render.header import VERDICTS, machine, reasons
from wizard.text import count, gib, span


def readme_file(deployment: Deployment, files: Iterable[tuple[str, str]]) -> str:
    """The README; `files` are (name, one line) of what else is in the bundle."""
    plan = deployment.plan
    feasibility, memory, cache = plan.feasibility, plan.feasibility.per_gpu, plan.feasibility.kv_cache
    listed = "\n".join(f"| `{name}` | {line} |" for name, line in files)
    revision = f", revision {markdown_code(plan.model.revision)}" if plan.model.revision else ""
    sections = [
        f"# {markdown_text(plan.model.id)} on {machine(deployment)}",
        f"Model {markdown_code(plan.model.id)}{revision}, vLLM {deployment.version}. "
        f"Predicted: {VERDICTS[feasibility.verdict]}.",
        "## Start\n\n" + _start(deployment),
        f"## Files\n\n| file | what it is |\n|---|---|\n{listed}",
        "## Prediction\n\n"
        f"Per GPU, of {gib(memory.total_bytes)} GiB: weights {gib(memory.weights_bytes)}, "
        f"activations {gib(memory.activation_peak_bytes)}, CUDA graphs {gib(memory.cuda_graphs_bytes)}, "
        f"other {gib(memory.non_torch_bytes)}, KV cache {gib(memory.kv_cache_available_bytes)} "
        f"(between {gib(memory.kv_cache_available_low_bytes)} and {gib(memory.kv_cache_available_high_bytes)}).\n\n"
        f"{count(cache.tokens)} tokens of KV cache, {cache.max_concurrency:.2f} requests of "
        f"{count(feasibility.max_model_len)} tokens at once.",
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
    sections.append("## Mind\n\n" + "\n".join(f"- {line}" for line in _mind(deployment)))
    sections.append(
        "## Again\n\n    vllm-wizard-tui export --profile profile.yaml -o DIRECTORY\n\n"
        "Change the answers in `profile.yaml`, or open it in the wizard: `vllm-wizard-tui --profile profile.yaml`."
    )
    return "\n\n".join(sections) + "\n"


def _start(deployment: Deployment) -> str:
    if deployment.nodes > 1:
        return (
            "1. Copy this directory to every node.\n"
            "2. On each node: `HEAD_ADDRESS=<address of node 0> ./node-<its number>.sh`\n"
            "3. Elsewhere: `./smoke.sh`, then `./bench.sh`"
        )
    replicas = deployment.replicas > 1
    serve = "`./serve.sh 0`, `./serve.sh 1`, ... and `nginx`" if replicas else "`./serve.sh`"
    return (
        "1. `cp .env.example .env && chmod 600 .env`, and fill in what you need.\n"
        f"2. {serve}, or `docker compose up -d`.\n"
        "3. In another terminal: `./smoke.sh` (waits until it answers), then `./bench.sh`."
    )


def _mind(deployment: Deployment) -> list[str]:
    reach = (
        "It listens on every address of the machine: set `VLLM_API_KEY` and a firewall."
        if deployment.host in {EVERY_ADDRESS, "::"}
        else f"It listens on {markdown_code(deployment.host)}:{deployment.port} only."
    )
    lines = [
        reach,
        "No token and no key is written into these files; they come from `.env` or the environment.",
        f"The first start may take up to {deployment.start_seconds // 60} minutes: download, loading, compilation.",
        f"Image `{deployment.image.name}`: {deployment.image.note}.",
    ]
    if deployment.plan.config.trust_remote_code:
        lines.append(
            "`--trust-remote-code` is on: Python code that comes with the model runs with the server's rights."
        )
    return lines
