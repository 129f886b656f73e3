"""Text, JSON, YAML and tensors that this process did not write: what is wrong with a file becomes a sentence.

`read_*` take a file and raise UserError. `parse_*` take what was read already, such as a line of a file or a member of
an archive, and raise ValueError with the reason alone, for a caller who knows what to name.
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

# UTF-32 first: its mark of little-endian order begins with that of UTF-16.
OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark; line ends as they are.

    Raises:
        UserError: the file cannot be read, or is not UTF-8.
    """
    content = _read_bytes(path)
    try:
        return parse_text(content)
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from error


def read_json(path: Path) -> Any:
    """What the JSON in a file holds.

    Raises:
        UserError: the file cannot be read, or is not JSON in UTF-8.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from error


def read_yaml(path: Path) -> Any:
    """What the YAML in a file holds, as plain dicts and lists with interpolations as they are written.

    It is read by OmegaConf's rules: 1e-3 is a number, and an empty file holds an empty dict.

    Raises:
        UserError: the file cannot be read, or is not YAML in UTF-8 that OmegaConf takes.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import AliasToken, YAMLError, scan

    text = read_text(path)
    try:
        # OmegaConf copies what an alias repeats, and a few lines of aliases of aliases fill the memory.
        if "&" in text and any(isinstance(token, AliasToken) for token in scan(text)):
            raise ValueError("it has aliases, which are not read")
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    # A single number or nothing at all is met by an assertion in OmegaConf.
    except (YAMLError, OmegaConfBaseException, AssertionError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: it is not a YAML file that can be read ({reason_of(error)}).") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """What a YAML file, or a file of JSON by its suffix .json, says by name.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: it does not hold names with values, which is what it must hold.")
    return content


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file by name, on the CPU.

    Raises:
        UserError: the file cannot be read, or is not whole.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path}: it is not a safetensors file that can be read ({reason_of(error)}).") from error


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file one after the other, with their ends, which are \\n or \\r\\n.

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8; it says which.
    """
    number = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                # A byte order mark can only stand at the beginning.
                yield parse_text(line) if number == 1 else line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: line {number} is not UTF-8 text (byte 0x{error.object[error.start]:02x}).") from error
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({reason_of(error)}).") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from error


def printable(text: str) -> str:
    """Text that can be written as UTF-8 and printed: bytes of a file's name that are not UTF-8, and control
    characters, become escapes (`caf\\udce9.mp4`).
    """
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def encodable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file's name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def parse_text(content: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark; raises ValueError that says what the bytes are instead."""
    other = next((name for mark, name in OTHER_ENCODINGS.items() if content.startswith(mark)), None)
    if other is not None:
        raise ValueError(f"it is {other} text, not UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Beside the mark, of which the decoder does not count the bytes.
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text (byte 0x{error.object[error.start]:02x})") from None


def parse_json(text: str) -> Any:
    """What JSON holds; raises ValueError where it is none, or is nested deeper than can be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON that can be read ({reason_of(error)})") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        raise UserError(f"{str(path)!r} cannot be read ({reason_of(error)}).") from error


def reason_of(error: BaseException) -> str:
    """What a library says of a file, on one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, AssertionError) and not str(error):
        return "it holds neither names with values nor a list"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
