"""Runs the verbs except train: `vtok VERB` calls the function VERB of `vtok/cli/verbs/VERB.py`.

The function's signature declares the verb's arguments with types, bounds and defaults, and its docstring explains them,
as for a component (`vtok.config.declaration`). A verb of two words has an underscore in its name. A parameter
`overrides` receives every KEY=VALUE that is not an argument of the verb. `run_function` runs a script's function in the
same way.
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from omegaconf import OmegaConf

from vtok.cli import verbs as verb_modules
from vtok.common.errors import UserError
from vtok.common.overrides import command, quoted
from vtok.common.overrides import parse as parse_override
from vtok.common.source_code import Module, find
from vtok.config.compose import RUN_SETTINGS
from vtok.config.declaration import Declaration, declaration_by, declaration_of
from vtok.config.options import group_names, nearest, one_of
from vtok.config.signature import COMPUTED, REQUIRED, Setting
from vtok.config.values import alternatives, check_value, command_line_help, type_text, value_text

OVERRIDES = "overrides"
HELP = {"-h", "--help"}
WIDTH = 118


@cache
def verbs() -> dict[str, Declaration]:
    """The declarations of all verbs by name, such as "data pack"."""
    found = {}
    for file in sorted(Path(verb_modules.__file__).parent.glob("[!_]*.py")):
        found[file.stem.replace("_", " ")] = declaration_of(f"{verb_modules.__name__}.{file.stem}.{file.stem}")
    return found


def verb_in(argv: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """The verb at the start of a command line, and the remaining arguments; None if there is no such verb."""
    for length in (2, 1):
        name = " ".join(argv[:length])
        if len(argv) >= length and name in verbs():
            return name, argv[length:]
    return None


def run_command(verb: str, argv: Sequence[str]) -> int:
    """Run a verb; returns the exit code.

    Raises:
        UserError: if an argument is not valid, or the verb raises it.
    """
    declared, program = verbs()[verb], f"vtok {verb}"
    if HELP & set(argv):
        print(help_text(program, declared, find(declared.target).docstring))
        return 0
    given, overrides = parse(program, declared, argv)
    from vtok.cli.inputs import check_inputs

    check_inputs(verb, given, overrides)
    module, _, name = declared.target.rpartition(".")
    call(getattr(importlib.import_module(module), name), declared, given, overrides)
    return 0


def run_function(function: Callable[..., Any], argv: Sequence[str]) -> int:
    """Run a script's function with the arguments that it declares; returns the exit code.

    Raises:
        UserError: if an argument is not valid, or the function raises it.
    """
    file = Path(inspect.getfile(function))
    definition = Module(function.__module__, file).definition(function.__name__)
    declared, program = declaration_by(definition), f"python {file.parent.name}/{file.name}"
    if HELP & set(argv):
        print(help_text(program, declared, definition.docstring))
    else:
        call(function, declared, *parse(program, declared, argv))
    return 0


def call(function: Callable[..., Any], declared: Declaration, given: dict[str, Any], overrides: list[str]) -> None:
    """Call a function with its arguments, and print the text or the paths that it returns."""
    console_log()
    result = function(**given, **({OVERRIDES: overrides} if OVERRIDES in declared.settings else {}))
    # Metrics are for callers in Python: the function has printed its table.
    match result:
        case str() | Path():
            print(result)
        case list():
            print(*result, sep="\n")


def console_log() -> None:
    """Send the package's log to stderr as plain lines; stdout is for results."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("vtok")
    log.setLevel(logging.INFO)
    log.addHandler(handler)


def arguments_of(declared: Declaration) -> dict[str, Setting]:
    """A verb's own arguments."""
    return {name: one for name, one in declared.settings.items() if name != OVERRIDES}


def parse(program: str, declared: Declaration, argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of a program's arguments, and the remaining KEY=VALUE.

    Args:
        program: name of the program for messages, such as "vtok data pack".
        declared: declaration of its arguments.
        argv: command line after the program's name.

    Raises:
        UserError: if an item is not KEY=VALUE, a key is unknown, a value does not fit, or a required one is missing.
    """
    settings = arguments_of(declared)
    # A computed default is left to the function itself.
    given = {name: one.default for name, one in settings.items() if one.default is not COMPUTED}
    others = []
    for item in argv:
        name, equals, text = item.partition("=")
        if name in settings and equals:
            given[name] = read_value(settings[name], text)
        elif OVERRIDES in declared.settings:
            check_override(program, item, settings)
            others.append(item)
        elif not equals:
            raise UserError(f"{item}: arguments are KEY=VALUE. {one_of(item, list(settings))}")
        else:
            raise UserError(f"{name}: unknown key of {program}. {one_of(name, list(settings))}")
    missing = [name for name, value in given.items() if value is REQUIRED]
    if missing:
        raise UserError(f"{program}: the argument {missing[0]} is missing. Set {missing[0]}=VALUE.")
    return given, others


def check_override(program: str, item: str, settings: Mapping[str, Setting]) -> None:
    """Check that KEY=VALUE is not a mistake about the program's own arguments, nor a sweep.

    Args:
        program: name of the program.
        item: an override, for a configuration.
        settings: the program's own arguments.

    Raises:
        UserError: if it is.
    """
    name, _, text = item.partition("=")
    # Keys and groups, which the configuration would suggest for a mistyped argument.
    configured = sorted({*declaration_of(RUN_SETTINGS).settings, *group_names()})
    if name.isidentifier() and name not in configured:
        known = list(dict.fromkeys([*settings, *configured]))
        if nearest(name, known) in settings:
            raise UserError(f"{name}: unknown key of {program}. {one_of(name, known)}")
    parsed = parse_override(item)
    if parsed is None or not parsed.is_sweep_override():
        return
    several = settings.get(f"{name}s")
    if several is not None and isinstance(several.default, tuple):
        instead = command(f"{several.name}=[{text}]")
        raise UserError(f"{item}: {program} takes several values in {several.name}. Set {instead}.")
    one_string = "" if "(" in text else f" Quote it if it is one string: {command(f'{name}={quoted(text)}')}"
    raise UserError(f"{item}: a list of values is a sweep. {program} takes one value.{one_string}")


def read_value(setting: Setting, text: str) -> Any:
    """The value of an argument from its text.

    Raises:
        UserError: if it has another type, or is out of bounds.
    """
    kinds = alternatives(setting.type)
    if text == "null" and type(None) in kinds:
        return None
    # A string stays as it was typed: OmegaConf would resolve ${references} in it.
    if str in kinds:
        return text
    value: Any = bare_list(setting.name, text) if isinstance(setting.default, tuple) else text
    node = OmegaConf.create({setting.name: value}, flags={"allow_objects": True})
    check_value("", node, setting)
    checked = node[setting.name]
    return list(checked) if isinstance(setting.default, tuple) else checked


def bare_list(name: str, text: str) -> list[str]:
    """[a,b] or a,b -> ["a", "b"]; every item stays as it was typed, "no" and "007" too.

    Raises:
        UserError: if the text is not a list of strings.
    """
    try:
        # BaseLoader leaves all items as strings.
        parsed = yaml.load(text if text.startswith("[") else f"[{text}]", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, str) for item in parsed):
        quoted = command(f'{name}=["ONE","OTHER"]')
        raise UserError(
            f"{name}={text}: this is not a list. Use {name}=[ONE,OTHER]. Quote names with special characters: {quoted}."
        )
    return parsed


def help_text(program: str, declared: Declaration, docstring: str) -> str:
    """The text of `PROGRAM --help`."""
    options = " [GROUP=OPTION ...]" if OVERRIDES in declared.settings else ""
    description = docstring.partition("\n\nArgs:")[0].partition("\n\nRaises:")[0]
    lines = [f"{program} [KEY=VALUE ...]{options}", "", description, ""]
    for one in arguments_of(declared).values():
        default = "(needed)" if one.default is REQUIRED else value_text(one.default)
        lines.append(f"  {one.name}={default}    ({type_text(one.type)})")
        lines += wrap(command_line_help(one.help), WIDTH, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)
