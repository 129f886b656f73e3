"""Loading held-out clips in order, and reporting the broken ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset

from vtok.data import BadVideoError, CachedReader, Clip, ClipDataset, ClipReader, ClipSample, SampleKey
from vtok.data.worker import ignore_stop_signals, start_method

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldoutBatch:
    """A batch of held-out clips, and (label, reason) of each clip that could not be read."""

    samples: list[ClipSample]
    bad: list[tuple[str, str]]


@dataclass(frozen=True)
class ReaderWithFrames:
    """Reads samples from a feature cache, and adds the frames of some of them for the contact sheet.

    On a machine that has the cache but not the videos, the samples have no frames.

    Attributes:
        cached: reader of the cache.
        files: reader that decodes the video files.
        ids: ids of the clips whose frames are added.
    """

    cached: ClipReader
    files: ClipReader
    ids: frozenset[str]

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        sample = self.cached.read(clip, key)
        if clip.id not in self.ids:
            return sample
        try:
            decoded = self.files.read(clip, key)
        except BadVideoError as error:
            log.info("left out of the contact sheet: %s", error)
            return sample
        return replace(sample, frames=decoded.frames, target=decoded.target)


@dataclass(frozen=True)
class CachedReaderOfTargets:
    """Reads the maps of planned frames and of those whose features are reconstructed from a feature cache.

    Attributes:
        planned: reader of the planned frames.
        targets: reader of the target frames.
    """

    planned: CachedReader
    targets: CachedReader

    def read(self, clip: Clip, key: SampleKey) -> ClipSample:
        return replace(self.planned.read(clip, key), target_maps=self.targets.read(clip, key).maps)


class HeldoutDataset(Dataset[ClipSample | BadVideoError]):
    """Each clip once. A broken clip is returned as its error.

    Args:
        clips: the clips; broken ones must not be replaced by others.
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


def heldout_loader(clips: ClipDataset, *, batch_size: int, num_workers: int) -> DataLoader[HeldoutBatch]:
    """A loader of `HeldoutBatch`, in the order of the clips."""
    return DataLoader(
        HeldoutDataset(clips),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate_heldout,
        worker_init_fn=ignore_stop_signals,
        multiprocessing_context=start_method(num_workers),
        # A generator of its own, so that an evaluation does not change the run's random numbers.
        generator=torch.Generator().manual_seed(0),
    )


def collate_heldout(items: Sequence[ClipSample | BadVideoError]) -> HeldoutBatch:
    """Separate the samples of a batch from the errors."""
    return HeldoutBatch(
        samples=[item for item in items if isinstance(item, ClipSample)],
        bad=[(str(item.path), item.reason) for item in items if isinstance(item, BadVideoError)],
    )
