from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from vtok.data import Clip
from vtok.data.clip import BESIDE
from vtok.evaluation.accuracy import Tally, accuracy_table, cluster_of, figures


def tally(right: int, total: int, chance: float) -> Tally:
    counted = Tally()
    for number in range(total):
        counted.add(number < right, chance, clip=str(number))
    return counted


def test_answers_are_counted() -> None:
    counted = Tally()
    for right, chance in ((True, 0.25), (False, 0.5), (True, 0.5), (True, 0.0)):
        counted.add(right, chance, clip="a")
    assert (counted.right, counted.total, counted.guessed) == (3, 4, 1.25)


def test_shares_with_their_interval_and_chance() -> None:
    """The interval is Newcombe's 1998, table I, method 3; chance is the mean over the questions."""
    mixed = tally(81, 263, 0.25)
    mixed.guessed += 263 * 0.25
    numbers = figures({"generate/colour": mixed, "control/speed": tally(29, 29, 0.5)})
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


def test_chance_is_told_only_where_it_is_known() -> None:
    numbers = figures({"caption/colour": tally(1, 2, 0.0)})
    assert "caption/colour_chance" not in numbers
    assert numbers["caption/colour"] == 0.5
    assert figures({}) == {}


def test_a_table_for_a_person() -> None:
    heading, *rows = accuracy_table(
        {"generate/colour": tally(81, 263, 0.25), "caption/colour": tally(0, 20, 0.0)}
    ).split("\n")
    assert heading.split() == ["accuracy", "95", "%", "interval", "chance", "majority", "questions"]
    assert rows[0].split() == ["generate/colour", "30.8%", "26%", "to", "37%", "25%", "263"]
    assert rows[1].split() == ["caption/colour", "0.0%", "0%", "to", "16%", "20"]
    assert len({len(row) for row in (heading, *rows)}) == 1


def test_always_the_commonest_answer_is_told_where_every_question_has_the_same_choices() -> None:
    same, other = Tally(), Tally()
    for number in range(73):
        truth = "no" if number < 47 else "yes"
        same.add(True, 0.5, clip=str(number), truth=truth, choices=("yes", "no")[:: 1 - 2 * (number % 2)])
        other.add(True, 0.5, clip=str(number), truth=truth, choices=("yes", "no", "perhaps")[: 2 + number % 2])
    numbers = figures({"alignment_yes_no/camera": same, "alignment/camera": other})
    assert numbers["alignment_yes_no/camera_majority"] == pytest.approx(47 / 73)
    assert "alignment/camera_majority" not in numbers
    joined = Tally()
    for _ in range(2):
        joined.join(same)
    joined.join(Tally())
    assert (joined.majority, joined.total, len(joined.clips)) == (same.majority, 146, 73)
    joined.join(other)
    assert joined.majority is None


def test_questions_about_one_clip_are_no_strangers() -> None:
    """As many as 40 questions that are asked 20 times each."""
    many = Tally()
    for number in range(40):
        for _ in range(20):
            many.add(number < 20, 0.5, clip=str(number))
    low, high = many.interval
    assert (low, high) == pytest.approx(tuple(binomtest(20, 40).proportion_ci(method="wilson")), abs=0.01)
    numbers = figures({"alignment/colour": many})
    assert (numbers["alignment/colour_low"], numbers["alignment/colour_high"]) == (low, high)


def test_the_shares_by_each_way_of_scoring_stand_beside() -> None:
    scored = Tally()
    for number in range(4):
        scored.add(number < 2, 0.5, clip=str(number), scored={"token": number < 2, "total": False, "prior": True})
    numbers = figures({"alignment/colour": scored})
    assert [numbers[f"alignment/colour_by_{way}"] for way in ("token", "total", "prior")] == [0.5, 0.0, 1.0]
    heading = accuracy_table({"alignment/colour": scored, "caption/colour": tally(1, 2, 0.0)}).splitlines()[0]
    assert heading.split()[-6:] == ["by", "token", "by", "total", "by", "prior"]
    assert all(any(name.endswith(end) for end in BESIDE) for name in numbers if name != "alignment/colour")


def test_ranges_of_a_file_are_clips_and_its_captions_are_one() -> None:
    clip = Clip(id="a", path=Path("a.mp4"))
    assert cluster_of(clip) == cluster_of(replace(clip, id="a#2"))
    assert cluster_of(clip) != cluster_of(replace(clip, start=1.0))
