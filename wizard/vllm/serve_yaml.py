"""vLLM's own `--config` file, turned into arguments as the targeted version does it.

Source: vLLM 0.33.0's wheel, `utils/argparse_utils.py` (load_config_file, parse_args) and `entrypoints/cli/main.py`.
Since 0.28 `x: false` becomes --no-x where the parser *that reads the file* knows --no-x. Under `vllm serve` that is
the parser of the bare `vllm`, which knows -h and -v alone: false is dropped there in every version (run with the
wheel's own class). `python -m vllm.entrypoints.openai.api_server` reads the file with the full parser.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from wizard.errors import WizardError
from wizard.vllm.flags import FlagTable


def yaml_arguments(text: str, table: FlagTable, *, by_serve: bool = True) -> tuple[list[str], list[str]]:
    """(arguments, warnings) of a config file's text, read by `vllm serve` or, without it, by api_server.

    Where vLLM drops `x: false` silently there is a warning. Raises WizardError where the file holds no mapping.
    """
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise WizardError(f"The --config file is not valid YAML{where}; correct it and try again.") from None
    if not isinstance(document, dict):
        raise WizardError("The --config file must hold `flag: value` lines.")
    words: list[str] = []
    warnings: list[str] = []
    for key, value in document.items():
        name = "--" + str(key)
        if value is True:
            words.append(name)
        elif value is False:
            negation = f"--no-{key}"
            if not by_serve and table.yaml_false_negates and negation in table.options:
                words.append(negation)
            else:
                warnings.append(
                    f"vLLM {table.version} silently drops `{key}: false` of a config file; write `no-{key}: true`."
                )
        elif isinstance(value, list):
            words += [name, *(str(item) for item in value)] if value else []
        elif isinstance(value, dict):
            words += [name, json.dumps(value)]
        else:
            words += [name, str(value)]
    return words, warnings
