"""Paths: the shipped folders, user input, natural order of names, and checks for write access."""

import os
import re
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# The file that marks a folder as a feature cache.
CACHE_FILE = "cache.json"
# Bytes, on common file systems.
LONGEST_NAME = 255


def conf_dir() -> Path:
    """The absolute path of the folder with Hydra's config groups."""
    return shipped_dir("conf")


def experiments_dir() -> Path:
    """The absolute path of the folder with recipes and sweeps."""
    return shipped_dir("experiments")


def path_exists(path: str) -> bool:
    """Whether a file or folder exists; unlike `Path.exists`, it accepts names that are too long or invalid."""
    return os.path.exists(os.path.expanduser(path))


def toys_dir(outputs: str) -> Path:
    """The folder where `vtok toys` writes the models of recipe=paper_tiny."""
    return Path(outputs) / "toys"


def user_path(text: str | Path) -> Path:
    """A path as the user typed it, with ~ expanded; the ~ of an unknown user stays."""
    return Path(os.path.expanduser(text))


def natural_key(name: str) -> list[tuple[int, str]]:
    """A sort key for natural order: frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def unwritable_reason(folder: Path) -> str | None:
    """Why nothing can be written below a folder, which need not exist yet; None if it can."""
    path = folder.absolute()
    if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None):
        return f"the name {long[:20]}... is longer than {LONGEST_NAME} bytes"
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not os.path.isdir(there):
        return f"{there} is not a folder"
    # Create a folder to find out: for root, os.access says that even /proc is writable.
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".vtok-", dir=there))
    except OSError as error:
        return f"no folder can be created in {there} ({error.strerror})"
    return None


def shipped_dir(name: str) -> Path:
    """A folder that ships with vtok: inside the package in a wheel, beside it in a checkout or editable install."""
    inside, beside = PACKAGE / name, PACKAGE.parent / name
    if inside.is_dir():
        return inside
    if beside.is_dir():
        return beside
    raise FileNotFoundError(f"neither {inside} nor {beside} exists: the installation of vtok is incomplete")
