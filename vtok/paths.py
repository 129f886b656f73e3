"""Where the configuration lies, in a checkout and in an installed package, and where toys are kept."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# What a folder is a feature cache by.
CACHE_FILE = "cache.json"


def conf_dir() -> Path:
    """The absolute path of the folder of Hydra's groups and options."""
    return shipped_dir("conf")


def experiments_dir() -> Path:
    """The absolute path of the folder of recipes and sweeps."""
    return shipped_dir("experiments")


def toys_dir(outputs: str) -> Path:
    """Where recipe=paper_tiny looks for its models, and `vtok toys` writes them."""
    return Path(outputs) / "toys"


def user_path(text: str) -> Path:
    """A path as somebody typed it: ~ is the home folder; that of a user who is unknown stays as it is."""
    return Path(os.path.expanduser(text))


def shipped_dir(name: str) -> Path:
    """In a wheel the folder is within the package, in a checkout (editable install included) beside it."""
    inside, beside = PACKAGE / name, PACKAGE.parent / name
    if inside.is_dir():
        return inside
    if beside.is_dir():
        return beside
    raise FileNotFoundError(f"neither {inside} nor {beside} exists: the installation of vtok is incomplete")
