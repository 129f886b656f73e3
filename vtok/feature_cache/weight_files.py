"""Whether weights are still those that they were, told by their files, so that nothing is loaded.

The bytes decide: a copy of the files, another path and another name for them are the same weights. To hash a model of
gigabytes takes seconds, so that files whose size and date have not changed are not hashed again. A hub id means the
files in the local cache; where there are none, as on a machine that has been given a cache without its backbone, only
the name and the revision can be held against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError

from vtok.common.paths import user_path
from vtok.common.weights import cached_folder

SETTINGS = ("config.json", "preprocessor_config.json")
FILES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Weights:
    """Which weights.

    Attributes:
        name: hub id, local folder or file.
        revision: on the hub.
        part: a subfolder of a diffusers model; empty of other models.
    """

    name: str
    revision: str | None
    part: str = ""


def fingerprint(weights: Weights) -> dict[str, Any]:
    """What to know weights by, as JSON."""
    files = {name: {**_stamp(file), "sha256": _sha256(file)} for name, file in weight_files(weights).items()}
    return {"name": weights.name, "revision": weights.revision, "files": files}


def changed(before: Mapping[str, Any], weights: Weights) -> str | None:
    """What of the weights is not as it was `before`, a few words; None where nothing is known to be."""
    files, then = weight_files(weights), before["files"]
    if not files or not then:
        if (before["name"], before["revision"]) == (weights.name, weights.revision):
            return None
        return f"those were {before['name']}" + (f" at {before['revision']}" if before["revision"] else "")
    if odd := sorted(files.keys() ^ then.keys()):
        return f"{odd[0]} of {weights.name} is {'new' if odd[0] in files else 'gone'}"
    for name, file in files.items():
        same = then[name].items() >= _stamp(file).items() or _sha256(file) == then[name]["sha256"]
        if not same:
            return f"{name} of {weights.name} is another"
    return None


def weight_files(weights: Weights) -> dict[str, Path]:
    """The files of weights and of the settings beside them, by name; none where they are not on this machine."""
    path = user_path(weights.name)
    if path.is_file():
        return {path.name: path}
    folder = path / weights.part if path.is_dir() else _snapshot(weights)
    if folder is None or not folder.is_dir():
        return {}
    found = sorted(file for file in folder.iterdir() if file.name in SETTINGS or file.suffix in FILES)
    # The libraries take safetensors where there are any.
    if any(file.suffix == FILES[0] for file in found):
        found = [file for file in found if file.name in SETTINGS or file.suffix == FILES[0]]
    return {file.name: file for file in found}


def _snapshot(weights: Weights) -> Path | None:
    """Where the hub's local cache has a model; None as well of what can be no hub id."""
    try:
        return cached_folder(weights.name, weights.revision, part=weights.part)
    except HFValidationError:
        return None


def _stamp(file: Path) -> dict[str, int]:
    found = file.stat()
    return {"bytes": found.st_size, "modified": found.st_mtime_ns}


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return file_digest(content, "sha256").hexdigest()
