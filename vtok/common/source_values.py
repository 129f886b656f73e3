"""Evaluates constants and type annotations in Python source without running it."""

import ast
import builtins
import importlib
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any, Literal, Optional, Union

from vtok.common.source_code import Module, NotReadable, split

# Names in annotations are looked up in these modules, which are cheap to import and have no side effects.
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
# Types that may be called. The source may be untrusted, and reading it must not run it.
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


@dataclass(frozen=True)
class ClassReference:
    """The full name of a class in an annotation; `optional` if None is allowed too."""

    target: str
    optional: bool = False

    def __or__(self, other: Any) -> Any:
        return replace(self, optional=True) if other is None else Any

    __ror__ = __or__


def value(module: Module, node: ast.AST) -> Any:
    """The value of an expression of literals, types, and constants of this and other modules.

    Raises:
        NotReadable: the expression is of another kind.
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name(id=name):
            return _named(module, name)
        case ast.Attribute():
            return _named(module, ast.unparse(node))
        case ast.Tuple():
            return tuple(value(module, item) for item in node.elts)
        case ast.List():
            return [value(module, item) for item in node.elts]
        case ast.Dict():
            keys = [value(module, key) for key in node.keys if key is not None]
            return dict(zip(keys, (value(module, item) for item in node.values), strict=True))
        case ast.UnaryOp(op=ast.USub()):
            return -value(module, node.operand)
        case ast.BinOp() if type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(module, node.left), value(module, node.right))
        case ast.Subscript():
            return _subscripted(module, value(module, node.value), node.slice)
        case ast.Call(func=function) if _may_be_called(called := value(module, function)):
            keywords = {item.arg: value(module, item.value) for item in node.keywords if item.arg}
            return called(*(value(module, item) for item in node.args), **keywords)
    raise NotReadable(ast.unparse(node))


def _subscripted(module: Module, outer: Any, inside: ast.expr) -> Any:
    """A type with its arguments; a string argument is the type that it names."""
    if outer is Literal:
        return outer[value(module, inside)]
    items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    # The metadata of Annotated are not types.
    types = [
        value(module, item) if outer is Annotated and place else annotation(module, item)
        for place, item in enumerate(items)
    ]
    if outer is Optional:
        return types[0] | None
    if outer is Union:
        return reduce(operator.or_, types)
    return outer[tuple(types) if isinstance(inside, ast.Tuple) else types[0]]


def annotation(module: Module, node: ast.expr) -> Any:
    """The type of an annotation, which may be a string.

    Raises:
        NotReadable: the type does not follow from the source alone.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.List):
        return [annotation(module, item) for item in node.elts]
    return value(module, node)


def _class(module: Module, target: str) -> Any:
    """The class itself if it is a bound of a setting, else a reference to it."""
    if module.name == SETTING_TYPES:
        return getattr(importlib.import_module(module.name), target.rpartition(".")[2])
    return ClassReference(target)


def _named(module: Module, name: str) -> Any:
    first, _, rest = name.partition(".")
    if first in module.names and not rest:
        node = module.names[first]
        if isinstance(node, ast.ClassDef):
            return _class(module, f"{module.name}.{first}")
        return value(module, node)
    if first in module.imports:
        origin, imported = module.imports[first]
        if origin.split(".")[0] in IMPORTED:
            path = ".".join(part for part in (imported, rest) if part)
            return operator.attrgetter(path)(importlib.import_module(origin))
        return value_of(".".join(part for part in (origin, imported, rest) if part))
    if hasattr(builtins, first) and not rest:
        return getattr(builtins, first)
    raise NotReadable(f"{module.name}.{name}")


def _may_be_called(found: Any) -> bool:
    return isinstance(found, type) and (found in PLAIN or found.__module__ in BOUNDS)


def value_of(target: str) -> Any:
    """The constant, type or class with a full name.

    Raises:
        NotReadable: its source cannot be followed.
    """
    inside, name = split(target)
    first = name.partition(".")[0]
    if first in inside.names or first in inside.imports:
        return value(inside, ast.parse(name, mode="eval").body)
    raise NotReadable(target)
