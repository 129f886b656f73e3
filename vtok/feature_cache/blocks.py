"""The block files of a feature cache. One process at a time writes a block, and it is never left half-written."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from vtok.common.files import atomic_file
from vtok.data import Clip
from vtok.data.cached_reader import BROKEN, Block, Entry, block_metadata, clip_name
from vtok.data.file_identity import Identity, is_unchanged

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class CachedClip:
    """A clip in the cache.

    Attributes:
        file: identity of the clip's file when it was read; None if there was no file.
        bad: reason why the clip cannot be read; None if it can be read.
        tensors: features by name; empty if the clip cannot be read.
    """

    file: Identity | None
    bad: str | None
    tensors: dict[str, Tensor]


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


def read_block(path: Path) -> dict[str, CachedClip]:
    """The clips of a block by name; empty if the block does not exist or cannot be read."""
    try:
        block = Block(path)
    except (OSError, *BROKEN):
        return {}
    return {
        name: CachedClip(entry.file, entry.bad, block.tensors(entry.row) if entry.bad is None else {})
        for name, entry in block.entries.items()
    }


def is_cached(clip: Clip, cached: Mapping[str, CachedClip]) -> bool:
    """Whether a clip is in the cache and its file has not changed since."""
    found = cached.get(clip_name(clip))
    return found is not None and is_unchanged(clip, found.file)


def write_block(path: Path, clips: Mapping[str, CachedClip]) -> None:
    """Write a block of clips by name. The file is complete, or is not there.

    Raises:
        UserError: the file cannot be written.
    """
    entries: dict[str, Entry] = {}
    tensors: dict[str, Tensor] = {}
    for row, (name, clip) in enumerate(clips.items()):
        entries[name] = Entry(row, clip.file, clip.bad)
        tensors |= {f"{row}/{key}": tensor for key, tensor in clip.tensors.items()}
    with atomic_file(path) as partial:
        # safetensors' own save_file creates files that other users cannot read.
        partial.write_bytes(save(tensors, metadata=block_metadata(entries)))
