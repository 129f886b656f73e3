"""The settings of a component, as its class declares them.

A setting is declared once: in the signature of the class's constructor (or as a dataclass's field) with its type,
bounds and default, and in the docstring with a sentence that explains it. Both are read from the source, so that a
mistake is answered before torch is loaded, and so that nothing of a stranger's is run. A class whose source cannot be
followed (compiled, or defined in a notebook) is asked itself, once it has been imported; that is left to
`vtok.config.targets`, which asks first whether it may be.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, get_origin

from hydra.utils import get_object
from omegaconf import MISSING

from vtok.common.errors import UserError
from vtok.common.source_code import ClassReference, Definition, NotReadable, find

OWN_PACKAGE = __name__.partition(".")[0]
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
        takes_others: whether there may be settings that are not known, as `**kwargs` are handed on to what cannot be
            read.
    """

    target: str
    summary: str
    settings: dict[str, Setting]
    takes_others: bool = False

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
            elif one.default is REQUIRED:
                if one.keyword_only:
                    found[name] = MISSING
            elif nested is not None:
                found[name] = declaration_of(nested).defaults()
        return found


class NotImported(UserError):
    """A class whose source cannot be followed, and which has not been imported."""


def declaration_of(target: str) -> Declaration:
    """The settings of the class or function of this full name.

    Raises:
        NotImported: only the class itself could say.
        UserError: there is nothing of this name.
    """
    try:
        return declaration_in_source(target)
    except NotReadable:
        return _imported(target)


@cache
def declaration_in_source(target: str) -> Declaration:
    """Raises NotReadable where the source cannot be followed."""
    return replace(declaration_by(find(target)), target=target)


def declaration_by(definition: Definition) -> Declaration:
    """The settings of a class or function, from its source; raises NotReadable where that cannot be followed."""
    summary = definition.docstring.partition("\n")[0]
    helps: dict[str, str] = {}
    for one in reversed([definition, *definition.bases()]):
        helps |= argument_help(one.docstring)
    settings, takes_others = _settings(definition)
    found = [replace(one, help=helps.get(one.name, "")) for one in settings]
    return Declaration(definition.target, summary, {one.name: one for one in found}, takes_others)


def trait(target: str, name: str, default: Any = None) -> Any:
    """A constant of a class, its own or inherited, such as `shardable = False`, without importing it.

    Raises:
        NotImported: only the class itself could say.
        UserError: there is nothing of this name.
    """
    try:
        return trait_in_source(target, name, default)
    except NotReadable:
        return getattr(_object(target), name, default)


@cache
def trait_in_source(target: str, name: str, default: Any) -> Any:
    """Raises NotReadable where the source cannot be followed."""
    definition = find(target)
    for one in (definition, *definition.bases()):
        for node in one.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=assigned)], value=value) if assigned == name:
                    return _evaluated(one, value)
                case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.expr() as value) if assigned == name:
                    return _evaluated(one, value)
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


def _settings(definition: Definition) -> tuple[list[Setting], bool]:
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
        if _is_dataclass(one):
            parents = [parent for parent in reversed([one, *one.bases()]) if _is_dataclass(parent)]
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
        return definition.module.annotation(node)
    # An expression of somebody's own may fail in any way.
    except Exception:
        return Any


def _default(definition: Definition, node: ast.expr | None) -> Any:
    if node is None:
        return REQUIRED
    try:
        value = _evaluated(definition, node)
    except NotReadable:
        return COMPUTED
    return value if _is_plain(value) else COMPUTED


def _evaluated(definition: Definition, node: ast.expr) -> Any:
    """The value of an expression; raises NotReadable where the text does not say it."""
    try:
        return definition.module.value(node)
    # An expression of somebody's own may fail in any way.
    except Exception as error:
        raise NotReadable(ast.unparse(node)) from error


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
    """The class or function itself, of this project or of a module that has been imported."""
    if target.partition(".")[0] != OWN_PACKAGE and not _is_loaded(target):
        raise NotImported(f"_target_={target}: there is no Python source of this name to read its settings from.")
    try:
        return get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"_target_={target}: it cannot be imported ({reason}).") from error


def _is_loaded(target: str) -> bool:
    """Whether the module that holds a class has been imported; of `lab.tools.Mine.Inner` that is `lab.tools`."""
    parts = target.split(".")
    known = next(
        (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in sys.modules), None
    )
    found: Any = sys.modules.get(known) if known else None
    for part in target.removeprefix(f"{known}.").split("."):
        # Not getattr, of which a package may make an import.
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found is not None


def _imported(target: str) -> Declaration:
    found = _object(target)
    helps = argument_help(inspect.getdoc(found) or "")
    settings = {}
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"_target_={target}: its arguments cannot be read ({error}).") from error
    takes_others = False
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            takes_others = takes_others or one.kind is one.VAR_KEYWORD
            continue
        plain = REQUIRED if one.default is one.empty else one.default if _is_plain(one.default) else COMPUTED
        kind = one.annotation if get_origin(one.annotation) is Annotated else Any
        settings[one.name] = Setting(one.name, kind, plain, helps.get(one.name, ""), one.kind is one.KEYWORD_ONLY)
    return Declaration(target, (inspect.getdoc(found) or "").partition("\n")[0], settings, takes_others)
