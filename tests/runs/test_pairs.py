import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vtok.common.differences import paired_difference
from vtok.common.errors import UserError
from vtok.common.statistics import holm
from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.pairs import Pairs, compare_pairs, find_baseline, group_names, pairs_of_groups
from vtok.runs.saved_run import read_run

CLIPS = 60


def draw(rng: np.random.Generator, share: float) -> list[bool]:
    return (rng.random(CLIPS) < share).tolist()


@pytest.fixture
def compared(answered_run) -> Comparison:
    """Five seeds of three tokenisers: one is better on speed, and all are alike on colour."""
    rng = np.random.default_rng(0)
    # Seeds in another order in each group.
    folders = [
        answered_run(
            f"{name}-{seed}",
            {"tokeniser": name, "seed": seed},
            {"speed": draw(rng, 0.95 if name == "vtok" else 0.6), "colour": draw(rng, 0.8)},
        )
        for name, seeds in (("vtok", range(5)), ("delta", (4, 1, 0, 3, 2)), ("key_frame", range(5, 10)))
        for seed in seeds
    ]
    return compare_runs([read_run(folder) for folder in folders], ["alignment/speed", "alignment/colour"])


def test_differences_are_those_of_the_answers_seed_by_seed(compared: Comparison) -> None:
    pairs = compare_pairs(compared, None)
    assert [(one.first, one.second, one.metric) for one in pairs.tested] == [
        (first, second, f"alignment/{category}")
        for first, second in (("vtok", "delta"), ("vtok", "key_frame"), ("delta", "key_frame"))
        for category in ("speed", "colour")
    ]
    rights = {
        run.path.name: np.reshape(list(run.right["alignment/speed"].values()), (-1, 2)).sum(1) for run in compared.runs
    }
    vtok, delta = (np.stack([rights[f"{name}-{seed}"] for seed in range(5)]) for name in ("vtok", "delta"))
    first = pairs.tested[0]
    assert first.difference == paired_difference(vtok, delta, np.full(CLIPS // 2, 2), paired_seeds=True)
    assert first.improvement == 1
    assert [one.difference.paired_seeds for one in pairs.tested] == [True, True, False, False, False, False]
    assert [one.adjusted for one in pairs.tested] == holm([one.difference.p for one in pairs.tested])


def test_sentences_say_what_is_shown_and_what_is_not(compared: Comparison) -> None:
    delta, key_frame, *hidden = compare_pairs(compared, 0).sentences()
    assert all(one.startswith("shown: vtok is ") for one in (delta, key_frame))
    assert delta.endswith(" points above delta on alignment/speed.")
    assert key_frame.endswith(" points above key_frame on alignment/speed.")
    assert len(hidden) == 2
    assert all(one.startswith("not shown: ") and "could have shown" in one for one in hidden)
    assert all("; 5 points take " in one for one in hidden)


@pytest.mark.parametrize(("low", "p", "shown"), [(0.01, 0.01, True), (-0.01, 0.01, False), (0.01, 0.2, False)])
def test_what_is_shown_is_shown_by_the_test_and_by_the_interval(
    compared: Comparison, low: float, p: float, shown: bool
) -> None:
    """They are found in different ways and may disagree; "is -1 to 8 points above" would be no finding."""
    pair = compare_pairs(compared, 0).tested[0]
    for difference in (
        replace(pair.difference, value=0.04, low=low, high=0.09),
        replace(pair.difference, value=-0.04, low=-0.09, high=-low),
    ):
        assert replace(pair, difference=difference, adjusted=p).shown is shown


def test_the_table_and_the_file(compared: Comparison, tmp_path: Path) -> None:
    pairs = compare_pairs(compared, 2)
    assert pairs.rows()[0][:5] == ["metric", "group", "minus", "points", "p"]
    one = pairs.tested[0]
    assert pairs.rows()[1][:3] == ["alignment/speed", "vtok", "key_frame"]
    low, high = 100 * one.difference.low, 100 * one.difference.high
    assert pairs.rows()[1][3] == f"+{100 * one.difference.value:.1f} [{low:.1f}, {high:.1f}]"
    pairs.write_csv(tmp_path / "differences.csv")
    with (tmp_path / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert float(rows[0]["difference"]) == one.difference.value
    assert float(rows[0]["p_holm"]) == one.adjusted
    assert (rows[0]["questions"], rows[0]["clusters"], rows[0]["group_seeds"]) == ("60", "30", "5")


def test_one_seed_each_is_a_statement_about_two_models(answered_run) -> None:
    rng = np.random.default_rng(1)
    folders = [
        answered_run(name, {"stride": stride}, {"speed": draw(rng, share), "order": draw(rng, 0.7)})
        for name, stride, share in (("a", 3, 0.3), ("b", 6, 0.9))
    ]
    comparison = compare_runs([read_run(folder) for folder in folders], ["alignment/speed", "alignment/order"])
    shown, hidden, note = compare_pairs(comparison, None).sentences()
    # The better one is named first, though it is the second run.
    assert shown.startswith("shown: stride=6 is ")
    assert shown.endswith(" points above stride=3 on alignment/speed.")
    assert "could have shown" in hidden
    assert "seeds each" not in hidden
    assert note == "One seed each: a difference is between these two models. Other seeds may differ."


def test_too_few_seeds(answered_run) -> None:
    folders = [
        answered_run(f"{stride}-{seed}", {"stride": stride, "seed": seed}, {"speed": [stride == 3] * 20})
        for stride in (3, 6)
        for seed in (0, 1)
    ]
    pairs = compare_pairs(compare_runs([read_run(folder) for folder in folders], ["alignment/speed"]), None)
    hidden, note = pairs.sentences()
    assert hidden.endswith("; the seeds are too few for this table.")
    assert note.startswith("1 of 1 comparisons have too few seeds")
    # Two equal groups of three seeds that succeed or fail separate with a probability of 1/32 at most.
    assert note.endswith("Use 3 seeds in each group.")
    assert pairs.rows()[1][6] == "-"


def test_other_questions_are_left_out_and_runs_without_common_ones_are_named(answered_run) -> None:
    rng = np.random.default_rng(2)
    folders = [
        answered_run(name, {"stride": stride}, {"speed": draw(rng, 0.5)}, first_clip=first)
        for name, stride, first in (("a", 3, 0), ("b", 6, 20), ("c", 9, 1000))
    ]
    comparison = compare_runs([read_run(folder) for folder in folders], [])
    pairs = compare_pairs(comparison, 0)
    (one,) = pairs.tested
    assert (one.difference.questions, one.left_out) == (40, 40)
    assert "alignment/speed: 40 questions that only some of the runs were asked are left out." in pairs.sentences()
    assert pairs.untested == [
        "stride=9 and stride=3 have no question of alignment/speed in common. Evaluate both on the same clips."
    ]


def test_runs_without_answers_are_named(make_run, compared: Comparison) -> None:
    other = make_run("old", {"tokeniser": "old", "seed": 0}, [], {"alignment/speed": 0.5})
    mixed = compare_runs([*compared.runs, read_run(other)], ["alignment/speed"])
    pairs = compare_pairs(mixed, None)
    assert len(pairs.tested) == 3
    assert pairs.untested == [
        "No differences question by question: 1 of 16 runs have no answers.parquet. "
        f"Write it with `vtok evaluate run=RUN out=RUN/answers.parquet`, where RUN is {other}."
    ]
    assert compare_pairs(compare_runs([read_run(other)], []), None) == Pairs([], [])


def test_baseline(make_run) -> None:
    folders = [
        make_run(f"{name}-{stride}", {"tokeniser": name, "stride": stride}, [], {"steps": 1})
        for name in ("vtok", "delta")
        for stride in (3, 6)
    ]
    four = compare_runs([read_run(folder) for folder in folders], [])
    assert find_baseline(four, None) is None
    assert find_baseline(four, "stride=3, tokeniser=delta") == 2
    with pytest.raises(UserError, match=r"^baseline=delta: 2 groups of runs have this value\. Use stride=3, "):
        find_baseline(four, "delta")
    with pytest.raises(UserError, match=r"^baseline=deltas: no group of runs has this name\. Use "):
        find_baseline(four, "deltas")
    fifth = make_run("e", {"tokeniser": "key_frame", "stride": 3}, [], {"steps": 1})
    five = compare_runs([*four.runs, read_run(fifth)], [])
    assert find_baseline(five, None) == 0
    assert find_baseline(five, "key_frame") == 4
    assert pairs_of_groups(3, None) == [(0, 1), (0, 2), (1, 2)]
    assert pairs_of_groups(3, 1) == [(0, 1), (2, 1)]
    assert group_names(five)[0] == "stride=3, tokeniser=vtok"
    assert group_names(compare_runs([four.runs[0], four.runs[2]], [])) == ["vtok", "delta"]
