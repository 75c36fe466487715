"""The flag table: every `vllm serve` flag of every known version, loaded for the one version asked for.

Source: vLLM's wheels 0.10.2-0.33.0, read by `wizard/data/refresh_flags.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, cast

from wizard.data import read_text
from wizard.dataclass import dataclass
from wizard.vllm.flag_codec import Holds, facts, record, versions_with
from wizard.vllm.versions import parse_version

Kind = Literal[
    "bool", "switch", "int", "size", "length", "float", "text", "json", "json_or_text", "optional_text", "csv"
]
"""bool: --x and --no-x; switch: --x alone; size: 32k = 32000, 32K = 32768; length: size or `auto`."""

INVERSE = {"--enable-": "--disable-", "--disable-": "--enable-"}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag as one version knows it."""

    name: str
    kind: Kind
    default: Any = None
    """`None` also where vLLM computes it."""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    """argparse refuses anything else."""
    known: tuple[str, ...] = ()
    """Registered names: vLLM refuses others later, unless a plug-in registers them."""
    keys: tuple[str, ...] = ()
    """What a JSON flag's config class accepts."""
    many: bool = False
    """Takes one or more values after the flag."""
    optional: bool = False
    """`None` and the empty text leave it unset."""
    repeat: bool = False
    """May be given again; the values add up."""
    deprecated: bool = False
    bounds: tuple[tuple[str, float], ...] = ()
    """`gt`, `ge`, `lt`, `le` with their limits."""
    negations: tuple[str, ...] = ()
    json_sizes: bool = False
    """32k may stand for a number inside this flag's JSON."""

    @property
    def takes_value(self) -> bool:
        return self.kind not in {"bool", "switch"}

    @property
    def values(self) -> tuple[str, ...]:
        """Every legal value, where there is a list of them."""
        return self.choices or self.known

    @property
    def off(self) -> str | None:
        """The way to turn a boolean flag off in every version: `--no-x`."""
        return "--no-" + self.name.removeprefix("--") if self.kind == "bool" else None


@dataclass(frozen=True, slots=True, eq=False)
class FlagTable:
    """All flags of one version."""

    version: str
    """As asked for."""
    source_version: str
    """The release it was read from: another patch, or the nearest one, where `version` was not read."""
    flags: Mapping[str, Flag]
    yaml_false_negates: bool
    """A `--config` file's `x: false` becomes --no-x (since 0.28) where the full parser reads the file, which it
    does not under `vllm serve` (serve_yaml.py); dropped before."""
    dotted_sizes: bool
    """`--x-config.key 32k` is a number (since 0.20)."""
    serve_takes_model: bool
    """`vllm serve --model M` works (since 0.11.1), if with a warning."""

    @property
    def options(self) -> Mapping[str, tuple[Flag, bool]]:
        """Every accepted spelling: the flag, and whether this spelling turns it on."""
        return _options(self)

    @property
    def exact(self) -> bool:
        """True where the very minor version was read."""
        return parse_version(self.version)[:2] == parse_version(self.source_version)[:2]

    def other_version(self) -> str | None:
        """One sentence where the flags are not those of the version asked for; None where they are."""
        if self.exact:
            return None
        known = known_versions()
        side = "newer" if parse_version(self.version) > parse_version(known[-1]) else "older"
        if parse_version(known[0]) < parse_version(self.version) < parse_version(known[-1]):
            side = "other"
        return (
            f"vLLM {self.version} is {side} than those whose flags are known here; "
            f"its flags are taken from {self.source_version}, its memory rules from the nearest version known."
        )

    def known_elsewhere(self, option: str) -> bool:
        """Whether another version has a flag of that very name: then it isn't short for anything."""
        return option in _removed() or bool(versions_with(_document(), option))

    def __contains__(self, name: str) -> bool:
        return name in self.flags

    def get(self, name: str) -> Flag | None:
        return self.flags.get(name)

    def closest(self, option: str) -> str | None:
        """The spelling that a mistyped option was probably meant to be."""
        import difflib

        found = difflib.get_close_matches(option, self.options, n=1, cutoff=0.75)
        return found[0] if found else None

    def unknown(self, option: str) -> str:
        """One sentence on an option that this version refuses: what replaced it, when it came, or a guess."""
        replaced = _removed().get(option)
        had = versions_with(_document(), option)
        where = f"vLLM {self.version} has no {option}"
        if replaced is not None and (not had or parse_version(had[-1]) < parse_version(self.version)):
            use, why = replaced.get("use"), replaced.get("why")
            example = replaced.get("example") or use
            reason = f": {why}" if why else ""
            advice = f"use {example}" if use and self._knows(use) else "leave it out"
            return f"{where}{reason}; {advice}."
        if had and parse_version(had[0]) > parse_version(self.version):
            return f"{where}, which came with {short_version(had[0])}; leave it out or plan for a newer vLLM."
        if had and parse_version(had[-1]) < parse_version(self.version):
            return f"{where}, which was last in {short_version(had[-1])}; leave it out."
        guess = self.closest(option)
        return f"{where}; did you mean {guess}?" if guess else f"{where}; see `vllm serve --help=all`."

    def _knows(self, use: str) -> bool:
        return use.split(".")[0] in self.options


def short_version(version: str) -> str:
    """`0.17.1` -> `0.17`: the tables hold one patch of each minor."""
    return version.rpartition(".")[0]


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(read_text("flags/serve.json")))


@lru_cache(maxsize=1)
def _removed() -> dict[str, dict[str, str]]:
    document = json.loads(read_text("flags/removed.json"))
    return cast("dict[str, dict[str, str]]", document["replaced"])


def known_versions() -> tuple[str, ...]:
    """The releases whose flags were read, oldest first."""
    return tuple(_document()["versions"])


def nearest(version: str) -> str:
    """The release that was read for `version`: the same minor, else the closest older, else the oldest."""
    wanted = parse_version(version)[:2]
    older = [name for name in known_versions() if parse_version(name)[:2] <= wanted]
    return older[-1] if older else known_versions()[0]


@lru_cache(maxsize=32)
def flag_table(version: str) -> FlagTable:
    """The flags of `version`. Raises ValueError for text that isn't a version."""
    source_version = nearest(version)
    holds = Holds(_document()["versions"], source_version)
    said = facts(_document(), holds)
    return FlagTable(
        version=version,
        source_version=source_version,
        flags=_Flags(
            _document()["flags"], holds, pairs=said["enable_disable_pairs"], sizes=said["json_sizes"]
        ),
        yaml_false_negates=said["yaml_false_negates"],
        dotted_sizes=said["dotted_sizes"],
        serve_takes_model=said["serve_takes_model"],
    )


class _Flags(Mapping[str, Flag]):
    """The flags of one version, each made when it is looked up: a plan needs a dozen of three hundred."""

    def __init__(self, forms: Mapping[str, Any], holds: Holds, *, pairs: bool, sizes: bool) -> None:
        self._forms, self._holds = forms, holds
        self._pairs, self._sizes = pairs, sizes
        self._made: dict[str, Flag | None] = {}

    def __getitem__(self, name: str) -> Flag:
        if name not in self._made:
            found = record(self._forms.get(name, []), self._holds)
            self._made[name] = None if found is None else _flag(name, found, self._pairs, self._sizes)
        flag = self._made[name]
        if flag is None:
            raise KeyError(name)
        return flag

    def __iter__(self) -> Iterator[str]:
        return (name for name, forms in self._forms.items() if record(forms, self._holds) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@lru_cache(maxsize=32)
def _options(table: FlagTable) -> Mapping[str, tuple[Flag, bool]]:
    options: dict[str, tuple[Flag, bool]] = {}
    for flag in table.flags.values():
        options |= dict.fromkeys((flag.name, *flag.aliases), (flag, True))
        for negation in flag.negations:
            options.setdefault(negation, (flag, False))
    return options


def _flag(name: str, record: Mapping[str, Any], pairs: bool, sizes: bool) -> Flag:
    return Flag(
        name=name,
        kind=record["kind"],
        default=record.get("default"),
        aliases=tuple(record.get("aliases", ())),
        choices=tuple(record.get("choices", ())),
        known=tuple(record.get("known", ())),
        keys=tuple(record.get("keys", ())),
        many=record.get("many", False),
        optional=record.get("optional", False),
        repeat=record.get("repeat", False),
        deprecated=record.get("deprecated", False),
        bounds=tuple((bound, record[bound]) for bound in ("gt", "ge", "lt", "le") if bound in record),
        negations=_negations((name, *record.get("aliases", ())), pairs) if record["kind"] == "bool" else (),
        json_sizes=sizes and "keys" in record,
    )


def _negations(names: tuple[str, ...], pairs: bool) -> tuple[str, ...]:
    """`--no-x` always; since 0.33 also --enable-x <-> --disable-x (argparse_utils.EnableDisableAction)."""
    found: list[str] = []
    for name in names:
        if not name.startswith("--"):
            continue
        found.append("--no-" + name.removeprefix("--"))
        if pairs:
            found += [
                inverse + name.removeprefix(prefix)
                for prefix, inverse in INVERSE.items()
                if name.startswith(prefix)
            ]
    return tuple(found)
