"""The verbs beside train: their arguments, and where each is carried out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vtok.config.compose import one_of
from vtok.errors import UserError


@dataclass
class Evaluate:
    """The benchmark again on the held-out clips of a run; other keys change its configuration (data.batch_size=8)."""

    run: str = "latest"
    outputs: str = "outputs"


@dataclass
class Describe:
    """A run's model says what is to be seen in a video file or a folder of frames."""

    video: str = MISSING
    prompt: str = "describe the video."
    run: str = "latest"
    start: float = 0.0
    max_new_tokens: int = 64
    outputs: str = "outputs"


@dataclass
class Compare:
    """Runs side by side: a table, and a plot of the metrics against what differs. Either a sweep or a list of runs."""

    sweep: str | None = None
    runs: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    out: str | None = None
    outputs: str = "outputs"


@dataclass
class Validate:
    """Check a configuration and show what it would do; nothing is built, read or written. Takes train's overrides."""


ARGUMENTS = {"evaluate": Evaluate, "describe": Describe, "compare": Compare, "validate": Validate}


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
    arguments, others = parse(verb, argv)
    if others and verb != "evaluate":
        key = others[0].split("=", 1)[0]
        names = [item.name for item in fields(ARGUMENTS[verb])]
        raise UserError(f"{key}: vtok {verb} takes no such key. {one_of(key, names)}")
    from vtok.commands.prepare import console_log

    console_log()
    if verb == "evaluate":
        from vtok.commands.evaluate import evaluate

        evaluate(run=arguments.run, outputs=arguments.outputs, overrides=others)
    elif verb == "describe":
        from vtok.commands.describe import describe

        print(describe(**vars(arguments)))
    else:
        from vtok.commands.compare import compare_from_command_line

        compare_from_command_line(**vars(arguments))
    return 0


def parse(verb: str, argv: Sequence[str]) -> tuple[Any, list[str]]:
    """The verb's arguments, and the KEY=VALUE that are none of them.

    Raises:
        UserError: not KEY=VALUE, a value of the wrong type, or one that is missing.
    """
    schema = ARGUMENTS[verb]
    types = {item.name: item.type for item in fields(schema)}
    values, others = OmegaConf.structured(schema), []
    for item in argv:
        key, equals, text = item.partition("=")
        if not equals:
            raise UserError(f"{item}: arguments are KEY=VALUE. {one_of(item, list(types))}")
        if key not in types:
            others.append(item)
            continue
        try:
            values[key] = bare_list(text) if types[key] == list[str] else text
        except OmegaConfBaseException as error:
            raise UserError(f"{item}: {str(error).splitlines()[0]}.") from error
    for key in types:
        if OmegaConf.is_missing(values, key):
            raise UserError(f"vtok {verb} needs {key}=VALUE.")
    return OmegaConf.to_object(values), others


def bare_list(text: str) -> list[str]:
    """[a,b] or a,b -> ["a", "b"]."""
    parsed = yaml.safe_load(text if text.startswith("[") else f"[{text}]")
    return [str(item) for item in parsed]


def help_text(verb: str) -> str:
    schema = ARGUMENTS[verb]
    values = OmegaConf.structured(schema)
    lines = [f"vtok {verb} [KEY=VALUE ...]", "", str(schema.__doc__), ""]
    for item in fields(schema):
        default = "(needed)" if OmegaConf.is_missing(values, item.name) else f"default {values[item.name]}"
        lines.append(f"  {item.name:<16}{default}")
    return "\n".join(lines)
