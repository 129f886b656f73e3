from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from vtok.data import Clip
from vtok.data.clip import METRIC_SUFFIXES
from vtok.evaluation.accuracy import Accuracy, accuracy_metrics, accuracy_table, cluster_of


def accuracy(right: int, total: int, chance: float) -> Accuracy:
    counted = Accuracy()
    for number in range(total):
        counted.add(number < right, chance, clip=str(number))
    return counted


def test_answers_are_counted() -> None:
    counted = Accuracy()
    for right, chance in ((True, 0.25), (False, 0.5), (True, 0.5), (True, 0.0)):
        counted.add(right, chance, clip="a")
    assert (counted.right, counted.total, counted.expected_right) == (3, 4, 1.25)


def test_shares_with_their_interval_and_chance() -> None:
    """Intervals of Newcombe (1998), table I, method 3; chance is the mean over the questions."""
    mixed = accuracy(81, 263, 0.25)
    mixed.expected_right += 263 * 0.25
    numbers = accuracy_metrics({"generate/colour": mixed, "control/speed": accuracy(29, 29, 0.5)})
    assert numbers == pytest.approx(
        {
            "generate/colour": 81 / 263,
            "generate/colour_low": 0.2553,
            "generate/colour_high": 0.3662,
            "generate/colour_chance": 0.5,
            "generate/colour_questions": 263.0,
            "control/speed": 1.0,
            "control/speed_low": 0.8830,
            "control/speed_high": 1.0,
            "control/speed_chance": 0.5,
            "control/speed_questions": 29.0,
        },
        abs=1e-4,
    )
    assert all(isinstance(number, float) for number in numbers.values())


def test_chance_is_reported_only_if_known() -> None:
    numbers = accuracy_metrics({"caption/colour": accuracy(1, 2, 0.0)})
    assert "caption/colour_chance" not in numbers
    assert numbers["caption/colour"] == 0.5
    assert accuracy_metrics({}) == {}


def test_accuracy_table() -> None:
    heading, *rows = accuracy_table(
        {"generate/colour": accuracy(81, 263, 0.25), "caption/colour": accuracy(0, 20, 0.0)}
    ).split("\n")
    assert heading.split() == ["accuracy", "95", "%", "interval", "chance", "majority", "questions"]
    assert rows[0].split() == ["generate/colour", "30.8%", "26%", "to", "37%", "25%", "263"]
    assert rows[1].split() == ["caption/colour", "0.0%", "0%", "to", "16%", "20"]
    assert len({len(row) for row in (heading, *rows)}) == 1


def test_majority_is_reported_only_if_all_questions_have_the_same_choices() -> None:
    same, other = Accuracy(), Accuracy()
    for number in range(73):
        truth = "no" if number < 47 else "yes"
        same.add(True, 0.5, clip=str(number), truth=truth, choices=("yes", "no")[:: 1 - 2 * (number % 2)])
        other.add(True, 0.5, clip=str(number), truth=truth, choices=("yes", "no", "perhaps")[: 2 + number % 2])
    numbers = accuracy_metrics({"alignment_yes_no/camera": same, "alignment/camera": other})
    assert numbers["alignment_yes_no/camera_majority"] == pytest.approx(47 / 73)
    assert "alignment/camera_majority" not in numbers
    merged = Accuracy()
    for _ in range(2):
        merged.merge(same)
    merged.merge(Accuracy())
    assert (merged.majority, merged.total, len(merged.clips)) == (same.majority, 146, 73)
    merged.merge(other)
    assert merged.majority is None


def test_questions_about_one_clip_are_not_independent() -> None:
    """20 equal answers for each of 40 clips have about the interval of 40 answers."""
    many = Accuracy()
    for number in range(40):
        for _ in range(20):
            many.add(number < 20, 0.5, clip=str(number))
    low, high = many.interval
    assert (low, high) == pytest.approx(tuple(binomtest(20, 40).proportion_ci(method="wilson")), abs=0.01)
    numbers = accuracy_metrics({"alignment/colour": many})
    assert (numbers["alignment/colour_low"], numbers["alignment/colour_high"]) == (low, high)


def test_shares_by_each_score_are_reported() -> None:
    scored = Accuracy()
    for number in range(4):
        scored.add(
            number < 2, 0.5, clip=str(number), right_by_score={"token": number < 2, "total": False, "prior": True}
        )
    numbers = accuracy_metrics({"alignment/colour": scored})
    assert [numbers[f"alignment/colour_by_{way}"] for way in ("token", "total", "prior")] == [0.5, 0.0, 1.0]
    heading = accuracy_table({"alignment/colour": scored, "caption/colour": accuracy(1, 2, 0.0)}).splitlines()[0]
    assert heading.split()[-6:] == ["by", "token", "by", "total", "by", "prior"]
    assert all(any(name.endswith(end) for end in METRIC_SUFFIXES) for name in numbers if name != "alignment/colour")


def test_answers_are_grouped_by_group_or_by_range_of_a_file() -> None:
    clip = Clip(id="a", path=Path("a.mp4"))
    assert cluster_of(clip) == cluster_of(replace(clip, id="a#2"))
    assert cluster_of(clip) != cluster_of(replace(clip, start=1.0))
    scene = replace(clip, group="kitchen")
    assert cluster_of(scene) == cluster_of(replace(scene, path=Path("b.mp4"), start=1.0)) != cluster_of(clip)
