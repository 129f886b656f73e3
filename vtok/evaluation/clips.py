"""Held-out clips, in their order, with the broken ones told apart."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset

from vtok.data import BadVideoError, Clip, ClipDataset, ClipReader, ClipSample, SampleKey
from vtok.data.worker import outlive_stops, start_method

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A batch of clips as they are, and the (path, reason) of those that could not be read."""

    samples: list[ClipSample]
    bad: list[tuple[str, str]]


@dataclass(frozen=True)
class Shown:
    """Samples out of a cache, some of them with their frames for people to look at.

    A cache may have come without its videos: then there is nothing to look at.

    Attributes:
        cached: reads the cache.
        files: decodes.
        ids: of the clips that are to be looked at.
    """

    cached: ClipReader
    files: ClipReader
    ids: frozenset[str]

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        sample = self.cached.read(clip, key)
        if clip.id not in self.ids:
            return sample
        try:
            seen = self.files.read(clip, key)
        except BadVideoError as error:
            log.info("left out of the contact sheet: %s", error)
            return sample
        return replace(sample, frames=seen.frames, target=seen.target)


class Heldout(Dataset[ClipSample | BadVideoError]):
    """Each clip once; a broken one gives its error, for the reader to count or to raise.

    Args:
        clips: the clips; none is replaced by another.
    """

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipSample | BadVideoError:
        try:
            return self.clips[SampleKey(0, index)]
        except BadVideoError as error:
            return error


def heldout_loader(clips: ClipDataset, *, batch_size: int, num_workers: int) -> DataLoader[Loaded]:
    """Batches of `Loaded` in the order of the clips."""
    return DataLoader(
        Heldout(clips),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=sort_out,
        worker_init_fn=outlive_stops,
        multiprocessing_context=start_method(num_workers),
        # Its own, so that an evaluation draws nothing from the run's random numbers.
        generator=torch.Generator().manual_seed(0),
    )


def sort_out(items: Sequence[ClipSample | BadVideoError]) -> Loaded:
    return Loaded(
        samples=[item for item in items if isinstance(item, ClipSample)],
        bad=[(str(item.path), item.reason) for item in items if isinstance(item, BadVideoError)],
    )
