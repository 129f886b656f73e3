"""Confidence intervals of shares and means, and Holm's correction."""

import math
from collections.abc import Collection, Sequence
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtrit

from vtok.common.crossed import Scores, Variance, cluster_number, crossed_variance

NORMAL_95 = 1.959964


def clustered(counts: Collection[tuple[int, int]]) -> tuple[float, float]:
    """95 % confidence interval of a share of right answers that come in clusters, such as the questions about a clip.

    Args:
        counts: (number right, number of observations) of each cluster.

    Raises:
        ValueError: there is no observation.
    """
    right, sizes = np.array([pair for pair in counts if pair[1] > 0], dtype=np.int64).reshape(-1, 2).T
    return share_interval(right[None], sizes)


def share_interval(right: Scores, sizes: Scores) -> tuple[float, float]:
    """95 % confidence interval of the share of right answers of one model, or of models trained with several seeds.

    Wilson's interval with the effective sample size (Kish 1965; Dean and Pagano 2015), which follows from the
    two-way variance of `crossed_variance`, and with Student's quantile for the degrees of freedom of that variance, as
    Korn and Graubard (1998) do it: the variance is itself estimated from few seeds or clusters. It stays within 0
    and 1, is never narrower than the interval of independent observations, and equals Wilson's if there is one seed and
    each cluster has one observation. If all answers are right, or none, their correlation is unknown; each cluster then
    counts as one observation, in all seeds together.

    A percentile bootstrap over seeds and clusters is not used, because it is too narrow with the two to five seeds that
    one has (Colas et al. 2019).

    Args:
        right: (seeds, clusters), number of right answers.
        sizes: (clusters,), number of observations in each cluster, one or more.

    Raises:
        ValueError: there is no observation.
    """
    seeds, clusters = right.shape
    observations = seeds * int(sizes.sum())
    if observations < 1:
        raise ValueError("no observations: an interval needs one or more.")
    share = float(right.sum()) / observations
    if observations == clusters or share in (0.0, 1.0) or (clusters == 1 and seeds == 1):
        return score_interval(share, cluster_number(sizes))
    variance = crossed_variance([right], sizes)
    number = share * (1 - share) / variance.total * observations / (observations - 1) if variance.total else math.inf
    return score_interval(share, min(number, observations), variance.quantile())


def share_interval_of_runs(shares: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """`share_interval` of models of several seeds whose answers are unknown, from the interval of each of them.

    The clips' part of the variance is that of one model, as if all seeds gave the same answers about a clip.

    Args:
        shares: share of right answers of each model.
        intervals: 95 % interval of each share, over clips.
    """
    share, seeds = fmean(shares), len(shares)
    number = fmean(_observations(one, *ends) for one, ends in zip(shares, intervals, strict=True))
    seed = stdev(shares) ** 2 / seeds if seeds > 1 else 0.0
    if share in (0.0, 1.0) or not seed:
        return score_interval(share, number)
    variance = Variance(seed, share * (1 - share) / number, 0.0, seeds - 1, math.inf)
    return score_interval(share, share * (1 - share) / variance.total, variance.quantile())


def _observations(share: float, low: float, high: float) -> float:
    """The number of observations of which `score_interval` gives these ends."""
    square, spread = (high - low) ** 2 / 4, share * (1 - share)
    # With k = quantile^2 / number: (high - low)^2 / 4 = (k spread + k^2 / 4) / (1 + k)^2, a quadratic equation of k.
    middle = spread - 2 * square
    k = (math.sqrt(middle**2 + square * (1 - 4 * square)) - middle) / (0.5 - 2 * square)
    return NORMAL_95**2 / k


def score_interval(share: float, number: float, quantile: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's confidence interval of a proportion `share` of `number` independent observations.

    `number` need not be an integer, unlike in scipy.stats.binomtest. The normal `quantile` of 97.5 % makes it the 95 %
    interval.
    """
    z2 = quantile**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = quantile * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2)) / (1 + z2 / number)
    # The interval contains the share; rounding would exclude it if all or none are right.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def student(values: Sequence[float], *, least: float = -math.inf) -> tuple[float, float] | None:
    """95 % confidence interval of a mean by Student's t, for values without an upper limit; clipped to `least`.

    None if no two values differ: the width would be 0, and the mean is not that certain.
    """
    if len(set(values)) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return max(least, fmean(values) - half), fmean(values) + half


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted so that at most 5 % of such families have a false one below 0.05.

    By Holm (1979), whatever the dependence between the tests.

    Raises:
        ValueError: a p-value is not a number.
    """
    if any(math.isnan(p) for p in p_values):
        raise ValueError("a p-value is NaN, which has no rank.")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
