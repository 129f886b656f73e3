"""Shares of a mixture, against a walk from the first sample on."""

import random
from fractions import Fraction

import pytest

from vtok.common.errors import UserError
from vtok.data.sources.mixture.shares import check_names, check_weights, samples_per_source


def walked(shares: list[Fraction], count: int) -> list[list[int]]:
    """The numbers after each of `count` samples, by the rule itself."""
    numbers, found = [0] * len(shares), [[0] * len(shares)]
    for _ in range(count):
        best = max(range(len(shares)), key=lambda which: (shares[which] / (2 * numbers[which] + 1), -which))
        numbers = [number + (which == best) for which, number in enumerate(numbers)]
        found.append(numbers)
    return found


@pytest.mark.parametrize(
    "shares", [[1], [1, 1], [3, 1], [1, 1, 1, 1], [5, 3, 3, 1], [100000, 1], [7, "0.1", "2.35"], ["0.7", "0.2", "0.1"]]
)
def test_numbers_are_those_of_a_walk(shares: list) -> None:
    given = [Fraction(share) for share in shares]
    assert [samples_per_source(given, count) for count in range(301)] == walked(given, 300)


def test_numbers_far_on_are_those_of_a_walk_with_any_shares() -> None:
    rng = random.Random(0)
    for _ in range(10):
        shares = [Fraction(rng.randint(1, 99)) for _ in range(rng.randint(2, 6))]
        assert samples_per_source(shares, 2000) == walked(shares, 2000)[-1]


def test_every_source_has_its_share_of_ever_more_samples() -> None:
    shares = [Fraction(3), Fraction(2), Fraction("0.001")]
    before = [0, 0, 0]
    for count in (1, 10, 257, 1000, 10**6, 10**12 + 7):
        numbers = samples_per_source(shares, count)
        assert sum(numbers) == count
        assert all(after >= earlier for after, earlier in zip(numbers, before, strict=True))
        assert all(abs(n - count * s / sum(shares)) < 2 for n, s in zip(numbers, shares, strict=True))
        before = numbers
    assert samples_per_source(shares, 5001 * 10**9) == [3 * 10**12, 2 * 10**12, 10**9]


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"web": 1.0}, r"data.weights: the source made has no weight. Set \+data.weights.made=NUMBER"),
        ({"web": 1.0, "made": 0.0}, "data.weights.made=0: a weight is a number above 0"),
        ({"web": -1.0, "made": 1.0}, "data.weights.web=-1: a weight is a number above 0"),
        ({"web": float("inf"), "made": 1.0}, "data.weights.web=inf: a weight is a number above 0"),
        ({"web": 1.0, "made": 1.0, "mad": 1.0}, "data.weights.mad: unknown source. Did you mean made?"),
    ],
)
def test_invalid_weights_are_refused(weights: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_weights(weights, ["web", "made"])


def test_names_of_sources_are_checked() -> None:
    check_names(["web", "made-2", "A_b"])
    with pytest.raises(UserError, match=r"data.sources.a/b: this name is invalid. Use letters"):
        check_names(["a/b"])
    with pytest.raises(UserError, match="a mixture needs one source or more"):
        check_names([])
