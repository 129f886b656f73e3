"""The variance of a mean over seeds and clusters of questions, where every seed answers the same questions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Scores = NDArray[np.float64] | NDArray[np.int64]


@dataclass(frozen=True)
class Variance:
    """The variance of a mean over seeds and clusters, in its parts.

    Attributes:
        seed: spread of the seeds' means; 0 for one seed.
        cluster: spread of the clusters' means over the seeds.
        both: what `seed` and `cluster` both contain, the spread of single answers; 0 for one seed.
        seed_freedom: degrees of freedom of `seed`.
        cluster_freedom: degrees of freedom of `cluster`.
    """

    seed: float
    cluster: float
    both: float
    seed_freedom: float
    cluster_freedom: float

    @property
    def total(self) -> float:
        # The true variance is at least as large as each part; its estimate may not be.
        return max(self.seed + self.cluster - self.both, self.seed, self.cluster)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the total (Satterthwaite 1946)."""
        parts = ((self.seed, self.seed_freedom), (self.cluster, self.cluster_freedom))
        spread = sum(part**2 / freedom for part, freedom in parts if part)
        return self.total**2 / spread if spread else self.cluster_freedom

    def quantile(self, level: float = 0.05) -> float:
        """Student's quantile of a two-sided test at `level`."""
        return float(stdtrit(self.freedom, 1 - level / 2))


def crossed_variance(groups: Sequence[Scores], sizes: Scores) -> Variance:
    """The variance of a mean of answers of models with several seeds, whose questions come in clusters.

    Seeds and clusters are crossed: every seed answers the same questions. The variance is the spread of the seeds'
    means, plus that of the clusters' means, minus what both contain (Cameron, Gelbach and Miller 2011). A mean over
    clusters of different sizes is a ratio, whose variance is linearised.

    The means of several groups with seeds of their own are added: with the scores of one group negated, the variance is
    that of a difference. A group of one seed is assumed to have the spread of the other groups' seeds.

    Args:
        groups: (seeds, clusters) each, sum of the scores of a cluster's questions.
        sizes: (clusters,), number of questions in each cluster, one or more.
    """
    questions, clusters = float(sizes.sum()), len(sizes)
    # (seeds, clusters) each: deviations of the clusters' scores, so that a group's mean is a sum over clusters.
    parts = [(group - group.sum() / (len(group) * questions) * sizes) / questions for group in groups]
    few = clusters / max(1, clusters - 1)
    cluster = few * float((np.sum([part.mean(0) for part in parts], axis=0) ** 2).sum())
    several = [part for part in parts if len(part) > 1]
    if not several:
        return Variance(0.0, cluster, 0.0, math.inf, max(1, clusters - 1))
    seeds = [float(part.sum(1).var(ddof=1)) for part in several]
    answers = [few * _interaction(part, sizes / questions) for part in several]
    freedom = float(sum(len(part) - 1 for part in several))
    # Of the mean of a group, from that of one seed.
    numbers = [len(part) for part in several]
    seed = [variance / number for variance, number in zip(seeds, numbers, strict=True)]
    both = [variance / number for variance, number in zip(answers, numbers, strict=True)]
    singles = len(parts) - len(several)
    seed += singles * [sum(seeds) / len(seeds)]
    both += singles * [sum(answers) / len(answers)]
    if not singles and any(seed):
        # Welch (1947).
        freedom = sum(seed) ** 2 / sum(one**2 / (number - 1) for one, number in zip(seed, numbers, strict=True))
    return Variance(sum(seed), cluster, sum(both), freedom, max(1, clusters - 1))


def cluster_number(sizes: Scores) -> float:
    """Effective number of observations if all observations of a cluster agree (Kish 1965)."""
    return float(sizes.sum()) ** 2 / float((sizes**2).sum())


def _interaction(part: Scores, weights: NDArray[np.float64]) -> float:
    """Spread of a seed's mean that neither its own level nor those of the clusters explain."""
    rest = part - part.mean(0) - weights * part.sum(1, keepdims=True)
    return float((rest**2).sum()) / (len(part) - 1)
