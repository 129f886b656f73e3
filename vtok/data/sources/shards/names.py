"""Patterns for names of shards: `PATH/shard-{000..127}.tar`, `PATH/*.tar`."""

import re
from itertools import chain

INDEX = "index.arrow"
GLOB = re.compile(r"[*?\[]")
BRACES = re.compile(r"\{([^{}]*)\}")
PATTERN_ADVICE = "Write ranges upwards, such as {000..127}, and ** alone between slashes, such as **/*.tar."
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def split_pattern(root: str) -> tuple[str, str | None]:
    """Split a root into its folder and a pattern of names, which is None for a folder alone."""
    special = re.search(r"[*?\[{]", root)
    if special is None:
        return root, None
    folder, slash, _ = root[: special.start()].rpartition("/")
    return folder or slash or ".", root[len(folder) + len(slash) :]


def expand_braces(pattern: str) -> list[str]:
    """Expand `a-{00..02}.{x,y}` to six names, in order; raises ValueError for a range that runs backwards."""
    braces = BRACES.search(pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return list(chain.from_iterable(expand_braces(f"{before}{one}{after}") for one in _alternatives(braces[1])))


def is_glob(name: str) -> bool:
    """Whether a name without braces is a glob pattern."""
    return GLOB.search(name) is not None


def matches(name: str, patterns: list[str]) -> bool:
    """Whether a shard's name matches one of the patterns, as in fsspec's `glob`: `*` stays within a folder.

    Raises:
        ValueError: `**` is not alone between slashes.
    """
    # Imported late: settings are checked without it.
    from fsspec.utils import glob_translate

    return any(re.fullmatch(glob_translate(pattern), name) for pattern in patterns)


def _alternatives(inside: str) -> list[str]:
    numbers = RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    if int(last) < int(first):
        raise ValueError(f"{{{inside}}} runs backwards")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
