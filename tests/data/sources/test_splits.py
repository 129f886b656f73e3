"""The assignment of clips to splits, compared with a plain version that looks at one group after the other."""

import numpy as np
import pytest

from vtok.common.errors import UserError
from vtok.data.sources.base import SPLITS
from vtok.data.sources.splits import NOT_GIVEN, assign_splits, check_fractions, rank_of


def assign(given: list[int], ranks: list[float], validation: float = 0.2, test: float = 0.3) -> list[int]:
    found = assign_splits(np.array(given), np.array(ranks), validation_fraction=validation, test_fraction=test)
    return found.tolist()


def test_groups_are_assigned_by_their_ranks() -> None:
    ranks = [rank_of(f"scene {number % 70}") for number in range(300)]
    expected = [2 if rank < 0.3 else 1 if rank < 0.5 else 0 for rank in ranks]
    assert assign([NOT_GIVEN] * 300, ranks) == expected
    assert sorted(set(expected)) == [0, 1, 2]
    # A given split takes precedence, whatever the rank, and the others do not change.
    given = [number % 3 if number < 30 else NOT_GIVEN for number in range(300)]
    assert assign(given, ranks) == [*given[:30], *expected[30:]]


def test_ranks_are_those_of_earlier_versions() -> None:
    # By `printf sub/a.mp4 | b2sum -l 64`: a clip must not change its split with the version.
    assert rank_of("sub/a.mp4") == (0x3913492167598A1C >> 1) / 2**63


@pytest.mark.parametrize(
    ("given", "ranks", "expected"),
    [
        # The lowest rank is a test group, the next one validates.
        ([-1], [0.01], [0]),
        ([-1, -1], [0.9, 0.8], [0, 2]),
        ([-1, -1, -1], [0.9, 0.8, 0.7], [0, 1, 2]),
        # All below the fraction of the test: the highest ranks are for training and for validation.
        ([-1, -1, -1, -1], [0.01, 0.02, 0.03, 0.04], [2, 2, 1, 0]),
        # Given splits need no group of their own.
        ([0, -1], [0.5, 0.9], [0, 2]),
        ([0, 1, 2, -1], [0.5, 0.5, 0.5, 0.9], [0, 1, 2, 0]),
        ([0, -1, -1], [0.5, 0.01, 0.02], [0, 2, 1]),
        # Only one held-out split: it is the test, and one group of two or more validates.
        ([0, 0, 0, 1], [0.9, 0.7, 0.7, 0.1], [0, 1, 1, 2]),
        ([0, 0, 0, 2], [0.1, 0.15, 0.7, 0.1], [1, 1, 0, 2]),
        ([0, 2], [0.1, 0.2], [0, 2]),
        ([1, 1], [0.1, 0.2], [2, 2]),
        ([0, 0, 2], [float("nan"), 0.4, float("nan")], [0, 0, 2]),
        ([0, 0], [0.1, 0.2], [0, 0]),
        ([], [], []),
    ],
)
def test_small_data_sets(given: list[int], ranks: list[float], expected: list[int]) -> None:
    assert assign(given, ranks) == expected


def test_fractions_must_leave_training_clips() -> None:
    check_fractions(0.4, 0.5)
    for fractions, key in (((0.0, 0.1), "validation"), ((0.1, 1.0), "test"), ((0.5, 0.5), "validation")):
        with pytest.raises(UserError, match=rf"^data\.{key}_fraction=.* Use "):
            check_fractions(*fractions)
    assert SPLITS == ("train", "validation", "test")
