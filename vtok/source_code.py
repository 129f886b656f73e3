"""Python source read without running it: modules, the names in them, and the values that can be told from the text."""

import ast
import builtins
import importlib
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Cheap to import, for what annotations use of them.
IMPORTED = {*sys.stdlib_module_names, "annotated_types"}
SETTING_TYPES = "vtok.setting_types"
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.BitOr: operator.or_,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


class NotReadable(Exception):
    """The text alone does not say it."""


@dataclass(frozen=True)
class ClassReference:
    """A class that an annotation names, by its full name; `optional` where it may be None as well."""

    target: str
    optional: bool = False

    def __or__(self, other: Any) -> Any:
        return replace(self, optional=True) if other is None else Any

    __ror__ = __or__


@dataclass(frozen=True)
class Definition:
    """A class or function, and the module in which it is defined."""

    module: "Module"
    node: ast.ClassDef | ast.FunctionDef

    @property
    def target(self) -> str:
        return f"{self.module.name}.{self.node.name}"

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    def bases(self) -> list["Definition"]:
        """The classes that it is derived from, as far as their source can be read, nearest first."""
        if not isinstance(self.node, ast.ClassDef):
            return []
        found = []
        for base in self.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            try:
                parent = self.module.definition(ast.unparse(name))
            except NotReadable:
                continue
            found += [parent, *parent.bases()]
        return found


class Module:
    """The top level of a source file.

    Args:
        name: full name of the module.
        path: its file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.is_package = path.name == "__init__.py"
        self.names: dict[str, ast.AST] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        self._read(ast.parse(path.read_text(encoding="utf-8")).body)

    def _read(self, statements: list[ast.stmt]) -> None:
        for node in statements:
            match node:
                case ast.ClassDef() | ast.FunctionDef():
                    self.names[node.name] = node
                case ast.Assign(targets=[ast.Name(id=name)]):
                    self.names[name] = node.value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self.names[name] = value
                case ast.Import():
                    for alias in node.names:
                        module = alias.name if alias.asname else alias.name.split(".")[0]
                        self.imports[alias.asname or module] = (module, None)
                case ast.ImportFrom():
                    for alias in node.names:
                        self.imports[alias.asname or alias.name] = (self._absolute(node), alias.name)
                # Imports for type checkers alone, and for libraries that may be absent.
                case ast.If() | ast.Try():
                    self._read(node.body)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        parents = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*parents, *([node.module] if node.module else [])])

    def definition(self, name: str) -> Definition:
        """The class or function that `name`, which may be dotted, stands for in this module.

        Raises:
            NotReadable: it is defined elsewhere than in Python source, or is neither.
        """
        first, _, rest = name.partition(".")
        if first in self.names and not rest:
            node = self.names[first]
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                return Definition(self, node)
        elif first in self.imports:
            module, imported = self.imports[first]
            return find(".".join(part for part in (module, imported, rest) if part))
        raise NotReadable(f"{self.name}.{name}")

    def value(self, node: ast.AST) -> Any:
        """The value of an expression: literals, types, constants of this and other modules, sums of them.

        Raises:
            NotReadable: another kind of expression.
        """
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute():
                return self._named(ast.unparse(node))
            case ast.Tuple():
                return tuple(self.value(item) for item in node.elts)
            case ast.List():
                return [self.value(item) for item in node.elts]
            case ast.Dict():
                keys = [self.value(key) for key in node.keys if key is not None]
                return dict(zip(keys, map(self.value, node.values), strict=True))
            case ast.UnaryOp(op=ast.USub()):
                return -self.value(node.operand)
            case ast.BinOp() if type(node.op) in OPERATORS:
                return OPERATORS[type(node.op)](self.value(node.left), self.value(node.right))
            case ast.Subscript():
                return self.value(node.value)[self.value(node.slice)]
            case ast.Call(func=function) if isinstance(called := self.value(function), type):
                keywords = {item.arg: self.value(item.value) for item in node.keywords if item.arg}
                return called(*map(self.value, node.args), **keywords)
        raise NotReadable(ast.unparse(node))

    def _class(self, target: str) -> Any:
        """The bounds of settings are objects; any other class is named alone."""
        if self.name == SETTING_TYPES:
            return getattr(importlib.import_module(self.name), target.rpartition(".")[2])
        return ClassReference(target)

    def _named(self, name: str) -> Any:
        first, _, rest = name.partition(".")
        if first in self.names and not rest:
            node = self.names[first]
            if isinstance(node, ast.ClassDef):
                return self._class(f"{self.name}.{first}")
            return self.value(node)
        if first in self.imports:
            module, imported = self.imports[first]
            if module.split(".")[0] in IMPORTED:
                path = ".".join(part for part in (imported, rest) if part)
                return operator.attrgetter(path)(importlib.import_module(module))
            return value_of(".".join(part for part in (module, imported, rest) if part))
        if hasattr(builtins, first) and not rest:
            return getattr(builtins, first)
        raise NotReadable(f"{self.name}.{name}")


@cache
def module(name: str) -> Module | None:
    """The source of a module; None where there is none. Only its first package is looked up by Python's own finder,
    which would import all packages above it."""
    top, *rest = name.split(".")
    try:
        spec = find_spec(top)
    except (ValueError, ImportError):
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    for part in rest:
        inside = path.parent if path.name == "__init__.py" else path
        path = next((file for file in (inside / part / "__init__.py", inside / f"{part}.py") if file.is_file()), path)
        if path.stem != part and path.parent.name != part:
            return None
    return Module(name, path) if path.suffix == ".py" else None


def split(target: str) -> tuple[Module, str]:
    """The longest prefix of a full name that is a module, and the rest.

    Raises:
        NotReadable: no prefix is a module with source.
    """
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (found := module(".".join(parts[:length]))) is not None:
            return found, ".".join(parts[length:])
    raise NotReadable(target)


def find(target: str) -> Definition:
    """The class or function of a full name, wherever it is re-exported from.

    Raises:
        NotReadable: its source cannot be followed.
    """
    inside, name = split(target)
    return inside.definition(name)


def value_of(target: str) -> Any:
    """The constant, type or class of a full name.

    Raises:
        NotReadable: its source cannot be followed.
    """
    inside, name = split(target)
    first = name.partition(".")[0]
    if first in inside.names or first in inside.imports:
        return inside.value(ast.parse(name, mode="eval").body)
    raise NotReadable(target)
