"""Refresh `data/flags/serve.json` from vLLM wheels or unpacked trees, without importing vLLM.

    python -m wizard.data.refresh_flags vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl ...

What argparse would register for `vllm serve` is read off `engine/arg_utils.py`, the config classes and
`cli_args.py`; tool-call and reasoning parsers off their registries. Each version given is added to the
table, or replaced in it.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wizard.data.vllm_source import Source, TypeFacts, enum_values
from wizard.vllm.flag_codec import decode, encode

TABLE = Path(__file__).with_name("flags") / "serve.json"

CLI_MODULES = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)
ENGINE = "vllm.engine.arg_utils"
PARSER_FOLDERS = {
    "--tool-call-parser": ("vllm/tool_parsers", "vllm/entrypoints/openai/tool_parsers"),
    "--reasoning-parser": ("vllm/reasoning",),
}
OPEN_LISTS = {
    "--quantization": ("vllm.model_executor.layers.quantization", "QuantizationMethods"),
    "--load-format": ("vllm.model_executor.model_loader", "LoadFormats"),
}
"""Flags typed `str` whose values vLLM checks against a registry."""

AS_JSON = {"allowed_origins", "allowed_methods", "allowed_headers", "default_chat_template_kwargs"}
"""Frontend fields whose argparse type vLLM sets to json.loads by hand (cli_args.py)."""

BOUNDS = ("gt", "ge", "lt", "le")
Record = dict[str, Any]


@dataclass(slots=True)
class Reader:
    """One version's source, and what its `get_kwargs` does with whole numbers."""

    source: Source
    sizes: set[str]
    """Fields that take 32k and 32K."""
    length_auto: bool
    """--max-model-len takes `auto`."""

    def record(self, owner_name: str, field_name: str, module: str) -> Record | None:
        """What argparse gets for one config field; None where the field isn't found."""
        resolved = self.source.resolve(owner_name, module)
        if resolved is None or not isinstance(resolved[0], ast.ClassDef):
            return None
        field = self.source.fields(*resolved).get(field_name)  # type: ignore[arg-type]
        if field is None:
            return None
        facts = self.source.annotation(field.node.annotation, field.module)
        record: Record = {"kind": self.kind(field_name, facts)}
        if facts.sequence and record["kind"] not in {"bool", "optional_text"}:
            record["many"] = True
        if facts.literals and record["kind"] not in {"bool", "json"}:
            is_open = "str" in facts.names and not facts.sequence
            record["known" if is_open else "choices"] = [str(value) for value in facts.literals]
        elif facts.enum and record["kind"] == "text":
            record["known"] = facts.enum
        if facts.optional and record["kind"] not in {"bool", "optional_text"}:
            record["optional"] = True
        if facts.dataclass is not None:
            record["keys"] = self.keys(facts)
        default = self.source.value(field.node.value, field.module, field.owner)
        if default is not None and default not in ([], {}, ()):
            record["default"] = default
        record |= bounds(field.node.value)
        return record

    def keys(self, facts: TypeFacts) -> list[str]:
        """Keys that a JSON flag's config class accepts."""
        assert facts.dataclass is not None
        return [
            name
            for name, field in self.source.fields(*facts.dataclass).items()
            if not name.startswith("_") and "init=False" not in ast.unparse(field.node)
        ]

    def kind(self, name: str, facts: TypeFacts) -> str:
        """The order of tests is that of vLLM's `get_kwargs`."""
        if name in AS_JSON or facts.dataclass is not None:
            return "json"
        if {"bool", "str"} <= facts.names and facts.names == {"bool", "str"}:
            return "optional_text"
        if "bool" in facts.names:
            return "bool"
        if facts.literals and not facts.sequence:
            return "int" if all(isinstance(value, int) for value in facts.literals) else "text"
        if facts.sequence:
            return "int" if "int" in facts.names and "str" not in facts.names else "text"
        if "int" in facts.names:
            if name == "max_model_len":
                return "length" if self.length_auto else "size" if name in self.sizes else "int"
            return "size" if name in self.sizes else "int"
        if "float" in facts.names:
            return "float"
        if "dict" in facts.names:
            return "json" if facts.names == {"dict"} else "json_or_text"
        return "text"


def bounds(default: ast.AST | None) -> Record:
    """Numeric limits of `Field(default=..., gt=0, le=1)`."""
    if not isinstance(default, ast.Call):
        return {}
    return {
        keyword.arg: keyword.value.value
        for keyword in default.keywords
        if keyword.arg in BOUNDS and isinstance(keyword.value, ast.Constant)
    }


def reader(source: Source) -> Reader:
    """A reader that knows which fields this version reads as sizes."""
    module = source.module(ENGINE)
    if module is None:
        raise SystemExit(f"there is no {ENGINE} in this source; give a vLLM wheel or its unpacked tree")
    function = module.names.get("_compute_kwargs") or module.names["get_kwargs"]
    sizes: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Set | ast.Tuple):
            texts = [item.value for item in node.elts if isinstance(item, ast.Constant)]
            sizes |= {text for text in texts if isinstance(text, str)}
    return Reader(source, sizes, "human_readable_int_or_auto" in ast.unparse(function))


def registered(source: Source, folders: tuple[str, ...]) -> list[str]:
    """Parser names: the keys of the lazy registry, or the `register_module` decorators of older versions."""
    names: list[str] = []
    for folder in folders:
        for path in source.files_under(folder):
            for node in ast.walk(ast.parse(source.text(path) or "")):
                if path.endswith("__init__.py") and isinstance(node, ast.Assign | ast.AnnAssign):
                    if isinstance(node.value, ast.Dict):
                        names += [key.value for key in node.value.keys if isinstance(key, ast.Constant)]  # type: ignore[misc]
                elif isinstance(node, ast.ClassDef):
                    for decorator in node.decorator_list:
                        if isinstance(decorator, ast.Call) and "register_module" in ast.unparse(
                            decorator.func
                        ):
                            for constant in ast.walk(ast.Module([ast.Expr(a) for a in decorator.args], [])):
                                if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                                    names.append(constant.value)
    return list(dict.fromkeys(names))


@dataclass(slots=True)
class Registration:
    """One `add_argument` call: its option strings, the config field behind it, explicit keywords."""

    options: list[str]
    owner: str | None
    field: str | None
    explicit: dict[str, ast.expr]


def registrations(function: ast.FunctionDef) -> list[Registration]:
    """The `add_argument` calls of one function, in order, with `**kwargs["field"]` traced back."""
    owners: dict[str, str] = {}
    aliases: dict[str, tuple[str, str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "get_kwargs":
                owners[name] = ast.unparse(value.args[0])
            elif traced := _traced(value, owners):
                aliases[name] = traced
    calls = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
    ]
    found: list[Registration] = []
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        options = [
            arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        origin: tuple[str, str] | None = None
        explicit: dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg is not None:
                explicit[keyword.arg] = keyword.value
            elif isinstance(keyword.value, ast.Dict):
                for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                    if key is None:
                        origin = _traced(value, owners) or origin
                    elif isinstance(key, ast.Constant):
                        explicit[str(key.value)] = value
            elif isinstance(keyword.value, ast.Name):
                origin = aliases.get(keyword.value.id)
            else:
                origin = _traced(keyword.value, owners)
        if options:
            owner, field = origin or (None, None)
            found.append(Registration(options, owner, field, explicit))
    return found


def _traced(node: ast.expr, owners: dict[str, str]) -> tuple[str, str] | None:
    """`model_kwargs["dtype"]` or `get_kwargs(ModelConfig)["dtype"]` -> (class, field)."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
        return None
    if isinstance(node.value, ast.Name) and node.value.id in owners:
        return owners[node.value.id], str(node.slice.value)
    if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "get_kwargs":
        return ast.unparse(node.value.args[0]), str(node.slice.value)
    return None


def explicit_record(explicit: dict[str, ast.expr], source: Source, module: str) -> Record:
    """What the keywords of an `add_argument` call say by themselves."""
    record: Record = {}
    action = ast.unparse(explicit["action"]) if "action" in explicit else ""
    kind = ast.unparse(explicit["type"]) if "type" in explicit else ""
    if "store_true" in action:
        record["kind"] = "switch"
    elif "BooleanOptionalAction" in action:
        record["kind"] = "bool"
    elif "nargs" in explicit and ast.unparse(explicit["nargs"]) == "'?'":
        record["kind"] = "optional_text"
    elif kind in {"int", "float"}:
        record["kind"] = kind
    elif kind == "json.loads":
        record["kind"] = "json"
    elif kind.startswith("lambda") and "split" in kind:
        record["kind"] = "csv"
    if "choices" in explicit:
        choices = chosen(explicit["choices"], source, module)
        record |= {"choices": choices} if choices else {}
    default = source.value(explicit["default"], module) if "default" in explicit else None
    if default is not None:
        record["default"] = default
    if "deprecat" in " ".join(ast.unparse(value) for value in explicit.values()).lower() or (
        "deprecated" in explicit
    ):
        record["deprecated"] = True
    return record


def chosen(node: ast.expr, source: Source, module: str) -> list[str] | None:
    """Explicit `choices=`: a list, `get_args(Literal)`, or an enum's values."""
    value = source.value(node, module)
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_args"):
        return [str(item) for item in source.annotation(node.args[0], module).literals]
    if isinstance(node, ast.ListComp):
        resolved = source.resolve(ast.unparse(node.generators[0].iter), module)
        if resolved and isinstance(resolved[0], ast.ClassDef):
            return [str(value) for value in enum_values(resolved[0])]
    return None


def read_table(source: Source) -> tuple[str, Record]:
    """(version, table) of one vLLM source."""
    version_text = source.text("vllm/_version.py") or ""
    match = re.search(r"__version__ = version = '([^']+)'", version_text)
    if match is None:
        raise SystemExit(
            "there is no vllm/_version.py in this source; give a vLLM wheel or its unpacked tree"
        )
    reading = reader(source)
    cli = next(name for name in CLI_MODULES if source.module(name) is not None)
    flags: dict[str, Record] = {}
    frontend = source.resolve("FrontendArgs", cli)
    assert frontend is not None
    assert isinstance(frontend[0], ast.ClassDef)
    for name in source.fields(*frontend):  # type: ignore[arg-type]
        record = reading.record("FrontendArgs", name, cli)
        assert record is not None
        if name in AS_JSON:
            record.pop("many", None)
        if name in {"middleware", "disable_access_log_for_endpoints"}:
            record = {"kind": "text", **({"repeat": True} if name == "middleware" else {})}
        flags["--" + name.replace("_", "-")] = record
    for module, owner, function_name in (
        (cli, None, "make_arg_parser"),
        (ENGINE, "EngineArgs", "add_cli_args"),
        (ENGINE, "AsyncEngineArgs", "add_cli_args"),
    ):
        for registration in registrations(_function(source, module, owner, function_name)):
            if not registration.options[0].startswith("-"):
                continue
            name = next(option for option in registration.options if option.startswith("--"))
            record = {"kind": "text"}
            if registration.owner and registration.field:
                record = reading.record(registration.owner, registration.field, module) or record
            if "default" in registration.explicit:
                record.pop("default", None)
            record |= explicit_record(registration.explicit, source, module)
            aliases = [option for option in registration.options if option != name]
            flags[name] = record | ({"aliases": aliases} if aliases else {})
    for name, (module, literal) in OPEN_LISTS.items():
        resolved = source.resolve(literal, module)
        if resolved is not None and not flags[name].get("choices"):
            flags[name]["known"] = [str(v) for v in source.annotation(resolved[0], resolved[1]).literals]
    for name, folders in PARSER_FOLDERS.items():
        flags[name]["known"] = registered(source, folders)
        flags[name].pop("choices", None)
    if "--attention-backend" in flags and '"auto"' in (source.text("vllm/config/attention.py") or ""):
        flags["--attention-backend"]["known"].append("AUTO")
    if "def parse_reasoning_parser" in (source.text("vllm/engine/arg_utils.py") or ""):
        flags["--reasoning-parser"]["known"].append("none")
    utilities = (source.text("vllm/utils/argparse_utils.py") or "") + (
        source.text("vllm/utils/__init__.py") or ""
    )
    return match[1], {
        "flags": flags,
        "enable_disable_pairs": "class EnableDisableAction" in utilities,
        "yaml_false_negates": "no_key" in utilities,
        "serve_takes_model": "model_in_cli_args" not in utilities,
        "dotted_sizes": "human_readable_int(value_str" in utilities,
        "json_sizes": "_expand_json_human_readable_numbers"
        in (source.text("vllm/engine/arg_utils.py") or ""),
    }


def _function(source: Source, module: str, owner: str | None, name: str) -> ast.FunctionDef:
    loaded = source.module(module)
    assert loaded is not None
    body = loaded.tree.body
    if owner is not None:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)


def main(arguments: list[str]) -> None:
    """Reads the given sources and rewrites the table."""
    old = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {"versions": []}
    tables = {version: decode(old, version) for version in old["versions"]}
    for argument in arguments:
        version, table = read_table(Source(Path(argument)))
        tables[version] = table
        print(f"{version}: {len(table['flags'])} flags")  # noqa: T201
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(encode(tables), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
