"""Keys of earlier versions, and where they are now."""

import re
from typing import Any

# The groups whose settings were settings of every data set.
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
    """The new name of a key that has moved, `data.fps` or `data.sources.NAME.fps`; None of any other key.

    `data.clip.fps` is answered likewise, as `data.clip` is a reference.
    """
    found = OF_DATA.fullmatch(key)
    return f"{GROUPS[found[1]]}.{found[1]}" if found and found[1] in GROUPS else None


def with_new_key(override: str) -> str:
    """An override of an earlier version with the key's new name; any other as it is."""
    key, equals, value = override.partition("=")
    new = moved(key.lstrip("+"))
    return override if new is None else f"{new}{equals}{value}"


def with_one_clip(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Bring a saved configuration to the groups of today: `clip` and `loader` once, and no copies in the data sets.

    A source of a mixture keeps a value that others do not share, which no key of today has a place for.

    Args:
        content: as read from a file, changed in place.

    Returns:
        The data sets that are read by `clip`.
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
