"""Readers of text, JSON, YAML and tensors that this process did not write, with messages for damaged files.

`read_*` read a file and raise UserError. `parse_*` parse what was read already, such as a line of a file or a member of
an archive. They raise ValueError with the reason alone, because only the caller knows the name of the source.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtok.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# UTF-32 first: its little-endian byte order mark begins with that of UTF-16.
OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

CHECK_PATH = "Check the path and its permissions."
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte order mark; line ends are unchanged.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    content = _read_bytes(path)
    try:
        return parse_text(content)
    except ValueError as error:
        raise UserError(f"{path}: {error}. Save it as UTF-8.") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file cannot be read, or is not JSON in UTF-8.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}. Check its syntax.") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain dicts and lists; interpolations are not resolved.

    OmegaConf's rules hold: 1e-3 is a number, and an empty file holds an empty dict.

    Raises:
        UserError: the file cannot be read, or is not YAML in UTF-8 that OmegaConf accepts.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import AliasToken, YAMLError, scan

    text = read_text(path)
    try:
        # OmegaConf copies the target of each alias: a few lines of nested aliases would fill the memory.
        if "&" in text and any(isinstance(token, AliasToken) for token in scan(text)):
            raise ValueError("YAML aliases are not supported")
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    # OmegaConf raises AssertionError on a file that holds a single number or nothing.
    except (YAMLError, OmegaConfBaseException, AssertionError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: it is not valid YAML ({reason_of(error)}). Check its syntax.") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or in a JSON file if the suffix is .json.

    Raises:
        UserError: the file cannot be read, or does not hold a mapping.
    """
    content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: it is not a mapping of keys to values. Check the path.")
    return content


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file by name, on the CPU.

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path}: it is not a readable safetensors file ({reason_of(error)}). {CHECK_PATH}") from error


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file one by one, with their ends (\\n or \\r\\n).

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8; the message gives its number.
    """
    number = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                # Only the first line can have a byte order mark.
                yield parse_text(line) if number == 1 else line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(f"{path}: line {number} is not UTF-8 text (byte 0x{byte:02x}). Save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({reason_of(error)}). {CHECK_PATH}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}. Save it as UTF-8.") from error


def printable(text: str) -> str:
    """Text that can be printed and written as UTF-8.

    Control characters, and bytes of a file's name that are not UTF-8, become escapes (`caf\\udce9.mp4`).
    """
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def encodable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file's name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse_text(content: bytes) -> str:
    """UTF-8 bytes as text without a byte order mark; raises ValueError for another encoding."""
    other = next((name for mark, name in OTHER_ENCODINGS.items() if content.startswith(mark)), None)
    if other is not None:
        raise ValueError(f"it is {other} text, not UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start does not count the byte order mark, which holds no line break.
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text (byte 0x{error.object[error.start]:02x})") from None


def parse_json(text: str) -> Any:
    """The content of a JSON text; raises ValueError if it is invalid or nested too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid JSON ({reason_of(error)})") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        raise UserError(f"{str(path)!r} cannot be read ({reason_of(error)}). {CHECK_PATH}") from error


def reason_of(error: BaseException) -> str:
    """The reason that a library gives for an error, on one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, AssertionError) and not str(error):
        return "it holds neither a mapping nor a list"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
