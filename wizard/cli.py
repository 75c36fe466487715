"""The command `vllm-wizard-tui`. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from wizard import __version__
from wizard.errors import WizardError
from wizard.options import (
    check_options,
    common_options,
    export_options,
    given,
    listing_options,
    request_options,
    resumed_request,
    starting_request,
)
from wizard.subcommands import (
    PROGRAM,
    complain,
    run_check,
    run_detect,
    run_export,
    run_gpus,
    run_models,
    run_plan,
)

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
        complain(str(error))
        return error.exit_status
    except BrokenPipeError:
        _leave_stdout()
        return 0
    except OSError as error:
        if error.errno not in CANNOT_WRITE or error.filename is not None:
            raise
        _leave_stdout()
        complain(f"the output can't be written ({error.strerror}); make room, or send it elsewhere.")
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
        complain(f"{message}; see {self.prog} --help")
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
        ("plan", "the recommended plan", request_options, run_plan),
        ("check", "predict one `vllm serve` command", check_options, run_check),
        ("export", "write the files that start vLLM", export_options, run_export),
        ("detect", "the GPUs of this machine", common_options, run_detect),
        ("gpus", "the GPU catalogue", listing_options, run_gpus),
        ("models", "models found here, in the catalogue and on the hub", listing_options, run_models),
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
    request_options(parser)


def _command(commands: Any, name: str, help_text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def _wizard(options: argparse.Namespace) -> int:
    """The wizard in the richest form that this terminal can show."""
    if options.example:
        return _example(options)
    answers = given(options)
    resume = partial(resumed_request, answers)
    request = starting_request(answers)
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


def _example(options: argparse.Namespace) -> int:
    """The built-in example as text, and how to open the wizard: what a pipe or a CI job gets."""
    from wizard.hardware.detect import detect_gpus

    found = detect_gpus()
    arguments = ["plan", *EXAMPLE, *(() if found else EXAMPLE_GPU), "--offline"]
    status = main([*arguments, "--json"] if options.json else arguments)
    print(f"\nThis is an example. Open the wizard in a terminal with: {PROGRAM}", file=sys.stderr)
    return 0 if status == 1 else status
