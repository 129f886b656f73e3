import json
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import pytest
from PIL import Image

from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.learning import (
    LearningTime,
    effort,
    learning_time,
    log_rank_scores,
    median_time,
    read_learning,
    sooner,
    survival,
)
from vtok.runs.learning_plot import draw_learning
from vtok.runs.saved_run import read_run

STEPS = (100, 200, 300, 400, 500)


def times(*steps: int) -> list[LearningTime]:
    """Times to learn; a negative step is that of the last evaluation of a run that has not learnt."""
    return [LearningTime(step > 0, abs(step), None, None) for step in steps]


def test_it_is_the_step_from_which_the_metric_stays_high() -> None:
    def step_of(*values: float, learnt: float = 0.9) -> tuple[bool, float]:
        found = learning_time({"speed": dict(zip(STEPS, values, strict=True))}, "speed", learnt=learnt)
        return found.learnt, found.step

    assert step_of(0.3, 0.95, 0.89, 0.9, 1.0) == (True, 400)
    assert step_of(0.9, 0.9, 0.9, 0.9, 0.9) == (True, 100)
    assert step_of(0.3, 0.3, 0.3, 0.3, 0.9) == (True, 500)
    assert step_of(0.3, 1.0, 1.0, 1.0, 0.89) == (False, 500)
    assert step_of(0.3, 1.0, 1.0, 1.0, 0.89, learnt=0.8) == (True, 200)


def test_seconds_and_clips_are_those_of_the_logged_speeds() -> None:
    """20 steps of 0.5 s, then of 0.2 s, with 16 clips each."""
    journal = {
        "train/seconds_per_step": {10: 0.5, 20: 0.5, 40: 0.2},
        "train/samples_per_second": {10: 32.0, 20: 32.0, 40: 80.0},
    }
    assert effort(journal, 20) == pytest.approx((10.0, 320))
    assert effort(journal, 30) == pytest.approx((12.0, 480))
    assert effort({}, 20) == (None, None)


def test_the_median_counts_runs_that_have_not_learnt() -> None:
    """By hand: of four, one has learnt after 100, one stopped at 150, and of the other two one has learnt after 200."""
    assert survival(times(100, -150, 200, -400)) == ([100, 150, 200, 400], pytest.approx([0.75, 0.75, 0.375, 0.375]))
    assert median_time(times(100, -150, 200, -400), "step") == "200"
    assert median_time(times(1000, -1500, -1500), "step") == ">1,500"
    assert median_time(times(-500, -500), "step") == ">500"
    assert median_time(times(100, 300), "seconds") == "-"


def test_scores_are_those_of_the_log_rank_test() -> None:
    """Three seeds after 100, 200 and 300 steps, and three that never learn, by hand: hazards 1/6, 1/5 and 1/4."""
    scores = log_rank_scores(times(100, 200, 300, -500, -500, -500))
    assert scores[:3].sum() == pytest.approx(3 - 3 / 6 - 2 / 5 - 1 / 4)
    assert scores.sum() == pytest.approx(0)


def test_a_log_rank_test_is_exact() -> None:
    """If all seeds of a group learn before those of the other, 2 of all labellings are as extreme."""
    assert sooner(times(100, 200, 300), times(400, 500, 600)) == (True, pytest.approx(2 / comb(6, 3)))
    assert sooner(times(*[-500] * 6), times(*[100] * 6)) == (False, pytest.approx(2 / comb(12, 6)))
    assert sooner(times(*[100] * 8), times(*[200] * 8))[1] == pytest.approx(2 / comb(16, 8))
    assert sooner(times(100, 100), times(100, 100))[1] == 1


def test_equal_groups_are_seldom_shown_to_differ() -> None:
    """Over all ways to divide 8 different times into two groups: at most 5 % have a p-value of 0.05 or less."""
    steps = [100, 200, 200, 300, 400, -500, -500, -500]
    ways = [set(some) for some in combinations(range(8), 4)]
    found = [
        sooner(times(*(steps[k] for k in way)), times(*(steps[k] for k in range(8) if k not in way)))[1] for way in ways
    ]
    assert 0 < sum(p <= 0.05 for p in found) / len(ways) <= 0.05


def test_metrics_that_all_learn_at_the_same_step_do_not_hide_another(trained: Comparison) -> None:
    learning = read_learning(trained)
    same = {0: times(*[100] * 5), 1: times(*[100] * 5)}
    both = replace(learning, times={"alignment/colour": same, **learning.times})
    assert both.sentences(None) == ["shown: stride=3 learns alignment/speed sooner than stride=6."]


def test_a_run_that_was_extended_counts_once(trained: Comparison) -> None:
    """It has two values on test clips, of its two ends."""
    for run in trained.runs:
        with (run.path / "metrics.jsonl").open("a") as journal:
            journal.writelines(json.dumps([["alignment/speed", 0.5, 0, step]]) + "\n" for step in (300, 500))
    assert read_learning(trained).rows()[1][2] == "5 of 5"


@pytest.fixture
def trained(make_run) -> Comparison:
    """Five seeds each of a group that learns soon and of one that does not, and a run without evaluations."""
    folders = []
    for stride, seeds in ((3, range(5)), (6, range(5)), (9, range(1))):
        for seed in seeds:
            summary = {"alignment/speed": 0.5, "alignment/speed_low": 0.4, "alignment/speed_high": 0.6}
            folder: Path = make_run(f"{stride}-{seed}", {"stride": stride, "seed": seed}, [], summary)
            values = {step: 0.95 if stride == 3 and step > 200 + 10 * seed else 0.5 for step in STEPS}
            entries = [[["validation/alignment/speed", value, 0, step]] for step, value in values.items() if stride < 9]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
            folders.append(folder)
    return compare_runs([read_run(folder) for folder in folders], [])


def test_table_and_sentence(trained: Comparison) -> None:
    learning = read_learning(trained)
    assert learning.rows()[1:] == [
        ["alignment/speed", "stride=3", "5 of 5", "300 300 300 300 300", "300", "-", "-"],
        ["alignment/speed", "stride=6", "0 of 5", ">500 >500 >500 >500 >500", ">500", "-", "-"],
    ]
    assert learning.sentences(None) == ["shown: stride=3 learns alignment/speed sooner than stride=6."]
    assert learning.sentences(1) == learning.sentences(None)
    assert learning.sentences(2) == []
    few = read_learning(compare_runs([*trained.runs[:2], *trained.runs[5:7]], []))
    assert few.sentences(None) == ["not shown in 1 comparison: one group learns sooner than another (log-rank test)."]
    assert read_learning(compare_runs(trained.runs[-1:], [])).rows() == []


def test_the_accuracy_that_counts_as_learnt_is_chosen(trained: Comparison) -> None:
    half = read_learning(compare_runs(trained.runs, [], learnt=0.5))
    assert "stays at 50 % or above" in half.text()
    assert [row[2:5] for row in half.rows()[1:]] == [["5 of 5", "100 100 100 100 100", "100"]] * 2


def test_picture(trained: Comparison, tmp_path: Path) -> None:
    draw_learning(read_learning(trained), tmp_path / "learning.png")
    assert Image.open(tmp_path / "learning.png").width > 1000
