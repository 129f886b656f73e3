"""The settings of a component, as its class declares them.

A setting is declared once: in the signature of the class's constructor (or as a dataclass's field) with its type,
bounds and default, and in the docstring with a sentence that explains it. Both are read from the source, so that a
mistake is answered before torch is loaded. A component whose source cannot be followed (compiled, or imported lazily by
its package) is imported instead.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, get_origin

from hydra.utils import get_object
from omegaconf import MISSING

from vtok.errors import UserError
from vtok.source_code import ClassReference, Definition, NotReadable, find

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


@dataclass(frozen=True)
class Declaration:
    """What a component takes.

    Attributes:
        target: full name of the class or function.
        summary: first line of its docstring.
        settings: by name, in the order of the signature.
    """

    target: str
    summary: str
    settings: dict[str, Setting]

    def defaults(self) -> dict[str, Any]:
        """The value of each setting that a YAML file need not give; `???` where it has to be given."""
        found: dict[str, Any] = {}
        for name, one in self.settings.items():
            nested = one.type.target if isinstance(one.type, ClassReference) else None
            if nested is not None and not is_dataclass_of_settings(nested):
                # Another component, which a group of its own brings.
                continue
            if one.is_plain:
                found[name] = list(one.default) if isinstance(one.default, tuple) else one.default
            elif nested is not None:
                found[name] = declaration_of(nested).defaults()
            elif one.default is REQUIRED and one.keyword_only:
                found[name] = MISSING
        return found


@cache
def declaration_of(target: str) -> Declaration:
    """The settings of the class or function of this full name.

    Raises:
        UserError: there is nothing of this name.
    """
    try:
        definition = find(target)
    except (NotReadable, SyntaxError):
        return _imported(target)
    summary = definition.docstring.partition("\n")[0]
    helps: dict[str, str] = {}
    for one in reversed([definition, *definition.bases()]):
        helps |= argument_help(one.docstring)
    found = [replace(one, help=helps.get(one.name, "")) for one in _settings(definition)]
    return Declaration(target, summary, {one.name: one for one in found})


@cache
def trait(target: str, name: str, default: Any = None) -> Any:
    """A constant of a class, its own or inherited, such as `shardable = False`, without importing it."""
    try:
        definition = find(target)
    except (NotReadable, SyntaxError):
        return getattr(_object(target), name, default)
    for one in (definition, *definition.bases()):
        for node in one.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=assigned)], value=value) if assigned == name:
                    return one.module.value(value)
                case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.expr() as value) if assigned == name:
                    return one.module.value(value)
    return default


def is_dataclass_of_settings(target: str) -> bool:
    """Whether a class that an annotation names is a dataclass, whose fields may stand in a YAML as a mapping."""
    try:
        return _is_dataclass(find(target))
    except NotReadable:
        return False


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


def _settings(definition: Definition) -> Iterator[Setting]:
    """Each argument, still without its sentence."""
    if isinstance(definition.node, ast.FunctionDef):
        yield from _arguments(definition, definition.node, skip=0)
        return
    lineage = [definition, *definition.bases()]
    for one in lineage:
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                yield from _arguments(one, node, skip=1)
                return
        if _is_dataclass(one):
            parents = [parent for parent in reversed([one, *one.bases()]) if _is_dataclass(parent)]
            yield from {field.name: field for parent in parents for field in _fields(parent)}.values()
            return


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
            if get_origin(kind) is ClassVar or kind is ClassVar:
                continue
            default: ast.expr | None = node.value
            # field(default=...) and field(default_factory=...).
            if isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field"):
                keywords = {item.arg: item.value for item in default.keywords}
                factory = keywords.get("default_factory")
                default = ast.Call(factory, [], []) if factory is not None else keywords.get("default")
                if isinstance(factory, ast.Lambda):
                    default = factory.body
            yield Setting(node.target.id, kind, _default(definition, default))


def _type(definition: Definition, node: ast.expr | None) -> Any:
    if node is None:
        return Any
    try:
        return definition.module.value(node)
    except (NotReadable, TypeError, AttributeError):
        return Any


def _default(definition: Definition, node: ast.expr | None) -> Any:
    if node is None:
        return REQUIRED
    try:
        value = definition.module.value(node)
    except (NotReadable, TypeError, AttributeError):
        return COMPUTED
    return value if _is_plain(value) else COMPUTED


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _is_dataclass(definition: Definition) -> bool:
    decorators = definition.node.decorator_list
    return any(ast.unparse(one).partition("(")[0] in ("dataclass", "dataclasses.dataclass") for one in decorators)


def _object(target: str) -> Any:
    try:
        return get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"_target_={target}: it cannot be imported ({reason}).") from error


def _imported(target: str) -> Declaration:
    found = _object(target)
    helps = argument_help(inspect.getdoc(found) or "")
    settings = {}
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"_target_={target}: its arguments cannot be read ({error}).") from error
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        plain = REQUIRED if one.default is one.empty else one.default if _is_plain(one.default) else COMPUTED
        kind = one.annotation if get_origin(one.annotation) is Annotated else Any
        settings[one.name] = Setting(one.name, kind, plain, helps.get(one.name, ""), one.kind is one.KEYWORD_ONLY)
    return Declaration(target, (inspect.getdoc(found) or "").partition("\n")[0], settings)
