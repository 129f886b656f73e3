import numpy as np
import pytest
from scipy import stats

from vtok.common.crossed import cluster_number, crossed_variance


def test_parts_are_those_of_an_analysis_of_variance() -> None:
    """Mean squares of a two-way table, by loops."""
    scores = np.random.default_rng(0).integers(0, 2, (4, 9))
    seeds, clusters = scores.shape
    mean, by_seed, by_cluster = scores.mean(), scores.mean(1), scores.mean(0)
    rows = clusters * sum((one - mean) ** 2 for one in by_seed) / (seeds - 1)
    columns = seeds * sum((one - mean) ** 2 for one in by_cluster) / (clusters - 1)
    rest = sum(
        (scores[row, column] - by_seed[row] - by_cluster[column] + mean) ** 2
        for row in range(seeds)
        for column in range(clusters)
    ) / ((seeds - 1) * (clusters - 1))
    found = crossed_variance([scores], np.ones(9, dtype=int))
    assert (found.seed * 36, found.cluster * 36, found.both * 36) == pytest.approx((rows, columns, rest))
    assert (found.seed_freedom, found.cluster_freedom) == (3, 8)


def test_the_total_is_the_variance_of_the_mean() -> None:
    """Over many draws of seeds and clusters of different sizes."""
    rng = np.random.default_rng(1)
    sizes = np.array([1, 2, 3, 4, 5] * 6)
    means, totals = [], []
    for _ in range(4000):
        effects = rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 1.0, 30) + rng.normal(0, 0.8, (3, 30))
        scores = sizes * effects + np.sqrt(sizes) * rng.normal(0, 1, (3, 30))
        means.append(scores.sum() / (3 * sizes.sum()))
        found = crossed_variance([scores], sizes)
        totals.append(found.seed + found.cluster - found.both)
    assert np.mean(totals) == pytest.approx(np.var(means), rel=0.06)


def test_without_clusters_it_is_welchs_test() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 4), rng.normal(0, 3, 7)
    sizes = np.array([1, 3])
    found = crossed_variance([np.outer(first, sizes), -np.outer(second, sizes)], sizes)
    truth = stats.ttest_ind(first, second, equal_var=False)
    assert found.total == pytest.approx(((first.mean() - second.mean()) / truth.statistic) ** 2)
    assert found.freedom == pytest.approx(truth.df)
    assert found.quantile(0.01) == pytest.approx(stats.t.ppf(0.995, truth.df))


def test_a_group_of_one_seed_has_the_spread_of_the_others() -> None:
    """Student's test of one value against several, with the variance of those (Crawford and Howell 1998)."""
    several = np.array([[1.0], [2.0], [4.0]])
    found = crossed_variance([several, -np.array([[9.0]])], np.ones(1))
    assert found.seed == pytest.approx(np.var(several, ddof=1) * (1 + 1 / 3))
    assert found.seed_freedom == 2


def test_effective_number_of_clusters() -> None:
    assert cluster_number(np.array([3, 3, 3, 3])) == pytest.approx(4)
    assert cluster_number(np.array([97, 1, 1, 1])) < 1.1
