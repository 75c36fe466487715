"""The standard library's `dataclass`, made cheaply: a start of the program declares some hundred and fifty.

The standard decorator writes and compiles six methods per class where it is declared, half a millisecond each
time, and imports `inspect`. This one compiles `__init__` when many objects are made and shares the other
methods. Everything else is as in `dataclasses`, whose `fields`, `replace` and `asdict` take these classes too:
`__dataclass_fields__` is made by the original when somebody asks for it. Type checkers see the original.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["asdict", "dataclass", "field", "replace"]

_MISSING: Any = object()

_OFTEN = 24
"""Objects after which `__init__` is compiled: that takes as long as making so many without."""


class Declared:
    """One field: where its value comes from when `__init__` is not given one, and what it takes part in."""

    __slots__ = ("annotation", "compare", "default", "factory", "init", "name", "repr")

    def __init__(self, default: Any, factory: Any, init: bool, repr: bool, compare: bool) -> None:
        self.name, self.annotation = "", None
        self.default, self.factory = default, factory
        self.init, self.repr, self.compare = init, repr, compare

    def named(self, name: str, annotation: Any) -> Declared:
        self.name, self.annotation = name, annotation
        return self

    @property
    def standard(self) -> Any:
        """The same as `dataclasses.field` makes it."""
        import dataclasses

        given = {"default": self.default, "default_factory": self.factory}
        given = {key: value for key, value in given.items() if value is not _MISSING}
        return dataclasses.field(init=self.init, repr=self.repr, compare=self.compare, **given)


class _StandardFields:
    """`__dataclass_fields__`, made by the original decorator when it is first looked up."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[str, Any] | None = None

    def __get__(self, instance: object, owner: Any) -> dict[str, Any]:
        if self._made is None:
            import dataclasses

            declared = [(each.name, each.annotation, each.standard) for each in owner._declared]
            twin: Any = dataclasses.make_dataclass(owner.__name__, declared, kw_only=True)
            self._made = twin.__dataclass_fields__
        return self._made


def _dataclass(
    cls: Any = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    repr: bool = True,
    kw_only: bool = False,
    weakref_slot: bool = False,
) -> Any:
    def made(cls: Any) -> Any:
        slotted = ["__weakref__"] if weakref_slot else []
        return _made(cls, slotted, frozen=frozen, slots=slots, eq=eq, repr=repr, kw_only=kw_only)

    return made if cls is None else made(cls)


def _field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    return Declared(default, default_factory, init, repr, compare)


def _replace(instance: Any, /, **changes: Any) -> Any:
    for each in instance._declared:
        if each.init and each.name not in changes:
            changes[each.name] = getattr(instance, each.name)
    return type(instance)(**changes)


def _asdict(value: Any) -> Any:
    if hasattr(value, "_declared"):
        return {each.name: _asdict(getattr(value, each.name)) for each in value._declared}
    if isinstance(value, dict):
        return {key: _asdict(each) for key, each in value.items()}
    return type(value)(map(_asdict, value)) if isinstance(value, (list, tuple)) else value


def _made(
    given: Any, extra: list[str], *, frozen: bool, slots: bool, eq: bool, repr: bool, kw_only: bool
) -> Any:
    cls: Any = given
    annotations = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 - `inspect` is what this avoids
    inherited = {each.name: each for base in cls.__mro__[:0:-1] for each in getattr(base, "_declared", ())}
    defaults = {name: cls.__dict__[name] for name in annotations if name in cls.__dict__}
    for name, default in defaults.items():
        if type(default).__hash__ is None:
            raise ValueError(f"{name} would share one {type(default).__name__}; use default_factory")
    if slots:
        cls = _slotted(cls, [*extra, *(name for name in annotations if name not in inherited)])
    else:
        for name, default in defaults.items():
            if isinstance(default, Declared):
                delattr(cls, name)
                if default.default is not _MISSING:
                    setattr(cls, name, default.default)
    fields: dict[str, Declared | None] = {**inherited, **dict.fromkeys(annotations)}
    fields |= {name: each for name, each in defaults.items() if isinstance(each, Declared)}
    cls._declared = _Declarations(inherited, annotations, defaults)
    cls.__dataclass_fields__ = _StandardFields()
    taken = () if kw_only else tuple(name for name, each in fields.items() if each is None or each.init)
    type.__setattr__(cls, "__match_args__", taken)
    cls.__init__ = _first_init(cls, frozen, slots, kw_only)
    written = cls.__dict__
    if repr and "__repr__" not in written:
        cls.__repr__ = _shown
    if eq and "__eq__" not in written:
        compared = [name for name, each in fields.items() if each is None or each.compare]
        values = attrgetter(*compared) if compared else _nothing
        cls.__eq__ = _equality(values)
        cls.__hash__ = _hashing(values) if frozen else None
    if frozen:
        cls.__setattr__, cls.__delattr__ = _refuse_setting, _refuse_deleting
        if slots:
            cls.__getstate__, cls.__setstate__ = _state, _restore
    return cls


class _Declarations:
    """`_declared`, the fields of a class, made when they are first looked at."""

    __slots__ = ("annotations", "defaults", "inherited")

    def __init__(
        self, inherited: dict[str, Declared], annotations: dict[str, Any], defaults: dict[str, Any]
    ) -> None:
        self.inherited, self.annotations, self.defaults = inherited, annotations, defaults

    def __get__(self, instance: object, owner: Any) -> tuple[Declared, ...]:
        own = {
            name: _declaration(self.defaults.get(name, _MISSING)).named(name, annotation)
            for name, annotation in self.annotations.items()
        }
        home = next(cls for cls in owner.__mro__ if cls.__dict__.get("_declared") is self)
        home._declared = made = tuple({**self.inherited, **own}.values())
        return made


def _declaration(given: Any) -> Declared:
    return given if isinstance(given, Declared) else Declared(given, _MISSING, True, True, True)


def _slotted(cls: Any, names: list[str]) -> Any:
    """A class like `cls` whose fields are slots; a class can't be given any once it exists."""
    body = {
        name: value
        for name, value in cls.__dict__.items()
        if name not in names and name not in {"__dict__", "__weakref__"} and not isinstance(value, Declared)
    }
    remade = type(cls)(cls.__name__, cls.__bases__, {**body, "__slots__": tuple(names)})
    remade.__qualname__ = cls.__qualname__
    return remade


def _first_init(cls: Any, frozen: bool, slots: bool, kw_only: bool) -> Any:
    """An `__init__` that works field by field, and replaces itself by a compiled one when it is called often.

    Arguments that don't fit are left to the compiled one, which says so as any function does.
    """
    calls = 0
    names: set[str] = set()
    defaults: dict[str, Any] = {}
    factories: dict[str, Any] = {}

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        nonlocal calls, names, defaults, factories
        if not calls:
            names = {each.name for each in cls._declared}
            defaults = {each.name: each.default for each in cls._declared if each.default is not _MISSING}
            factories = {each.name: each.factory for each in cls._declared if each.factory is not _MISSING}
            if not all(each.init for each in cls._declared):
                calls = _OFTEN
        calls += 1
        given = {**dict(zip(cls.__match_args__, values, strict=False)), **named} if values else named
        found = {**defaults, **given}
        for name, factory in factories.items():
            if name not in given:
                found[name] = factory()
        if calls > _OFTEN or found.keys() != names or len(given) != len(values) + len(named):
            cls.__init__ = compiled = _compiled_init(cls, frozen, slots, kw_only)
            compiled(self, *values, **named)
            return
        for name, value in found.items():
            _set(self, name, value)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    return __init__


_set = object.__setattr__


def _compiled_init(cls: Any, frozen: bool, slots: bool, kw_only: bool) -> Any:
    takes, sets = ["*"] if kw_only else [], []
    known: dict[str, Any] = {"_set": _set, "_MISSING": _MISSING}
    for each in cls._declared:
        name, value = each.name, each.name
        if each.factory is not _MISSING:
            known[f"_new_{name}"] = each.factory
            value = f"_new_{name}() if {name} is _MISSING else {name}" if each.init else f"_new_{name}()"
        if each.default is not _MISSING:
            known[f"_default_{name}"] = each.default
        if each.init:
            default = f"_default_{name}" if each.default is not _MISSING else "_MISSING"
            optional = each.default is not _MISSING or each.factory is not _MISSING
            takes.append(f"{name}={default}" if optional else name)
        elif each.default is not _MISSING:
            value = f"_default_{name}"
        elif each.factory is _MISSING:
            continue  # `__post_init__` sets it
        if frozen and slots:
            known[f"_set_{name}"] = getattr(cls, name).__set__  # a third faster than `_set`
            sets.append(f" _set_{name}(_self, {value})")
        else:
            sets.append(f" _set(_self, {name!r}, {value})" if frozen else f" _self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        sets.append(" _self.__post_init__()")
    source = f"def __init__(_self, {', '.join(takes)}):\n" + ("\n".join(sets) or " pass")
    exec(source, known)
    init = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _nothing(_: Any) -> tuple[()]:
    return ()


def _shown(self: Any) -> str:
    values = (f"{each.name}={getattr(self, each.name)!r}" for each in self._declared if each.repr)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _equality(values: Any) -> Any:
    def __eq__(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hashing(values: Any) -> Any:
    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _refuse_setting(self: Any, name: str, value: Any) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in self._declared]


def _restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(self._declared, state, strict=True):
        object.__setattr__(self, each.name, value)


if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, replace
else:
    asdict, dataclass, field, replace = _asdict, _dataclass, _field, _replace
