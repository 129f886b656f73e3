"""The files of a feature cache, each written by one process at a time, whole or not at all."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from vtok.common.files import whole
from vtok.data import Clip
from vtok.data.cached_reader import BROKEN, Block, Entry, block_metadata, clip_name
from vtok.data.file_identity import Identity, is_unchanged

LOOK_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Kept:
    """Of a clip: what its file was like, why it cannot be read, if so, and its tensors by name, if not."""

    file: Identity | None
    bad: str | None
    tensors: dict[str, Tensor]


def unclaimed(paths: Iterable[Path], locks: Path) -> Iterator[Path]:
    """Each block while this process alone may write it; those of other processes last, once these let go of them.

    The system lets go of the lock of a process that is killed.
    """
    left = list(paths)
    while left:
        busy = []
        for path in left:
            try:
                with FileLock(locks / f"{path.stem}.lock", timeout=0):
                    yield path
            except Timeout:
                busy.append(path)
        if len(busy) == len(left):
            time.sleep(LOOK_EVERY)
        left = busy


def known_clips(path: Path) -> dict[str, Kept]:
    """The clips of a block that is there, by their names; none of one that is not, or that cannot be read."""
    try:
        block = Block(path)
    except (OSError, *BROKEN):
        return {}
    return {
        name: Kept(entry.file, entry.bad, block.stored(entry.row) if entry.bad is None else {})
        for name, entry in block.entries.items()
    }


def is_kept(clip: Clip, known: Mapping[str, Kept]) -> bool:
    """Whether what is known of a clip is of its file as it is now."""
    kept = known.get(clip_name(clip))
    return kept is not None and is_unchanged(clip, kept.file)


def write_block(path: Path, known: Mapping[str, Kept]) -> None:
    """Write a block, whole or not at all; raises UserError where it cannot be written."""
    entries: dict[str, Entry] = {}
    tensors: dict[str, Tensor] = {}
    for row, (name, kept) in enumerate(known.items()):
        entries[name] = Entry(row, kept.file, kept.bad)
        tensors |= {f"{row}/{key}": tensor for key, tensor in kept.tensors.items()}
    with whole(path) as partial:
        # Not the library's own writing, which lets nobody else read the file.
        partial.write_bytes(save(tensors, metadata=block_metadata(entries)))
