"""vllm-config.yaml: the same command as a file for `vllm serve --config`.

Source of the traps: vLLM `utils/argparse_utils.py` (load_config_file) of 0.10.2-0.33.0. `vllm serve` silently
drops a `false` (vllm/serve_yaml.py says why), so booleans are turned off by `no-x: true`, which every version reads;
JSON is written as text, because nested keys came with 0.16; sizes are plain numbers.
"""

from __future__ import annotations

from typing import Any

from wizard.render.deployment import Deployment
from wizard.render.escaping import to_yaml
from wizard.render.header import header, why_lines
from wizard.vllm.flags import Flag, flag_table


def vllm_config_file(deployment: Deployment) -> str:
    """The config file with its header."""
    more = ["Start: vllm serve --config vllm-config.yaml", *why_lines(deployment)]
    return header(deployment, "vLLM config", *more) + "\n" + to_yaml(config_document(deployment))


def config_document(deployment: Deployment) -> dict[str, Any]:
    """Option (without its dashes) -> value, in the order of the command."""
    table = flag_table(deployment.version)
    document: dict[str, Any] = {"model": deployment.command.model}
    for argument in deployment.command.arguments:
        flag, _ = table.options[argument.flag.partition(".")[0]]
        option = argument.flag.removeprefix("--")
        document[option] = _value(flag, argument.values) if argument.values else True
    return document


def _value(flag: Flag, values: tuple[str, ...]) -> Any:
    if flag.many or flag.repeat:
        return list(values)
    text = values[0]
    if flag.kind in {"int", "size", "length"} and text.isdigit():
        return int(text)
    return float(text) if flag.kind == "float" else text
