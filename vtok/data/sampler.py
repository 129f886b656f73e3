"""The order of training clips: a pure function of (seed, epoch)."""

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
    """A sample of a run: its epoch and the clip's index in the data set, which also seed its random numbers."""

    epoch: int
    index: int


class EpochSampler(Sampler[SampleKey]):
    """Endless epochs, each a permutation of all clips, of which this rank takes every `world_size`-th.

    The sampler has no state: a run that has read `start` samples resumes exactly with `EpochSampler(..., start=start)`.
    If the number of clips is not a multiple of `world_size`, the rest is dropped, other clips in each epoch.

    Args:
        num_samples: number of clips in the data set.
        seed: random seed of the run.
        rank: number of this process.
        world_size: number of processes.
        start: number of samples that this rank has already read, over all epochs.

    Raises:
        UserError: there are fewer clips than ranks.
    """

    def __init__(self, num_samples: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        if not 0 <= rank < world_size or start < 0:
            raise ValueError(f"rank={rank} world_size={world_size} start={start}: out of range.")
        if num_samples < world_size:
            raise UserError(
                f"The data set has {num_samples} training clips for {world_size} processes. Use {num_samples or 1} "
                "processes at most, or more clips."
            )
        self.num_samples = num_samples
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    @property
    def samples_per_epoch(self) -> int:
        """Number of samples of this rank in an epoch."""
        return self.num_samples // self.world_size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch, skipped = divmod(self.start, self.samples_per_epoch)
        while True:
            mine = self._order(epoch)[self.rank :: self.world_size][: self.samples_per_epoch]
            # In chunks: as a list of Python integers, an epoch of millions would take ten times the memory.
            for few in mine[skipped:].split(4096):
                for index in few.tolist():
                    yield SampleKey(epoch, index)
            epoch, skipped = epoch + 1, 0

    def _order(self, epoch: int) -> Tensor:
        """The permutation of an epoch, int64 (num_samples,)."""
        return torch.randperm(self.num_samples, generator=self._generator(epoch))

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(stable_hash("order", self.seed, epoch))


class WindowSampler(EpochSampler):
    """Epochs in which reads stay near each other: the shards are shuffled, then the clips within windows.

    This is the shuffle buffer of streams of shards (WebDataset), but as a function of (seed, epoch) alone: a run can
    resume at any sample.

    Args:
        shards: (clips,), number of each clip's shard; clips of a shard are consecutive.
        window: number of clips that are shuffled together.
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
