"""Confidence intervals of shares and means."""

import math
from collections.abc import Collection, Sequence
from statistics import fmean, stdev

from scipy.special import stdtrit

NORMAL_95 = 1.959964


def clustered(counts: Collection[tuple[int, int]]) -> tuple[float, float]:
    """The 95 % interval of a share whose observations come in clusters: the questions about one clip are no strangers.

    Wilson's interval of as many independent observations as the clusters are worth (Kish 1965; Dean and Pagano 2015),
    by the cluster-robust variance of the share (Liang and Zeger 1986). It is never narrower than if all observations
    were independent, and is Wilson's where each cluster is one observation. Where all are right or none is, nothing
    says how alike a cluster's observations are, and they are taken to be one and the same.

    Args:
        counts: (right, observations) of each cluster.

    Raises:
        ValueError: nothing was counted.
    """
    total = sum(size for _, size in counts)
    if total < 1:
        raise ValueError("an interval of no observations.")
    share = sum(right for right, _ in counts) / total
    # Clusters that agree with themselves in everything: what n observations are then worth.
    least = total**2 / sum(size**2 for _, size in counts)
    clusters = sum(size > 0 for _, size in counts)
    if clusters == total or share in (0.0, 1.0) or clusters == 1:
        return score_interval(share, least)
    spread = sum((right - share * size) ** 2 for right, size in counts) * clusters / (clusters - 1)
    independent = share * (1 - share) * total**2 / (total - 1)
    return score_interval(share, total / max(1.0, spread / independent))


def score_interval(share: float, number: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `number` independent observations.

    `number` need not be an integer, as scipy.stats.binomtest wants it.
    """
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2)) / (1 + z2 / number)
    # The share lies within; rounding would put it outside where all or none are right.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def student(values: Sequence[float], *, least: float = -math.inf, most: float = math.inf) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t, within what the mean can be.

    None where there are no two different values: the width would be 0, and the mean is not that sure.
    """
    if len(set(values)) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return max(least, fmean(values) - half), min(most, fmean(values) + half)
