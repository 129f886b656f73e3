"""The verbs beside train: where each is carried out, and how their arguments are read."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from inspect import cleandoc
from types import UnionType
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vtok.commands.arguments import ARGUMENTS, TAKE_OVERRIDES
from vtok.config.compose import explain, one_of
from vtok.errors import UserError
from vtok.overrides import command


def run_command(verb: str, argv: Sequence[str]) -> int:
    """Carry out a verb; returns the exit code.

    Raises:
        UserError: a mistake in the arguments, or the verb's own.
    """
    if {"-h", "--help"} & set(argv):
        print(help_text(verb))
        return 0
    if verb == "validate":
        from vtok.commands.validate import validate

        validate(list(argv))
        return 0
    if verb == "plan":
        from vtok.commands.plan import plan

        plan(list(argv))
        return 0
    arguments, others = parse(verb, argv)
    if others and verb not in TAKE_OVERRIDES:
        odd = others[0].split("=", 1)[0]
        names = [item.name for item in fields(ARGUMENTS[verb])]
        raise UserError(f"{odd}: vtok {verb} takes no such key. {one_of(odd, names)}")
    from vtok.commands.inputs import check_inputs

    check_inputs(verb, arguments, others)
    console_log()
    match verb:
        case "evaluate":
            from vtok.commands.evaluate import evaluate

            evaluate(overrides=others, **vars(arguments))
        case "describe":
            from vtok.commands.describe import describe

            print(describe(**vars(arguments)))
        case "generate":
            from vtok.commands.generate import generate

            files = generate(**vars(arguments))
            print(*files.videos, files.sheet, sep="\n")
        case "reconstruct":
            from vtok.commands.reconstruct import reconstruct

            print(*reconstruct(**vars(arguments)), sep="\n")
        case "tokenise":
            from vtok.commands.tokenise import tokenise

            print(tokenise(**vars(arguments)))
        case "data pack":
            from vtok.commands.data_pack import data_pack

            print(data_pack(out=arguments.out, shard_mb=arguments.shard_mb, overrides=others))
        case "data check":
            from vtok.commands.data_check import data_check

            print(data_check(**vars(arguments), overrides=others))
        case "data preview":
            from vtok.commands.data_preview import data_preview

            print(data_preview(**vars(arguments), overrides=others))
        case "data index":
            from vtok.commands.data_index import data_index

            print(data_index(root=arguments.root, out=arguments.out))
        case "precompute":
            from vtok.commands.precompute import precompute_command

            told = precompute_command(out=arguments.out, block=arguments.block, dtype=arguments.dtype, overrides=others)
            print(told)
        case "compare":
            from vtok.commands.compare import compare_from_command_line

            compare_from_command_line(**vars(arguments))
        case "report":
            from vtok.commands.report import report

            print(report(**vars(arguments)))
        case "export":
            from vtok.commands.export import export

            print(*export(**vars(arguments)), sep="\n")
        case "sync":
            from vtok.commands.sync import sync

            print(sync(**vars(arguments)))
        case "probe":
            from vtok.commands.probe import probe

            print(probe(overrides=others, **vars(arguments)))
        case "register":
            from vtok.commands.register import register

            print(register(**vars(arguments)))
        case "toys":
            from vtok.commands.toys import toys

            print(*toys(**vars(arguments)), sep="\n")
        case "benchmark decode":
            from vtok.commands.benchmark import benchmark_decode

            print(benchmark_decode(**vars(arguments)))
        case "benchmark cost":
            from vtok.commands.benchmark_cost import benchmark_cost

            print(benchmark_cost(overrides=others, **vars(arguments)))
        case "benchmark train":
            from vtok.commands.benchmark import benchmark_train

            print(benchmark_train(overrides=others, **vars(arguments)))
    return 0


def console_log() -> None:
    """The package's messages as plain lines on stderr; stdout is for results."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("vtok")
    log.setLevel(logging.INFO)
    log.addHandler(handler)


def parse(verb: str, argv: Sequence[str]) -> tuple[Any, list[str]]:
    """The verb's arguments, and the KEY=VALUE that are none of them.

    Raises:
        UserError: not KEY=VALUE, a value of the wrong type, or one that is missing.
    """
    schema = ARGUMENTS[verb]
    types = {item.name: item.type for item in fields(schema)}
    typed, given, others = OmegaConf.structured(schema), {}, []
    for item in argv:
        name, equals, text = item.partition("=")
        if not equals:
            raise UserError(f"{item}: arguments are KEY=VALUE. {one_of(item, list(types))}")
        if name not in types:
            others.append(item)
            continue
        try:
            given[name] = read_value(typed, name, text, types[name])
        except OmegaConfBaseException as error:
            raise UserError(explain(error, argv)) from error
    missing = [item.name for item in fields(schema) if item.default == MISSING and item.name not in given]
    if missing:
        raise UserError(f"vtok {verb} needs {missing[0]}=VALUE.")
    return schema(**given), others


def read_value(typed: DictConfig, name: str, text: str, kind: Any) -> Any:
    """What `text` says for the argument `name` of type `kind`; raises OmegaConfBaseException where it is of another."""
    if text == "null" and isinstance(kind, UnionType):
        return None
    if kind == list[str]:
        return bare_list(name, text)
    # A text is what was typed; OmegaConf would look for ${references} in it.
    if kind in (str, str | None):
        return text
    typed[name] = text
    return typed[name]


def bare_list(name: str, text: str) -> list[str]:
    """[a,b] or a,b -> ["a", "b"]; every item is the text that was typed, "no" and "007" too.

    Raises:
        UserError: this is not a list of texts.
    """
    try:
        # The loader that takes no text for a number, a truth value or a date.
        parsed = yaml.load(text if text.startswith("[") else f"[{text}]", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, str) for item in parsed):
        quoted = command(f'{name}=["ONE","OTHER"]')
        raise UserError(f"{name}={text}: this is not a list. Use {name}=[ONE,OTHER]; quote odd names: {quoted}.")
    return parsed


def help_text(verb: str) -> str:
    schema = ARGUMENTS[verb]
    values = OmegaConf.structured(schema)
    lines = [f"vtok {verb} [KEY=VALUE ...]", "", cleandoc(str(schema.__doc__)), ""]
    for item in fields(schema):
        missing = OmegaConf.is_missing(values, item.name)
        usual = None if missing else values[item.name]
        default = "(needed)" if missing else f"default {'null' if usual is None else usual}"
        lines.append(f"  {item.name:<16}{default:<28}{item.metadata['meaning']}")
    return "\n".join(lines)
