"""The settings of a component, as its class declares them.

They are read from its source (`vtok.config.signature`), so that a mistake is answered before torch is loaded, and so
that nothing of a stranger's is run. A class whose source cannot be followed (compiled, or defined in a notebook) is
asked itself, once it has been imported; that is left to `vtok.config.targets`, which asks first whether it may be.
"""

import ast
import inspect
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, get_origin

from hydra.utils import get_object
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

OWN_PACKAGE = __name__.partition(".")[0]


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
    settings, takes_others = settings_of(definition)
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
                    return evaluated(one, value)
                case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.expr() as value) if assigned == name:
                    return evaluated(one, value)
    return default


def is_dataclass_of_settings(target: str) -> bool:
    """Whether a class that an annotation names is a dataclass, whose fields may stand in a YAML as a mapping."""
    try:
        return is_dataclass(find(target))
    except NotReadable:
        return False


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
        plain = REQUIRED if one.default is one.empty else one.default if is_plain_value(one.default) else COMPUTED
        kind = one.annotation if get_origin(one.annotation) is Annotated else Any
        settings[one.name] = Setting(one.name, kind, plain, helps.get(one.name, ""), one.kind is one.KEYWORD_ONLY)
    return Declaration(target, (inspect.getdoc(found) or "").partition("\n")[0], settings, takes_others)
