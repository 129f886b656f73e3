"""Whether pretrained weights have changed, by comparing their files; the weights are not loaded.

Files with the same bytes are the same weights, under any name or path. Hashing gigabytes takes seconds, so files whose
size and date have not changed are not hashed again. For a hub id the files in the local hub cache are compared. A
machine may have a feature cache without the backbone that it was computed with; then only the name and the revision
are compared.
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
    """Which pretrained weights a setting names.

    Attributes:
        name: hub id, local folder or file.
        revision: branch, tag or commit on the hub; None for the default branch.
        part: subfolder of a diffusers model; empty for other models.
    """

    name: str
    revision: str | None
    part: str = ""


def fingerprint(weights: Weights) -> dict[str, Any]:
    """Name, revision, and size, date and hash of each file, as JSON values."""
    files = {name: {**_stamp(file), "sha256": _sha256(file)} for name, file in weight_files(weights).items()}
    return {"name": weights.name, "revision": weights.revision, "files": files}


def find_change(before: Mapping[str, Any], weights: Weights) -> str | None:
    """The first difference between weights and their earlier `fingerprint`, in a few words; None if there is none."""
    files, old_files = weight_files(weights), before["files"]
    if not files or not old_files:
        if (before["name"], before["revision"]) == (weights.name, weights.revision):
            return None
        return f"they were {before['name']}" + (f" at {before['revision']}" if before["revision"] else "")
    if unmatched := sorted(files.keys() ^ old_files.keys()):
        return f"{unmatched[0]} of {weights.name} is {'new' if unmatched[0] in files else 'missing'}"
    for name, file in files.items():
        old = old_files[name]
        if not (old.items() >= _stamp(file).items() or _sha256(file) == old["sha256"]):
            return f"{name} of {weights.name} has changed"
    return None


def weight_files(weights: Weights) -> dict[str, Path]:
    """The weight files and the settings files beside them, by name; empty if they are not on this machine."""
    path = user_path(weights.name)
    if path.is_file():
        return {path.name: path}
    folder = path / weights.part if path.is_dir() else _snapshot(weights)
    if folder is None or not folder.is_dir():
        return {}
    found = sorted(file for file in folder.iterdir() if file.name in SETTINGS or file.suffix in FILES)
    # The libraries prefer safetensors files.
    if any(file.suffix == FILES[0] for file in found):
        found = [file for file in found if file.name in SETTINGS or file.suffix == FILES[0]]
    return {file.name: file for file in found}


def _snapshot(weights: Weights) -> Path | None:
    """The folder of a model in the local hub cache; None if it is not there, or the name is not a hub id."""
    try:
        return cached_folder(weights.name, weights.revision, part=weights.part)
    except HFValidationError:
        return None


def _stamp(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"bytes": status.st_size, "modified": status.st_mtime_ns}


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return file_digest(content, "sha256").hexdigest()
