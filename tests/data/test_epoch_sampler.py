"""The order of a run."""

from itertools import islice

import pytest

from vtok.data.sampler import EpochSampler
from vtok.data.stable import stable_hash
from vtok.errors import UserError


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


def test_stable_hash():
    assert stable_hash("order", 0, 1) == stable_hash("order", 0, 1)
    assert len({stable_hash("a", 1, 23), stable_hash("a", 12, 3), stable_hash("a1", 23)}) == 3
    assert all(0 <= stable_hash(number) < 2**63 for number in range(100))
