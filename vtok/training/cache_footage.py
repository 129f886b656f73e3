"""The footage of a data set, and what is still to be read of it for a feature cache."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from vtok.common.errors import UserError
from vtok.data import BadVideoError, Clip, DataSource, LoaderSettings
from vtok.data.cache_blocks import Entry, footage_name
from vtok.data.file_identity import Identity, identify, is_unchanged
from vtok.data.footage import Footage, FootageReader, FootageSample, Wanted
from vtok.data.sources.base import SPLITS
from vtok.data.worker import ignore_stop_signals, start_method

# The footage of each block of a cache, by name.
Blocks = Mapping[Path, Mapping[str, Footage]]


def footage_of(source: DataSource) -> dict[str, Footage]:
    """The footage of the clips of all splits, by name, each with all of its versions."""
    versions: dict[str, list[Clip]] = defaultdict(list)
    for split in SPLITS:
        for clip in source.clips(split):
            versions[footage_name(clip)].append(clip)
    if not versions:
        raise UserError("The data set has no clips. Check the settings of data.")
    return {name: Footage(tuple(clips), source.source_of(clips[0]).frames_fps) for name, clips in versions.items()}


def with_known(footage: Footage, entry: Entry | None) -> Footage | None:
    """The footage, with the pictures and targets that the cache already has.

    If its file has changed, it has none of them. None: its file cannot be read.
    """
    if entry is None or not is_unchanged(footage.clips[0], entry.file):
        return footage
    if entry.bad is not None:
        return None
    return replace(footage, frames=entry.frames, pictures=frozenset(entry.places), targets=entry.targets)


class FootageItems(Dataset[tuple[Identity | None, FootageSample | Wanted | BadVideoError]]):
    """What is read of each footage with its file's identity just before, or the reason why nothing is.

    Args:
        footage: the footage.
        reader: the reader.
        scan: whether to report only what is missing, without decoding.
    """

    def __init__(self, footage: Sequence[Footage], reader: FootageReader, *, scan: bool) -> None:
        self.footage, self.reader, self.scan = footage, reader, scan

    def __len__(self) -> int:
        return len(self.footage)

    def __getitem__(self, index: int) -> tuple[Identity | None, FootageSample | Wanted | BadVideoError]:
        one = self.footage[index]
        try:
            if self.scan:
                return None, self.reader.scan(one)
            return identify(one.clips[0]), self.reader.read(one)
        except BadVideoError as error:
            return None if self.scan else identify(one.clips[0]), error


def items_of(
    footage: Sequence[Footage], reader: FootageReader, settings: LoaderSettings, *, scan: bool = False
) -> Iterator[list[tuple[Identity | None, Any]]]:
    """Batches of `FootageItems`, in the order of the footage."""
    return iter(
        DataLoader(
            FootageItems(footage, reader, scan=scan),
            batch_size=settings.batch_size,
            num_workers=settings.num_workers,
            collate_fn=list,
            worker_init_fn=ignore_stop_signals,
            multiprocessing_context=start_method(settings.num_workers),
        )
    )
