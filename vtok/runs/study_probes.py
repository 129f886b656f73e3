"""Probes of a study's methods, and how well they predict the trained models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

PROBES = ("linear", "attentive")
# Ranks of fewer methods mean nothing.
LEAST_METHODS = 4
RESAMPLES = 2000


@dataclass(frozen=True)
class StudyProbes:
    """Accuracies of probes beside those of trained models.

    Attributes:
        metrics: metrics of the probes by method, such as `probe/linear/colour`.
        trained: mean accuracy of the trained models on test clips: by category, then by method.
    """

    metrics: Mapping[str, Mapping[str, float]]
    trained: Mapping[str, Mapping[str, float]]

    @property
    def categories(self) -> list[str]:
        """The categories that were compared and probed."""
        known = [set(own) for own in self.metrics.values()]
        common = set.intersection(*known) if known else set()
        return [one for one in self.trained if {probe_metric(probe, one) for probe in PROBES} <= common]

    def rows(self) -> list[list[str]]:
        """A table with a row for each method: the linear probe's accuracies in %, then the attentive one's."""
        rows = []
        for method, own in self.metrics.items():
            cells = [[f"{100 * own[probe_metric(probe, one)]:.0f}" for probe in PROBES] for one in self.categories]
            rows.append([method, *map(", ".join, cells)])
        return [["method", *self.categories], *rows] if self.categories else []

    def correlations(self) -> list[list[str]]:
        """A table of rank correlations between probes and trained models, with a row for each category."""
        if len(self.metrics) < LEAST_METHODS or not self.categories:
            return []
        parts = [*(([one], one) for one in self.categories), (self.categories, "mean")]
        rows = [[name, *(self._correlation(probe, chosen) for probe in PROBES)] for chosen, name in parts]
        return [["category", *PROBES], *rows]

    def _correlation(self, probe: str, categories: Sequence[str]) -> str:
        pairs = [
            [[own[probe_metric(probe, one)], self.trained[one][method]] for method, own in self.metrics.items()]
            for one in categories
        ]
        found = rank_correlation(np.array(pairs).swapaxes(1, 2))
        return "-" if found is None else "{:.2f} [{:.2f}, {:.2f}]".format(*found)


def probe_metric(probe: str, category: str) -> str:
    """The name of a probe's accuracy."""
    return f"probe/{probe}/{category}"


def rank_correlation(pairs: np.ndarray) -> tuple[float, float, float] | None:
    """Spearman's rank correlation over methods, mean over categories, and its 95 % interval.

    The interval is the percentile one over resampled methods. A category in which all methods are equal has no ranks,
    and is left out.

    Args:
        pairs: (categories, 2, methods), the two values of each method.

    Returns:
        The correlation and the ends of the interval; None if no category has ranks.
    """
    value = float(_mean_correlations(pairs[:, :, None])[0])
    if np.isnan(value):
        return None
    methods = pairs.shape[2]
    resampled = pairs[:, :, np.random.default_rng(0).integers(methods, size=(RESAMPLES, methods))]
    low, high = np.nanpercentile(_mean_correlations(resampled), [2.5, 97.5])
    return value, float(low), float(high)


def _mean_correlations(pairs: np.ndarray) -> np.ndarray:
    """The correlations (N,) of N samples (categories, 2, N, methods); NaN where no category has ranks."""
    ranks = rankdata(pairs, axis=-1)
    first, second = (ranks - ranks.mean(-1, keepdims=True)).swapaxes(0, 1)
    norms = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    ranked = norms > 0
    sums = ((first * second).sum(-1) / np.where(ranked, norms, 1)).sum(0)
    number = ranked.sum(0)
    return np.where(number > 0, sums / number.clip(min=1), np.nan)
