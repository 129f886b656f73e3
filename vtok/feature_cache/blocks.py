"""The block files of a feature cache. One process at a time writes a block, and it is never left half-written."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from vtok.common.files import atomic_file
from vtok.data.cache_blocks import (
    ATTENTION,
    BROKEN,
    LATENTS,
    LEVELS,
    MAPS,
    SHARPNESS,
    TARGET,
    Block,
    Entry,
    Picture,
    block_metadata,
)
from vtok.data.file_identity import Identity

POLL_SECONDS = 1.0
# Tensors with one row for each picture.
BY_PICTURE = (MAPS, ATTENTION, SHARPNESS, LEVELS)


@dataclass(frozen=True)
class CachedFootage:
    """A footage in the cache.

    Attributes:
        file: identity of the clip's file when it was read; None if there was no file.
        bad: reason why the clip cannot be read; None if it can be read.
        frames: number of frames of the clip.
        pictures: cached pictures, in the order of the tensors' rows.
        tensors: tensors by name, see `vtok.data.cache_blocks`; empty if the clip cannot be read.
    """

    file: Identity | None
    bad: str | None
    frames: int
    pictures: tuple[Picture, ...]
    tensors: dict[str, Tensor]

    @property
    def targets(self) -> frozenset[str]:
        """Names of the targets."""
        return frozenset(name for name in self.tensors if name.startswith((TARGET, LATENTS)))

    def with_more(self, later: "CachedFootage") -> "CachedFootage":
        """This and what was computed later of the same file."""
        tensors = self.tensors | later.tensors
        for name in BY_PICTURE:
            # What was computed later may be targets alone.
            if name in self.tensors and name in later.tensors:
                tensors[name] = torch.cat([self.tensors[name], later.tensors[name]])
        return CachedFootage(later.file, None, later.frames, (*self.pictures, *later.pictures), tensors)


def claim_blocks(paths: Iterable[Path], locks: Path) -> Iterator[Path]:
    """Yield each block while this process holds its lock. Blocks locked by other processes come last.

    The operating system releases the lock of a process that is killed.
    """
    remaining = list(paths)
    while remaining:
        busy = []
        for path in remaining:
            try:
                with FileLock(locks / f"{path.stem}.lock", timeout=0):
                    yield path
            except Timeout:
                busy.append(path)
        if len(busy) == len(remaining):
            time.sleep(POLL_SECONDS)
        remaining = busy


def read_entries(path: Path) -> dict[str, Entry]:
    """The entries of a block by name; empty if the block does not exist or cannot be read."""
    try:
        return Block(path).entries
    except (OSError, *BROKEN):
        return {}


def read_block(path: Path) -> dict[str, CachedFootage]:
    """The footage in a block by name; empty if the block does not exist or cannot be read."""
    try:
        block = Block(path)
        return {
            name: CachedFootage(entry.file, entry.bad, entry.frames, tuple(entry.places), block.tensors(entry.row))
            for name, entry in block.entries.items()
        }
    except (OSError, *BROKEN):
        return {}


def write_block(path: Path, footage: Mapping[str, CachedFootage]) -> None:
    """Write a block of footage by name. The file is complete, or is not there.

    Raises:
        UserError: the file cannot be written.
    """
    entries: dict[str, Entry] = {}
    tensors: dict[str, Tensor] = {}
    for row, (name, one) in enumerate(footage.items()):
        places = {picture: place for place, picture in enumerate(one.pictures)}
        entries[name] = Entry(row, one.file, one.bad, one.frames, places, one.targets)
        tensors |= {f"{row}/{key}": tensor for key, tensor in one.tensors.items()}
    with atomic_file(path) as partial:
        # safetensors' own save_file creates files that other users cannot read.
        partial.write_bytes(save(tensors, metadata=block_metadata(entries)))
