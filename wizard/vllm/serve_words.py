"""What stands before the flags of a typed command: variables, and the program that is called.

Source of what became of the variables: vLLM `envs.py` of 0.10.2-0.33.0; a VLLM_ variable that a version doesn't
know is a line in its log and nothing more.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from wizard.dataclass import dataclass
from wizard.errors import WizardError
from wizard.vllm.flags import FlagTable

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)

ONLY_SERVE = "Only a `vllm serve MODEL [flags]` command can be checked; write it out after --."

GONE: Mapping[str, str] = {
    "VLLM_ATTENTION_BACKEND": "--attention-backend",
    "VLLM_FLASH_ATTN_VERSION": "--attention-config.flash_attn_version",
    "VLLM_USE_V1": "",
    "VLLM_ALL2ALL_BACKEND": "--all2all-backend",
    "VLLM_USE_FLASHINFER_MOE_FP16": "--moe-backend",
    "VLLM_USE_FLASHINFER_MOE_FP8": "--moe-backend",
    "VLLM_USE_FLASHINFER_MOE_FP4": "--moe-backend",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_BF16": "--moe-backend",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8": "--moe-backend",
    "VLLM_USE_TRTLLM_ATTENTION": "--attention-config.use_trtllm_attention",
    "VLLM_FUSED_MOE_CHUNK_SIZE": "",
    "VLLM_MOE_DP_CHUNK_SIZE": "",
    "VLLM_TORCH_PROFILER_DIR": "--profiler-config",
}
"""Variables that 0.33 doesn't know any more, and the flag that took their place. A version from which the
flag is absent still reads the variable; those without a flag are reported for the newest version alone."""

HARMLESS = frozenset(
    {"VLLM_API_KEY", "VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL", "VLLM_HOST_IP", "VLLM_PORT"}
    | {"VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_WORKER_MULTIPROC_METHOD"}
)
"""They move no memory."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command without what calls it."""

    words: list[str]
    by_serve: bool
    """False: `python -m vllm.entrypoints.openai.api_server`."""
    variables: Mapping[str, str]


def program(words: Sequence[str]) -> Program:
    """`NAME=value ... vllm serve` or `python -m vllm.entrypoints...api_server` taken off the front.

    A command quoted as one word is split as a shell would. Raises WizardError for a command of another program.
    """
    tokens = _unquoted(list(words))
    variables: dict[str, str] = {}
    while tokens and ((tokens[0] in {"env", "exec", "sudo"}) or _ASSIGNMENT.fullmatch(tokens[0])):
        if found := _ASSIGNMENT.fullmatch(tokens[0]):
            variables[found[1]] = found[2]
        tokens = tokens[1:]
    name = tokens[0].rpartition("/")[2] if tokens else ""
    if name == "vllm":
        if tokens[1:2] != ["serve"]:
            raise WizardError(ONLY_SERVE)
        return Program(tokens[2:], True, variables)
    if tokens[1:2] == ["-m"] and tokens[2:3] and tokens[2].startswith("vllm.entrypoints."):
        return Program(tokens[3:], False, variables)
    return Program(tokens, True, variables)


def calls_vllm(words: Sequence[str]) -> bool:
    """Whether a command names vLLM as its program, rather than starting with a model."""
    return len(program(words).words) < len(_unquoted(list(words)))


def _unquoted(tokens: list[str]) -> list[str]:
    if len(tokens) != 1 or " " not in tokens[0].strip():
        return tokens
    try:
        return shlex.split(tokens[0])
    except ValueError:
        raise WizardError(ONLY_SERVE) from None


def variable_warnings(variables: Mapping[str, str], table: FlagTable, *, newest: bool) -> list[str]:
    """One sentence for every variable that has no effect, or one that the prediction can't follow."""
    warnings = []
    for name in variables:
        if not name.startswith("VLLM_") or name in HARMLESS:
            continue
        flag = GONE.get(name)
        has_flag = bool(flag) and (flag or "").partition(".")[0] in table.options
        if name in GONE and (has_flag or newest):
            advice = f"use {flag}" if has_flag else "leave it out"
            warnings.append(f"vLLM {table.version} has no {name}, so it has no effect; {advice}.")
        elif not (name == "VLLM_ATTENTION_BACKEND" and not has_flag):
            warnings.append(f"The prediction doesn't follow {name}; what it changes is not counted.")
    return warnings
