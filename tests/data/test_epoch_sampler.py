"""The order of a run."""

from itertools import islice, pairwise

import numpy as np
import pytest

from vtok.common.errors import UserError
from vtok.common.hashing import stable_hash
from vtok.data.sampler import EpochSampler, WindowSampler


def take(sampler: EpochSampler, count: int) -> list[tuple[int, int]]:
    return [(key.epoch, key.index) for key in islice(sampler, count)]


def test_every_epoch_is_another_permutation():
    keys = take(EpochSampler(7, seed=3), 21)
    assert [epoch for epoch, _ in keys] == [0] * 7 + [1] * 7 + [2] * 7
    orders = [tuple(index for _, index in keys[start : start + 7]) for start in (0, 7, 14)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len(set(orders)) == 3


def test_the_order_is_a_function_of_seed_and_epoch():
    assert take(EpochSampler(7, seed=3), 21) == take(EpochSampler(7, seed=3), 21)
    assert take(EpochSampler(50, seed=3), 50) != take(EpochSampler(50, seed=4), 50)


@pytest.mark.parametrize("start", [0, 1, 6, 7, 15])
@pytest.mark.parametrize("world_size", [1, 3])
def test_a_start_goes_on_where_the_run_was(start, world_size):
    for rank in range(world_size):
        whole = take(EpochSampler(22, seed=0, rank=rank, world_size=world_size), start + 30)
        assert take(EpochSampler(22, seed=0, rank=rank, world_size=world_size, start=start), 30) == whole[start:]


def test_ranks_share_an_epoch_evenly():
    samplers = [EpochSampler(11, seed=0, rank=rank, world_size=3) for rank in range(3)]
    assert [sampler.samples_per_epoch for sampler in samplers] == [3, 3, 3]
    shares = [take(sampler, 3) for sampler in samplers]
    assert len({key for share in shares for key in share}) == 9
    single = take(EpochSampler(11, seed=0), 9)
    assert [key for together in zip(*shares, strict=True) for key in together] == single


def test_fewer_clips_than_ranks():
    with pytest.raises(UserError, match="2 training clips for 3 processes"):
        EpochSampler(2, seed=0, rank=0, world_size=3)


SHARDS = np.repeat([0, 1, 2, 5, 7, 8, 9, 11], [5, 1, 7, 3, 6, 2, 9, 4])


@pytest.mark.parametrize("window", [1, 6, 100])
def test_windows_are_of_shards_that_follow_each_other(window):
    """As with a shuffle buffer: all clips once, and a shard's clips within the length of a window."""
    keys = take(WindowSampler(SHARDS, window=window, seed=3), 3 * len(SHARDS))
    firsts = []
    for epoch in range(3):
        order = [index for number, index in keys if number == epoch]
        assert sorted(order) == list(range(len(SHARDS)))
        streams = [sorted(order[at : at + window], key=lambda i: order.index(i)) for at in range(0, len(order), window)]
        visited = list(dict.fromkeys(shard for stream in streams for shard in sorted(SHARDS[stream])))
        firsts.append(visited)
        # Without the shuffle within windows, clips would come shard by shard: a shard's windows follow each other.
        for shard in set(SHARDS):
            met = [number for number, stream in enumerate(streams) if shard in SHARDS[stream]]
            assert met == list(range(met[0], met[-1] + 1))
    if window < 100:
        assert firsts[0] != firsts[1] != firsts[2]


def test_a_window_of_one_keeps_the_clips_of_a_shard_in_order():
    order = [index for _, index in take(WindowSampler(SHARDS, window=1, seed=0), len(SHARDS))]
    assert order != sorted(order)
    shards = [
        shard for shard, follows in zip(SHARDS[order], np.diff(SHARDS[order], prepend=-1), strict=True) if follows
    ]
    assert sorted(shards) == sorted(set(SHARDS))
    assert all(after == before + 1 for before, after in pairwise(order) if SHARDS[before] == SHARDS[after])


@pytest.mark.parametrize("start", [0, 5, 40])
@pytest.mark.parametrize("world_size", [1, 3])
def test_windows_go_on_where_the_run_was_and_ranks_share_them(start, world_size):
    def sampler(rank: int, start: int = 0) -> WindowSampler:
        return WindowSampler(SHARDS, window=4, seed=1, rank=rank, world_size=world_size, start=start)

    shares = [take(sampler(rank), 12) for rank in range(world_size)]
    assert len({key for share in shares for key in share}) == 12 * world_size
    for rank in range(world_size):
        assert take(sampler(rank, start), 30) == take(sampler(rank), start + 30)[start:]


def test_stable_hash():
    assert stable_hash("order", 0, 1) == stable_hash("order", 0, 1)
    assert len({stable_hash("a", 1, 23), stable_hash("a", 12, 3), stable_hash("a1", 23)}) == 3
    assert all(0 <= stable_hash(number) < 2**63 for number in range(100))
