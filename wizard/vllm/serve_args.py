"""A typed `vllm serve M [flags]` command, read as the targeted version's own parser would read it.

Source: vLLM 0.33 `utils/argparse_utils.py` (FlexibleArgumentParser) and Python's argparse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from wizard.dataclass import dataclass, field
from wizard.errors import WizardError
from wizard.schemas.inputs import is_secret_flag
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.flag_values import check_keys, cut, parse_size, parse_value
from wizard.vllm.flags import Flag, FlagTable, flag_table
from wizard.vllm.serve_config import to_config
from wizard.vllm.serve_words import program, variable_warnings
from wizard.vllm.versions import NEWEST_KNOWN

_NEGATIVE_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")
_LEVEL = re.compile(r"-O=?(.+)")

LARGEST_PORT = 65535
"""vLLM's parser takes any number; binding the socket fails on more (uvicorn: bind(): port must be 0-65535)."""


@dataclass(frozen=True, slots=True, eq=False)
class ServeCommand:
    """What a command line asks for."""

    version: str
    model: str
    values: dict[str, Any]
    """Every flag given, by its full name; JSON flags as objects, booleans as booleans, lists as lists."""
    config: VLLMConfig
    """The flags that move memory, as fields; all others in `extra_args`."""
    warnings: tuple[str, ...] = ()

    @property
    def host(self) -> str | None:
        """`None`: vLLM listens on every address."""
        host = self.values.get("--host")
        return host if isinstance(host, str) else None

    @property
    def port(self) -> int:
        port = self.values.get("--port")
        return port if isinstance(port, int) else 8000


@dataclass(slots=True)
class _Parse:
    """The state of one parse."""

    table: FlagTable
    values: dict[str, Any] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def parse_serve_command(
    words: Sequence[str],
    *,
    version: str = NEWEST_KNOWN,
    read_config: Callable[[str], str] | None = None,
) -> ServeCommand:
    """The command, with or without its leading `vllm serve`, as vLLM `version` reads it.

    `read_config` returns the text of the file that `--config` names; without it --config is refused.
    Raises WizardError, in one sentence with the next step, where vLLM would refuse the command.
    """
    table = flag_table(version)
    called = program(words)
    tokens = called.words
    parse = _Parse(table)
    if (other := table.other_version()) is not None:
        parse.warnings.append(other)
    parse.warnings += variable_warnings(called.variables, table, newest=table.source_version == NEWEST_KNOWN)
    named = any(token.partition("=")[0] == "--model" for token in tokens)
    if called.by_serve and named:
        if not table.serve_takes_model:
            raise WizardError(f"vLLM {version} wants the model right after `serve`, not as --model.")
        parse.warnings.append("--model is deprecated with `vllm serve`: write the model right after `serve`.")
    tokens = _with_config_file(tokens, parse, read_config, by_serve=called.by_serve)
    _read(tokens, parse)
    _drop_secrets(parse)
    backend = called.variables.get("VLLM_ATTENTION_BACKEND")
    model = _model(parse)
    _cross_checks(parse)
    try:
        config = to_config(model, parse.values, table)
    except ValueError as error:
        raise WizardError(_first_problem(error)) from None
    if backend and "--attention-backend" not in table and config.attention_backend is None:
        config = config.model_copy(update={"attention_backend": backend.upper()})
    return ServeCommand(version, model, parse.values, config, tuple(parse.warnings))


def validate_extra_args(words: Sequence[str], *, version: str) -> tuple[str, ...]:
    """Further flags typed by the user, spelled in full and checked; the model stays out of it.

    Raises WizardError where vLLM `version` would refuse one.
    """
    parse = _Parse(flag_table(version))
    _read(list(words), parse)
    if parse.positionals:
        raise WizardError(f"{cut(parse.positionals[0])} is not a flag; extra flags start with --.")
    return tuple(arguments(parse.values, parse.table))


def arguments(values: dict[str, Any], table: FlagTable) -> list[str]:
    """Parsed values back as canonical arguments."""
    words: list[str] = []
    for name, value in values.items():
        flag = table.flags[name]
        if flag.kind == "bool":
            words.append(name if value else flag.off or name)
        elif flag.kind == "switch" or value is True:
            words.append(name)
        elif flag.repeat:
            for item in value:
                words += [name, str(item)]
        elif flag.many:
            words += [name, *(str(item) for item in value)]
        elif isinstance(value, dict | list) or flag.kind == "json":
            words += [name, json.dumps(value, ensure_ascii=False)]
        else:
            text = "None" if value is None else str(value)
            words += [f"{name}={text}"] if text.startswith("-") else [name, text]
    return words


def _drop_secrets(parse: _Parse) -> None:
    """A key or a token moves no memory, and is repeated nowhere."""
    for name in [name for name in parse.values if is_secret_flag(name)]:
        del parse.values[name]
        variable = "VLLM_API_KEY" if name == "--api-key" else "HF_TOKEN"
        parse.warnings.append(
            f"{name} is left out of everything written here: set {variable} in the environment instead."
        )


def _read(tokens: list[str], parse: _Parse) -> None:
    tokens = [_dashed(token) for token in tokens]
    dotted: dict[str, dict[str, Any]] = {}
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token == "--":
            parse.positionals += tokens[position:]
            break
        if not _is_option(token, parse.table):
            parse.positionals.append(token)
            continue
        if (level := _LEVEL.fullmatch(token)) and "." not in token.partition("=")[0]:
            token = _level_option(parse.table) + "=" + level[1]
        elif token == "-O":
            token = _level_option(parse.table)
        option, equals, attached = token.partition("=")
        values = [attached] if equals else []
        if "." in option:
            if not equals:
                values = tokens[position : position + 1]
                position += 1
            _read_dotted(option, values, parse, dotted)
            continue
        flag, turns_on, option = _find(option, parse)
        if not flag.takes_value:
            if equals:
                off = f" or {flag.off}" if flag.off else ""
                raise WizardError(f"{option} takes no value; write {flag.name}{off}.")
            _store(flag, turns_on, parse)
            continue
        if not equals:
            limit = None if flag.many else 1
            while position < len(tokens) and (limit is None or len(values) < limit):
                if _is_option(tokens[position], parse.table) or tokens[position] == "--":
                    break
                values.append(tokens[position])
                position += 1
        if not values:
            if flag.kind == "optional_text":
                _store(flag, True, parse)
                continue
            raise WizardError(f"{option} needs a value.")
        parsed = [parse_value(flag, text, version=parse.table.version, option=option) for text in values]
        _store(flag, parsed if flag.many or flag.repeat else parsed[0], parse)
    for name, value in dotted.items():
        flag = parse.table.flags[name]
        try:
            check_keys(flag, value)
        except ValueError as error:
            raise WizardError(f"{name}: {error}.") from None
        _store(flag, value, parse)


def _dashed(token: str) -> str:
    """Underscores of a long option's name become dashes; keys after the first dot and values stay."""
    if not token.startswith("--"):
        return token
    option, equals, value = token.partition("=")
    name, dot, keys = option.partition(".")
    return name.replace("_", "-") + dot + keys + equals + value


def _is_option(token: str, table: FlagTable) -> bool:
    """argparse's rule: known or a prefix of something known, else a dash first, no number and no space."""
    if len(token) < 2 or not token.startswith("-"):
        return False
    option = token.partition("=")[0]
    if option in table.options or (
        len(option) > 2 and any(name.startswith(option) for name in table.options)
    ):
        return True
    return not _NEGATIVE_NUMBER.match(token) and " " not in token


def _level_option(table: FlagTable) -> str:
    """`-O2` is --optimization-level since 0.12; before, it set the compilation config's level."""
    return "--optimization-level" if "--optimization-level" in table else "--compilation-config.level"


def _find(option: str, parse: _Parse) -> tuple[Flag, bool, str]:
    """The flag of an option: spelled out, a short form with its value attached, or an unambiguous prefix."""
    options = parse.table.options
    if option in options:
        return *options[option], option
    if option.startswith("--") and len(option) > 3:
        matches = sorted(name for name in options if name.startswith(option))
        flags = {options[name][0].name for name in matches}
        if len(flags) == 1:
            parse.warnings.append(
                f"{option} is short for {matches[0]}: prefixes may stop working in the next vLLM."
            )
            return *options[matches[0]], matches[0]
        if flags and not parse.table.known_elsewhere(option):
            raise WizardError(f"{option} is ambiguous: it could be {', '.join(matches)}; write it out.")
    raise WizardError(parse.table.unknown(option))


def _read_dotted(option: str, values: list[str], parse: _Parse, dotted: dict[str, dict[str, Any]]) -> None:
    """`--compilation-config.pass_config.x true` and `-cc.x+=a,b` fill a JSON flag key by key."""
    head, *keys = option.removesuffix("+").split(".")
    if head == "-O":
        head = "--compilation-config"
    flag, _, head = _find(head, parse)
    if flag.kind not in {"json", "json_or_text"}:
        raise WizardError(
            f"{head} is not a JSON flag, so {cut(option)} means nothing; write {flag.name} VALUE."
        )
    if not values:
        raise WizardError(f"{option} needs a value.")
    value: Any = values[0].split(",") if option.endswith("+") else _dotted_value(values[0], parse.table)
    target = dotted.setdefault(flag.name, {})
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise WizardError(f"{option}: {key} was already given a value of its own.")
        target = inner
    if isinstance(value, list) and isinstance(target.get(keys[-1]), list):
        value = target[keys[-1]] + value
    target[keys[-1]] = value


def _dotted_value(text: str, table: FlagTable) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return parse_size(text) if table.dotted_sizes else text
    except ValueError:
        return text


def _store(flag: Flag, value: Any, parse: _Parse) -> None:
    """Later values win, as in argparse; objects of one JSON flag and repeatable flags add up."""
    old = parse.values.get(flag.name)
    if flag.repeat and isinstance(old, list):
        value = [*old, *value]
    elif isinstance(value, dict) and isinstance(old, dict) and flag.kind == "json":
        parse.warnings.append(f"{flag.name} is given twice; vLLM takes the last one only.")
    if flag.deprecated:
        parse.warnings.append(f"{flag.name} is deprecated in vLLM {parse.table.version}.")
    parse.values[flag.name] = value


def _model(parse: _Parse) -> str:
    """The positional model, else --model."""
    given = parse.values.pop("--model", None)
    if len(parse.positionals) > 1:
        raise WizardError(
            f"Only one model can be served, but {cut(parse.positionals[1])} follows {cut(parse.positionals[0])}; "
            "quote values that hold spaces."
        )
    if given is not None and parse.positionals:
        raise WizardError("The model is given twice, by position and by --model; keep the one after `serve`.")
    model = parse.positionals[0] if parse.positionals else given
    if not isinstance(model, str) or not model.strip():
        raise WizardError("The model is missing; write it right after the command: vllm serve MODEL [flags].")
    return model.strip()


def _cross_checks(parse: _Parse) -> None:
    """Refusals that vLLM makes right after parsing (cli_args.py validate_parsed_serve_args)."""
    values = parse.values
    if values.get("--enable-auto-tool-choice") and not values.get("--tool-call-parser"):
        raise WizardError("--enable-auto-tool-choice needs a parser; add --tool-call-parser NAME.")
    if isinstance(
        values.get("--hf-overrides"), str
    ):  # typed dict | Callable, so that argparse lets text pass
        shown = cut(values["--hf-overrides"])
        raise WizardError(f"--hf-overrides: {shown} is not a JSON object; quote it like '{{\"key\": 1}}'.")
    port = values.get("--port")
    if isinstance(port, int) and not 0 <= port <= LARGEST_PORT:
        raise WizardError(f"--port must be between 0 and {LARGEST_PORT}, not {port}.")
    logs_outputs = values.get("--enable-log-outputs") and "--enable-log-requests" in parse.table
    if logs_outputs and not values.get("--enable-log-requests"):
        raise WizardError("--enable-log-outputs needs --enable-log-requests; add it.")


def _with_config_file(
    tokens: list[str], parse: _Parse, read_config: Callable[[str], str] | None, *, by_serve: bool
) -> list[str]:
    """Puts the entries of a `--config` file before the rest of the flags, so that the command line wins."""
    name: str | None = None
    rest: list[str] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token == "--config":
            if name is not None or position + 1 == len(tokens):
                raise WizardError("--config takes one YAML file; name it once.")
            name = tokens[position + 1]
            position += 2
            continue
        rest.append(token)
        position += 1
    if name is None:
        return tokens
    if read_config is None:
        raise WizardError("--config can't be followed here; write the flags of the file out.")
    from wizard.vllm.serve_yaml import yaml_arguments  # yaml is needed on this path alone

    words, warnings = yaml_arguments(read_config(name), parse.table, by_serve=by_serve)
    parse.warnings += warnings
    if rest[:1] and not rest[0].startswith("-"):
        return [rest[0], *_without_model(words), *rest[1:]]
    return [*words, *rest]


def _without_model(words: list[str]) -> list[str]:
    """A model by position wins over the file's."""
    if "--model" not in words:
        return words
    index = words.index("--model")
    return words[:index] + words[index + 2 :]


def _first_problem(error: ValueError) -> str:
    """pydantic's first complaint as one sentence."""
    problems = getattr(error, "errors", None)
    if problems is None:
        return f"{error}."
    first = problems()[0]
    name = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
    return f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}, not {cut(str(first['input']))}."
