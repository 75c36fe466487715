"""The command `vllm-wizard-tui`. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from wizard import __version__
from wizard.answers import AnswerError, parse
from wizard.errors import WizardError
from wizard.questions import QUESTIONS, STEPS, Question, Value, preset, preset_names

if TYPE_CHECKING:
    from wizard.schemas.inputs import PlanRequest
    from wizard.schemas.outputs import Plan

PROGRAM = "vllm-wizard-tui"

EXAMPLE = ("--model", "meta-llama/Llama-3.1-8B-Instruct")
EXAMPLE_GPU = ("--gpu", "L40S")
"""What `--example` plans: this model on the detected GPUs, else on this one."""

EPILOG = """\
exit status: 0 it fits (tight included), 1 it won't start, 2 bad usage or input,
3 the model's facts could not be had

examples:
  vllm-wizard-tui                                   the wizard
  vllm-wizard-tui plan --model Qwen/Qwen3-32B --gpu "RTX 4090" --gpus 2
  vllm-wizard-tui check --gpu L40S -- vllm serve Qwen/Qwen3-8B --max-model-len 16384
  vllm-wizard-tui export --model Qwen/Qwen3-32B --gpu H200 -o ./qwen3
"""

CHECKED_STEPS = ("hardware", "workload")
"""`check` takes what isn't part of the vLLM command itself: the machine and the load."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors are one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command_line, serve = _split_serve(arguments)
    try:
        options = _parser(command_line).parse_args(command_line)
        options.serve = serve
        with _uncollected(options.run is not _wizard):
            return int(options.run(options))
    except WizardError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


@contextmanager
def _uncollected(command: bool) -> Iterator[None]:
    """A command ends before its garbage is worth looking for, which costs a plan 3 % of its time."""
    collects = command and gc.isenabled()
    if collects:
        gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _complain(sentence: str) -> None:
    from wizard.text import printable

    print(f"{PROGRAM}: {printable(sentence)}", file=sys.stderr)


def _split_serve(arguments: list[str]) -> tuple[list[str], list[str]]:
    """`check` takes a whole `vllm serve` command after `--`."""
    if "--" not in arguments:
        return arguments, []
    cut = arguments.index("--")
    return arguments[:cut], arguments[cut + 1 :]


class _Parser(argparse.ArgumentParser):
    """argparse, with one sentence instead of a usage block on errors.

    Declaring an option makes argparse ask for the terminal's width, and import `shutil`; here only help does.
    """

    def __init__(self, *, layout: Any = argparse.HelpFormatter, **settings: Any) -> None:
        super().__init__(formatter_class=lambda prog: layout(prog, width=80), **settings)
        self._layout = layout

    def format_help(self) -> str:
        self.formatter_class = self._layout
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        _complain(f"{message}; see {self.prog} --help")
        self.exit(2)


COMMANDS = ("plan", "check", "export", "detect", "gpus", "models")


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of `arguments`: where they begin with a command, only that one's options are declared."""
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    parser = _Parser(
        prog=PROGRAM,
        description="How do I start vLLM on these GPUs so that it works the first time?",
        epilog=EPILOG,
        layout=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    if command is None:
        _wizard_options(parser)
    parser.set_defaults(run=_wizard)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, help_text, declare, run in (
        ("plan", "the recommended plan", _request_options, _plan),
        ("check", "predict one `vllm serve` command", _check_options, _check),
        ("export", "write the files that start vLLM", _export_options, _export),
        ("detect", "the GPUs of this machine", _common_options, _detect),
        ("gpus", "the GPU catalogue", _listing_options, _gpus),
        ("models", "models found here, in the catalogue and on the hub", _listing_options, _models),
    ):
        if command in {name, None}:
            declare(_command(commands, name, help_text, run))
    return parser


def _wizard_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plain", action="store_true", help="line-by-line prompts instead of the full screen"
    )
    parser.add_argument("--screen-reader", action="store_true", help="numbered lines; nothing is redrawn")
    parser.add_argument("--fresh", action="store_true", help="ignore the saved session")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    parser.add_argument(
        "--example", action="store_true", help="print the plan of a built-in example and stop"
    )
    _request_options(parser)


def _check_options(check: argparse.ArgumentParser) -> None:
    check.usage = f"{PROGRAM} check [options] -- vllm serve MODEL ..."
    _question_options(
        check, [each for each in QUESTIONS if _part(each) in CHECKED_STEPS and not _is_flag(each)]
    )
    check.add_argument("--preset", choices=preset_names(), help="a typical workload")
    _common_options(check)


def _export_options(export: argparse.ArgumentParser) -> None:
    _request_options(export)
    export.add_argument("-o", "--output", required=True, metavar="DIR", help="where to write; new by default")
    export.add_argument("--emit", metavar="A,B", help="which artifacts, or all; the usual ones by default")
    export.add_argument("--overwrite", action="store_true", help="replace files that differ")
    export.add_argument("--host", default="127.0.0.1", help="address vLLM listens on (%(default)s)")
    export.add_argument("--port", type=int, default=8000, help="port vLLM listens on (%(default)s)")


def _listing_options(listing: argparse.ArgumentParser) -> None:
    listing.add_argument("text", nargs="*", help="words to search for")
    _common_options(listing)


def _command(commands: Any, name: str, help_text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def _common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else")
    parser.add_argument("--offline", action="store_true", help="no network at all")
    if not any("--vllm-version" in action.option_strings for action in parser._actions):
        parser.add_argument("--vllm-version", metavar="X.Y.Z", help="version to plan for")


def _request_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="FILE", help="a saved profile; options on the line win")
    parser.add_argument("--preset", choices=preset_names(), help="a typical workload")
    for step, title in STEPS:
        questions = [each for each in QUESTIONS if each.step == step]
        if questions:
            _question_options(parser.add_argument_group(title.lower()), questions)
    parser.add_argument(
        "--extra-args", metavar="'FLAGS'", help="further vllm serve flags, checked against its table"
    )
    _common_options(parser)


def _part(question: Question) -> str:
    return question.key.split(".")[0]


def _is_flag(question: Question) -> bool:
    """Whether the answer is a flag of the vLLM command that `check` is given anyway."""
    return question.key.endswith("_parallel_size")


def _question_options(parser: Any, questions: Iterable[Question]) -> None:
    """One command-line option per question, named as the question says."""
    for each in questions:
        help_text = each.help.replace("%", "%%")
        if each.kind == "switch":
            parser.add_argument(
                each.option,
                dest=each.key,
                action=argparse.BooleanOptionalAction,
                default=None,
                help=help_text,
            )
        else:
            parser.add_argument(
                each.option,
                *each.aliases,
                dest=each.key,
                default=None,
                metavar=_metavar(each),
                help=help_text,
            )


def _metavar(question: Question) -> str:
    if question.choices and all(isinstance(choice.value, str) for choice in question.choices):
        return "|".join(str(choice.value) for choice in question.choices)
    return (question.unit or question.title).upper().replace(" ", "_").replace("%", "PERCENT")


def _request(options: argparse.Namespace) -> PlanRequest | None:
    """The request that profile, preset and options make; None where no model is named.

    Raises WizardError naming the option and the value that isn't allowed.
    """
    answers: dict[str, Any] = {}
    if getattr(options, "profile", None):
        from wizard.render.profile import load_profile

        answers.update(_flat(load_profile(options.profile)))
    answers.update(_answers(options))
    if not answers.get("model.model"):
        return None
    return _build(answers)


def _answers(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say, by question key; the preset first, so that a typed number wins."""
    answers: dict[str, Any] = {}
    if getattr(options, "preset", None):
        answers.update(preset(options.preset).answers)
    for each in QUESTIONS:
        value = vars(options).get(each.key)
        if isinstance(value, str):
            answers[each.key] = _parsed(each, value)
        elif value is not None:
            answers[each.key] = value
    if options.vllm_version if "vllm_version" in options else None:
        answers["policy.vllm_version"] = options.vllm_version
    if getattr(options, "extra_args", None):
        import shlex

        answers["policy.extra_args"] = tuple(shlex.split(options.extra_args))
    return answers


def _parsed(question: Question, text: str) -> Value:
    try:
        return parse(question, text)
    except AnswerError as error:
        sentence = str(error).removeprefix(f"{question.title}: ")
        raise WizardError(f"{question.option} {text!r} is not allowed: {sentence}") from error


def _build(answers: dict[str, Any]) -> PlanRequest:
    from wizard.schemas.inputs import PlanRequest

    parts: dict[str, Any] = {}
    for key, value in answers.items():
        part, field = key.split(".")
        parts.setdefault(part, {})[field] = value
    try:
        return PlanRequest(**parts)
    except ValueError as error:
        raise WizardError(_sentence(error)) from error


def _sentence(error: Any) -> str:
    """One sentence for the first thing that validation found wrong."""
    first = error.errors()[0]
    key = ".".join(str(item) for item in first["loc"][:2])
    option = next((each.option for each in QUESTIONS if each.key == key), key)
    message = str(first["msg"])
    return f"{option} {first['input']!r} is not allowed: {message[:1].lower()}{message[1:]}."


def _flat(request: PlanRequest) -> dict[str, Any]:
    """A request as answers by key, leaving out what is at its default."""
    return {
        f"{part}.{field}": value
        for part, values in request.model_dump(exclude_defaults=True).items()
        if isinstance(values, dict)
        for field, value in values.items()
    }


def _version_to_plan_for(asked: str | None) -> str:
    from wizard.vllm.versions import NEWEST_KNOWN, parse_version

    if asked is None:
        from wizard.hardware.installed import installed_vllm_version

        return installed_vllm_version() or NEWEST_KNOWN
    try:
        parse_version(asked)
    except ValueError as error:
        raise WizardError(f"{error}.") from error
    return asked


def _needed_request(options: argparse.Namespace) -> PlanRequest:
    request = _request(options)
    if request is None:
        raise WizardError("--model is missing; name a Hugging Face id or a model directory.")
    version = _version_to_plan_for(request.policy.vllm_version)
    return request.with_value("policy.vllm_version", version)


def _plan(options: argparse.Namespace) -> int:
    request = _needed_request(options)
    from wizard.planning.planner import run_plan

    return _show(run_plan(request, offline=options.offline), request, options.json)


def _show(plan: Plan, request: PlanRequest, as_json: bool) -> int:
    if as_json:
        import json

        from wizard.render.plan_json import plan_to_dict

        print(json.dumps(plan_to_dict(plan, request), indent=1, ensure_ascii=True, allow_nan=False))
    else:
        from wizard.render.report import render_report

        print(render_report(plan), end="")
    return 1 if plan.feasibility.verdict == "wont_start" else 0


def _check(options: argparse.Namespace) -> int:
    if not options.serve:
        raise WizardError(
            "check takes a whole command after --: check [options] -- vllm serve MODEL [flags]."
        )
    from wizard.hardware.resolve import machines, resolve_hardware
    from wizard.models.load import siblings_in_time
    from wizard.models.metadata import load_model_metadata
    from wizard.planning.planner import Surroundings, check
    from wizard.vllm.serve_args import parse_serve_command

    version = _version_to_plan_for(options.vllm_version)
    command = parse_serve_command(options.serve, version=version, read_config=_read_text)
    config = command.config
    for warning in command.warnings:
        _complain(warning)
    answers = _answers(options)
    workload_given = any(key.startswith("workload.") for key in answers)
    answers["model.model"] = config.model
    answers["policy.vllm_version"] = version
    needed = -(-config.world_size // config.nnodes)
    if options.serve and answers.get("hardware.gpu", "auto") != "auto":
        answers.setdefault("hardware.gpus", needed)
    answers.setdefault("hardware.nodes", config.nnodes)
    request = _build(answers)
    metadata = load_model_metadata(config.model, revision=config.revision, offline=options.offline)
    plan = check(
        config,
        metadata,
        resolve_hardware(request.hardware),
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


def _export(options: argparse.Namespace) -> int:
    request = _needed_request(options)
    from pathlib import Path

    from wizard.planning.planner import run_plan
    from wizard.render.bundle import render
    from wizard.render.writer import write_bundle

    plan = run_plan(request, offline=options.offline)
    emit = options.emit.split(",") if options.emit else None
    artifacts = render(plan, request, emit, host=options.host, port=options.port)
    if plan.feasibility.verdict == "wont_start":
        _complain(f"nothing is written, because this won't start: {plan.feasibility.error}")
        return _show(plan, request, options.json) if options.json else 1
    written = write_bundle(Path(options.output), artifacts, overwrite=options.overwrite)
    if options.json:
        from wizard.dataclass import replace

        return _show(replace(plan, artifacts=artifacts), request, as_json=True)
    for path in written.files:
        print(path)
    return 0


def _detect(options: argparse.Namespace) -> int:
    from wizard.hardware.detect import detect
    from wizard.hardware.preflight import checks_in_time
    from wizard.render.listings import machine_to_dict, render_machine

    machine = detect()
    checks = checks_in_time(machine, vllm_version=_version_to_plan_for(options.vllm_version))
    render = _json(machine_to_dict(machine, checks)) if options.json else render_machine(machine, checks)
    print(render, end="")
    return 0 if machine.gpus else 2


def _gpus(options: argparse.Namespace) -> int:
    from wizard.hardware import catalogue
    from wizard.render.listings import gpus_to_list, render_gpus

    found = catalogue.search(" ".join(options.text))
    print(_json(gpus_to_list(found)) if options.json else render_gpus(found), end="")
    return 0 if found else 2


def _models(options: argparse.Namespace) -> int:
    from wizard.errors import ModelUnavailableError
    from wizard.models.search import find
    from wizard.render.listings import models_to_list, render_models

    found = find(" ".join(options.text), offline=options.offline)
    if found.trouble is not None and not found.models:
        raise ModelUnavailableError(found.trouble)
    if found.trouble is not None:
        _complain(f"{found.trouble} What is known on this machine follows.")
    print(_json(models_to_list(found.models)) if options.json else render_models(found.models), end="")
    return 0 if found.models else 3


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _wizard(options: argparse.Namespace) -> int:
    """The wizard in the richest form that this terminal can show."""
    if options.example:
        return _example(options)
    request = _request(options)
    terminal = sys.stdin.isatty()
    full_screen = (
        terminal and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
    )
    if not terminal:
        raise WizardError(
            "the wizard needs a terminal; without one use `plan --model M --gpu NAME` for the figures "
            "and `export --model M --gpu NAME -o DIR` for the files."
        )
    if options.plain or options.screen_reader or not full_screen:
        from wizard.prompts import run as run_prompts

        return run_prompts(
            request, fresh=options.fresh, offline=options.offline, screen_reader=options.screen_reader
        )
    from wizard.tui.app import run as run_tui

    return run_tui(request, fresh=options.fresh, offline=options.offline, mouse=not options.no_mouse)


def _example(options: argparse.Namespace) -> int:
    """The built-in example as text, and how to open the wizard: what a pipe or a CI job gets."""
    from wizard.hardware.detect import detect_gpus

    found = detect_gpus()
    arguments = ["plan", *EXAMPLE, *(() if found else EXAMPLE_GPU), "--offline"]
    status = main([*arguments, "--json"] if options.json else arguments)
    print(f"\nThis is an example. Open the wizard in a terminal with: {PROGRAM}", file=sys.stderr)
    return 0 if status == 1 else status
