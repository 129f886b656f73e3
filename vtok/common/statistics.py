"""Confidence intervals of proportions and means."""

import math
from collections.abc import Collection, Sequence
from statistics import fmean, stdev

from scipy.special import stdtrit

NORMAL_95 = 1.959964


def clustered(counts: Collection[tuple[int, int]]) -> tuple[float, float]:
    """95 % confidence interval of a proportion whose observations come in clusters, such as the questions of a clip.

    It is Wilson's interval with the effective sample size (Kish 1965; Dean and Pagano 2015), which follows from the
    cluster-robust variance of the proportion (Liang and Zeger 1986). It is never narrower than the interval of
    independent observations, and equals it if each cluster has one observation. If all observations are right, or none,
    their correlation is unknown; each cluster then counts as one observation.

    Args:
        counts: (number right, number of observations) of each cluster.

    Raises:
        ValueError: there is no observation.
    """
    total = sum(size for _, size in counts)
    if total < 1:
        raise ValueError("no observations: an interval needs one or more.")
    share = sum(right for right, _ in counts) / total
    # Effective sample size if all observations of a cluster agree.
    least = total**2 / sum(size**2 for _, size in counts)
    clusters = sum(size > 0 for _, size in counts)
    if clusters == total or share in (0.0, 1.0) or clusters == 1:
        return score_interval(share, least)
    spread = sum((right - share * size) ** 2 for right, size in counts) * clusters / (clusters - 1)
    independent = share * (1 - share) * total**2 / (total - 1)
    return score_interval(share, total / max(1.0, spread / independent))


def score_interval(share: float, number: float) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a proportion `share` of `number` independent observations.

    `number` need not be an integer, unlike in scipy.stats.binomtest.
    """
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2)) / (1 + z2 / number)
    # The interval contains the share; rounding would exclude it if all or none are right.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def student(values: Sequence[float], *, least: float = -math.inf, most: float = math.inf) -> tuple[float, float] | None:
    """95 % confidence interval of a mean by Student's t, clipped to the range of the mean.

    None if no two values differ: the width would be 0, and the mean is not that certain.
    """
    if len(set(values)) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return max(least, fmean(values) - half), min(most, fmean(values) + half)
