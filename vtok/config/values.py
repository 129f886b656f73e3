"""Values against the types and bounds that their settings declare, and the words for these."""

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
from vtok.config.moved import moved
from vtok.config.signature import Setting
from vtok.config.targets import group_of

OWN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
LENIENT = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True, allow_inf_nan=False)


def check_values(config: DictConfig, only: Callable[[str], bool] = lambda target: True) -> None:
    """Hold every setting of every component against its declaration; values of another type that fit are converted.

    `only` says of a `_target_` whether its class is looked at.

    Raises:
        UserError: the first that does not fit.
    """
    for path, node in nodes(config):
        if "_target_" in node and only(target := str(node["_target_"])):
            check_node(path, node, declaration_of(target))


def check_node(path: str, node: DictConfig, declared: Declaration) -> None:
    """Hold the settings of one component, or of a dataclass in one, against their declaration.

    Raises:
        UserError: an unknown key, or a value that does not fit.
    """
    raw: Any = OmegaConf.to_container(node, resolve=False)
    for key in map(str, node):
        setting = declared.settings.get(key)
        if setting is None:
            if key not in OWN_KEYS and not declared.takes_others:
                raise UserError(unknown_key(f"{path}.{key}" if path else key, declared.settings, shown(raw[key])))
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
        fitting = adapter(_frozen(setting.type)).validate_python(plain)
    except ValidationError:
        fitting = None
        fits = False
    else:
        fits = not _is_bool_for_number(plain, setting.type)
    if not fits:
        followed = _followed(node, name)
        follows = f" It follows {followed}: set {full}=VALUE beside it, or another {followed}." if followed else ""
        raise UserError(f"{full}={shown(plain)}: {must_be(setting.type, plain)}{follows}")
    for rule in metadata(setting.type):
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
    if isinstance(fitting, list | tuple):
        fitting = list(fitting)
    if (fitting != plain or type(fitting) is not type(plain)) and isinstance(fitting, bool | int | float | str | list):
        node[name] = fitting


def _followed(node: DictConfig, name: str) -> str | None:
    """The key that a setting refers to as `${key}`, where it does."""
    raw = OmegaConf.to_container(node, resolve=False)
    found = re.fullmatch(r"\$\{([\w.]+)\}", str(raw[name])) if isinstance(raw, dict) else None
    return found[1] if found else None


def check_reference(full: str, value: Any, kind: ClassReference) -> None:
    """A setting that is another component, or a dataclass of settings.

    Raises:
        UserError: a word or number where a component belongs, or settings that do not fit.
    """
    if value is None:
        if not kind.optional:
            raise UserError(f"{full}=null: a component must stand here. Use {full.replace('.', '/')}=OPTION.")
    elif not isinstance(value, DictConfig):
        if is_dataclass_of_settings(kind.target):
            example = ",".join(
                f"{one.name}:{one.default}" for one in declaration_of(kind.target).settings.values() if one.default
            )
            raise UserError(f"{full}={value}: must be null or settings. Use '{full}={{{example}}}'.")
        if group := group_of(tuple(full.split("."))):
            place = "" if group.replace("/", ".") == full else f"@{full}"
            raise UserError(f"{full}={value}: an option of a group is chosen with a slash. Use {group}{place}={value}.")
        # A class that is no component, such as an Enum, may be made of a word or a number.
    elif "_target_" not in value and is_dataclass_of_settings(kind.target):
        check_node(full, value, declaration_of(kind.target))


@cache
def adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=LENIENT)


def _frozen(kind: Any) -> Any:
    """The type, without what pydantic cannot check: other components inside of it."""
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
    """true and false pass as the numbers 1 and 0 in Python, and are never meant so."""
    return isinstance(value, bool) and bool not in alternatives(kind) and Any not in alternatives(kind)


def alternatives(kind: Any) -> list[Any]:
    """The types of a union without their bounds; a Literal stays as it is."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [one for arg in get_args(kind) for one in alternatives(arg)]
    return [kind]


def metadata(kind: Any) -> list[Any]:
    """The bounds of a type and of the alternatives of a union."""
    if get_origin(kind) is Annotated:
        inner, *rules = get_args(kind)
        return [*metadata(inner), *rules]
    if get_origin(kind) in (Union, UnionType):
        return [rule for arg in get_args(kind) for rule in metadata(arg)]
    return []


def words(kind: Any) -> str:
    """A type and its bounds for a person: "a whole number, 1 or more, or null"."""
    if get_origin(kind) is Annotated:
        inner, *rules = get_args(kind)
        return " ".join([words(inner), *bounds(rules)])
    if get_origin(kind) in (Union, UnionType):
        parts = [words(arg) for arg in get_args(kind)]
        return ", or ".join(dict.fromkeys(parts))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if isinstance(kind, ClassReference):
        what = "settings, as {KEY:VALUE}" if is_dataclass_of_settings(kind.target) else "a component"
        return what + (", or null" if kind.optional else "")
    if origin is tuple and inside and inside[-1] is not Ellipsis:
        return f"[{', '.join(words(one) for one in inside)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping {{NAME: {words(inside[1]) if inside else 'value'}}}"
    if isinstance(origin, type) and issubclass(origin, Collection) and origin is not str:
        return f"a list in brackets{', each ' + words(inside[0]) if inside else ''}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    return names.get(origin, "a path" if getattr(origin, "__name__", "") == "Path" else str(origin))


def bounds(rules: Sequence[Any]) -> list[str]:
    """Words that follow "a number": "of 1 or more", "above 0", "from 0 to below 1", "that is a multiple of 16"."""
    ends = {type(rule): rule for rule in rules}
    low, high = ends.get(Ge) or ends.get(Gt), ends.get(Le) or ends.get(Lt)
    said = []
    match low, high:
        case Ge(ge=least), Le(le=most):
            said.append(f"from {least} to {most}")
        case Ge(ge=least), Lt(lt=most):
            said.append(f"from {least} to below {most}")
        case Gt(gt=least), Le(le=most):
            said.append(f"above {least}, at most {most}")
        case Gt(gt=least), Lt(lt=most):
            said.append(f"above {least} and below {most}")
        case Ge(ge=least), None:
            said.append(f"of {least} or more")
        case Gt(gt=least), None:
            said.append(f"above {least}")
        case None, Le(le=most):
            said.append(f"of at most {most}")
    for rule in rules:
        match rule:
            case MultipleOf(multiple_of=step):
                said.append(f"that is a multiple of {step}")
            case MultipleOfSetting(setting=other, times=times):
                said.append(f"that is a multiple of {f'{times} x ' if times > 1 else ''}{other}")
            case OneMoreThanMultipleOf(step=step):
                said.append(f"that is a multiple of {step} plus 1")
            case MinLen(min_length=least):
                said.append(f"with {least} or more in it")
    return said


def must_be(kind: Any, value: Any) -> str:
    """What a value must be, with the nearest word where words are allowed."""
    choices = list(map(str, literals(kind)))
    said = value if isinstance(value, list) else [value]
    wrong = next((str(one) for one in said if str(one) not in choices), "")
    near = get_close_matches(wrong, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"must be {words(kind)}.{hint}"


def literals(kind: Any) -> list[Any]:
    """The words that a type allows, those of a list's items included."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [one for arg in get_args(kind) if not isinstance(arg, list) for one in literals(arg)]


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{shown(one)}' for key, one in value.items())}}}"
    return str(value)


def as_typed(help: str) -> str:
    """A docstring's sentence for the command line, where None, True and False are typed null, true and false."""
    return re.sub(r"\b(?:None|True|False)\b", lambda found: {"None": "null"}.get(found[0], found[0].lower()), help)


def unknown_key(full: str, known: Collection[str], given: str | None = None) -> str:
    """The sentence for a key that does not exist, or has moved; `given` is the value that was typed."""
    if (new := moved(full)) is not None:
        equals = "" if given is None else f"={given}"
        return f"{full}{equals}: this key has moved. Use {new}{equals}."
    path, _, name = full.rpartition(".")
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    prefix = f"{path}." if path else ""
    hint = f" Did you mean {prefix}{near[0]}?" if near else ""
    where = f"{path} takes" if path else "Keys are"
    return f"{full}: unknown key.{hint} {where} {', '.join(known) or 'no keys'}."
