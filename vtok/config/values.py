"""Checks values against the declared types and bounds of settings, and puts these types into words."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from vtok.common.errors import UserError
from vtok.common.nested import nodes
from vtok.common.setting_types import MultipleOfSetting, OneMoreThanMultipleOf
from vtok.common.source_values import ClassReference
from vtok.config.declaration import Declaration, declaration_of, is_dataclass_of_settings
from vtok.config.hints import KEYS
from vtok.config.signature import Setting
from vtok.config.targets import group_of

OWN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
PYDANTIC_CONFIG = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True, allow_inf_nan=False)


def check_values(config: DictConfig, only: Callable[[str], bool] = lambda target: True) -> None:
    """Check every setting of every component against its declaration; convert values of another type where they fit.

    Args:
        config: the composed or loaded configuration.
        only: whether the class of a `_target_` is checked.

    Raises:
        UserError: if a value does not fit; names the first one.
    """
    for path, node in nodes(config):
        if "_target_" in node and only(target := str(node["_target_"])):
            check_node(path, node, declaration_of(target))


def check_node(path: str, node: DictConfig, declared: Declaration) -> None:
    """Check the settings of one component, or of a dataclass inside one, against their declaration.

    Raises:
        UserError: if a key is unknown or a value does not fit.
    """
    for key in map(str, node):
        setting = declared.settings.get(key)
        if setting is None:
            if key not in OWN_KEYS and not declared.accepts_unknown:
                full = f"{path}.{key}" if path else key
                raise UserError(unknown_key(full, declared.settings))
        elif not OmegaConf.is_missing(node, key):
            check_value(path, node, setting)


def check_value(path: str, node: DictConfig, setting: Setting) -> None:
    name = setting.name
    full = f"{path}.{name}" if path else name
    value = node[name]
    if isinstance(setting.type, ClassReference):
        check_reference(full, value, setting.type)
        return
    plain: Any = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
    try:
        converted = type_adapter(_checkable_type(setting.type)).validate_python(plain)
    except ValidationError:
        converted = None
        fits = False
    else:
        fits = not _is_bool_for_number(plain, setting.type)
    if not fits:
        other = _referenced_key(node, name)
        way_out = f" It takes its value from {other}. Set {full}=VALUE as well, or another {other}." if other else ""
        raise UserError(f"{full}={value_text(plain)}: {must_be(setting.type, plain)}{way_out}")
    for rule in rules_of(setting.type):
        match rule:
            case MultipleOfSetting(setting=other, times=times) if plain is not None:
                divisor = times * int(node[other])
                if divisor > 0 and plain % divisor:
                    factor = f"{times} x " if times > 1 else ""
                    where = f"{path}.{other}" if path else other
                    raise UserError(
                        f"{full}={plain}: must be a multiple of {divisor} ({factor}{where}={node[other]}). "
                        f"Use {max(1, plain // divisor) * divisor}, or another {where}."
                    )
            case OneMoreThanMultipleOf(step=step) if plain is not None and plain % step != 1:
                near = plain // step * step + 1
                raise UserError(f"{full}={plain}: must be a multiple of {step} plus 1. Use {near} or {near + step}.")
    if isinstance(converted, list | tuple):
        converted = list(converted)
    is_plain = isinstance(converted, bool | int | float | str | list)
    if is_plain and (converted != plain or type(converted) is not type(plain)):
        node[name] = converted


def _referenced_key(node: DictConfig, name: str) -> str | None:
    """The key that a setting refers to as `${key}`; None if it is not a reference."""
    raw = OmegaConf.to_container(node, resolve=False)
    found = re.fullmatch(r"\$\{([\w.]+)\}", str(raw[name])) if isinstance(raw, dict) else None
    return found[1] if found else None


def check_reference(full: str, value: Any, kind: ClassReference) -> None:
    """Check a setting that is another component, or a dataclass of settings.

    Raises:
        UserError: if the value is a word or number instead of a component, or its settings do not fit.
    """
    if value is None:
        if not kind.optional:
            raise UserError(f"{full}=null: must be a component. Use {full.replace('.', '/')}=OPTION.")
    elif not isinstance(value, DictConfig):
        if is_dataclass_of_settings(kind.target):
            example = ",".join(
                f"{one.name}:{one.default}" for one in declaration_of(kind.target).settings.values() if one.default
            )
            raise UserError(f"{full}={value}: must be null or a mapping of settings. Use '{full}={{{example}}}'.")
        if group := group_of(tuple(full.split("."))):
            place = "" if group.replace("/", ".") == full else f"@{full}"
            raise UserError(f"{full}={value}: an option of a group is chosen with a slash. Use {group}{place}={value}.")
        # A class that is not a component, such as an Enum, may be built from a word or a number.
    elif "_target_" not in value and is_dataclass_of_settings(kind.target):
        check_node(full, value, declaration_of(kind.target))


@cache
def type_adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=PYDANTIC_CONFIG)


def _checkable_type(kind: Any) -> Any:
    """The type itself, or Any if pydantic cannot check it because it contains other components."""
    try:
        hash(kind)
    except TypeError:
        return Any
    return Any if _mentions_reference(kind) else kind


def _mentions_reference(kind: Any) -> bool:
    return isinstance(kind, ClassReference) or any(
        _mentions_reference(one) for arg in get_args(kind) for one in (arg if isinstance(arg, list) else [arg])
    )


def _is_bool_for_number(value: Any, kind: Any) -> bool:
    """In Python true and false pass as 1 and 0; users never mean that."""
    return isinstance(value, bool) and bool not in alternatives(kind) and Any not in alternatives(kind)


def alternatives(kind: Any) -> list[Any]:
    """The types of a union without their bounds; a Literal stays as it is."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [one for arg in get_args(kind) for one in alternatives(arg)]
    return [kind]


def rules_of(kind: Any) -> list[Any]:
    """The bounds of a type, including those of a union's alternatives."""
    if get_origin(kind) is Annotated:
        inner, *rules = get_args(kind)
        return [*rules_of(inner), *rules]
    if get_origin(kind) in (Union, UnionType):
        return [rule for arg in get_args(kind) for rule in rules_of(arg)]
    return []


def type_text(kind: Any) -> str:
    """A type and its bounds in words: "an integer >= 1 or null"."""
    if get_origin(kind) is Annotated:
        inner, *rules = get_args(kind)
        return " ".join([type_text(inner), *bounds_text(rules)])
    if get_origin(kind) in (Union, UnionType):
        *others, last = dict.fromkeys(type_text(arg) for arg in get_args(kind))
        return f"{', '.join(others)}{',' if any(',' in text for text in others) else ''} or {last}" if others else last
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if isinstance(kind, ClassReference):
        what = "a mapping {KEY:VALUE} of settings" if is_dataclass_of_settings(kind.target) else "a component"
        return what + (" or null" if kind.optional else "")
    if origin is tuple and inside and inside[-1] is not Ellipsis:
        return f"[{', '.join(type_text(one) for one in inside)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping {{NAME: {type_text(inside[1]) if inside else 'value'}}}"
    if _is_list(origin):
        return list_text(inside[0]) if inside else "a list"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", NoneType: "null"}
    return names.get(origin, "a path" if getattr(origin, "__name__", "") == "Path" else str(origin))


def list_text(item: Any) -> str:
    """ "a list of integers >= 1", or "a list, each item one of a, b"."""
    inner, *rules = get_args(item) if get_origin(item) is Annotated else (item,)
    plurals = {int: "integers", float: "numbers", str: "strings"}
    if inner in plurals:
        return " ".join([f"a list of {plurals[inner]}", *bounds_text(rules)])
    return f"a list, each item {type_text(item)}"


def _is_list(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Collection) and not issubclass(kind, str | Mapping)


def bounds_text(rules: Sequence[Any]) -> list[str]:
    """Words that follow "a number": ">= 1", "> 0 and < 1", "from 0 to 1", "that is a multiple of 16"."""
    ends = {type(rule): rule for rule in rules}
    low, high = ends.get(Ge) or ends.get(Gt), ends.get(Le) or ends.get(Lt)
    texts = []
    match low, high:
        case Ge(ge=least), Le(le=most):
            texts.append(f"from {least} to {most}")
        case Ge(ge=least), Lt(lt=most):
            texts.append(f">= {least} and < {most}")
        case Gt(gt=least), Le(le=most):
            texts.append(f"> {least} and <= {most}")
        case Gt(gt=least), Lt(lt=most):
            texts.append(f"> {least} and < {most}")
        case Ge(ge=least), None:
            texts.append(f">= {least}")
        case Gt(gt=least), None:
            texts.append(f"> {least}")
        case None, Le(le=most):
            texts.append(f"<= {most}")
    for rule in rules:
        match rule:
            case MultipleOf(multiple_of=step):
                texts.append(f"that is a multiple of {step}")
            case MultipleOfSetting(setting=other, times=times):
                texts.append(f"that is a multiple of {f'{times} x ' if times > 1 else ''}{other}")
            case OneMoreThanMultipleOf(step=step):
                texts.append(f"that is a multiple of {step} plus 1")
            case MinLen(min_length=least):
                texts.append(f"(at least {least} item{'s' if least > 1 else ''})")
    return texts


def must_be(kind: Any, value: Any) -> str:
    """What a value must be, with the nearest choice if it is a misspelt one."""
    choices = list(map(str, literal_values(kind)))
    given = value if isinstance(value, list) else [value]
    wrong = next((str(one) for one in given if str(one) not in choices), "")
    hint = ""
    if near := get_close_matches(wrong, choices, n=1, cutoff=0.5):
        hint = f" Did you mean {near[0]}?"
    elif isinstance(value, str) and any(_is_list(get_origin(one) or one) for one in alternatives(kind)):
        hint = " Write a list in brackets: [A,B]."
    return f"must be {type_text(kind)}.{hint}"


def literal_values(kind: Any) -> list[Any]:
    """The values of a type's Literals, including those of a list's items."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [one for arg in get_args(kind) if not isinstance(arg, list) for one in literal_values(arg)]


def value_text(value: Any) -> str:
    """A value as one types it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{value_text(one)}' for key, one in value.items())}}}"
    return str(value)


def command_line_help(help: str) -> str:
    """A docstring's sentence with None, True and False as on the command line: null, true and false."""
    return re.sub(r"\b(?:None|True|False)\b", lambda found: {"None": "null"}.get(found[0], found[0].lower()), help)


def unknown_key(full: str, known: Collection[str], *, elsewhere: Sequence[str] = ()) -> str:
    """The message for a key that does not exist.

    Args:
        full: full name of the key.
        known: names of the keys that exist beside it.
        elsewhere: full names of keys with the same name in other groups.
    """
    path, _, name = full.rpartition(".")
    if full in KEYS:
        return f"{full}: unknown key. {KEYS[full]}"
    if elsewhere:
        return f"{full}: unknown key. Did you mean {' or '.join(elsewhere)}?"
    if not known:
        return f"{full}: unknown key. {path} has no keys. Remove it."
    names = ", ".join(known)
    if not (near := get_close_matches(name, known, n=1, cutoff=0.5)):
        return f"{full}: unknown key. Use a key{f' of {path}' if path else ''}: {names}."
    prefix = f"{path}." if path else ""
    return f"{full}: unknown key. {path or 'The configuration'} has {names}. Did you mean {prefix}{near[0]}?"
