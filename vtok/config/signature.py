"""The settings in the source of a class: the signature of its constructor or its fields, and its docstring.

A setting is declared once: in the signature of the class's constructor (or as a dataclass's field) with its type,
bounds and default, and in the docstring with a sentence that explains it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, get_origin

from vtok.common.source_code import Definition, NotReadable
from vtok.common.source_values import annotation, value

HEADING = re.compile(r"([A-Z]\w+):\s*$")
ARGUMENT = re.compile(r"(\w[\w, ]*?)(?: \([^)]*\))?: (.+)")


class Marker:
    """A default that is not a value: see `REQUIRED` and `COMPUTED`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


REQUIRED = Marker("REQUIRED")
# The text does not say it: a class, or what a call returns.
COMPUTED = Marker("COMPUTED")


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: of the argument.
        type: as annotated, with its bounds; `typing.Any` where it is not a plain value.
        default: a plain value, `REQUIRED`, or `COMPUTED`.
        help: its sentence in the docstring; "" where there is none.
        keyword_only: whether it is a setting proper; others are given by the code that builds the component.
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    keyword_only: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether its default is a value that a YAML file can hold."""
        return not isinstance(self.default, Marker)

    @property
    def is_given_by_code(self) -> bool:
        """Whether the code that builds the component gives it, such as the width of another one."""
        return not self.keyword_only and self.default is REQUIRED


def argument_help(docstring: str) -> dict[str, str]:
    """The sentences of a docstring's Args and Attributes by name (Google's style)."""
    helps: dict[str, str] = {}
    section = ""
    names: list[str] = []
    for line in docstring.splitlines():
        if heading := HEADING.match(line):
            section, names = heading[1], []
        elif section in ("Args", "Attributes"):
            indent = len(line) - len(line.lstrip())
            if indent == 4 and (argument := ARGUMENT.match(line.strip())):
                names = [name.strip() for name in argument[1].split(",")]
                helps |= dict.fromkeys(names, argument[2])
            elif indent > 4 and names:
                helps |= {name: f"{helps[name]} {line.strip()}" for name in names}
    return helps


def settings_of(definition: Definition) -> tuple[list[Setting], bool]:
    """Each argument, still without its sentence, and whether there may be others."""
    if isinstance(definition.node, ast.FunctionDef):
        return list(_arguments(definition, definition.node, skip=0)), definition.node.args.kwarg is not None
    found: dict[str, Setting] = {}
    for one in (definition, *definition.bases()):
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                for argument in _arguments(one, node, skip=1):
                    found.setdefault(argument.name, argument)
                # Others are handed on to the class that it is derived from.
                if node.args.kwarg is None:
                    return list(found.values()), False
        if is_dataclass(one):
            parents = [parent for parent in reversed([one, *one.bases()]) if is_dataclass(parent)]
            fields = {field.name: field for parent in parents for field in _fields(parent)}
            return list({**fields, **found}.values()), False
    if not found and not definition.is_followed:
        raise NotReadable(definition.target)
    return list(found.values()), bool(found)


def _arguments(definition: Definition, node: ast.FunctionDef, skip: int) -> Iterator[Setting]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(arguments) - len(node.args.defaults)) + list(node.args.defaults)
    positional = list(zip(arguments, defaults, strict=True))[skip:]
    for given, keyword_only in (
        (positional, False),
        (zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True), True),
    ):
        for argument, default in given:
            yield Setting(
                name=argument.arg,
                type=_type(definition, argument.annotation),
                default=_default(definition, default),
                keyword_only=keyword_only,
            )


def _fields(definition: Definition) -> Iterator[Setting]:
    for node in definition.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = _type(definition, node.annotation)
            # What follows KW_ONLY is given by its name, as all settings are.
            if get_origin(kind) is ClassVar or kind is ClassVar or ast.unparse(node.annotation).endswith("KW_ONLY"):
                continue
            default: ast.expr | None = node.value
            # field(default=...) and field(default_factory=...).
            if isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field"):
                keywords = {item.arg: item.value for item in default.keywords}
                if "init" in keywords and ast.unparse(keywords["init"]) == "False":
                    continue
                factory = keywords.get("default_factory")
                default = ast.Call(factory, [], []) if factory is not None else keywords.get("default")
                if isinstance(factory, ast.Lambda):
                    default = factory.body
            yield Setting(node.target.id, kind, _default(definition, default))


def _type(definition: Definition, node: ast.expr | None) -> Any:
    if node is None:
        return Any
    try:
        return annotation(definition.module, node)
    # An expression of somebody's own may fail in any way.
    except Exception:
        return Any


def _default(definition: Definition, node: ast.expr | None) -> Any:
    if node is None:
        return REQUIRED
    try:
        value = evaluated(definition, node)
    except NotReadable:
        return COMPUTED
    return value if is_plain_value(value) else COMPUTED


def evaluated(definition: Definition, node: ast.expr) -> Any:
    """The value of an expression; raises NotReadable where the text does not say it."""
    try:
        return value(definition.module, node)
    # An expression of somebody's own may fail in any way.
    except Exception as error:
        raise NotReadable(ast.unparse(node)) from error


def is_plain_value(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(is_plain_value, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain_value, value))
    return value is None or isinstance(value, bool | int | float | str)


def is_dataclass(definition: Definition) -> bool:
    decorators = definition.node.decorator_list
    return any(ast.unparse(one).partition("(")[0] in ("dataclass", "dataclasses.dataclass") for one in decorators)
