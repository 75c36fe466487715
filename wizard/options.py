"""The options of every command: declared from the questions, read back as a request."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wizard.answers import AnswerError, parse
from wizard.errors import WizardError
from wizard.questions import QUESTIONS, STEPS, Question, Value, preset, preset_names

if TYPE_CHECKING:
    from wizard.schemas.inputs import PlanRequest

CHECKED_STEPS = ("hardware", "workload")
"""`check` takes what isn't part of the vLLM command itself: the machine and the load."""


def check_options(check: argparse.ArgumentParser) -> None:
    """What `check` takes besides the vLLM command."""
    check.usage = f"{check.prog} [options] -- vllm serve MODEL ..."
    _question_options(
        check, [each for each in QUESTIONS if _part(each) in CHECKED_STEPS and not _is_flag(each)]
    )
    check.add_argument("--preset", choices=preset_names(), help="a typical workload")
    common_options(check)


def export_options(export: argparse.ArgumentParser) -> None:
    """What `export` takes besides the request."""
    request_options(export)
    export.add_argument("-o", "--output", required=True, metavar="DIR", help="where to write; new by default")
    export.add_argument("--emit", metavar="A,B", help="which artifacts, or all; the usual ones by default")
    export.add_argument("--overwrite", action="store_true", help="replace files that differ")


def listing_options(listing: argparse.ArgumentParser) -> None:
    """Words to search a catalogue for."""
    listing.add_argument("text", nargs="*", help="words to search for")
    common_options(listing)


def common_options(parser: argparse.ArgumentParser) -> None:
    """What every command takes."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else")
    parser.add_argument("--offline", action="store_true", help="no network at all")
    if not any("--vllm-version" in action.option_strings for action in parser._actions):
        parser.add_argument("--vllm-version", metavar="X.Y.Z", help="version to plan for")


def request_options(parser: argparse.ArgumentParser) -> None:
    """Every question, by step, and what stands for several at once."""
    parser.add_argument("--profile", metavar="FILE", help="a saved profile; options on the line win")
    parser.add_argument("--preset", choices=preset_names(), help="a typical workload")
    for step, title in STEPS:
        questions = [each for each in QUESTIONS if each.step == step]
        if questions:
            _question_options(parser.add_argument_group(title.lower()), questions)
    parser.add_argument(
        "--extra-args", metavar="'FLAGS'", help="further vllm serve flags, checked against its table"
    )
    common_options(parser)


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
    answers = given(options)
    return build(answers) if answers.get("model.model") else None


def given(options: argparse.Namespace) -> dict[str, Any]:
    """What profile, preset and options say, by question key; later ones win."""
    answers: dict[str, Any] = {}
    if getattr(options, "profile", None):
        from wizard.render.profile import load_profile

        answers.update(_flat(load_profile(options.profile)))
    return answers | answers_of(options)


def answers_of(options: argparse.Namespace) -> dict[str, Any]:
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


def build(answers: dict[str, Any]) -> PlanRequest:
    """A request of answers by question key. Raises WizardError naming the option and the value."""
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


def version_to_plan_for(asked: str | None) -> str:
    """As asked, else what is installed here, else the newest known. Raises WizardError for what is no version."""
    from wizard.vllm.versions import NEWEST_KNOWN, parse_version

    if asked is None:
        from wizard.hardware.installed import installed_vllm_version

        return installed_vllm_version() or NEWEST_KNOWN
    try:
        parse_version(asked)
    except ValueError as error:
        raise WizardError(f"{error}.") from error
    return asked


def needed_request(options: argparse.Namespace) -> PlanRequest:
    """The request of a command that plans. Raises WizardError where no model is named or a flag isn't taken."""
    request = _request(options)
    if request is None:
        raise WizardError("--model is missing; name a Hugging Face id or a model directory.")
    version = version_to_plan_for(request.policy.vllm_version)
    if request.policy.extra_args:
        from wizard.planning.typed import settled

        settled(request, version)  # flags that this version doesn't take are bad usage, as for `check`
    return request.with_value("policy.vllm_version", version)


def starting_request(answers: dict[str, Any]) -> PlanRequest | None:
    """What a wizard starts from when options or a profile say something; None where they say nothing.

    Raises WizardError for an answer that isn't allowed, and for a GPU that the catalogue doesn't have.
    """
    if not answers:
        return None
    from wizard.hardware.resolve import canonical
    from wizard.wording import EXAMPLE_MODEL

    request = build({"model.model": EXAMPLE_MODEL, **answers})
    return request.with_value("hardware.gpu", canonical(request.hardware.gpu))


def resumed_request(answers: dict[str, Any], saved: PlanRequest) -> PlanRequest:
    """A saved request with what the options say on top; a GPU named anew brings none of the old machine."""
    kept = _flat(saved)
    if "hardware.gpu" in answers:
        kept = {key: value for key, value in kept.items() if _part_of(key) != "hardware"}
    request = build({**kept, **answers})
    from wizard.errors import HardwareError
    from wizard.hardware.resolve import canonical

    try:
        return request.with_value("hardware.gpu", canonical(request.hardware.gpu))
    except HardwareError:  # saved by a wizard with another catalogue: the screen says what is wrong
        return request
