"""The order in which a training run sees its clips: a pure function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from vtok.data.stable import stable_hash
from vtok.errors import UserError


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
            for index in self._order(epoch)[skipped:]:
                yield SampleKey(epoch, index)
            epoch, skipped = epoch + 1, 0

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(stable_hash("order", self.seed, epoch))
        order = torch.randperm(self.num_samples, generator=generator)
        return order[self.rank :: self.world_size][: self.samples_per_epoch].tolist()
