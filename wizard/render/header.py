"""What every artifact says about itself: model, GPUs, version, prediction, and how to make it again."""

from __future__ import annotations

from collections import Counter

from wizard.hardware.topology import best_subset
from wizard.render.deployment import Deployment
from wizard.render.draft import text_of
from wizard.render.escaping import comment
from wizard.render.report import encoder_words
from wizard.schemas.outputs import FeasibilityReport, MemoryBreakdown
from wizard.text import count, gib, plural, printable
from wizard.vllm.serve_config import FIELD_FLAGS

PROFILE = "profile.yaml"
VERDICTS = {
    "fits": "fits",
    "tight": "tight: it starts, but read the warnings of the plan",
    "wont_start": "won't start",
}


def header(deployment: Deployment, title: str, *more: str) -> str:
    """Comment lines for the formats that begin a comment with `#`."""
    return comment("\n".join(header_lines(deployment, title, *more)))


def header_lines(deployment: Deployment, title: str, *more: str) -> list[str]:
    """The header as plain lines; `more` are sentences of the artifact itself."""
    plan = deployment.plan
    feasibility, model = plan.feasibility, plan.model
    memory, cache = feasibility.per_gpu, feasibility.kv_cache
    revision = f" @ {model.revision}" if model.revision else ""
    lines = [
        f"{title} for {printable(model.id)}{printable(revision)}",
        "",
        f"GPUs        {machine(deployment)}",
        f"vLLM        {deployment.version}",
        f"Verdict     {VERDICTS[feasibility.verdict]}",
        f"Memory      {gib(memory.total_bytes)} GiB per GPU: weights {gib(memory.weights_bytes)}, "
        f"activations {gib(memory.activation_peak_bytes)}, graphs {gib(memory.cuda_graphs_bytes)}, "
        f"other {gib(other_bytes(memory))}"
        + (f", KV cache {gib(memory.kv_cache_available_bytes)}" if cache.tokens else ""),
        f"Concurrency {concurrency(feasibility)}",
        f"Again       vllm-wizard-tui export --profile {PROFILE} -o DIRECTORY",
    ]
    if (pin := pin_words(deployment)) is not None:
        lines.append(f"Not pinned  {pin}")
    if feasibility.error:
        lines.append(f"Error       {printable(feasibility.error)}")
    if more:
        lines += ["", *more]
    return lines


def other_bytes(memory: MemoryBreakdown) -> int:
    """What of vLLM's budget isn't weights, activations, graphs or cache: the number that every screen shows."""
    return memory.non_torch_bytes


def concurrency(feasibility: FeasibilityReport) -> str:
    """How many requests fit at once; an encoder keeps no cache, and takes as many as vLLM batches."""
    cache = feasibility.kv_cache
    if not cache.tokens:
        return encoder_words(feasibility)
    return (
        f"{count(cache.tokens)} tokens of KV cache: {cache.max_concurrency:.2f} requests of "
        f"{count(feasibility.max_model_len)} tokens at once"
    )


def pin_words(deployment: Deployment) -> str | None:
    """What to know where no commit of the model is known; None where one is, or where there are none."""
    if deployment.model_directory is not None or deployment.command.value("--revision") is not None:
        return None
    return "no commit was read for this plan, so the newest is served; --revision COMMIT pins one"


def machine(deployment: Deployment) -> str:
    """`2 x NVIDIA H100 80GB HBM3`, with nodes and replicas where there are several."""
    gpus, count = deployment.plan.gpus, deployment.gpus_per_node * deployment.replicas
    taken = [gpus[position] for position in best_subset(gpus, min(count, len(gpus)))]
    kinds = Counter(printable(gpu.label) for gpu in taken)
    if len(kinds) == 1:
        kinds[next(iter(kinds))] = deployment.gpus_per_node
    text = " + ".join(f"{number} x {name}" for name, number in kinds.items())
    if deployment.nodes > 1:
        text += f" on each of {deployment.nodes} nodes"
    if deployment.replicas > 1:
        text += f", {plural(deployment.replicas, 'replica')}"
    return text


def explanations(deployment: Deployment) -> list[str]:
    """Why each written flag has its value, and what was replaced or left out, one sentence a line."""
    return [f"{flag}: {why}" if flag else why for flag, why in reasons(deployment)]


def why_lines(deployment: Deployment) -> list[str]:
    """The explanations as a list under a heading, for headers; empty where there is nothing to explain."""
    lines = explanations(deployment)
    return ["Why:", *(f"- {line}" for line in lines)] if lines else []


def reasons(deployment: Deployment) -> list[tuple[str, str]]:
    """(flag with its value, or "" where no flag is meant; the reason)."""
    found = [
        (" ".join(argument.words), argument.why) for argument in deployment.command.arguments if argument.why
    ]
    config, version = deployment.plan.config, deployment.version
    found += [
        (
            f"{FIELD_FLAGS[name]} {text_of(getattr(config, name))}",
            f"left out: what vLLM {version} takes itself here.",
        )
        for name in deployment.plan.left_to_vllm
    ]
    found += [("", note) for note in deployment.notes]
    if deployment.plan.config.trust_remote_code:
        found.append(
            (
                "--trust-remote-code",
                "runs Python code that comes with the model, with the rights of the server; you allowed it.",
            )
        )
    return found
