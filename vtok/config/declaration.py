"""The settings of a component, as its class declares them.

They are read from the class's source (`vtok.config.signature`). Mistakes are found before torch is loaded, and no
untrusted code is run. If a class has no readable source (compiled, or defined in a notebook), its settings are read
from the imported class. `vtok.config.targets` imports it, after it has checked that the user allows it.
"""

import ast
import inspect
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, get_origin

from omegaconf import MISSING

from vtok.common.errors import UserError
from vtok.common.source_code import Definition, NotReadable, find
from vtok.common.source_values import ClassReference
from vtok.config.signature import (
    COMPUTED,
    REQUIRED,
    Setting,
    argument_help,
    evaluated,
    is_dataclass,
    is_plain_value,
    settings_of,
)
from vtok.config.targets import import_target, is_own_target


@dataclass(frozen=True)
class Declaration:
    """The settings of a component.

    Attributes:
        target: full name of the class or function.
        summary: first line of its docstring.
        settings: settings by name, in the order of the signature.
        accepts_unknown: whether it accepts settings that are not listed, because it passes `**kwargs` to code that
            cannot be read.
    """

    target: str
    summary: str
    settings: dict[str, Setting]
    accepts_unknown: bool = False

    def defaults(self) -> dict[str, Any]:
        """The default of each setting; `???` if a YAML file or an override must set it."""
        found: dict[str, Any] = {}
        for name, one in self.settings.items():
            nested = one.type.target if isinstance(one.type, ClassReference) else None
            if nested is not None and not is_dataclass_of_settings(nested):
                # Another component, which has a group of its own.
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
    """The source of a class cannot be read, and the class has not been imported."""


def declaration_of(target: str) -> Declaration:
    """The settings of the class or function of this full name.

    Raises:
        NotImported: if its source cannot be read and it has not been imported.
        UserError: if it does not exist.
    """
    try:
        return declaration_in_source(target)
    except NotReadable:
        return _imported(target)


@cache
def declaration_in_source(target: str) -> Declaration:
    """The settings from the source; raises NotReadable if it cannot be read."""
    return replace(declaration_by(find(target)), target=target)


def declaration_by(definition: Definition) -> Declaration:
    """The settings of a class or function, from its source; raises NotReadable if it cannot be read."""
    summary = definition.docstring.partition("\n")[0]
    helps: dict[str, str] = {}
    for one in reversed([definition, *definition.bases()]):
        helps |= argument_help(one.docstring)
    settings, accepts_unknown = settings_of(definition)
    found = [replace(one, help=helps.get(one.name, "")) for one in settings]
    return Declaration(definition.target, summary, {one.name: one for one in found}, accepts_unknown)


def class_constant(target: str, name: str, default: Any = None) -> Any:
    """A constant of a class, its own or inherited, such as `shardable = False`, without importing the class.

    Raises:
        NotImported: if its source cannot be read and it has not been imported.
        UserError: if it does not exist.
    """
    try:
        return constant_in_source(target, name, default)
    except NotReadable:
        return getattr(_object(target), name, default)


@cache
def constant_in_source(target: str, name: str, default: Any) -> Any:
    """The constant from the source; raises NotReadable if it cannot be read."""
    definition = find(target)
    for one in (definition, *definition.bases()):
        for node in one.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=assigned)], value=value) if assigned == name:
                    return evaluated(one, value)
                case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.expr() as value) if assigned == name:
                    return evaluated(one, value)
    return default


def is_dataclass_of_settings(target: str) -> bool:
    """Whether a class is a dataclass, whose fields can be written in YAML as a mapping."""
    try:
        return is_dataclass(find(target))
    except NotReadable:
        return False


def _object(target: str) -> Any:
    """The class or function itself, if it is in this project or has been imported."""
    if not is_own_target(target) and not _is_loaded(target):
        raise NotImported(
            f"_target_={target}: there is no Python source of this name. Check the name, and that its package is "
            "installed."
        )
    return import_target(target, "_target_")


def _is_loaded(target: str) -> bool:
    """Whether the module of a class has been imported: `lab.tools` for `lab.tools.Mine.Inner`."""
    parts = target.split(".")
    known = next(
        (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in sys.modules), None
    )
    found: Any = sys.modules.get(known) if known else None
    for part in target.removeprefix(f"{known}.").split("."):
        # getattr may import something: a module can define __getattr__.
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found is not None


def _imported(target: str) -> Declaration:
    found = _object(target)
    helps = argument_help(inspect.getdoc(found) or "")
    settings = {}
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"_target_={target}: its arguments cannot be read ({error}). Use a class with a Python constructor."
        ) from error
    accepts_unknown = False
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            accepts_unknown = accepts_unknown or one.kind is one.VAR_KEYWORD
            continue
        plain = REQUIRED if one.default is one.empty else one.default if is_plain_value(one.default) else COMPUTED
        kind = one.annotation if get_origin(one.annotation) is Annotated else Any
        settings[one.name] = Setting(one.name, kind, plain, helps.get(one.name, ""), one.kind is one.KEYWORD_ONLY)
    return Declaration(target, (inspect.getdoc(found) or "").partition("\n")[0], settings, accepts_unknown)
