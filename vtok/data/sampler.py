"""The order in which a training run sees its clips: a pure function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample of a run: the epoch, and the clip's place in the data set. Seeds of a sample come from it."""

    epoch: int
    index: int


class EpochSampler(Sampler[SampleKey]):
    """Endless epochs, each a permutation of all clips, of which this rank takes every `world_size`-th.

    Nothing is kept between samples, so a run that has seen `start` samples goes on exactly where it was with
    `EpochSampler(..., start=start)`. What is left over when the clips do not divide by the ranks is dropped, other
    clips each epoch.

    Args:
        num_samples: clips in the data set.
        seed: of the run.
        rank, world_size: this process among all.
        start: samples that this rank has already had, over all epochs.

    Raises:
        UserError: there are fewer clips than ranks.
    """

    def __init__(self, num_samples: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        if not 0 <= rank < world_size or start < 0:
            raise ValueError(f"rank {rank} of {world_size} from sample {start} on cannot be.")
        if num_samples < world_size:
            raise UserError(
                f"the data set has {num_samples} training clips for {world_size} processes; each needs at least one."
            )
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one epoch that this rank gets."""
        return self.num_samples // self.world_size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch, skipped = divmod(self.start, self.samples_per_epoch)
        while True:
            mine = self._order(epoch)[self.rank :: self.world_size][: self.samples_per_epoch]
            # As Python's numbers, an epoch of millions would take ten times the memory.
            for few in mine[skipped:].split(4096):
                for index in few.tolist():
                    yield SampleKey(epoch, index)
            epoch, skipped = epoch + 1, 0

    def _order(self, epoch: int) -> Tensor:
        """All clips in the order of an epoch, int64 (num_samples,)."""
        return torch.randperm(self.num_samples, generator=self._generator(epoch))

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(stable_hash("order", self.seed, epoch))


class WindowSampler(EpochSampler):
    """Epochs whose clips lie near each other for a while: the shards are shuffled, then the clips within windows.

    What a buffer of `window` clips behind a stream of shuffled shards does for streams (WebDataset), as a function of
    (seed, epoch) alone, so that it can be entered anywhere.

    Args:
        shards: the shard of each clip, (clips,); clips of a shard follow each other.
        window: clips that are shuffled at a time.
        (for the others see `EpochSampler`)
    """

    def __init__(
        self, shards: np.ndarray, *, window: int, seed: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> None:
        super().__init__(len(shards), seed=seed, rank=rank, world_size=world_size, start=start)
        self.window = window
        self._firsts = np.flatnonzero(np.diff(shards, prepend=-1))

    def _order(self, epoch: int) -> Tensor:
        generator = self._generator(epoch)
        blocks = torch.arange(self.num_samples).tensor_split(torch.from_numpy(self._firsts[1:]))
        shuffled = torch.cat([blocks[number] for number in torch.randperm(len(blocks), generator=generator).tolist()])
        windows = shuffled.split(self.window)
        return torch.cat([few[torch.randperm(len(few), generator=generator)] for few in windows])
