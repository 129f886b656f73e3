from itertools import product

import numpy as np
import pytest
from scipy import stats

from vtok.common.differences import (
    mcnemar,
    paired_difference,
    power_of,
    probability_of_improvement,
    separation,
    sign_flips,
)

COMPARISONS = 1000
# So many of 1,000 tests at 5 % find a difference by chance, but for one in 1,000 such simulations.
MOST_FALSE = stats.binom.ppf(0.999, COMPARISONS, 0.05)
# Standard deviation of a standard normal value clipped to -2..2.
CLIPPED = 0.9594


class Simulation:
    """Right answers of models whose expected share is known.

    Seeds differ by 4 points (standard deviation), clusters by 10 points, and each group has effects of its own on
    clusters, of 5 points.

    Args:
        clusters: number of clusters.
        questions: number of questions in each cluster.
        seed_effect: standard deviation of the effect of a seed.
    """

    def __init__(self, clusters: int, questions: int, *, seed_effect: float = 0.04) -> None:
        self.sizes = np.full(clusters, questions)
        self.seed_effect, self.rng = seed_effect, np.random.default_rng(0)

    def pair(self, seeds: tuple[int, int], difference: float) -> list[np.ndarray]:
        clips = self.effects(0.1, (1, len(self.sizes)))
        shares = (0.5 + difference / 2, 0.5 - difference / 2)
        return [self.answers(share, number, clips) for share, number in zip(shares, seeds, strict=True)]

    def answers(self, share: float, seeds: int, clips: np.ndarray) -> np.ndarray:
        own = self.effects(self.seed_effect, (seeds, 1)) + self.effects(0.05, clips.shape)
        return self.rng.binomial(self.sizes, share + clips + own)

    def effects(self, deviation: float, shape: tuple[int, int]) -> np.ndarray:
        """Effects of at most 2.1 standard deviations, so that no share leaves its range."""
        return np.clip(self.rng.normal(0, 1, shape), -2, 2) * deviation / CLIPPED

    def shown(self, seeds: tuple[int, int], difference: float, *, paired_seeds: bool) -> int:
        """The number of comparisons that call it a difference."""
        found = 0
        for _ in range(COMPARISONS):
            first, second = self.pair(seeds, difference)
            one = paired_difference(first, second, self.sizes, paired_seeds=paired_seeds)
            found += one.p <= 0.05
        return found


@pytest.mark.parametrize(("seeds", "paired"), [((3, 3), True), ((5, 5), False), ((3, 6), False)])
def test_without_a_difference_at_most_5_percent_are_shown(seeds: tuple[int, int], paired: bool) -> None:
    assert Simulation(60, 4).shown(seeds, 0.0, paired_seeds=paired) <= MOST_FALSE


@pytest.mark.parametrize(("clusters", "questions"), [(40, 4), (150, 1)])
def test_two_models_without_a_difference(clusters: int, questions: int) -> None:
    equal = Simulation(clusters, questions, seed_effect=0.0)
    assert equal.shown((1, 1), 0.0, paired_seeds=True) <= MOST_FALSE


@pytest.mark.parametrize("seeds", [3, 4])
def test_seeds_that_succeed_or_fail_are_no_difference(seeds: int) -> None:
    rng, found = np.random.default_rng(0), 0
    sizes = np.full(50, 2)
    for _ in range(COMPARISONS):
        first, second = (rng.binomial(2, np.where(rng.random((seeds, 1)) < 0.5, 0.95, 0.3), (seeds, 50)) for _ in "ab")
        found += paired_difference(first, second, sizes, paired_seeds=False).p <= 0.05
    assert found <= MOST_FALSE


def test_two_seeds_show_nothing() -> None:
    sizes = np.ones(100, dtype=int)
    first, second = np.ones((2, 100), dtype=int), np.zeros((2, 100), dtype=int)
    one = paired_difference(first, second, sizes, paired_seeds=True)
    assert one.value == 1
    assert one.p == pytest.approx(2 / 4**2)
    assert one.detectable() is None
    assert paired_difference(first[:1], second, sizes, paired_seeds=False).p > 0.05


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_is_shown_as_often_as_promised(paired: bool) -> None:
    """From a pilot of 40 seeds: the number of seeds for 5 points, and the power of that number."""
    simulation = Simulation(150, 4, seed_effect=0.03)
    pilot = paired_difference(*simulation.pair((40, 40), 0.0), simulation.sizes, paired_seeds=paired)
    needed = pilot.seeds_needed(0.05)
    assert needed is not None
    promised = power_of(0.05, pilot.planned(needed), level=0.05)
    assert 0.8 <= promised < 0.9
    assert power_of(0.05, pilot.planned(needed - 1), level=0.05) < 0.8
    share = simulation.shown((needed, needed), 0.05, paired_seeds=paired) / COMPARISONS
    assert share == pytest.approx(promised, abs=0.045)


def test_the_detectable_difference_is_shown_with_80_percent() -> None:
    simulation = Simulation(150, 4, seed_effect=0.03)
    found = [paired_difference(*simulation.pair((5, 5), 0.0), simulation.sizes, paired_seeds=False) for _ in range(20)]
    size = float(np.mean([one.detectable() for one in found]))
    assert 0.05 < size < 0.1
    assert simulation.shown((5, 5), size, paired_seeds=False) / COMPARISONS == pytest.approx(0.8, abs=0.06)


def test_clusters_of_one_question_have_mcnemars_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.binomial(1, 0.7, (1, 80)), rng.binomial(1, 0.5, (1, 80))
    won, lost = int((first > second).sum()), int((first < second).sum())
    tail = sum(stats.binom.pmf(count, won + lost, 0.5) for count in range(won, won + lost + 1))
    one = paired_difference(first, second, np.ones(80, dtype=int), paired_seeds=True)
    assert one.p == pytest.approx(2 * tail)
    assert mcnemar(first[0], first[0]) == 1


def test_sign_flips_are_all_flips_of_few_clusters_and_a_sample_of_many() -> None:
    few = np.array([3, 1, 2, -1, 2, 0, 4])
    sums = [abs(sum(sign * one for sign, one in zip(signs, few, strict=True))) for signs in product((1, -1), repeat=7)]
    assert sign_flips(few) == pytest.approx(np.mean([one >= 11 for one in sums]))
    many = np.array([3, -1, 2, -1, 2, 1, -4, 2] * 3)
    truth = stats.permutation_test((many,), np.sum, permutation_type="samples", n_resamples=99_999, batch=1000)
    assert sign_flips(many) == pytest.approx(truth.pvalue, abs=0.015)
    assert sign_flips(np.zeros(5, dtype=int)) == 1


@pytest.mark.parametrize(("first", "second"), [(2, 2), (3, 3), (4, 4), (5, 5), (3, 4)])
def test_separation_is_barnards_test(first: int, second: int) -> None:
    truth = stats.barnard_exact([[first, 0], [0, second]], pooled=True).pvalue
    assert separation(first, second) == pytest.approx(truth, rel=1e-3)


def test_probability_of_improvement() -> None:
    first, second = [0.9, 0.5, 0.7], [0.6, 0.5]
    wins = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in product(first, second)]
    assert probability_of_improvement(first, second) == pytest.approx(np.mean(wins))


def test_intervals_of_models_that_always_or_never_differ() -> None:
    """About 1/26 of other clips may differ although none of 100 does: Wilson's interval of 0 of 100."""
    sizes = np.ones(100, dtype=int)
    right, wrong = np.ones((1, 100), dtype=int), np.zeros((1, 100), dtype=int)
    limit = stats.binomtest(0, 100).proportion_ci(method="wilson").high
    same = paired_difference(right, right, sizes, paired_seeds=True)
    assert (same.value, same.p) == (0, 1)
    assert (same.low, same.high) == pytest.approx((-limit, limit), abs=3e-3)
    opposite = paired_difference(right, wrong, sizes, paired_seeds=True)
    assert (opposite.low, opposite.high) == (pytest.approx(1 - 2 * limit, abs=5e-3), 1)


def test_an_interval_contains_zero_if_and_only_if_several_seeds_show_nothing() -> None:
    rng, both = np.random.default_rng(0), set()
    sizes = np.full(30, 2)
    for _ in range(50):
        first, second = rng.binomial(2, 0.6, (4, 30)), rng.binomial(2, 0.5, (4, 30))
        one = paired_difference(first, second, sizes, paired_seeds=False)
        assert (one.p > 0.05) == (one.low <= 0 <= one.high)
        both.add(one.p > 0.05)
    assert both == {True, False}


def test_clips_that_are_too_few_need_more_than_seeds() -> None:
    simulation = Simulation(20, 4)
    one = paired_difference(*simulation.pair((40, 40), 0.0), simulation.sizes, paired_seeds=True)
    assert one.seeds_needed(0.02) is None
    single = paired_difference(*simulation.pair((1, 1), 0.0), simulation.sizes, paired_seeds=True)
    assert single.seeds_needed(0.5) is None
    with pytest.raises(ValueError):
        paired_difference(np.ones((1, 0)), np.ones((1, 0)), np.ones(0), paired_seeds=True)
