"""Module names against ignore lists and targets, as vLLM matches them.

Sources: vLLM 0.33 `layers/quantization/utils/quant_utils.py` (`is_layer_skipped`), `utils/config_utils.py`
(`find_matching_patterns`), `modelopt.py` (`is_layer_excluded`, `_resolve_quant_algo`).
"""

from __future__ import annotations

import re
from fnmatch import translate

from wizard.dataclass import dataclass, field, replace
from wizard.errors import ConfigError
from wizard.models.metadata import short

LARGEST_PATTERN = 1024
LARGEST_REPEATS = 8
"""Unbounded repeats in one regular expression of a config; more could take for ever to match."""

_NESTED_REPEAT = re.compile(r"[+*}][^()]*\)[+*{]")
_GLOB = re.compile(r"[*?\[]")
_REPEAT = re.compile(r"[+*]|\{\d*,\d*\}")


@dataclass(frozen=True, slots=True)
class Names:
    """A module's name in vLLM, and those of the checkpoint's matrices that it fuses."""

    full: str
    parts: tuple[str, ...] = ()
    """Full names too; empty where the module is not fused."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of names, in the ways in which quantisation methods read one."""

    exact: tuple[str, ...] = ()
    """Whole names; `re:` begins a regular expression."""
    contains: tuple[str, ...] = ()
    """Parts of names."""
    contains_any: bool = False
    """The entries of `exact` match as parts of names too."""
    globs: bool = False
    """... and as shell patterns."""
    children: bool = False
    """A module is covered when an entry names something inside it."""
    suffixes: bool = False
    """The entries of `exact` match the ends of names too, behind a dot."""
    prefixes: tuple[str, ...] = ()
    """Beginnings of names."""
    _set: frozenset[str] = field(init=False, repr=False)
    _regexes: tuple[re.Pattern[str], ...] = field(init=False, repr=False)
    _starts: tuple[str, ...] = field(init=False, repr=False)
    _parents: frozenset[str] | None = field(init=False, repr=False, default=None, compare=False)

    def __post_init__(self) -> None:
        expressions = [entry for entry in self.exact if entry.startswith("re:")]
        regexes = [_compiled(entry[3:]) for entry in expressions]
        plain = frozenset(self.exact).difference(expressions)
        starts = []
        if self.globs:
            for entry in plain:
                if entry.endswith("*") and not _GLOB.search(entry, 0, len(entry) - 1):
                    starts.append(entry[:-1])  # nearly all are such; an expression takes 0.1 ms to compile
                elif _GLOB.search(entry):
                    regexes.append(re.compile(translate(entry)))
        object.__setattr__(self, "_set", plain)
        object.__setattr__(self, "_regexes", tuple(regexes))
        object.__setattr__(self, "_starts", tuple(starts))

    @property
    def parents(self) -> frozenset[str]:
        """Every module that holds a listed one; found when it is asked for, since lists are also renamed whole."""
        if self._parents is None:
            parents: set[str] = set()
            for entry in self._set:
                parent = entry.rpartition(".")[0]
                while parent and parent not in parents:
                    parents.add(parent)
                    parent = parent.rpartition(".")[0]
            object.__setattr__(self, "_parents", frozenset(parents))
        assert self._parents is not None
        return self._parents

    def __bool__(self) -> bool:
        return bool(self.exact or self.contains or self.prefixes)

    def joined(self, other: Patterns) -> Patterns:
        """Both lists; `other` may only hold parts of names."""
        return replace(self, contains=self.contains + other.contains)

    def renamed(self, renames: tuple[tuple[str, str], ...]) -> Patterns:
        """The same list with checkpoint prefixes replaced by vLLM's; expressions stay as they are."""
        exact = tuple(entry if entry.startswith("re:") else rename(entry, renames) for entry in self.exact)
        prefixes = tuple(rename(entry, renames) for entry in self.prefixes)
        return replace(self, exact=exact, prefixes=prefixes)

    def matches(self, name: str) -> bool:
        """One name against the list."""
        if name in self._set or any(part in name for part in self.contains):
            return True
        if self.contains_any and any(entry in name for entry in self._set):
            return True
        if name.startswith((*self.prefixes, *self._starts)):
            return True
        if self.suffixes:
            end = name
            while "." in end:
                end = end.partition(".")[2]
                if end in self._set:
                    return True
        return any(pattern.match(name) for pattern in self._regexes)

    def cover(self, names: Names, *, experts: bool = False, beside: bool = False) -> bool:
        """True where the module, or every matrix fused in it, is on the list.

        `beside`: experts are covered, too, by an entry inside the block that holds them.
        """
        if not self:
            return False
        if self.matches(names.full):
            return True
        if names.parts and all(self.matches(part) for part in names.parts):
            return True
        if self.children and (
            names.full in self.parents or (beside and _moe_parent(names.full) in self.parents)
        ):
            return True
        return (
            experts
            and not self.children
            and any(names.full in entry for entry in self._set if "experts" in entry)
        )


def rename(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    """The first prefix of `renames` that fits is replaced."""
    for old, new in renames:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _moe_parent(name: str) -> str:
    return name.removesuffix(".experts")


def _compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression from a config; ConfigError where it is broken or could run away."""
    if (
        len(pattern) > LARGEST_PATTERN
        or _NESTED_REPEAT.search(pattern)
        or len(_REPEAT.findall(pattern)) > LARGEST_REPEATS
    ):
        raise ConfigError(
            f"quantization_config: the pattern {short(pattern)} is too involved to be matched safely."
        )
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"quantization_config: the pattern {short(pattern)} is not a regular expression."
        ) from error
