"""The files of a feature cache, which hold the feature maps of a frozen backbone.

A cache is a folder with `cache.json`, which holds the settings it was computed with, and blocks,
`blocks/00012.safetensors`. An entry of a block is the footage that one clip or several versions of it show: a range of
a file. It has the map of every picture that is cached, each once, whichever versions show it. The block of an entry is
a hash of its name, so clips can be added to the data set later. A block holds tensors named ROW/NAME, and in its
metadata an `Entry` for each footage by name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vtok.common.hashing import stable_hash
from vtok.data.clip import Clip
from vtok.data.file_identity import Identity
from vtok.data.playback import AS_FILMED, Window

SECONDS, MAPS, ATTENTION, SHARPNESS, LEVELS = "seconds", "maps", "attention", "sharpness", "levels"
TARGET, LATENTS = "target/", "latents/"
# Errors of a file that is not a block.
BROKEN = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Picture(NamedTuple):
    """What is encoded: a frame of a clip, or a window in it.

    Attributes:
        frame: number of the frame in the clip.
        window: part of the frame that is shown; None: all of it.
        zoom: factor by which the frame was decoded larger, see `Playback.zoom`.
    """

    frame: int
    window: Window | None = None
    zoom: float = 1.0


def pictures_of(clip: Clip, indices: Sequence[int], num_frames: int) -> list[Picture]:
    """What a clip shows at the planned frames `indices` of `num_frames`."""
    playback = AS_FILMED if clip.playback is None else clip.playback
    return [Picture(shown.frame, shown.window, playback.zoom) for shown in playback.show(indices, num_frames)]


@dataclass(frozen=True)
class Entry:
    """A footage in a block.

    Attributes:
        row: number of its tensors in the block.
        file: identity of the clip's file when the features were computed; None if there was no file.
        bad: why the clip cannot be read; None if it can.
        frames: number of frames of the clip.
        places: position of each cached picture in the tensors.
        targets: names of the target tensors, see `target_name`.
    """

    row: int
    file: Identity | None
    bad: str | None
    frames: int
    places: Mapping[Picture, int]
    targets: frozenset[str]


class Block:
    """An open block, its tensors mapped into memory: only what is used is read from the disk.

    Raises:
        OSError: the file does not exist. One of BROKEN: the file is not a block.
    """

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self.entries = {name: _entry(given) for name, given in json.loads(self._file.metadata()["clips"]).items()}
        self._names: dict[int, list[str]] = {}
        for key in self._file.keys():  # noqa: SIM118 - a safe_open is not iterable
            row, _, name = key.partition("/")
            self._names.setdefault(int(row), []).append(name)

    def names(self, row: int) -> list[str]:
        """Names of the tensors of a row."""
        return self._names.get(row, [])

    def tensor(self, row: int, name: str) -> Tensor:
        """A tensor of a row, mapped into memory."""
        return self._file.get_tensor(f"{row}/{name}")

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The tensors of a row, by name."""
        return {name: self.tensor(row, name) for name in self.names(row)}


def _entry(given: Mapping[str, Any]) -> Entry:
    match given:
        case {"file": None}:
            file = None
        case {"file": {"stamp": [*stamp], "digest": str(digest)}}:
            file = Identity(tuple(stamp), digest)
        case _:
            raise ValueError("the file of an entry is damaged")
    match given:
        case {
            "row": int(row),
            "bad": None | str() as bad,
            "frames": int(frames),
            "pictures": [*pictures],
            "targets": [*targets],
        }:
            places = {_picture(picture): place for place, picture in enumerate(pictures)}
            return Entry(row, file, bad, frames, places, frozenset(targets))
    raise ValueError("an entry is damaged")


def _picture(given: Any) -> Picture:
    match given:
        case int(frame):
            return Picture(frame)
        case [int(frame), float(zoom), float(top), float(left), float(side)]:
            return Picture(frame, Window(top, left, side), zoom)
    raise ValueError("a picture of an entry is damaged")


def block_metadata(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The metadata of a block with these entries, by name of the footage."""
    return {"clips": json.dumps({name: _entry_json(entry) for name, entry in entries.items()})}


def _entry_json(entry: Entry) -> dict[str, Any]:
    file = None if entry.file is None else {"stamp": entry.file.stamp, "digest": entry.file.digest}
    pictures = [
        one.frame if one.window is None else [one.frame, float(one.zoom), *map(float, one.window)]
        for one in entry.places
    ]
    return {
        "row": entry.row,
        "file": file,
        "bad": entry.bad,
        "frames": entry.frames,
        "pictures": pictures,
        "targets": sorted(entry.targets),
    }


def footage_name(clip: Clip) -> str:
    """The name of what a clip shows, the same for all versions of a clip; it includes the range of seconds."""
    return f"{clip.id if clip.footage is None else clip.footage}\n{clip.start!r} {clip.end!r}"


def target_name(kind: str, clip: Clip) -> str:
    """The name of the tensor of a clip's target; `kind` is TARGET or LATENTS. Each version has its own."""
    return f"{kind}{AS_FILMED if clip.playback is None else clip.playback!r}"


def block_path(folder: Path, clip: Clip, blocks: int) -> Path:
    """The path of a clip's block; `blocks` is the number of blocks in the cache."""
    return folder / "blocks" / f"{stable_hash('block', footage_name(clip)) % blocks:05d}.safetensors"
