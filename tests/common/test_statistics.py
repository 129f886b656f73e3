import random
from statistics import fmean

import pytest
from scipy.stats import binomtest

from vtok.common.statistics import clustered


def wilson(right: int, total: int) -> tuple[float, float]:
    interval = binomtest(right, total).proportion_ci(method="wilson")
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
    """Clips that are counted twice, 40 observations of 20."""
    counts = [(2 * (number < right), 2) for number in range(20)]
    assert clustered(counts) == pytest.approx(wilson(right, 20), abs=5e-3 if right == 7 else 1e-6)


def test_the_interval_is_never_narrower_than_for_independent_questions() -> None:
    """Answering "forwards" for a clip and its reverse is right once per clip, which is no evidence."""
    assert clustered([(1, 2)] * 20) == pytest.approx(wilson(20, 40), abs=1e-6)


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
