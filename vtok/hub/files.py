"""The files of an exported folder."""

from pathlib import Path
from typing import Literal

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping

Part = Literal["tokeniser", "model"]
MARKER, CONFIG, WEIGHTS, METRICS, CARD = "export.json", "config.yaml", "model.safetensors", "summary.json", "README.md"
# Keys of a data set that say where its clips are, and their values in an exported folder.
CLIP_LOCATIONS = {"root": ".", "manifest": None, "index": None, "index_cache": ".", "cache": None, "flow": None}
# The groups of the configuration that each part is built from.
GROUPS: dict[Part, tuple[str, ...]] = {
    "tokeniser": ("backbone", "tokeniser"),
    "model": ("backbone", "tokeniser", "mllm", "visual_head", "decoder", "objective"),
}


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained`."""
    return (folder / MARKER).exists()


def exported_part(folder: Path) -> Part:
    """The part that an exported folder holds.

    Raises:
        UserError: if the folder names an unknown part.
    """
    part = read_mapping(folder / MARKER).get("part")
    for known in GROUPS:
        if part == known:
            return known
    raise UserError(
        f"{folder / MARKER}: part={part}: must be one of {', '.join(GROUPS)}. Use a newer version of vtok if one wrote "
        "this folder."
    )
