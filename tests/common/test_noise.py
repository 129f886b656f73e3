import pytest
import torch

from vtok.common.noise import seeded_noise

LIKE = torch.zeros(1)


def test_a_row_follows_from_its_seed_alone() -> None:
    rows = seeded_noise((2, 3), [7, 11, 2**62], like=LIKE)
    assert rows.shape == (3, 2, 3)
    for row, seed in zip(rows, (7, 11, 2**62), strict=True):
        assert torch.equal(row, torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(seeded_noise((2, 3), [2**62, 7], like=LIKE), rows[[2, 0]])
    assert not torch.equal(rows[0], rows[1])


def test_a_seed_that_is_given_twice_gives_the_same_row() -> None:
    one, other = seeded_noise((4,), [3, 3], like=LIKE)
    assert torch.equal(one, other)


def test_torchs_own_random_numbers_are_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    before = seeded_noise((5,), [1], like=LIKE)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(seeded_noise((5,), [1], like=LIKE), before)


def test_it_is_standard_normal_over_seeds() -> None:
    drawn = seeded_noise((10,), range(2000), like=LIKE)
    assert drawn.mean().item() == pytest.approx(0, abs=5 / 20_000**0.5)
    assert drawn.var().item() == pytest.approx(1, abs=0.05)


def test_it_is_float32_where_like_is() -> None:
    like = torch.zeros(1, dtype=torch.bfloat16, device="meta")
    drawn = seeded_noise((2,), [0], like=like)
    assert (drawn.dtype, drawn.device) == (torch.float32, like.device)


def test_a_head_without_noise_draws_none() -> None:
    assert seeded_noise((6, 0), [0, 1], like=LIKE).shape == (2, 6, 0)
