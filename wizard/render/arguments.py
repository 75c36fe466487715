"""`VLLMConfig` -> the flags of one vLLM version, with equivalents where it lacks one.

Nothing leaves here that the version would refuse: a flag or a value that it doesn't know is replaced by
what means the same there, or left out with a note that the artifacts show as a comment.
"""

from __future__ import annotations

from collections.abc import Sequence

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.render.draft import Argument, Draft, text_of
from wizard.render.equivalents import EQUIVALENTS, compilation
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.flag_values import parse_value
from wizard.vllm.flags import Flag, FlagTable, flag_table
from wizard.vllm.serve_args import validate_extra_args
from wizard.vllm.serve_config import FIELD_FLAGS

FIRST = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "max_model_len",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
)
"""Written first, because they are what people change."""

ALWAYS = frozenset({"gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens"})
"""Written also where they equal the default: the plan's figures rest on them."""

ELSEWHERE = frozenset({"swap_space", "nnodes", "cudagraph_mode"})
"""Never written from the field alone: removed from vLLM, per node, or a key of another flag."""


@dataclass(frozen=True, slots=True)
class ServeArguments:
    """A `vllm serve` command of one version."""

    version: str
    model: str
    arguments: tuple[Argument, ...]
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that stand for a flag this version doesn't have yet."""
    notes: tuple[str, ...] = ()
    """What was replaced or left out, and why."""

    @property
    def words(self) -> list[str]:
        """`vllm serve MODEL --flag value ...`"""
        return ["vllm", "serve", self.model, *(word for each in self.arguments for word in each.words)]

    def with_arguments(self, *extra: Argument) -> ServeArguments:
        """The same command with `extra` at the end, each replacing an earlier one of the same flag."""
        replaced = {each.flag for each in extra}
        kept = tuple(each for each in self.arguments if each.flag not in replaced)
        return ServeArguments(self.version, self.model, (*kept, *extra), self.environment, self.notes)

    def without(self, *flags: str) -> ServeArguments:
        """The same command without some flags."""
        kept = tuple(each for each in self.arguments if each.flag not in flags)
        return ServeArguments(self.version, self.model, kept, self.environment, self.notes)

    def value(self, flag: str) -> str | None:
        """The first value given to a flag."""
        return next((each.values[0] for each in self.arguments if each.flag == flag and each.values), None)


def serve_arguments(
    config: VLLMConfig, version: str, extra: Sequence[Argument] = (), *, model: str | None = None
) -> ServeArguments:
    """The command that starts `config` on vLLM `version`, with `extra` flags at the end.

    `extra` flags that the version doesn't have are left out with a note, as is any value it refuses.
    Raises WizardError where `config.extra_args` hold something that the version refuses.
    """
    table = flag_table(version)
    draft = Draft(config, table)
    fields = [*FIRST, *(name for name in FIELD_FLAGS if name not in FIRST)]
    for name in fields:
        if name not in ELSEWHERE:
            _field(name, draft)
    compilation(draft)
    for argument in extra:
        if argument.flag not in table:
            draft.leave_out(
                argument.flag, " ".join(argument.values), table.unknown(argument.flag).rstrip(".")
            )
        elif _legal(table.flags[argument.flag], argument.values, version):
            draft.arguments.setdefault(argument.flag, argument)
        else:
            draft.leave_out(
                argument.flag, " ".join(argument.values), f"vLLM {version} doesn't know that value"
            )
    typed = _typed(validate_extra_args(config.extra_args, version=version), table)
    for argument in typed:
        draft.arguments[argument.flag] = argument
    return ServeArguments(
        version=version,
        model=literal_model(model or config.model),
        arguments=tuple(draft.arguments.values()),
        environment=tuple(draft.environment.items()),
        notes=tuple(draft.notes),
    )


def literal_model(model: str) -> str:
    """A directory whose name begins with a dash would be read as a flag; `./` in front means the same."""
    return f"./{model}" if model.startswith("-") else model


def _field(name: str, draft: Draft) -> None:
    value = getattr(draft.config, name)
    flag_name = FIELD_FLAGS[name]
    default = VLLMConfig.model_fields[name].default
    if value is None or (value == default and name not in ALWAYS):
        return
    if name == "trust_remote_code" and value is not True:
        return
    equivalent = EQUIVALENTS.get(name)
    flag = draft.table.get(flag_name)
    if equivalent is not None and equivalent(draft, value, flag):
        return
    why = draft.config.explanations.get(name, "")
    if flag is None:
        draft.leave_out(flag_name, value, draft.table.unknown(flag_name).rstrip("."))
    elif flag.kind in {"bool", "switch"}:
        _boolean(flag, bool(value), why, draft)
    elif flag.default is not None and value == flag.default and name not in ALWAYS:
        return
    elif not _legal(flag, (text_of(value),), draft.table.version):
        draft.leave_out(flag_name, value, f"vLLM {draft.table.version} doesn't know that value")
    else:
        draft.put(flag_name, value, why=why)


def _boolean(flag: Flag, value: bool, why: str, draft: Draft) -> None:
    if value == flag.default:
        return
    if value:
        draft.put(flag.name, why=why)
    elif flag.off is not None:
        draft.put(flag.off, why=why)


def _legal(flag: Flag, values: Sequence[str], version: str) -> bool:
    try:
        for value in values:
            parse_value(flag, value, version=version)
    except WizardError:
        return False
    return True


def _typed(words: Sequence[str], table: FlagTable) -> list[Argument]:
    """Validated extra arguments, grouped by flag."""
    found: list[Argument] = []
    for word in words:
        option, equals, value = word.partition("=")
        if option in table.options:
            found.append(Argument(option, (value,) if equals else ()))
        else:
            last = found.pop()
            found.append(Argument(last.flag, (*last.values, word)))
    return found
