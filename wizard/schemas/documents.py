"""Pydantic's judgement of what came from outside, or isn't plainly right: the models behind `Checked` classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WrapValidator,
    create_model,
)

from wizard.schemas.checked import Bounds, Checked, Rule, Spellings, Text

Kind = TypeVar("Kind", bound=Checked)

FORBIDDING = ConfigDict(extra="forbid", protected_namespaces=())


def validated(cls: type[Kind], document: Any) -> Kind:
    """`document` as one of `cls`. Raises pydantic.ValidationError."""
    return _made(cls, _model_of(cls).model_validate(document))


def _model_of(cls: Any) -> type[BaseModel]:
    return _model(cls)  # `cls: Any`, because mypy takes the hash of a class for that of its objects


@cache
def _model(cls: Any) -> type[BaseModel]:
    """The pydantic model with the fields, bounds and defaults of `cls`."""
    fields: dict[str, Any] = {}
    for name, declared in cls.model_fields.items():
        if declared.factory is not None:
            default: Any = Field(default_factory=declared.factory)
        else:
            default = ... if declared.required else declared.default
        fields[name] = (_pydantic(declared.kind), default)
    return create_model(cls.__name__, __config__=FORBIDDING, __module__=cls.__module__, **fields)


def _made(cls: type[Kind], model: BaseModel) -> Kind:
    values: Mapping[str, Any] = {name: getattr(model, name) for name in cls.model_fields}
    return cls.trusted(values, model.model_fields_set)


def _pydantic(kind: Any) -> Any:
    """An annotation with pydantic's own words for our bounds, and our parts as models."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base, *marks = arguments
        return Annotated[(_pydantic(base), *map(_constraint, marks))]
    if origin in {Union, UnionType}:
        return Union[tuple(map(_pydantic, arguments))]  # noqa: UP007 - made of a tuple
    if isinstance(kind, type) and issubclass(kind, Checked):
        return Annotated[_model_of(kind), WrapValidator(_taken_as_it_is(kind))]
    return kind


def _taken_as_it_is(kind: type[Checked]) -> Callable[[Any, Any], Any]:
    def read(value: Any, validate: Any) -> Any:
        return value if isinstance(value, kind) else _made(kind, validate(value))

    return read


def _constraint(mark: Bounds | Text | Rule | Spellings) -> Any:
    match mark:
        case Bounds():
            limits = {"ge": mark.ge, "gt": mark.gt, "le": mark.le}
            return Field(**cast(Any, {name: limit for name, limit in limits.items() if limit is not None}))
        case Text():
            return StringConstraints(
                strip_whitespace=mark.strip or None,
                min_length=mark.least or None,
                max_length=mark.most,
                pattern=mark.pattern,
            )
        case Rule():
            return AfterValidator(mark.judge)
        case Spellings():
            return BeforeValidator(mark.meant)
