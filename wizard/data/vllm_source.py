"""vLLM's Python source as facts: names, imports, annotations and defaults, read with `ast`.

Nothing of vLLM is imported or run. A source is an unpacked tree or the wheel itself.
"""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DEEPEST = 12
"""Aliases and base classes followed before a name counts as unknown."""

SEQUENCES = frozenset({"list", "set", "tuple", "Sequence", "List", "Set", "Tuple"})
ENUMS = frozenset({"Enum", "IntEnum", "StrEnum"})
Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Module:
    """One module's top-level names."""

    dotted: str
    tree: ast.Module
    names: dict[str, ast.AST] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Local name -> (module, name there)."""


@dataclass(slots=True)
class TypeFacts:
    """What an annotation allows."""

    names: set[str] = field(default_factory=set)
    literals: list[Scalar] = field(default_factory=list)
    optional: bool = False
    sequence: str | None = None
    enum: list[str] | None = None
    dataclass: tuple[ast.ClassDef, str] | None = None
    """The nested config class and its module."""


@dataclass(frozen=True, slots=True)
class Field:
    """One annotated field of a class."""

    name: str
    node: ast.AnnAssign
    module: str
    owner: ast.ClassDef


class Source:
    """An unpacked vLLM tree (the directory that holds `vllm/`), or a wheel."""

    def __init__(self, path: Path) -> None:
        self._files: dict[str, str] = {}
        self._directory = path if path.is_dir() else None
        if self._directory is None:
            with zipfile.ZipFile(path) as wheel:
                for name in wheel.namelist():
                    if name.endswith(".py") and not name.startswith("vllm/third_party/"):
                        self._files[name] = wheel.read(name).decode("utf-8")
        self._modules: dict[str, Module | None] = {}

    def text(self, path: str) -> str | None:
        """The file's text, or None where this version has no such file."""
        if self._directory is None:
            return self._files.get(path)
        file = self._directory / path
        return file.read_text("utf-8") if file.is_file() else None

    def files_under(self, folder: str) -> list[str]:
        """Paths of the Python files of one folder, sorted."""
        if self._directory is None:
            return sorted(name for name in self._files if name.rpartition("/")[0] == folder)
        return sorted(f"{folder}/{file.name}" for file in (self._directory / folder).glob("*.py"))

    def module(self, dotted: str) -> Module | None:
        """The module's names and imports; None where it doesn't exist."""
        if dotted not in self._modules:
            base = dotted.replace(".", "/")
            package = self.text(f"{base}/__init__.py")
            text = self.text(f"{base}.py")
            text = text if text is not None else package
            self._modules[dotted] = (
                None if text is None else _read(dotted, ast.parse(text), is_package=package is not None)
            )
        return self._modules[dotted]

    def resolve(self, name: str, dotted: str, depth: int = 0) -> tuple[ast.AST, str] | None:
        """The definition of `name` as seen from module `dotted`, and the module it stands in."""
        module = self.module(dotted)
        if module is None or depth > DEEPEST:
            return None
        if name in module.names:
            return module.names[name], dotted
        if name in module.imports:
            origin, original = module.imports[name]
            return self.resolve(original, origin, depth + 1) if origin.startswith("vllm") else None
        return None

    def fields(self, owner: ast.ClassDef, dotted: str) -> dict[str, Field]:
        """Annotated fields, those of base classes first; the last definition of a name wins."""
        found: dict[str, Field] = {}
        for base in owner.bases:
            resolved = self.resolve(ast.unparse(base), dotted)
            if resolved and isinstance(resolved[0], ast.ClassDef):
                found |= self.fields(resolved[0], resolved[1])
        for node in owner.body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            if "ClassVar" not in ast.unparse(node.annotation):
                found[node.target.id] = Field(node.target.id, node, dotted, owner)
        return found

    def annotation(self, node: ast.AST | None, dotted: str, into: TypeFacts | None = None) -> TypeFacts:
        """Flattens unions, Literals, aliases and Annotated of a type annotation."""
        facts = into or TypeFacts()
        match node:
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                self.annotation(left, dotted, facts)
                self.annotation(right, dotted, facts)
            case ast.Constant(value=None):
                facts.optional = True
            case ast.Constant(value=str(text)):
                self.annotation(ast.parse(text, mode="eval").body, dotted, facts)
            case ast.Subscript():
                self._subscript(node, dotted, facts)
            case ast.Name(id=name):
                self._name(name, dotted, facts)
            case ast.Attribute(attr=name):
                facts.names.add(name)
        return facts

    def _subscript(self, node: ast.Subscript, dotted: str, facts: TypeFacts) -> None:
        base = ast.unparse(node.value).rpartition(".")[2]
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if base == "Literal":
            for item in items:
                if isinstance(item, ast.Constant):
                    facts.literals.append(item.value)  # type: ignore[arg-type]
                else:
                    self.annotation(item, dotted, facts)
        elif base in {"Optional", "Union"}:
            facts.optional |= base == "Optional"
            for item in items:
                self.annotation(item, dotted, facts)
        elif base in {"Annotated", "InitVar", "SkipValidation"}:
            self.annotation(items[0], dotted, facts)
        elif base in SEQUENCES:
            facts.sequence = base.lower()
            inner = TypeFacts()
            for item in items:
                self.annotation(item, dotted, inner)
            facts.names |= inner.names
            facts.literals += inner.literals
        else:
            facts.names.add(base.lower() if base == "Dict" else base)

    def _name(self, name: str, dotted: str, facts: TypeFacts) -> None:
        resolved = self.resolve(name, dotted)
        if resolved is None or name in {"int", "float", "str", "bool", "dict", "Any"}:
            facts.names.add(name)
            return
        target, module = resolved
        if isinstance(target, ast.ClassDef):
            if is_int_enum(target):
                facts.literals += [value for value in enum_values(target) if isinstance(value, int)]
            elif is_enum(target):
                facts.enum = enum_members(target)
            elif any(
                "dataclass" in ast.unparse(d) or "config" in ast.unparse(d) for d in target.decorator_list
            ):
                facts.dataclass = (target, module)
            elif any(ast.unparse(base).startswith("dict") for base in target.bases):
                facts.names.add("dict")
            else:
                facts.names.add(name)
        elif isinstance(target, ast.Subscript | ast.BinOp | ast.Name):
            self.annotation(target, module, facts)
        else:
            facts.names.add(name)

    def value(
        self, node: ast.AST | None, dotted: str, owner: ast.ClassDef | None = None, depth: int = 0
    ) -> object:
        """A default as a constant; None where only running vLLM would tell."""
        if node is None or depth > DEEPEST:
            return None
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError):
            pass
        match node:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                factors = [self.value(side, dotted, owner, depth + 1) for side in (left, right)]
                if all(isinstance(factor, int) for factor in factors):
                    return factors[0] * factors[1]  # type: ignore[operator]
            case ast.Call():
                return self._called(node, dotted, owner, depth)
            case ast.Name(id=name):
                if owner is not None and name in (own := self.fields(owner, dotted)):
                    return self.value(own[name].node.value, own[name].module, owner, depth + 1)
                resolved = self.resolve(name, dotted)
                if resolved and not isinstance(resolved[0], ast.ClassDef | ast.FunctionDef):
                    return self.value(resolved[0], resolved[1], None, depth + 1)
            case ast.Attribute(value=base, attr=attribute):
                resolved = self.resolve(ast.unparse(base), dotted)
                if resolved and isinstance(resolved[0], ast.ClassDef):
                    target, module = resolved
                    assert isinstance(target, ast.ClassDef)
                    if is_int_enum(target):
                        return dict(zip(enum_members(target), enum_values(target), strict=True)).get(
                            attribute
                        )
                    if is_enum(target):
                        return attribute
                    own = self.fields(target, module)
                    if attribute in own:
                        return self.value(own[attribute].node.value, own[attribute].module, target, depth + 1)
        return None

    def _called(self, node: ast.Call, dotted: str, owner: ast.ClassDef | None, depth: int) -> object:
        """Defaults given as `Field(...)`, `field(...)` or `int(...)`."""
        called = ast.unparse(node.func).rpartition(".")[2]
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in {"Field", "field", "get_field"}:
            if "default" in keywords:
                return self.value(keywords["default"], dotted, owner, depth + 1)
            factory = keywords.get("default_factory")
            if isinstance(factory, ast.Lambda):
                return self.value(factory.body, dotted, owner, depth + 1)
            if factory is not None:
                return {"list": [], "dict": {}, "set": []}.get(ast.unparse(factory))
        return self.value(node.args[0], dotted, owner, depth + 1) if node.args else None


def is_enum(node: ast.ClassDef) -> bool:
    """True for enums, also those made by a metaclass of their own."""
    return bool(ENUMS & {ast.unparse(base).rpartition(".")[2] for base in node.bases}) or any(
        keyword.arg == "metaclass" for keyword in node.keywords
    )


def is_int_enum(node: ast.ClassDef) -> bool:
    """True for enums of whole numbers, which argparse is given as numbers."""
    return any(ast.unparse(base).rpartition(".")[2] == "IntEnum" for base in node.bases)


def enum_values(node: ast.ClassDef) -> list[Scalar]:
    """Constant values of an enum's members; None where they are computed."""
    return [
        statement.value.value if isinstance(statement.value, ast.Constant) else None  # type: ignore[misc]
        for statement in node.body
        if isinstance(statement, ast.Assign)
    ]


def enum_members(node: ast.ClassDef) -> list[str]:
    """Member names of an enum."""
    return [
        target.id
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and not target.id.startswith("_")
    ]


def _read(dotted: str, tree: ast.Module, *, is_package: bool) -> Module:
    module = Module(dotted, tree)
    for node in _statements(tree.body):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    module.names[target.id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            module.names[node.target.id] = node.value
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            module.names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = dotted.split(".") if is_package else dotted.split(".")[:-1]
                kept = package[: len(package) - (node.level - 1)]
                origin = ".".join([*kept, origin] if origin else kept)
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (origin, alias.name)
    return module


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, those under `if TYPE_CHECKING:` and `try:` included."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.orelse)
            yield from _statements(node.body)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body)
        else:
            yield node
