"""Paths: where the configuration lies, what a user typed, the order of names, what can be written."""

import os
import re
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# What a folder is a feature cache by.
CACHE_FILE = "cache.json"
# Bytes, on the usual file systems.
LONGEST_NAME = 255


def conf_dir() -> Path:
    """The absolute path of the folder of Hydra's groups and options."""
    return shipped_dir("conf")


def experiments_dir() -> Path:
    """The absolute path of the folder of recipes and sweeps."""
    return shipped_dir("experiments")


def is_here(path: str) -> bool:
    """Whether a file or folder of that name is here; no name is too long or too odd to be asked about."""
    return os.path.exists(os.path.expanduser(path))


def toys_dir(outputs: str) -> Path:
    """Where recipe=paper_tiny looks for its models, and `vtok toys` writes them."""
    return Path(outputs) / "toys"


def user_path(text: str | Path) -> Path:
    """A path as somebody typed it: ~ is the home folder; that of a user who is unknown stays as it is."""
    return Path(os.path.expanduser(text))


def natural(name: str) -> list[tuple[int, str]]:
    """What to sort names by, so that numbers in them count: frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written below a folder, which need not exist yet; None where it can."""
    path = folder.absolute()
    if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None):
        return f"the name {long[:20]}... is longer than {LONGEST_NAME} bytes"
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not os.path.isdir(there):
        return f"{there} is not a folder"
    # By making a folder: to its administrator a computer calls places writable, such as /proc, that are not.
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".vtok-", dir=there))
    except OSError as error:
        return f"no folder can be made in {there} ({error.strerror})"
    return None


def shipped_dir(name: str) -> Path:
    """In a wheel the folder is within the package, in a checkout (editable install included) beside it."""
    inside, beside = PACKAGE / name, PACKAGE.parent / name
    if inside.is_dir():
        return inside
    if beside.is_dir():
        return beside
    raise FileNotFoundError(f"neither {inside} nor {beside} exists: the installation of vtok is incomplete")
