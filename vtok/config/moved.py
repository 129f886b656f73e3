"""Keys of earlier versions and their new names."""

import re
from typing import Any

from vtok.data.clip import VALIDATION

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
# Renamed settings of every data set.
RENAMED = {"heldout_clips": "test_clips", "heldout_fraction": "test_fraction"}
OF_DATA = re.compile(r"(data\.(?:source\.)?(?:sources\.[^.]+\.)?)(?:clip\.)?(\w+)")


def moved(key: str) -> str | None:
    """The new name of a key that has moved, such as `data.fps` or `data.sources.NAME.fps`; None for any other key.

    `data.clip.fps` has a new name too: `data.clip` is a reference to `clip`.
    """
    found = OF_DATA.fullmatch(key)
    if found and found[2] in RENAMED:
        return f"{found[1]}{RENAMED[found[2]]}"
    return f"{GROUPS[found[2]]}.{found[2]}" if found and found[2] in GROUPS else None


def with_new_key(override: str) -> str:
    """An override with the new name of its key, if the key has moved."""
    key, equals, value = override.partition("=")
    new = moved(key.lstrip("+"))
    return override if new is None else f"{new}{equals}{value}"


def with_current_keys(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert a configuration of an earlier version to the current keys.

    Settings of data sets become the groups `clip` and `loader`, held-out clips become test clips, and metrics by which
    something is chosen become those of validation clips.

    If the sources of a mixture have different values, each source keeps its own, and checks then refuse it.

    Args:
        content: content of a configuration file, changed in place.

    Returns:
        The data sets that use `clip`.
    """
    _choose_by_validation(content)
    if isinstance(trainer := content.get("trainer"), dict):
        # All questions are separate now.
        trainer.pop("separate_questions", None)
    data = content.get("data")
    if not isinstance(data, dict):
        return []
    named = data.get("sources")
    sources = [one for one in named.values() if isinstance(one, dict)] if isinstance(named, dict) else []
    for one in (data, *sources):
        for old, new in RENAMED.items():
            if old in one:
                one.setdefault(new, one.pop(old))
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


def _choose_by_validation(content: dict[str, Any]) -> None:
    trainer = content.get("trainer")
    for section, key in ((trainer if isinstance(trainer, dict) else {}, "best_by"), (content, "optimise")):
        metric = section.get(key)
        if isinstance(metric, str) and not metric.startswith(VALIDATION):
            section[key] = f"{VALIDATION}{metric}"
