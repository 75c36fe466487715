"""The flag table's file format: every version's table in one file, each fact with the versions it holds in.

    {"versions": ["0.10.2", ...], "facts": {...}, "flags": {"--x": [{"in": "0.10.2..0.19.1", "kind": ...}]}}

`in` is left out where a fact holds in every version (of its flag, for values). Lists that grow from
version to version (choices, parser names, config keys) are stored value by value: `{"auto": "", "fp8_inc":
"0.12.0.."}`, where "" means as long as the flag's form exists.
"""

from __future__ import annotations

import json
from typing import Any

LISTS = ("choices", "known", "keys")
"""Stored value by value."""

FACTS = ("enable_disable_pairs", "yaml_false_negates", "dotted_sizes", "json_sizes", "serve_takes_model")
"""Properties of a version's parser."""

Table = dict[str, Any]


def decode(data: dict[str, Any], version: str) -> Table:
    """One version's table: `{"flags": {name: record}, **facts}`. KeyError-free for versions in the file."""
    holds = Holds(data["versions"], version)
    records = {name: record(forms, holds) for name, forms in data["flags"].items()}
    return {"flags": {name: each for name, each in records.items() if each is not None}, **facts(data, holds)}


def facts(data: dict[str, Any], holds: Holds) -> dict[str, bool]:
    """The properties of one version's parser."""
    return {name: holds[data["facts"].get(name, "-")] for name in FACTS}


def record(forms: list[dict[str, Any]], holds: Holds) -> dict[str, Any] | None:
    """One flag as one version has it; None where it has none."""
    found = next((form for form in reversed(forms) if holds[form.get("in", "")]), None)
    if found is None:
        return None
    lists = {
        key: [value for value, when in found[key].items() if holds[when]] for key in LISTS if key in found
    }
    return {**{key: value for key, value in found.items() if key != "in"}, **lists}


def versions_with(data: dict[str, Any], flag: str) -> list[str]:
    """The versions that have a flag, oldest first; empty where none has."""
    versions: list[str] = data["versions"]
    forms = data["flags"].get(flag, [])
    return [
        version for version in versions if any(Holds(versions, version)[form.get("in", "")] for form in forms)
    ]


def encode(tables: dict[str, Table]) -> str:
    """The file's text for all tables; versions are sorted, flags and values keep their first order."""
    versions = sorted(tables, key=lambda version: tuple(int(part) for part in version.split(".")))
    names = sorted({name for table in tables.values() for name in table["flags"]})
    flags: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        groups: dict[str, tuple[dict[str, Any], list[int]]] = {}
        for index, version in enumerate(versions):
            record = tables[version]["flags"].get(name)
            if record is None:
                continue
            shape = {key: value for key, value in record.items() if key not in LISTS}
            shape |= {key: None for key in LISTS if key in record}
            groups.setdefault(json.dumps(shape, sort_keys=True), (shape, []))[1].append(index)
        flags[name] = [_form(name, shape, indexes, versions, tables) for shape, indexes in groups.values()]
    facts = {
        fact: _ranges([i for i, v in enumerate(versions) if tables[v][fact]], versions) for fact in FACTS
    }
    lines = [
        f" {json.dumps(name)}: {json.dumps(forms, separators=(',', ':'), ensure_ascii=False)}"
        for name, forms in flags.items()
    ]
    return (
        "{\n"
        f'"source": "vLLM wheels of these versions, read by wizard/data/refresh_flags.py",\n'
        f'"versions": {json.dumps(versions)},\n"facts": {json.dumps(facts)},\n"flags": {{\n'
        + ",\n".join(lines)
        + "\n}}\n"
    )


def _form(
    name: str, shape: dict[str, Any], indexes: list[int], versions: list[str], tables: dict[str, Table]
) -> dict[str, Any]:
    form = {key: value for key, value in shape.items() if key not in LISTS}
    if len(indexes) < len(versions):
        form["in"] = _ranges(indexes, versions)
    for key in LISTS:
        if key not in shape:
            continue
        present: dict[str, list[int]] = {}
        for index in indexes:
            for value in tables[versions[index]]["flags"][name][key]:
                present.setdefault(value, []).append(index)
        form[key] = {
            value: "" if where == indexes else _ranges(where, versions) for value, where in present.items()
        }
    return form


def _ranges(indexes: list[int], versions: list[str]) -> str:
    """[0, 1, 2, 5] -> "0.10.2..0.12.0,0.15.1"; to the newest: "0.28.0.."; every version: ""; none: "-"."""
    if len(indexes) == len(versions):
        return ""
    if not indexes:
        return "-"
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    newest = len(versions) - 1
    return ",".join(
        f"{versions[first]}.."
        if last == newest
        else versions[first]
        if first == last
        else f"{versions[first]}..{versions[last]}"
        for first, last in runs
    )


class Holds(dict[str, bool]):
    """Whether a range of versions, such as `0.10.2..0.12.0,0.28.0..`, holds one version."""

    def __init__(self, versions: list[str], version: str) -> None:
        super().__init__({"": True, "-": False})
        self._order = {name: index for index, name in enumerate(versions)}
        self._position = self._order[version]

    def __missing__(self, when: str) -> bool:
        self[when] = any(self._in_run(run) for run in when.split(","))
        return self[when]

    def _in_run(self, run: str) -> bool:
        first, to, last = run.partition("..")
        end = self._order[last] if last else len(self._order) if to else self._order[first]
        return self._order[first] <= self._position <= end
