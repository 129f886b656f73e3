"""Rank correlations of probes and trained models."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from vtok.runs.study_probes import StudyProbes, rank_correlation


def test_the_correlation_is_spearmans_and_the_mean_over_categories() -> None:
    rng = np.random.default_rng(1)
    pairs = rng.integers(5, size=(3, 2, 12)).astype(float)  # with ties
    truth = np.mean([spearmanr(*pair).statistic for pair in pairs])
    value, low, high = rank_correlation(pairs) or (0, 0, 0)
    assert value == pytest.approx(truth)
    assert low < value < high


def test_the_interval_covers_the_true_correlation() -> None:
    """Of 100 samples of 30 methods from a normal distribution; for few methods it is too narrow, as any bootstrap."""
    rng = np.random.default_rng(0)
    rho = 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal distribution
    covered = 0
    for _ in range(100):
        first, noise = rng.standard_normal((2, 30))
        found = rank_correlation(np.array([[first, rho * first + np.sqrt(1 - rho**2) * noise]]))
        assert found is not None
        covered += found[1] <= truth <= found[2]
    assert covered >= 85


def test_categories_without_ranks_are_left_out() -> None:
    up = np.arange(5.0)
    assert rank_correlation(np.array([[up, up], [up, np.full(5, 0.5)]])) == pytest.approx((1, 1, 1))
    assert rank_correlation(np.array([[up, np.full(5, 0.5)]])) is None


def probes(methods: str) -> StudyProbes:
    """Trained models of the order of the attentive probe and the reverse of the linear one."""
    shares = {method: number / 10 for number, method in enumerate(methods)}
    metrics = {
        one: {"probe/linear/colour": 1 - share, "probe/attentive/colour": share, "probe/linear/speed": 0.5}
        for one, share in shares.items()
    }
    return StudyProbes(metrics, {"colour": shares, "speed": shares})


def test_tables() -> None:
    found = probes("abcde")
    assert found.rows()[:3] == [["method", "colour"], ["a", "100, 0"], ["b", "90, 10"]]
    assert found.correlations() == [
        ["category", "linear", "attentive"],
        ["colour", "-1.00 [-1.00, -1.00]", "1.00 [1.00, 1.00]"],
        ["mean", "-1.00 [-1.00, -1.00]", "1.00 [1.00, 1.00]"],
    ]


def test_few_methods_have_no_correlation_and_no_probes_no_tables() -> None:
    assert probes("abc").correlations() == []
    assert StudyProbes({}, {"colour": {"a": 0.5}}).rows() == []
    assert StudyProbes({}, {"colour": {"a": 0.5}}).correlations() == []
