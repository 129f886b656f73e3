"""Keys of earlier versions and their new names."""

import re
from typing import Any

# Groups whose settings used to be settings of every data set.
TARGETS = {"clip": "vtok.data.ClipSettings", "loader": "vtok.data.LoaderSettings"}
GROUPS = {
    "size": "clip",
    "num_frames": "clip",
    "fps": "clip",
    "decode_timeout": "clip",
    "batch_size": "loader",
    "num_workers": "loader",
    "max_bad_fraction": "loader",
}
OF_DATA = re.compile(r"data\.(?:sources\.[^.]+\.)?(?:clip\.)?(\w+)")


def moved(key: str) -> str | None:
    """The new name of a key that has moved, such as `data.fps` or `data.sources.NAME.fps`; None for any other key.

    `data.clip.fps` has a new name too: `data.clip` is a reference to `clip`.
    """
    found = OF_DATA.fullmatch(key)
    return f"{GROUPS[found[1]]}.{found[1]}" if found and found[1] in GROUPS else None


def with_new_key(override: str) -> str:
    """An override with the new name of its key, if the key has moved."""
    key, equals, value = override.partition("=")
    new = moved(key.lstrip("+"))
    return override if new is None else f"{new}{equals}{value}"


def with_one_clip(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert a configuration of an earlier version: settings of data sets become the groups `clip` and `loader`.

    If the sources of a mixture have different values, each source keeps its own, and checks then refuse it.

    Args:
        content: content of a configuration file, changed in place.

    Returns:
        The data sets that use `clip`.
    """
    data = content.get("data")
    if not isinstance(data, dict):
        return []
    named = data.get("sources")
    sources = [one for one in named.values() if isinstance(one, dict)] if isinstance(named, dict) else []
    if not any(group in content for group in TARGETS) and not GROUPS.keys().isdisjoint(data):
        for key, group in GROUPS.items():
            values = [one[key] for one in sources or [data] if key in one]
            if not values and key not in data:
                continue
            common = values[0] if values and values.count(values[0]) == len(values) else data.get(key)
            content.setdefault(group, {"_target_": TARGETS[group]})[key] = common
            data.pop(key, None)
            for one in sources:
                if key in one and one[key] == common:
                    del one[key]
        return [data, *sources]
    copies = [one for one in (data, *sources) if "clip" in one and one["clip"] == content.get("clip")]
    for one in copies:
        del one["clip"]
    return copies
