"""Lists the groups and options in conf/ and experiments/."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from vtok.common.paths import conf_dir, experiments_dir

# Folders of conf/ whose files are not components.
NOT_COMPONENTS = ("debug", "hydra", "local")
TARGET = re.compile(r"^\s*_target_: (\S+)", re.MULTILINE)


@cache
def groups() -> tuple[str, ...]:
    """The groups of components, which are the folders of conf/; nested ones as `tokeniser/motion_pooling`."""
    found = {file.parent.relative_to(conf_dir()).as_posix() for file in conf_dir().rglob("*.yaml")}
    return tuple(sorted(name for name in found if name.split("/")[0] not in (".", *NOT_COMPONENTS)))


def options_of(group: str, config_dir: Path | None = None) -> list[str]:
    """The names of a group's options.

    Args:
        group: name of the group.
        config_dir: folder of the user's own groups.
    """
    folders = [folder / group for folder in (conf_dir(), experiments_dir(), config_dir) if folder is not None]
    return sorted(file.stem for folder in folders if folder.is_dir() for file in Path(folder).glob("*.yaml"))


@cache
def group_names() -> frozenset[str]:
    """The names of the groups that are not within another; also of those without components, such as recipe."""
    folders = (folder for place in (conf_dir(), experiments_dir()) for folder in place.iterdir() if folder.is_dir())
    return frozenset(folder.name for folder in folders) - {"hydra", "study"}


@cache
def option_of(target: str, group: str) -> str | None:
    """The choice GROUP=OPTION of a class, in a group or in one within it; None if no option of ours has the class."""
    for file in sorted((conf_dir() / group).rglob("*.yaml")):
        if target in TARGET.findall(file.read_text(encoding="utf-8")):
            return f"{file.parent.relative_to(conf_dir()).as_posix()}={file.stem}"
    return None


@cache
def targets_of(group: str) -> frozenset[str]:
    """The full names of the classes that this project's options of a group name."""
    texts = (file.read_text(encoding="utf-8") for file in (conf_dir() / group).glob("*.yaml"))
    return frozenset(target for text in texts for target in TARGET.findall(text))


def nearest(given: str, allowed: Sequence[str]) -> str | None:
    """The allowed name that was probably meant; None if all are too different."""
    return next(iter(get_close_matches(given, allowed, n=1, cutoff=0.5)), None)


def one_of(given: str, allowed: Sequence[str]) -> str:
    """ "Did you mean vtok? Use one of delta, vtok." """
    near = nearest(given, allowed)
    hint = "" if near is None else f"Did you mean {near}? "
    return f"{hint}Use {'one of ' if len(allowed) > 1 else ''}{', '.join(allowed)}." if allowed else ""
