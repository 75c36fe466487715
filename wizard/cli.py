"""The command `vllm-wizard-tui`. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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

CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a full or broken disk behind stdout answers."""

CHECKED_STEPS = ("hardware", "workload")
"""`check` takes what isn't part of the vLLM command itself: the machine and the load."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors are one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command_line, serve = _split_serve(arguments)
    try:
        options = _parser(command_line).parse_args(command_line)
        options.serve = serve
        with _uncollected(argv is None and options.run is not _wizard):
            status = int(options.run(options))
            sys.stdout.flush()
    except WizardError as error:
        _complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        _leave_stdout()
        return 0
    except OSError as error:
        if error.errno not in CANNOT_WRITE or error.filename is not None:
            raise
        _leave_stdout()
        _complain(f"the output can't be written ({error.strerror}); make room, or send it elsewhere.")
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _leave_stdout() -> None:
    """What is still to be written goes nowhere, so that Python's own last flush doesn't fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _uncollected(command: bool) -> Iterator[None]:
    """A command that is a whole process ends before its garbage is worth looking for: a tenth of a plan's time."""
    if command:
        gc.disable()
    try:
        yield
    finally:
        if command:
            gc.freeze()  # or Python looks through it all once more where it ends


def _complain(sentence: str) -> None:
    from wizard.text import printable

    print(f"{PROGRAM}: {printable(sentence)}", file=sys.stderr)


def _one_line(text: str) -> str:
    from wizard.text import printable

    return printable(text.expandtabs(4), 1000)


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
        if message.startswith("argument --extra-args"):
            message += "; join it with an equals sign, as in --extra-args='--trust-remote-code'"
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
    return _part_of(question.key)


def _part_of(key: str) -> str:
    return key.split(".")[0]


def _is_flag(question: Question) -> bool:
    """Whether the answer is a flag of the vLLM command that `check` is given anyway."""
    return question.key.endswith("_parallel_size")


def _question_options(parser: Any, questions: Iterable[Question]) -> None:
    """One command-line option per question, named as the question says."""
    for each in questions:
        help_text = each.help + (" (0 to 1, or like 20%)" if each.unit == "share" else "")
        help_text = help_text.replace("%", "%%")
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
    answers = _given(options)
    return _build(answers) if answers.get("model.model") else None


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What profile, preset and options say, by question key; later ones win."""
    answers: dict[str, Any] = {}
    if getattr(options, "profile", None):
        from wizard.render.profile import load_profile

        answers.update(_flat(load_profile(options.profile)))
    return answers | _answers(options)


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
        answers["policy.extra_args"] = _words(options.extra_args)
    return answers


def _words(text: str) -> tuple[str, ...]:
    """Flags as a shell would split them."""
    import shlex

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise WizardError(
            f"--extra-args {text!r} is not allowed: a quotation mark isn't closed, or a backslash ends it."
        ) from error


def _parsed(question: Question, text: str) -> Value:
    if question.unit == "share" and "%" not in text and _above_one(text):
        raise WizardError(
            f"{question.option} {text!r} is not allowed: write a share from 0 to 1, or a percentage such as 20%."
        )
    try:
        return parse(question, text)
    except AnswerError as error:
        sentence = str(error).removeprefix(f"{question.title}: ")
        raise WizardError(f"{question.option} {text!r} is not allowed: {sentence}") from error


def _above_one(text: str) -> bool:
    try:
        return float(text) > 1
    except ValueError:
        return False


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
    from wizard.schemas.problems import first_problem

    key, value, words = first_problem(error)
    option = next((each.option for each in QUESTIONS if each.key == key), key)
    words = words.removeprefix("value error, ")
    if key == "policy.extra_args":  # not repeated: it may hold a key
        return f"--extra-args is not allowed: {words}."
    return f"{option} {value!r} is not allowed: {words}."


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
    if request.policy.extra_args:
        from wizard.planning.typed import settled

        settled(request, version)  # flags that this version doesn't take are bad usage, as for `check`
    return request.with_value("policy.vllm_version", version)


def _plan(options: argparse.Namespace) -> int:
    request = _needed_request(options)
    from wizard.planning.planner import run_plan
    from wizard.progress import watched

    with watched(offline=options.offline) as traffic:
        plan = run_plan(request, offline=options.offline, traffic=traffic)
    if options.json:
        from wizard.run import with_commands

        try:
            plan = with_commands(plan, request)
        except WizardError as error:  # a flag or a port that no file can carry
            _complain(f"no files: {error}")
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


def _check(options: argparse.Namespace) -> int:
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
    nodes_given = "hardware.nodes" in answers
    answers.setdefault("hardware.nodes", config.nnodes)
    answers["serving.host"] = command.host or "0.0.0.0"  # as vLLM does when told nothing
    answers["serving.port"] = command.port or 8000
    request = _build(answers)
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


def _export(options: argparse.Namespace) -> int:
    request = _needed_request(options)
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
        _complain(f"nothing is written, because this won't start: {plan.feasibility.error}")
        return _show(plan, request, options.json) if options.json else 1
    target = Path(options.output)
    differing = diff_bundle(target, artifacts)
    for line in "".join(differing.values()).splitlines():
        print(_one_line(line), file=sys.stderr)
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
    answers = _given(options)
    resume = partial(_resumed, answers)
    request = _starting(answers)
    if not sys.stdin.isatty():
        raise WizardError(
            "the wizard needs a terminal; without one use `plan --model M --gpu NAME` for the figures "
            "and `export --model M --gpu NAME -o DIR` for the files."
        )
    fresh = options.fresh or "model.model" in answers
    from wizard.asking import moves_cursor

    full_screen = sys.stderr.isatty() and moves_cursor(os.environ.get("TERM", ""))
    if options.plain or options.screen_reader or not full_screen:
        from wizard.prompts import run as run_prompts

        return run_prompts(
            request, resume, fresh=fresh, offline=options.offline, screen_reader=options.screen_reader
        )
    from wizard.tui.app import run as run_tui

    return run_tui(request, resume, fresh=fresh, offline=options.offline, mouse=not options.no_mouse)


def _starting(answers: dict[str, Any]) -> PlanRequest | None:
    """What a wizard starts from when options or a profile say something; None where they say nothing.

    Raises WizardError for an answer that isn't allowed, and for a GPU that the catalogue doesn't have.
    """
    if not answers:
        return None
    from wizard.hardware.resolve import canonical
    from wizard.wording import EXAMPLE_MODEL

    request = _build({"model.model": EXAMPLE_MODEL, **answers})
    return request.with_value("hardware.gpu", canonical(request.hardware.gpu))


def _resumed(answers: dict[str, Any], saved: PlanRequest) -> PlanRequest:
    """A saved request with what the options say on top; a GPU named anew brings none of the old machine."""
    kept = _flat(saved)
    if "hardware.gpu" in answers:
        kept = {key: value for key, value in kept.items() if _part_of(key) != "hardware"}
    request = _build({**kept, **answers})
    from wizard.errors import HardwareError
    from wizard.hardware.resolve import canonical

    try:
        return request.with_value("hardware.gpu", canonical(request.hardware.gpu))
    except HardwareError:  # saved by a wizard with another catalogue: the screen says what is wrong
        return request


def _example(options: argparse.Namespace) -> int:
    """The built-in example as text, and how to open the wizard: what a pipe or a CI job gets."""
    from wizard.hardware.detect import detect_gpus

    found = detect_gpus()
    arguments = ["plan", *EXAMPLE, *(() if found else EXAMPLE_GPU), "--offline"]
    status = main([*arguments, "--json"] if options.json else arguments)
    print(f"\nThis is an example. Open the wizard in a terminal with: {PROGRAM}", file=sys.stderr)
    return 0 if status == 1 else status
