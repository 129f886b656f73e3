import numpy as np
import pytest
from scipy import stats

from vtok.common.statistics import share_interval, student
from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.saved_run import read_run
from vtok.runs.seeds import estimate, seed_groups, seed_table

SHARES = {(3, 0): 0.90, (3, 1): 0.94, (3, 2): 0.95, (6, 0): 0.5, (6, 1): 0.5, (10, 0): 0.25}


@pytest.fixture
def swept(make_run) -> Comparison:
    folders = [
        make_run(
            f"{stride}-{seed}",
            {"seed": seed, "data": {"seed": seed}, "stride": stride},
            [f"seed={seed}", f"stride={stride}"],
            {"colour": share, "colour_low": share - 0.05, "colour_high": share + 0.04, "loss": -10 * share, "steps": 7},
        )
        for (stride, seed), share in SHARES.items()
    ]
    return compare_runs([read_run(folder) for folder in folders], ["colour", "loss", "steps"])


def test_runs_that_differ_only_in_the_seed_are_one_group(swept: Comparison) -> None:
    assert list(swept.settings) == ["stride", "seed"]
    assert [(one.label, one.values, one.runs) for one in seed_groups(swept)] == [
        ("stride=3", [3], [0, 1, 2]),
        ("stride=6", [6], [3, 4]),
        ("stride=10", [10], [5]),
    ]


def test_mean_and_interval_are_those_of_scipy(swept: Comparison) -> None:
    three = seed_groups(swept)[0]
    loss = estimate(swept, three, "loss")
    values = [-9.0, -9.4, -9.5]
    expected = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert loss is not None
    assert (loss.value, loss.low, loss.high) == pytest.approx((-9.3, *expected))
    assert student([1.0, 2.0]) == pytest.approx(stats.t.interval(0.95, 1, loc=1.5, scale=0.5))


def test_a_share_stays_within_its_range(make_run) -> None:
    shares = {0: (0.9, 0.8, 0.96), 1: (1.0, 0.93, 1.0)}
    folders = [
        make_run(
            str(seed), {"seed": seed}, [], {"colour": share, "colour_low": low, "colour_high": high, "time": share}
        )
        for seed, (share, low, high) in shares.items()
    ]
    comparison = compare_runs([read_run(folder) for folder in folders], ["colour", "time"])
    (group,) = seed_groups(comparison)
    colour, time = (estimate(comparison, group, name) for name in ("colour", "time"))
    # Student's interval of the two is 0.95 ± 0.64.
    assert colour is not None
    assert 0 < colour.low < 0.8
    assert 0.97 < colour.high < 1
    assert time is not None
    assert time.high == pytest.approx(0.95 + 12.7062 * 0.05, abs=1e-5)


def test_answers_give_the_interval_of_a_share_if_all_seeds_have_them(answered_run) -> None:
    right = np.random.default_rng(0).random((3, 40)) < 0.7
    folders = [answered_run(str(seed), {"seed": seed}, {"colour": row}) for seed, row in enumerate(right)]
    comparison = compare_runs([read_run(folder) for folder in folders], [])
    found = estimate(comparison, seed_groups(comparison)[0], "alignment/colour")
    truth = share_interval(right.reshape(3, 20, 2).sum(2), np.full(20, 2))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((right.mean(), *truth))


def test_equal_values_and_one_run(swept: Comparison) -> None:
    _, six, ten = seed_groups(swept)
    equal, single = estimate(swept, six, "colour"), estimate(swept, ten, "colour")
    assert equal is not None
    # Of the two runs, whose clips alone vary.
    assert (equal.value, equal.low, equal.high) == pytest.approx((0.5, 0.455, 0.545), abs=1e-3)
    loss = estimate(swept, six, "loss")
    assert loss is not None
    assert (loss.value, loss.low, loss.high) == (-5, None, None)
    assert single is not None
    assert (single.value, single.low, single.high) == (0.25, 0.2, 0.29)
    assert estimate(swept, ten, "absent") is None


def test_table(swept: Comparison) -> None:
    header, three, six, ten = seed_table(swept)
    assert header == ["seeds", "stride", "colour", "loss", "steps"]
    assert three == ["3", "3", "0.930 [0.851, 0.969]", "-9.30 [-9.96, -8.64]", "7"]
    assert six == ["2", "6", "0.500 [0.455, 0.545]", "-5.00", "7"]
    assert ten == ["1", "10", "0.250 [0.200, 0.290]", "-2.50", "7"]


def test_without_seeds_each_run_is_a_group_and_there_is_no_table(make_run) -> None:
    folders = [make_run(name, {"stride": 3}, [], {"steps": 7}) for name in ("a", "b")]
    comparison = compare_runs([read_run(folder) for folder in folders], [])
    assert [(one.label, one.runs) for one in seed_groups(comparison)] == [("a", [0]), ("b", [1])]
    assert seed_table(comparison) == []


def test_a_resumed_run_is_in_the_group_of_its_settings(make_run, tmp_path) -> None:
    folders = [
        make_run(
            str(seed),
            {"seed": seed, "resume": {"path": str(tmp_path / "0") if seed == 0 else None, "allow": []}},
            [f"seed={seed}"],
            {"colour": 0.5 + seed / 10},
        )
        for seed in range(3)
    ]
    comparison = compare_runs([read_run(folder) for folder in folders], [])
    assert list(comparison.settings) == ["seed"]
    assert [one.runs for one in seed_groups(comparison)] == [[0, 1, 2]]


def test_seeds_alone(make_run) -> None:
    folders = [make_run(str(seed), {"seed": seed}, [f"seed={seed}"], {"loss": seed}) for seed in (1, 2)]
    comparison = compare_runs([read_run(folder) for folder in folders], [])
    assert [(one.label, one.runs) for one in seed_groups(comparison)] == [("2 seeds", [0, 1])]
