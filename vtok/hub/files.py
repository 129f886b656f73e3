"""What an exported folder consists of."""

from pathlib import Path
from typing import Literal

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping

Part = Literal["tokeniser", "model"]
MARK, CONFIG, WEIGHTS, FIGURES, CARD = "export.json", "config.yaml", "model.safetensors", "summary.json", "README.md"
# Keys of a data set that say where it lies, and what an exported folder says of them.
PLACES_OF_CLIPS = {"root": ".", "manifest": None, "index": None, "index_cache": ".", "cache": None}
# The groups of the configuration that a part is built of.
GROUPS: dict[Part, tuple[str, ...]] = {
    "tokeniser": ("backbone", "tokeniser"),
    "model": ("backbone", "tokeniser", "mllm", "visual_head", "decoder", "objective"),
}


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained`."""
    return (folder / MARK).exists()


def part_of(folder: Path) -> Part:
    """What an exported folder holds.

    Raises:
        UserError: it does not say so.
    """
    part = read_mapping(folder / MARK).get("part")
    for known in GROUPS:
        if part == known:
            return known
    raise UserError(f"{folder / MARK}: part={part}: known are {', '.join(GROUPS)}; a newer version may know more.")
