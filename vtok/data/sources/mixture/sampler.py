"""The order of a mixture: which source each sample is of, a pure function of (seed, number of the sample)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count, islice

import torch
from torch.utils.data import Sampler

from vtok.common.hashing import stable_hash
from vtok.data.sampler import SampleKey
from vtok.data.sources.mixture.shares import drawn

# Samples in which a source has its exact share. In the order of `drawn` itself two sources would alternate, and each
# of two ranks would see one of them alone.
BLOCK = 256


class MixtureSampler(Sampler[SampleKey]):
    """Endless samples of several sources in their shares, of which this rank takes every `world_size`-th.

    The number of each source's samples before a block follows from the block's number (`shares.drawn`), and within the
    block they are shuffled. Each source goes through its own epochs in its own order, so that an epoch of
    the one may be half an epoch of the other. Nothing is kept between samples: with `start` a run goes on exactly
    where it was.

    Args:
        orders: of each source, its endless order from its n-th sample on.
        weights: of each source, above 0.
        firsts: of each source, the place of its first clip among all; added to a key's index.
        seed: of the run.
        rank, world_size: this process among all, which together have the order of one.
        start: samples that this rank has already had.
    """

    def __init__(
        self,
        orders: Sequence[Callable[[int], Iterable[SampleKey]]],
        weights: Sequence[float],
        firsts: Sequence[int],
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        if not 0 <= rank < world_size or start < 0:
            raise ValueError(f"rank {rank} of {world_size} from sample {start} on cannot be.")
        self.orders = orders
        # As they are written: 0.1 is a tenth, not the float beside it.
        self.shares = [Fraction(str(weight)) for weight in weights]
        self.firsts = firsts
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    def __iter__(self) -> Iterator[SampleKey]:
        return islice(self._all(self.start * self.world_size + self.rank), 0, None, self.world_size)

    def _all(self, first: int) -> Iterator[SampleKey]:
        """The samples of all ranks from the one of number `first` on."""
        block, skipped = divmod(first, BLOCK)
        before = self._block(block)[:skipped]
        starts = [number + before.count(which) for which, number in enumerate(drawn(self.shares, block * BLOCK))]
        orders = [iter(order(start)) for order, start in zip(self.orders, starts, strict=True)]
        for number in count(block):
            for which in self._block(number)[skipped:]:
                key = next(orders[which])
                yield SampleKey(key.epoch, self.firsts[which] + key.index)
            skipped = 0

    def _block(self, number: int) -> list[int]:
        """The source of each of a block's samples."""
        before, after = (drawn(self.shares, BLOCK * end) for end in (number, number + 1))
        sources = torch.arange(len(before)).repeat_interleave(torch.tensor(after) - torch.tensor(before))
        generator = torch.Generator().manual_seed(stable_hash("mixture", self.seed, number))
        return sources[torch.randperm(BLOCK, generator=generator)].tolist()
