"""Python source read without running it: modules, the names in them, and the values that can be told from the text."""

import ast
import builtins
import importlib
import operator
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

# What annotations use of these is looked up in them: cheap to import, and harmless.
IMPORTED = (
    "annotated_types",
    "collections",
    "enum",
    "math",
    "numbers",
    "pathlib",
    "types",
    "typing",
    "typing_extensions",
)
SETTING_TYPES = "vtok.common.setting_types"
# What may be called. Source that is read may be a stranger's, and must not be run by reading it.
PLAIN = (bool, int, float, str, list, tuple, dict)
BOUNDS = ("annotated_types", SETTING_TYPES)
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
        return [one for parent in self._parents() for one in (parent, *parent.bases())]

    def _parents(self) -> list["Definition"]:
        if not isinstance(self.node, ast.ClassDef):
            return []
        found = []
        for base in self.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            with suppress(NotReadable):
                found.append(self.module.definition(ast.unparse(name), beside=self.node))
        return found

    @property
    def is_followed(self) -> bool:
        """Whether the source of all that it is derived from, but for Python's own classes, can be read."""
        if not isinstance(self.node, ast.ClassDef):
            return True
        others = [one for one in self.node.bases if not self.module.is_pythons_own(one)]
        parents = [one for one in self._parents() if one.module.name.partition(".")[0] not in sys.stdlib_module_names]
        return len(parents) == len(others) and all(one.is_followed for one in parents)


class Module:
    """The top level of a source file.

    Args:
        name: full name of the module.
        path: its file.

    Raises:
        NotReadable: it is not Python source.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.is_package = path.name == "__init__.py"
        self.names: dict[str, ast.AST] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        try:
            self._read(ast.parse(path.read_bytes()).body)
        # Null bytes, another encoding, or no Python at all.
        except (SyntaxError, ValueError) as error:
            raise NotReadable(f"{path}: {error}") from error

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

    def is_pythons_own(self, base: ast.expr) -> bool:
        """Whether a class that others are derived from, such as `ABC` or `Generic[T]`, comes with Python."""
        first = ast.unparse(base).partition("[")[0].partition(".")[0]
        origin = self.imports[first][0] if first in self.imports else ""
        return origin.partition(".")[0] in sys.stdlib_module_names or (not origin and hasattr(builtins, first))

    def definition(self, name: str, beside: ast.AST | None = None) -> Definition:
        """The class or function that `name`, which may be dotted, stands for in this module.

        Args:
            name: as it is written in this module.
            beside: a class that is not meant, which may have the name of the imported one that it is derived from.

        Raises:
            NotReadable: it is defined elsewhere than in Python source, or is neither.
        """
        first, _, rest = name.partition(".")
        node = self.names.get(first)
        if node is not None and node is not beside and not rest:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                return Definition(self, node)
            # Another name for it.
            if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) != name:
                return self.definition(ast.unparse(node))
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
                return self._subscripted(self.value(node.value), node.slice)
            case ast.Call(func=function) if _may_be_called(called := self.value(function)):
                keywords = {item.arg: self.value(item.value) for item in node.keywords if item.arg}
                return called(*map(self.value, node.args), **keywords)
        raise NotReadable(ast.unparse(node))

    def _subscripted(self, outer: Any, inside: ast.expr) -> Any:
        """A type with its arguments, in which a text stands for the type that it spells."""
        if outer is Literal:
            return outer[self.value(inside)]
        items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        # The metadata of Annotated are no types.
        types = [
            self.value(item) if outer is Annotated and place else self.annotation(item)
            for place, item in enumerate(items)
        ]
        if outer is Optional:
            return types[0] | None
        if outer is Union:
            return reduce(operator.or_, types)
        return outer[tuple(types) if isinstance(inside, ast.Tuple) else types[0]]

    def annotation(self, node: ast.expr) -> Any:
        """The type that an annotation means, which may be a text.

        Raises:
            NotReadable: it cannot be told from the text.
        """
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if isinstance(node, ast.List):
            return [self.annotation(item) for item in node.elts]
        return self.value(node)

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
    if spec is None:
        return None
    # A folder without an __init__.py is a package too, which may have several places.
    path = Path(spec.origin) if spec.origin is not None else None
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    for part in rest:
        files = [file for folder in folders for file in (folder / part / "__init__.py", folder / f"{part}.py")]
        path = next((file for file in files if file.is_file()), None)
        if path is not None:
            folders = [path.parent] if path.name == "__init__.py" else []
        else:
            folders = [folder / part for folder in folders if (folder / part).is_dir()]
    return Module(name, path) if path is not None and path.suffix == ".py" else None


def _may_be_called(found: Any) -> bool:
    return isinstance(found, type) and (found in PLAIN or found.__module__ in BOUNDS)


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
    try:
        return inside.definition(name)
    except RecursionError as error:
        raise NotReadable(f"{target}: its names refer to each other") from error


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
