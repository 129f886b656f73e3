"""The order of a mixture's samples: a pure function of (seed, number of the sample)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count, islice

import torch
from torch.utils.data import Sampler

from vtok.common.hashing import stable_hash
from vtok.data.sampler import SampleKey
from vtok.data.sources.mixture.shares import samples_per_source

# Samples that are shuffled together. Unshuffled, two sources of equal weight would alternate, and each of two ranks
# would read only one of them.
BLOCK = 256


class MixtureSampler(Sampler[SampleKey]):
    """Endless samples of several sources with given weights, of which this rank takes every `world_size`-th.

    The number of samples of each source before a block follows from the block's number
    (`shares.samples_per_source`); within a block they are shuffled. Each source has its own epochs and its own order.
    The sampler has no state: with `start` a run resumes exactly.

    Args:
        orders: for each source, a function from n to its endless order after n samples.
        weights: weight of each source, above 0.
        offsets: index of each source's first clip in the mixture, which is added to the index of a key.
        seed: random seed of the run.
        rank: number of this process.
        world_size: number of processes; together they read the samples of a single process.
        start: number of samples that this rank has already read.
    """

    def __init__(
        self,
        orders: Sequence[Callable[[int], Iterable[SampleKey]]],
        weights: Sequence[float],
        offsets: Sequence[int],
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        if not 0 <= rank < world_size or start < 0:
            raise ValueError(f"rank={rank} world_size={world_size} start={start}: out of range.")
        self.orders = orders
        # By their decimal text: 0.1 is exactly a tenth.
        self.shares = [Fraction(str(weight)) for weight in weights]
        self.offsets = offsets
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    def __iter__(self) -> Iterator[SampleKey]:
        return islice(self._all(self.start * self.world_size + self.rank), 0, None, self.world_size)

    def _all(self, first: int) -> Iterator[SampleKey]:
        """The samples of all ranks, from number `first`."""
        block, skipped = divmod(first, BLOCK)
        before = self._block(block)[:skipped]
        counts = samples_per_source(self.shares, block * BLOCK)
        starts = [number + before.count(which) for which, number in enumerate(counts)]
        orders = [iter(order(start)) for order, start in zip(self.orders, starts, strict=True)]
        for number in count(block):
            for which in self._block(number)[skipped:]:
                key = next(orders[which])
                yield SampleKey(key.epoch, self.offsets[which] + key.index)
            skipped = 0

    def _block(self, number: int) -> list[int]:
        """The source of each sample of a block."""
        before, after = (samples_per_source(self.shares, BLOCK * end) for end in (number, number + 1))
        sources = torch.arange(len(before)).repeat_interleave(torch.tensor(after) - torch.tensor(before))
        generator = torch.Generator().manual_seed(stable_hash("mixture", self.seed, number))
        return sources[torch.randperm(BLOCK, generator=generator)].tolist()
