"""What pydantic found wrong with a value, in words for the person who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

WORDS: Mapping[str, str] = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
    "model_type": "it must be a group of fields, each as `name: value`",
    "model_attributes_type": "it must be a group of fields, each as `name: value`",
    "dict_type": "it must be a group of fields, each as `name: value`",
    "dataclass_type": "it must be a group of fields, each as `name: value`",
    "string_type": "it must be text",
    "string_too_short": "it must not be empty",
    "string_pattern_mismatch": "write a version like 0.33.0",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it is far too large",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
}
"""Kind of problem -> what to say."""

LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("gt", "it must be more than {}"),
    "greater_than_equal": ("ge", "it must be at least {}"),
    "less_than": ("lt", "it must be less than {}"),
    "less_than_equal": ("le", "it must be at most {}"),
    "string_too_long": ("max_length", "it may have at most {} characters"),
    "enum": ("expected", "it must be one of {}"),
    "literal_error": ("expected", "it must be one of {}"),
}
"""Kind of problem -> which limit it names, and what to say."""


def first_problem(error: ValidationError) -> tuple[str, Any, str]:
    """Field (`part.name`), value and what is wrong with it, for the first problem found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(item) for item in first["loc"][:2])
    kind, message = str(first["type"]), str(first["msg"])
    words = WORDS.get(kind)
    if words is None and kind in LIMITS:
        name, template = LIMITS[kind]
        limit = first.get("ctx", {}).get(name, "")
        shown = f"{limit:,}" if isinstance(limit, int | float) and not isinstance(limit, bool) else str(limit)
        words = template.format(shown.replace("'", ""))
    return where, first.get("input"), words or f"{message[:1].lower()}{message[1:]}"
