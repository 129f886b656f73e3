"""The difference between two groups of models on the same questions: what is shown, and what could have been."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr
from scipy.stats import binomtest, mannwhitneyu, nct

from vtok.common.crossed import Scores, Variance, cluster_number, crossed_variance
from vtok.common.statistics import score_interval

LEVEL, POWER = 0.05, 0.8
MOST_SEEDS = 1000
PERMUTATIONS = 9_999
# With fewer clusters that differ than this, the variance is that of this many: about the square of the normal quantile,
# as in Wilson's interval of an event that was never seen.
FEWEST_DIFFERING = 4.0


@dataclass(frozen=True)
class Difference:
    """The difference of two shares of right answers, on the same questions.

    Attributes:
        value: share of the first group minus that of the second.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        p: p-value of no difference.
        seeds: number of seeds of each group.
        paired_seeds: whether each seed of one group is compared with the same seed of the other.
        clusters: number of clusters of questions.
        questions: number of questions.
        variance: variance of the difference.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: tuple[int, int]
    paired_seeds: bool
    clusters: int
    questions: int
    variance: Variance

    @property
    def least_p(self) -> float:
        """The smallest p-value that these numbers of seeds can have; 0 for one seed each."""
        return 0.0 if max(self.seeds) == 1 else separation(*self.seeds)

    def detectable(self, *, level: float = LEVEL) -> float | None:
        """The smallest true difference that such a comparison shows with probability `POWER`; None: it shows none."""
        if self.least_p > level or power_of(1.0, self.variance, level=level) < POWER:
            return None
        return float(brentq(lambda size: power_of(size, self.variance, level=level) - POWER, 0.0, 1.0, xtol=1e-6))

    def seeds_needed(self, size: float, *, level: float = LEVEL) -> int | None:
        """The number of seeds in each group that shows a true difference of this size with probability `POWER`.

        None if it takes more clips, however many seeds there are, and if each group has one seed, so that their spread
        is unknown.
        """
        if max(self.seeds) == 1:
            return None
        numbers = range(2, MOST_SEEDS + 1)
        place = bisect_left(
            numbers,
            True,
            key=lambda seeds: (
                separation(seeds, seeds) <= level and power_of(size, self.planned(seeds), level=level) >= POWER
            ),
        )
        return numbers[place] if place < len(numbers) else None

    def planned(self, seeds: int) -> Variance:
        """The expected variance with another number of seeds in each group, and the same clusters."""
        now, scale = self.variance, 2 / (1 / self.seeds[0] + 1 / self.seeds[1]) / seeds
        return Variance(
            seed=now.seed * scale,
            # The spread of single answers, which is in both parts, shrinks with the number of seeds.
            cluster=max(0.0, now.cluster - now.both) + now.both * scale,
            both=now.both * scale,
            seed_freedom=(seeds - 1) * (1 if self.paired_seeds else 2),
            cluster_freedom=now.cluster_freedom,
        )


def paired_difference(first: Scores, second: Scores, sizes: Scores, *, paired_seeds: bool) -> Difference:
    """The difference of two groups of models that answer the same questions, which come in clusters.

    Several seeds: the claim is about the settings, of which seeds and clips are both a sample. A permutation of seeds
    takes the clips for all there are, a sign flip of clusters does so with the seeds, and flipping the signs of both
    cancels their effects, so that none is a test of this claim. The p-value is that of Student's t with the two-way
    variance of `crossed_variance` and Satterthwaite's degrees of freedom; Colas et al. (2019) recommend Welch's test
    for few seeds, and find that a bootstrap shows too many differences. But training often succeeds or fails
    altogether, which is far from normal. So the p-value is at least `separation`, and two seeds show nothing.

    One seed each: the claim is about these two models, and only the clips are a sample. The p-value is that of
    McNemar's exact test if each cluster has one question, otherwise that of sign flips of the clusters.

    The interval is Wilson's for a value between -1 and 1 with the effective sample size of the variance. If answers
    differ in few clusters or none, the variance is that of `FEWEST_DIFFERING` clusters.

    Args:
        first: (seeds, clusters), number of right answers of each model of the first group.
        second: (seeds, clusters), the same for the second group.
        sizes: (clusters,), number of questions in each cluster, one or more.
        paired_seeds: whether row n of both groups is the same seed.

    Raises:
        ValueError: there are no questions.
    """
    questions, clusters = int(sizes.sum()), len(sizes)
    if not questions:
        raise ValueError("no questions: a difference needs one or more.")
    seeds = len(first), len(second)
    value = float(first.sum() / (seeds[0] * questions) - second.sum() / (seeds[1] * questions))
    groups = [first - second] if paired_seeds else [first, -second]
    effective = cluster_number(sizes)
    variance = crossed_variance(groups, sizes)
    by_cluster = (first.mean(0) - second.mean(0)) / sizes
    differing = by_cluster[by_cluster != 0]
    usual = float((differing**2).mean()) if len(differing) else 1.0
    variance = replace(variance, cluster=max(variance.cluster, FEWEST_DIFFERING * usual / effective**2))
    # If all clusters differ alike, the number of observations is that of the clusters.
    shrunk = value * effective / (effective + 2)
    number = (1 - shrunk**2) / variance.total
    low, high = (2 * end - 1 for end in score_interval((value + 1) / 2, number, variance.quantile()))
    if max(seeds) > 1:
        p = max(2 * float(stdtr(variance.freedom, -abs(value) * math.sqrt(number))), separation(*seeds))
    elif questions == clusters:
        p = mcnemar(first[0], second[0])
    else:
        p = sign_flips(first[0] - second[0])
    return Difference(value, low, high, p, seeds, paired_seeds, clusters, questions, variance)


def separation(first: int, second: int) -> float:
    """The largest probability that equal settings separate completely, if a seed succeeds or fails altogether.

    That is, all seeds of one group succeed and all of the other fail. It is the p-value of this outcome in Barnard's
    exact test (1945), and so the smallest that these numbers of seeds can have without assuming a distribution.
    """
    success = np.linspace(0, 1, 1001)
    return float((success**first * (1 - success) ** second + (1 - success) ** first * success**second).max())


def seeds_to_separate(level: float) -> int:
    """The smallest number of seeds in each group that can show a difference at this level."""
    return next(seeds for seeds in count(2) if separation(seeds, seeds) <= level)


def seeds_to_order(level: float) -> int:
    """The smallest number of seeds in each group for which a permutation of times or ranks can show an order.

    If all seeds of one group come before those of the other, 2 of all labellings are as extreme.
    """
    return next(seeds for seeds in count(2) if 2 / math.comb(2 * seeds, seeds) <= level)


def mcnemar(first: Scores, second: Scores) -> float:
    """The p-value of McNemar's exact test of two models, for clusters of one question."""
    won, lost = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def sign_flips(differences: Scores) -> float:
    """The p-value of no difference, from flipping the signs of the clusters' differences between two models.

    All flips are tried if there are few, otherwise a random sample of them, always the same (Phipson and Smyth 2010).
    """
    differing = differences[differences != 0]
    flips = 2 ** len(differing)
    if flips <= PERMUTATIONS:
        signs = 1 - 2 * (np.arange(flips)[:, None] >> np.arange(len(differing)) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng(0).integers(2, size=(PERMUTATIONS, len(differing)))
        # What was observed is one of the flips.
        signs[0] = 1
    # Whole numbers, so that equal sums are equal.
    return float((np.abs(signs @ differing) >= abs(differing.sum())).mean())


def power_of(difference: float, variance: Variance, *, level: float) -> float:
    """The probability that a two-sided test at `level` shows a true difference of this size, in its direction."""
    shift = difference / math.sqrt(variance.total)
    return float(nct.sf(variance.quantile(level), variance.freedom, shift))


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """The probability that a seed of the first group is better than one of the second (Agarwal et al. 2021).

    Ties count half.
    """
    return float(mannwhitneyu(first, second).statistic) / (len(first) * len(second))
