"""What the commands besides the wizard do, each an exit status. What is heavy is imported where it is needed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from wizard.errors import WizardError
from wizard.options import answers_of, build, needed_request, version_to_plan_for

if TYPE_CHECKING:
    from wizard.schemas.inputs import PlanRequest
    from wizard.schemas.outputs import Plan

PROGRAM = "vllm-wizard-tui"


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    from wizard.text import printable

    print(f"{PROGRAM}: {printable(sentence)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Text from outside as it may be shown."""
    from wizard.text import printable

    return printable(text.expandtabs(4), 1000)


def run_plan(options: argparse.Namespace) -> int:
    """The recommended plan, as text or JSON."""
    request = needed_request(options)
    from wizard.planning.planner import run_plan
    from wizard.progress import watched

    with watched(offline=options.offline) as traffic:
        plan = run_plan(request, offline=options.offline, traffic=traffic)
    if options.json:
        from wizard.run import with_commands

        try:
            plan = with_commands(plan, request)
        except WizardError as error:  # a flag or a port that no file can carry
            complain(f"no files: {error}")
    return _show(plan, request, options.json)


def _show(plan: Plan, request: PlanRequest, as_json: bool) -> int:
    if as_json:
        import json

        from wizard.render.plan_json import plan_to_dict

        print(json.dumps(plan_to_dict(plan, request), indent=1, ensure_ascii=True, allow_nan=False))
    else:
        from wizard.render.report import render_report

        print(render_report(plan), end="")
    return 1 if plan.feasibility.verdict == "wont_start" else 0


def run_check(options: argparse.Namespace) -> int:
    """What one `vllm serve` command would come to."""
    if not options.serve:
        raise WizardError(
            "check takes a whole command after --: check [options] -- vllm serve MODEL [flags]."
        )
    from wizard.hardware.resolve import machines, resolve_hardware
    from wizard.models.load import siblings_in_time, with_draft
    from wizard.models.metadata import load_model_metadata
    from wizard.planning.planner import Surroundings, check
    from wizard.progress import watched
    from wizard.vllm.serve_args import parse_serve_command
    from wizard.vllm.serve_words import ONLY_SERVE, calls_vllm

    if not calls_vllm(options.serve):
        raise WizardError(ONLY_SERVE)
    version = version_to_plan_for(options.vllm_version)
    command = parse_serve_command(options.serve, version=version, read_config=_read_text)
    config = command.config
    for warning in command.warnings:
        complain(warning)
    answers = answers_of(options)
    workload_given = any(key.startswith("workload.") for key in answers)
    answers["model.model"] = config.model
    answers["policy.vllm_version"] = version
    needed = -(-config.world_size // config.nnodes)
    if options.serve and answers.get("hardware.gpu", "auto") != "auto":
        answers.setdefault("hardware.gpus", needed)
    nodes_given = "hardware.nodes" in answers
    answers.setdefault("hardware.nodes", config.nnodes)
    answers["serving.host"] = command.host or "0.0.0.0"  # as vLLM does when told nothing
    answers["serving.port"] = command.port or 8000
    request = build(answers)
    with watched(offline=options.offline) as traffic:
        metadata = load_model_metadata(
            config.model, revision=config.revision, offline=options.offline, traffic=traffic
        )
        metadata = with_draft(metadata, config.speculative_config, offline=options.offline, traffic=traffic)
    gpus = resolve_hardware(request.hardware)
    if config.distributed_executor_backend == "ray" and not nodes_given:
        cluster = -(-config.world_size // len(gpus))  # Ray finds GPUs on as many nodes as it needs
        request = request.with_value("hardware.nodes", cluster)
    plan = check(
        config,
        metadata,
        gpus,
        version=version,
        hardware=request.hardware,
        workload=request.workload if workload_given else None,
        surroundings=Surroundings(
            siblings=siblings_in_time(metadata, offline=options.offline), machines=machines()
        ),
    )
    return _show(plan, request, options.json)


def _read_text(name: str) -> str:
    from pathlib import Path

    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WizardError(f"{name} can't be read as text; check the path after --config.") from error


def run_export(options: argparse.Namespace) -> int:
    """The files that start vLLM, written whole or not at all."""
    request = needed_request(options)
    from pathlib import Path

    from wizard.planning.planner import run_plan
    from wizard.progress import watched
    from wizard.render.bundle import render
    from wizard.render.writer import diff_bundle, write_bundle

    if not options.output.strip():
        raise WizardError("-o needs a directory to write into, such as -o ./bundle.")
    with watched(offline=options.offline) as traffic:
        plan = run_plan(request, offline=options.offline, traffic=traffic)
    emit = options.emit.split(",") if options.emit else None
    artifacts = render(plan, request, emit)
    if plan.feasibility.verdict == "wont_start":
        complain(f"nothing is written, because this won't start: {plan.feasibility.error}")
        return _show(plan, request, options.json) if options.json else 1
    target = Path(options.output)
    differing = diff_bundle(target, artifacts)
    for line in "".join(differing.values()).splitlines():
        print(one_line(line), file=sys.stderr)
    if differing and not options.overwrite:
        raise WizardError(
            f"{options.output} holds {len(differing)} of these files with other contents, as shown; nothing was "
            "changed: add --overwrite to replace them, or choose a new directory."
        )
    written = write_bundle(target, artifacts, overwrite=options.overwrite)
    if options.json:
        from wizard.dataclass import replace

        return _show(replace(plan, artifacts=artifacts), request, as_json=True)
    for path in written.files:
        print(path)
    return 0


def run_detect(options: argparse.Namespace) -> int:
    """The GPUs of this machine, and what else starting vLLM needs."""
    from wizard.hardware.detect import detect
    from wizard.hardware.preflight import checks_in_time
    from wizard.render.listings import machine_to_dict, render_machine

    machine = detect()
    checks = checks_in_time(machine, vllm_version=version_to_plan_for(options.vllm_version))
    render = _json(machine_to_dict(machine, checks)) if options.json else render_machine(machine, checks)
    print(render, end="")
    return 0 if machine.gpus else 2


def run_gpus(options: argparse.Namespace) -> int:
    """The GPU catalogue."""
    from wizard.hardware import catalogue
    from wizard.render.listings import gpus_to_list, render_gpus

    found = catalogue.search(" ".join(options.text))
    print(_json(gpus_to_list(found)) if options.json else render_gpus(found), end="")
    return 0 if found else 2


def run_models(options: argparse.Namespace) -> int:
    """Models here, in the catalogue and on the hub."""
    from wizard.errors import ModelUnavailableError
    from wizard.models.search import find
    from wizard.render.listings import models_to_list, render_models

    found = find(" ".join(options.text), offline=options.offline)
    if found.trouble is not None and not found.models:
        raise ModelUnavailableError(found.trouble)
    if found.trouble is not None:
        complain(f"{found.trouble} What is known on this machine follows.")
    print(_json(models_to_list(found.models)) if options.json else render_models(found.models), end="")
    return 0 if found.models else 3


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
