from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from vtok.common.statistics import clustered
from vtok.data import Clip
from vtok.data.clip import METRIC_SUFFIXES
from vtok.evaluation.accuracy import Accuracy, accuracies_of, accuracy_metrics, accuracy_table
from vtok.evaluation.answers import Answer, answer_about


def answer(clip: int, right: bool, chance: float, *, kind: str = "choice", **others: Any) -> Answer:
    about = Clip(id=str(clip), path=Path(f"{clip}.mp4"), source=others.pop("source", ""))
    given = {"category": "colour", "question": "", "answer": "", "truth": ""} | others
    return answer_about(about, kind=kind, right=right, chance=chance, **given)


def accuracy(right: int, total: int, chance: float) -> Accuracy:
    return Accuracy([answer(number, number < right, chance) for number in range(total)])


def test_answers_are_named_by_their_kind_their_category_and_their_source() -> None:
    kinds = ("control", "choice", "yes_no", "caption")
    named = accuracies_of(
        [answer(0, True, 0.5, kind=kind, source=source) for kind in kinds for source in ("web", "own", "web")]
        + [answer(0, False, 0.5, kind="choice", category="count")]
    )
    parts = [
        f"{prefix}/{name}"
        for prefix in ("caption", "alignment", "alignment_yes_no", "control")
        for name in ("colour", "own/colour", "web/colour")
    ]
    parts.insert(4, "alignment/count")
    assert list(named) == parts
    assert {len(one.answers) for name, one in named.items() if "web" in name} == {2}
    assert (len(named["alignment/colour"].answers), named["alignment/count"].share) == (3, 0.0)


def test_shares_with_their_interval_and_chance() -> None:
    """Intervals of Newcombe (1998), table I, method 3; chance is the mean over the questions."""
    mixed = Accuracy([answer(number, number < 81, number % 2) for number in range(263)])
    numbers = accuracy_metrics({"generate/colour": mixed, "control/speed": accuracy(29, 29, 0.5)})
    assert numbers == pytest.approx(
        {
            "generate/colour": 81 / 263,
            "generate/colour_low": 0.2553,
            "generate/colour_high": 0.3662,
            "generate/colour_chance": 131 / 263,
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
    given = [(number, "no" if number < 47 else "yes") for number in range(73)]
    same = [answer(n, True, 0.4, truth=truth, choices=("yes", "no")[:: 1 - 2 * (n % 2)]) for n, truth in given]
    other = [answer(n, True, 0.4, truth=truth, choices=("yes", "no", "perhaps")[: 2 + n % 2]) for n, truth in given]
    numbers = accuracy_metrics({"alignment/camera": Accuracy(same), "alignment/other": Accuracy(other)})
    assert numbers["alignment/camera_majority"] == pytest.approx(47 / 73)
    assert numbers["alignment/camera_chance"] == pytest.approx(0.4)
    assert "alignment/other_majority" not in numbers


@pytest.mark.parametrize(("no", "chance"), [(47, 47 / 73), (36, 37 / 73)])
def test_the_chance_of_yes_or_no_is_at_least_that_of_the_more_frequent_answer(no: int, chance: float) -> None:
    answers = [
        answer(n, True, 0.5, kind="yes_no", truth="no" if n < no else "yes", choices=("yes", "no")) for n in range(73)
    ]
    assert accuracy_metrics({"alignment_yes_no/camera": Accuracy(answers)})["alignment_yes_no/camera_chance"] == (
        pytest.approx(chance)
    )


def test_questions_about_one_clip_are_not_independent() -> None:
    """20 equal answers for each of 40 clips have about the interval of 40 answers."""
    many = Accuracy([answer(number, number < 20, 0.5) for number in range(40) for _ in range(20)])
    low, high = many.interval
    assert (low, high) == pytest.approx(tuple(binomtest(20, 40).proportion_ci(method="wilson")), abs=0.01)
    numbers = accuracy_metrics({"alignment/colour": many})
    assert (numbers["alignment/colour_low"], numbers["alignment/colour_high"]) == (low, high)


def test_shares_by_each_score_are_reported() -> None:
    scores = [
        {"token": (-1.0, -2.0), "total": (-4.0, -2.0), "prior": (0.0, 0.0)},
        {"token": (-2.0, -1.0), "total": (-4.0, -2.0), "prior": (1.0, 0.0)},
    ]
    scored = Accuracy(
        [
            answer(number, number % 2 == 0, 0.5, choices=("a", "b"), truth="a", scores=scores[number % 2])
            for number in range(4)
        ]
    )
    numbers = accuracy_metrics({"alignment/colour": scored})
    # Equal scores are decided by the text.
    assert [numbers[f"alignment/colour_by_{way}"] for way in ("token", "total", "prior")] == [0.5, 0.0, 1.0]
    heading = accuracy_table({"alignment/colour": scored, "caption/colour": accuracy(1, 2, 0.0)}).splitlines()[0]
    assert heading.split()[-6:] == ["by", "token", "by", "total", "by", "prior"]
    assert all(any(name.endswith(end) for end in METRIC_SUFFIXES) for name in numbers if name != "alignment/colour")


def test_groups_of_different_data_sets_are_different_groups() -> None:
    answers = [replace(answer(0, number < 20, 0.5), source=str(number % 2)) for number in range(40)]
    assert Accuracy(answers).interval == clustered([(10, 20), (10, 20)])


def test_answers_are_grouped_by_group_or_by_file() -> None:
    clip = Clip(id="a", path=Path("a.mp4"))
    assert clip.cluster == replace(clip, id="a#2").cluster
    assert clip.cluster == replace(clip, start=1.0).cluster != replace(clip, path=Path("b.mp4")).cluster
    scene = replace(clip, group="kitchen")
    assert scene.cluster == replace(scene, path=Path("b.mp4"), start=1.0).cluster != clip.cluster
