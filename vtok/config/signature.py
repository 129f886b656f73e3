"""Reads the settings of a class from its source: the constructor's signature or a dataclass's fields, and docstring.

A setting is declared once: the signature (or field) has its type, bounds and default, and the docstring explains it.
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
    """Stands for a default that is not a plain value: `REQUIRED` or `COMPUTED`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


# There is no default.
REQUIRED = Marker("REQUIRED")
# The default is not a plain value in the source: a class, or the result of a call.
COMPUTED = Marker("COMPUTED")


@dataclass(frozen=True)
class Setting:
    """One setting of a component.

    Attributes:
        name: name of the argument.
        type: annotated type with its bounds; `typing.Any` if it cannot be read.
        default: plain value, `REQUIRED`, or `COMPUTED`.
        help: sentence from the docstring; "" if there is none.
        keyword_only: whether users set it; positional arguments are passed by the code that builds the component.
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
        """Whether the code that builds the component passes it, such as the width of another component."""
        return not self.keyword_only and self.default is REQUIRED


def argument_help(docstring: str) -> dict[str, str]:
    """The sentences of a Google-style docstring's Args and Attributes, by name."""
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
    """The settings of a class or function, still without help, and whether it accepts others as `**kwargs`."""
    if isinstance(definition.node, ast.FunctionDef):
        return list(_arguments(definition, definition.node, skip=0)), definition.node.args.kwarg is not None
    found: dict[str, Setting] = {}
    for one in (definition, *definition.bases()):
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                for argument in _arguments(one, node, skip=1):
                    found.setdefault(argument.name, argument)
                # **kwargs go to the base class.
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
            # A field of type KW_ONLY is a marker, not a setting.
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
    # An annotation in a user's class may fail in any way.
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
    """The value of an expression; raises NotReadable if the source alone does not give it."""
    try:
        return value(definition.module, node)
    # An expression in a user's class may fail in any way.
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
