"""What crosses an edge: frozen values of declared fields, checked when they are made, with nothing unknown.

What is plainly right is taken here, by rules that say no more than pydantic's. Everything else goes to pydantic
itself (`schemas/documents.py`), which converts it or says what is wrong with it, and so does every document
that comes from outside. Pydantic alone thus decides what is refused, and it is loaded only where there is
something to decide: importing it takes as long as a whole plan.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

from wizard.dataclass import dataclass, field

UNSURE: Any = object()
"""What a reading returns for anything but the plainly right: pydantic decides."""

Reading = Callable[[Any], Any]
"""A value as the field holds it, or `UNSURE`."""

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number from `ge` (or above `gt`) to `le`."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None

    def read(self, value: Any) -> Any:
        inside = (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
        )
        return value if inside else UNSURE


@dataclass(frozen=True, slots=True)
class Text:
    """A string of limited length, without space around it, or of one pattern."""

    least: int = 0
    most: int | None = None
    strip: bool = False
    pattern: str | None = None

    def read(self, value: Any) -> Any:
        plain = (
            self.least <= len(value) <= (len(value) if self.most is None else self.most)
            and not (self.strip and value != value.strip())
            and (self.pattern is None or re.fullmatch(self.pattern, value, re.ASCII))
        )
        return value if plain else UNSURE


@dataclass(frozen=True, slots=True, eq=False)
class Spellings:
    """Other spellings of a value, taken before anything else is looked at."""

    meant_by: Mapping[str, str]

    def meant(self, value: Any) -> Any:
        return self.meant_by.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """What no bounds say: a function that returns the value to hold, or raises ValueError with the reason."""

    judge: Callable[[Any], Any]

    def read(self, value: Any) -> Any:
        try:
            return self.judge(value)
        except ValueError:
            return UNSURE


class Declaration:
    """One field of a checked class."""

    __slots__ = ("annotation", "default", "factory", "module", "read", "required")

    def __init__(self, annotation: Any, module: str, default: Any, factory: Callable[[], Any] | None) -> None:
        self.annotation, self.module, self.default, self.factory = annotation, module, default, factory
        self.required = default is _ABSENT and factory is None
        self.read: Reading = self._first_read

    @property
    def kind(self) -> Any:
        """The annotation evaluated, with its bounds: most fields of most requests are never looked at."""
        if isinstance(self.annotation, str):
            self.annotation = eval(self.annotation, vars(sys.modules[self.module]))
        return self.annotation

    def _first_read(self, value: Any) -> Any:
        self.read = _reading(self.kind)
        return self.read(value)

    def get_default(self, *, call_default_factory: bool = True) -> Any:
        """What the field holds when nothing is chosen."""
        return self.factory() if self.factory is not None and call_default_factory else self.default


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Checked:
    """Base of checked values. Raises pydantic.ValidationError, a ValueError, for what can't be."""

    __slots__ = ("__dict__", "_chosen")
    model_fields: ClassVar[Mapping[str, Declaration]] = {}
    _defaults: ClassVar[Mapping[str, Any]] = {}
    _not_defaulted: ClassVar[Mapping[str, Declaration]] = {}
    """Fields without a value to share: required ones, and those whose default is made each time."""
    _chosen: frozenset[str]

    def __init_subclass__(cls) -> None:
        declared = dict(cls.model_fields)
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 - no `inspect`
            default, factory = cls.__dict__.get(name, _ABSENT), None
            if getattr(default, "factory", None) is not None:
                default, factory = _ABSENT, default.factory
            declared[name] = Declaration(annotation, cls.__module__, default, factory)
            if name in cls.__dict__:
                delattr(cls, name)
        cls.model_fields = declared
        cls._defaults = {name: each.default for name, each in declared.items() if each.default is not _ABSENT}
        cls._not_defaulted = {name: each for name, each in declared.items() if each.default is _ABSENT}

    def __init__(self, /, **values: Any) -> None:
        read = plainly(type(self), values)
        if read is None:
            from wizard.schemas.documents import validated

            made = validated(type(self), values)
            read, chosen = vars(made), made._chosen
        else:
            chosen = frozenset(values)
        vars(self).update(read)
        object.__setattr__(self, "_chosen", chosen)

    @classmethod
    def trusted(cls, values: Mapping[str, Any], chosen: Set[str]) -> Self:
        """One of values for every field, known to be right."""
        made = object.__new__(cls)
        vars(made).update(values)
        object.__setattr__(made, "_chosen", frozenset(chosen))
        return made

    @classmethod
    def model_validate(cls, document: Any) -> Self:
        """One from plain data. Raises pydantic.ValidationError naming every field that isn't allowed."""
        from wizard.schemas.documents import validated

        return document if isinstance(document, cls) else validated(cls, document)

    @classmethod
    def model_validate_json(cls, text: str) -> Self:
        """The same from JSON text. Raises ValueError where it isn't any."""
        import json

        return cls.model_validate(json.loads(text))

    @property
    def model_fields_set(self) -> Set[str]:
        """Fields that were chosen, to their default or not."""
        return self._chosen

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy with some values replaced, which are not checked."""
        changes = update or {}
        return self.trusted({**vars(self), **changes}, self._chosen | changes.keys())

    def model_dump(
        self,
        *,
        mode: str = "python",
        exclude: Set[str] = frozenset(),
        exclude_none: bool = False,
        exclude_defaults: bool = False,
    ) -> dict[str, Any]:
        """The values as a dict, parts included; with `mode="json"` of what JSON has only."""
        found: dict[str, Any] = {}
        for name, declared in self.model_fields.items():
            value = getattr(self, name)
            if name in exclude or (exclude_none and value is None):
                continue
            if exclude_defaults and not declared.required and value == declared.get_default():
                continue
            if isinstance(value, Checked):
                value = value.model_dump(
                    mode=mode, exclude_none=exclude_none, exclude_defaults=exclude_defaults
                )
            found[name] = _as_json(value) if mode == "json" else value
        return found

    def model_dump_json(self, *, indent: int | None = None, exclude_defaults: bool = False) -> str:
        """The same as JSON text."""
        import json

        values = self.model_dump(mode="json", exclude_defaults=exclude_defaults)
        return json.dumps(values, indent=indent, ensure_ascii=False)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self.model_fields)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(value for _, value in self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self)})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; make another with a different {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; {name} can't be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).trusted, (dict(vars(self)), self._chosen)


def why_not(error: ValueError) -> str:
    """The first thing that pydantic found wrong, in its words."""
    problems = getattr(error, "errors", None)
    words = str(problems()[0]["msg"]) if problems is not None else str(error)
    return words.removeprefix("Value error, ")


def plainly(cls: type[Checked], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A value for every field of `cls`; None where anything is missing, unknown or not plainly right."""
    found, fields = dict(cls._defaults), cls.model_fields
    for name, declared in cls._not_defaulted.items():
        if name not in values:
            if declared.required:
                return None
            found[name] = declared.get_default()
    for name, value in values.items():
        known = fields.get(name)
        if known is None:
            return None
        found[name] = taken = known.read(value)
        if taken is UNSURE:
            return None
    return found


def _reading(kind: Any) -> Reading:
    """The reading that an annotation stands for."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _marked(_reading(arguments[0]), arguments[1:])
    if origin in {Union, UnionType}:
        return _either([_reading(each) for each in arguments])
    if origin is tuple:
        return _tuple_of(_reading(arguments[0]))
    if origin is dict:
        return _dict_of(_reading(arguments[1]))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member_of(kind)
    if isinstance(kind, type) and issubclass(kind, Checked):
        return _part(kind)
    return _READINGS[kind]


def _exactly(kind: type) -> Reading:
    return lambda value: value if type(value) is kind else UNSURE


def _number(value: Any) -> Any:
    if type(value) is float:
        return value
    return float(value) if type(value) is int and abs(value) < 1 << 53 else UNSURE


def _string(value: Any) -> Any:
    """No half of a surrogate pair, which is what undecodable bytes of a command line become."""
    if type(value) is not str:
        return UNSURE
    half = not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value)
    return UNSURE if half else value


_READINGS: Mapping[Any, Reading] = {
    Any: lambda value: value,
    NoneType: _exactly(NoneType),
    bool: _exactly(bool),
    int: _exactly(int),
    float: _number,
    str: _string,
}


def _marked(base: Reading, marks: tuple[Any, ...]) -> Reading:
    spellings = [mark.meant for mark in marks if isinstance(mark, Spellings)]
    limits = [mark.read for mark in marks if not isinstance(mark, Spellings)]

    def read(value: Any) -> Any:
        for meant in spellings:
            value = meant(value)
        value = base(value)
        for limited in limits:
            value = value if value is UNSURE else limited(value)
        return value

    return read


def _either(readings: list[Reading]) -> Reading:
    def read(value: Any) -> Any:
        for each in readings:
            found = each(value)
            if found is not UNSURE:
                return found
        return UNSURE

    return read


def _tuple_of(item: Reading) -> Reading:
    def read(value: Any) -> Any:
        if type(value) not in {tuple, list}:
            return UNSURE
        found = tuple(map(item, value))
        return UNSURE if UNSURE in found else found

    return read


def _dict_of(item: Reading) -> Reading:
    def read(value: Any) -> Any:
        if type(value) is not dict or any(_string(key) is UNSURE for key in value):
            return UNSURE
        found = {key: item(each) for key, each in value.items()}
        return UNSURE if any(each is UNSURE for each in found.values()) else found

    return read


def _member_of(kind: type[Enum]) -> Reading:
    members = {member.value: member for member in kind}
    return lambda value: (
        value if type(value) is kind else members.get(value, UNSURE) if type(value) is str else UNSURE
    )


def _part(kind: type[Checked]) -> Reading:
    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        found = plainly(kind, value) if type(value) is dict else None
        return UNSURE if found is None else kind.trusted(found, value.keys())

    return read


def _as_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, (list, tuple)) else value
