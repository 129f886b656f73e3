"""Quoting of overrides, so that Hydra and the shell read a value as it is.

Hydra parses the value of KEY=VALUE with its own grammar. Many characters of file names are errors in it (`=`, `#`, `~`,
quotes, everything beyond ASCII), and some have another meaning (`,` is a sweep).
"""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from vtok.common.errors import UserError

# Overrides that need no quotes; Hydra's parser takes a millisecond for each.
PLAIN = re.compile(r"[A-Za-z_]\w*(?:(?:\.[A-Za-z_]\w*)*|(?:/[A-Za-z_]\w*)*)=[\w./-]+", re.ASCII)
# The beginning of a value that is not plain text: a list, a dictionary, a quoted string or a function.
STRUCTURED = re.compile(rf"\s*(?:[\[{{'\"]|(?:{'|'.join(create_functions().functions)})\s*\()")
# An interpolation of OmegaConf, with the backslashes that escape it.
REFERENCE = re.compile(r"(\\*)\$\{")


def command(*words: str) -> str:
    """A command line to print, quoted for the shell. Write its overrides with `override`."""
    return shlex.join(words)


def override(key: str, text: str) -> str:
    """KEY=VALUE that Hydra reads as exactly `text`, quoted if necessary."""
    raw = f"{key}={text}"
    parsed = None if "${" in text else parse(raw)
    return raw if parsed is not None and parsed.value() == text else f"{key}={quoted(text)}"


def key_of(item: str) -> str:
    """The key or the group that an override sets."""
    return item.partition("=")[0].lstrip("+~")


def quoted(text: str) -> str:
    """Any text as the quoted value of an override."""
    return _in_quotes(REFERENCE.sub(r"\1\1\\${", text))


def readable(item: str) -> str:
    """An override that Hydra can parse: unchanged, or with quotes around a value that is plain text or a path.

    Sweeps, lists, dictionaries, functions, quoted strings and references to other keys keep their meaning.

    Raises:
        UserError: Hydra cannot parse it, and its meaning is ambiguous.
    """
    key, equals, value = item.partition("=")
    if PLAIN.fullmatch(item) or parse(item) is not None:
        return item
    if not equals or parse(f"{key}=x") is None:
        raise UserError(f"{item}: this is not an override. Use KEY=VALUE or GROUP=OPTION.")
    in_quotes = f"{key}={_in_quotes(value)}"
    if STRUCTURED.match(value) or "," in value:
        raise UserError(
            f"{item}: Hydra cannot read the value. Check its brackets and quotes. Quote a text or a path, for "
            f"the shell too: {command(in_quotes)}"
        )
    return in_quotes


def parse(item: str) -> Override | None:
    """An override as Hydra parses it; None if it cannot."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([item])
    except HydraException:
        return None
    return parsed


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()
