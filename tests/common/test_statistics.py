import random
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from vtok.common.statistics import clustered, holm, score_interval, share_interval, share_interval_of_runs


def wilson(right: int, total: int) -> tuple[float, float]:
    interval = stats.binomtest(right, total).proportion_ci(method="wilson")
    return interval.low, interval.high


def test_no_observations_are_refused() -> None:
    with pytest.raises(ValueError):
        clustered([])


@pytest.mark.parametrize(("right", "total"), [(81, 263), (15, 148), (0, 20), (29, 29), (1, 1)])
def test_one_question_a_clip_has_wilsons_interval(right: int, total: int) -> None:
    counts = [(int(number < right), 1) for number in range(total)]
    assert clustered(counts) == pytest.approx(wilson(right, total), abs=1e-6)


@pytest.mark.parametrize("right", [0, 7, 20])
def test_questions_asked_twice_are_worth_as_much_as_once(right: int) -> None:
    """Clips that are counted twice, 40 observations of 20. Their correlation is estimated, if any answer is wrong."""
    counts = [(2 * (number < right), 2) for number in range(20)]
    quantile = stats.t.ppf(0.975, 19) if right == 7 else stats.norm.ppf(0.975)
    assert clustered(counts) == pytest.approx(
        score_interval(right / 20, 20, quantile), abs=5e-3 if right == 7 else 1e-6
    )


def test_the_interval_is_never_narrower_than_for_independent_questions() -> None:
    """Answering "forwards" for a clip and its reverse is right once per clip, which is no evidence."""
    low, high = clustered([(1, 2)] * 20)
    truth = wilson(20, 40)
    assert truth[0] - 0.01 < low < truth[0] < truth[1] < high < truth[1] + 0.01


@pytest.mark.parametrize("clusters", [3, 6, 40])
def test_it_covers_the_share_of_few_clusters(clusters: int) -> None:
    rng = np.random.default_rng(0)
    right = rng.binomial(6, rng.uniform(0.3, 0.9, (1000, clusters)))
    intervals = [clustered([(number, 6) for number in row]) for row in right.tolist()]
    assert fmean(low <= 0.6 <= high for low, high in intervals) > 0.93


@pytest.mark.parametrize(("seeds", "effect"), [(2, 0.05), (3, 0.05), (5, 0.1), (3, 0.0)])
def test_it_covers_the_share_of_all_seeds_and_clips(seeds: int, effect: float) -> None:
    rng, sizes, held = np.random.default_rng(0), np.full(30, 4), []
    for _ in range(1000):
        effects = np.clip(rng.normal(0, effect, (seeds, 1)), -0.15, 0.15) + rng.uniform(-0.3, 0.3, (1, 30))
        low, high = share_interval(rng.binomial(sizes, 0.5 + effects), sizes)
        held.append(low <= 0.5 <= high)
    assert fmean(held) > 0.93


def test_intervals_of_several_seeds_stay_within_0_and_1() -> None:
    """Accuracies of 100, 91 and 100 %, and of 22, 45 and 94 %, of 100 clips."""
    for right in ((100, 91, 100), (22, 45, 94)):
        answers = (np.arange(100) < np.array(right)[:, None]).astype(int)
        low, high = share_interval(answers, np.ones(100, dtype=int))
        assert 0 < low < fmean(right) / 100 < high < 1
    # One that is always right may be wrong elsewhere.
    assert share_interval(np.full((3, 100), 2), np.full(100, 2)) == pytest.approx(wilson(100, 100), abs=1e-6)


def test_runs_without_answers_have_about_the_interval_of_their_answers() -> None:
    rng, sizes = np.random.default_rng(0), np.full(60, 2)
    right = rng.binomial(sizes, rng.uniform(0.2, 0.8, (1, 60)) + np.array([[-0.1], [0.0], [0.15]]))
    own = [share_interval(row[None], sizes) for row in right]
    found = share_interval_of_runs((right.sum(1) / 120).tolist(), own)
    assert found == pytest.approx(share_interval(right, sizes), abs=0.03)
    # Of seeds that are alike, the interval of each.
    assert share_interval_of_runs([0.5, 0.5], [wilson(50, 100)] * 2) == pytest.approx(wilson(50, 100), abs=1e-6)
    assert share_interval_of_runs([1.0, 1.0], [wilson(30, 30)] * 2) == pytest.approx(wilson(30, 30), abs=1e-6)


def test_holm() -> None:
    """The example of the R documentation's p.adjust has no closed form; this one is by hand."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_it_covers_the_share_of_all_clips() -> None:
    """95 % of the intervals contain the true share if answers about a clip are correlated; Wilson's do not."""
    rng = random.Random(0)
    held = {"clustered": [], "wilson": []}
    for _ in range(1000):
        counts = []
        for _ in range(40):
            easy = rng.betavariate(1.2, 0.8)
            counts.append((sum(rng.random() < easy for _ in range(6)), 6))
        low, high = clustered(counts)
        held["clustered"].append(low <= 0.6 <= high)
        low, high = wilson(sum(right for right, _ in counts), 240)
        held["wilson"].append(low <= 0.6 <= high)
    assert 0.92 < fmean(held["clustered"]) < 0.98
    assert fmean(held["wilson"]) < 0.85
