"""Overrides as text: values written so that Hydra and the shell read them as they are, and raw ones mended.

Hydra reads the value of KEY=VALUE by a grammar of its own, in which many letters and signs of file names have no place
(`=`, `#`, `~`, quotes, everything beyond ASCII), and some mean something else (`,` is a sweep).
"""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from vtok.common.errors import UserError

# An override that Hydra can read: no need to run its parser, which takes a millisecond.
PLAIN = re.compile(r"[A-Za-z_]\w*(?:(?:\.[A-Za-z_]\w*)*|(?:/[A-Za-z_]\w*)*)=[\w./-]+", re.ASCII)
# What a value begins with that is more than a text: a list, a dictionary, a quoted text, a function.
STRUCTURED = re.compile(rf"\s*(?:[\[{{'\"]|(?:{'|'.join(create_functions().functions)})\s*\()")
# OmegaConf's way of writing a reference; the backslashes before it are escapes.
REFERENCE = re.compile(r"(\\*)\$\{")


def command(*words: str) -> str:
    """A command line to print, quoted for the shell; overrides in it come from `override`."""
    return shlex.join(words)


def override(key: str, text: str) -> str:
    """KEY=VALUE of which Hydra reads exactly `text`, quoted where it has to be."""
    raw = f"{key}={text}"
    parsed = None if "${" in text else parse(raw)
    return raw if parsed is not None and parsed.value() == text else f"{key}={quoted(text)}"


def quoted(text: str) -> str:
    """A text as a value of an override, whatever it holds."""
    return _in_quotes(REFERENCE.sub(r"\1\1\\${", text))


def readable(item: str) -> str:
    """An override as Hydra can read it: as it is, or with its value in quotes where that plainly is a text or a path.

    Sweeps, lists, dictionaries, functions and quoted texts keep their meaning, and so do references to other keys.

    Raises:
        UserError: Hydra cannot read it, and what is meant is not plain.
    """
    key, equals, value = item.partition("=")
    if PLAIN.fullmatch(item) or parse(item) is not None:
        return item
    if not equals or parse(f"{key}=x") is None:
        raise UserError(f"{item}: this is not an override. Use KEY=VALUE or GROUP=OPTION.")
    in_quotes = f"{key}={_in_quotes(value)}"
    if STRUCTURED.match(value) or "," in value:
        raise UserError(
            f"{item}: Hydra cannot read the value. Check its brackets and quotes; if it is one text or path, put it in "
            f"quotes, for the shell too: {command(in_quotes)}"
        )
    return in_quotes


def parse(item: str) -> Override | None:
    """An override as Hydra reads it; None where it cannot."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([item])
    except HydraException:
        return None
    return parsed


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()
